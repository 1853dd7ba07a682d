"""Runs transcripts: sets up accounts, rosters and clients through the protocol, then goes step by step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import CLOSED, TRUSTED, XmlReader
from xmppchat.testing import matching
from xmppchat.testing.names import Names
from xmppchat.testing.transcript import ClientLine, RosterLine, Step, Transcript, TranscriptError
from xmppchat.testing.wire_client import WireClient


@dataclass(slots=True)
class Habit:
    """A difference of another server that shows in so many stanzas that it is settled once, not in each transcript.

    `loosen` makes a pattern that the server's way fits too; `verdict` and `quotation` say who is right, as behind
    ``@prosody``. `uses` counts where it made the difference: a habit without a use is stale.
    """

    verdict: str
    quotation: str
    loosen: Callable[[Element], Element]
    uses: int = 0


#: The admins of a server that runs transcripts: a new one for each, since accounts are made once.
ADMINS = tuple(f"admin-{number}" for number in range(1, 61))


class Driver(Protocol):
    """How a transcript reaches a server."""

    name: str  # "prosody" is a second opinion: there the @prosody blocks hold
    domain: str
    habits: Sequence[Habit]
    admins: Iterator[str]  # localparts that the server's configuration names as admins, each for one transcript

    async def create_account(self, localpart: str, password: str) -> None:
        """Make an account."""

    async def connect(self) -> WireClient:
        """A client whose stream is open and secure."""

    async def settle(self, clients: Sequence[WireClient]) -> None:
        """Return once everything sent was handled, and everything caused by it was received."""

    async def advance(self, seconds: float) -> None:
        """Let time pass; asked for only by transcripts that are "memory only"."""


class Mismatch(AssertionError):
    """The server did not do what the transcript says; the message begins with file and line."""


async def run(transcript: Transcript, driver: Driver) -> None:
    """Run a transcript. Raises :class:`Mismatch`."""
    runner = _Runner(transcript, driver)
    try:
        await runner.set_up()
        await runner.go()
    finally:
        await runner.tear_down()


#: Who sends what so that "romeo -> juliet" gets into a state of RFC 6121 Appendix A.1. "<" is the contact.
_WAYS = {
    "none": (),
    "none + pending out": (">subscribe",),
    "none + pending in": ("<subscribe",),
    "none + pending out+in": (">subscribe", "<subscribe"),
    "to": (">subscribe", "<subscribed"),
    "to + pending in": (">subscribe", "<subscribed", "<subscribe"),
    "from": ("<subscribe", ">subscribed"),
    "from + pending out": ("<subscribe", ">subscribed", ">subscribe"),
    "both": (">subscribe", "<subscribed", "<subscribe", ">subscribed"),
}


class _Runner:
    def __init__(self, transcript: Transcript, driver: Driver) -> None:
        self._transcript = transcript
        self._driver = driver
        self._lines = {line.name: line for line in transcript.clients}
        self._names = Names(transcript, driver.domain, driver.admins)
        self._clients: dict[str, WireClient] = {}
        self._everyone: list[WireClient] = []
        self._vanished: dict[str, WireClient] = {}
        self._is_prosody = driver.name == "prosody"

    # --- before and after ----------------------------------------------------------------

    async def set_up(self) -> None:
        for account in dict.fromkeys(line.account for line in self._transcript.clients if not line.is_stream):
            await self._driver.create_account(self._names.local(account), self._names.password)
        if self._transcript.rosters:
            await self._establish_rosters()
        for line in self._transcript.clients:
            if not line.is_offline:
                await self._appear(line)
        await self._settle()
        for client in self._clients.values():
            client.inbox.clear()

    async def _establish_rosters(self) -> None:
        names = dict.fromkeys(name for line in self._transcript.rosters for name in (line.account, line.contact))
        clients = {name: await self._log_in(name, "set-up") for name in names}
        for roster in self._transcript.rosters:
            for action in _WAYS[roster.state]:
                await self._subscribe(clients, roster, action)
        for client in clients.values():
            await client.close()
        self._everyone.clear()
        await self._settle()

    async def _subscribe(self, clients: dict[str, WireClient], roster: RosterLine, action: str) -> None:
        sender, recipient = roster.account, roster.contact
        if action[0] == "<":
            sender, recipient = recipient, sender
        clients[sender].write(f"<presence type='{action[1:]}' to='{self._names.bare(recipient)}'/>")
        await self._driver.settle(list(clients.values()))

    async def _log_in(self, account: str, resource: str, lang: str = "") -> WireClient:
        client = await self._driver.connect()
        client.lang = lang
        client.answers_requests = True
        self._everyone.append(client)
        await client.log_in(self._names.local(account), self._names.password, resource)
        return client

    async def _appear(self, line: ClientLine) -> None:
        if line.is_stream:
            client = self._clients[line.name] = await self._driver.connect()
            self._everyone.append(client)
            return
        client = self._clients[line.name] = await self._log_in(line.account, line.resource, line.lang)
        if line.is_interested:
            await client.request("get", f"<query xmlns='{NS.ROSTER}'/>")
        if line.has_carbons:
            await client.request("set", f"<enable xmlns='{NS.CARBONS}'/>")
        if not line.is_unavailable:
            priority = "" if line.priority is None else f"<priority>{line.priority}</priority>"
            client.write(f"<presence>{priority}</presence>")
            await self._settle()

    async def tear_down(self) -> None:
        for client in self._everyone:
            await client.close()
        await self._driver.settle([])

    # --- the steps -----------------------------------------------------------------------

    async def go(self) -> None:
        for step in self._transcript.steps:
            if step.kind in _EXPECTATIONS:
                await self._expect(step)
            else:
                await self._act(step)
                await self._settle()
            if self._is_prosody and step.difference is not None and step.difference.is_end:
                return
        for name in self._clients:
            self._expect_nothing(name, f"{self._transcript.path}: at the end")

    async def _act(self, step: Step) -> None:
        line = self._lines.get(step.client)
        if step.kind == "time passes":
            await self._driver.advance(step.seconds)
        elif step.kind == "everybody reads":
            for everyone in self._clients.values():
                everyone.inbox.clear()
        elif step.kind == "connects" and line is not None and line.is_stream:
            await self._appear(line)
        elif step.kind == "connects" and line is not None:
            self._clients[step.client] = await self._log_in(line.account, line.resource, line.lang)
        elif step.kind == "comes back" and line is not None:
            await self._come_back(line, step)
        else:
            await self._act_on(self._client(step.client, step), step)

    async def _act_on(self, client: WireClient, step: Step) -> None:
        if step.kind == "reads":
            client.inbox.clear()
        elif step.kind == "logs in":
            line = self._lines[step.client]
            await client.log_in(self._names.local(line.account), self._names.password, line.resource)
        elif step.kind == "disconnects":
            await client.close()
            del self._clients[step.client]
        elif step.kind == "vanishes":
            await client.vanish()
            self._vanished[step.client] = self._clients.pop(step.client)
        else:
            for element in self._stanzas(step.xml, step.line):
                if step.to:
                    element = element.replace(attributes={"to": self._client(step.to, step).jid})
                client.write(element.to_xml(NS.CLIENT))
                if element.namespace == NS.CSI:
                    await self._indicated(client, element.name)

    async def _indicated(self, client: WireClient, state: str) -> None:
        client.is_inactive = state == "inactive"
        # From now on it asks nothing, since the answer would wake it. When those who write later have had an answer,
        # what it wrote before them was read.
        await self._settle()

    async def _come_back(self, line: ClientLine, step: Step) -> None:
        former = self._vanished.get(line.name) or self._client(line.name, step)
        client = await self._driver.connect()
        self._everyone.append(client)
        client.answers_requests = True
        await client.authenticate(self._names.local(line.account), self._names.password)
        client.handled = former.handled
        for element in self._stanzas(step.xml, step.line):
            client.write(element.to_xml(NS.CLIENT))
        await client.until_received(1)
        client.jid = former.jid if client.inbox and client.inbox[0].name == "resumed" else ""
        self._clients[line.name] = client

    async def _settle(self) -> None:
        clients = (client for client in self._everyone if not client.is_inactive)
        await self._driver.settle([client for client in clients if not client.is_closed])

    # --- expectations --------------------------------------------------------------------

    async def _expect(self, step: Step) -> None:
        place = self._place(step)
        if step.kind == "nobody receives":
            for name in self._clients:
                self._expect_nothing(name, place)
            return
        client = self._client(step.client, step)
        if step.kind == "is disconnected":
            with contextlib.suppress(TimeoutError):
                await client.until_closed()
            if not client.is_closed:
                raise Mismatch(f"{place}: {step.client} is still connected")
            return
        wanted = self._stanzas(step.xml, step.line)
        if step.kind == "is offered":
            client.inbox.insert(0, client.features)
        elif not client.jid or client.is_inactive:  # nothing settles a stream before authentication, or one that sleeps
            count = len(wanted)
            if self._is_prosody and step.difference is not None:
                count = len(self._stanzas(step.difference.xml, step.difference.line))
            with contextlib.suppress(TimeoutError):
                await client.until_received(count)
        if self._is_prosody and step.difference is not None:
            self._expect_difference(client, step, wanted)
            return
        problem = self._take(client, wanted, step.kind)
        if problem is not None:
            raise Mismatch(f"{place}: {problem}\n{_shown(client)}")

    def _expect_difference(self, client: WireClient, step: Step, wanted: list[Element]) -> None:
        assert step.difference is not None
        if self._take(client, wanted, step.kind) is None:
            place = f"{self._transcript.path}:{step.difference.line}:"
            raise Mismatch(f"{place} Prosody does the same here: the @prosody block is stale")
        instead = self._stanzas(step.difference.xml, step.difference.line)
        kind = "receives" if step.kind == "receives nothing" else step.kind
        problem = self._take(client, instead, kind)
        if problem is not None:
            raise Mismatch(f"{self._place(step)} on Prosody: {problem}\n{_shown(client)}")

    def _take(self, client: WireClient, wanted: list[Element], kind: str) -> str | None:
        """Take `wanted` out of the inbox, or say why that cannot be and leave it."""
        if kind == "receives nothing":
            return "received something" if client.inbox else None
        count = len(wanted)
        received = client.inbox[:count]
        if len(received) < count:
            return f"received {len(received)} stanzas, not {count}"
        patterns = [self._loosened(pattern) for pattern in wanted]
        if not self._transcript.speaks_of_ids:
            own = client.jid.partition("/")[0]
            received = [without_own_id(element, own) for element in received]
        if kind == "receives in any order":
            assigned = matching.assign(patterns, received)
            if assigned is None:
                return _closest(patterns, received)
            received = assigned
        for pattern, element in zip(patterns, received, strict=True):
            problem = matching.difference(pattern, element)
            if problem is not None:
                return problem
        del client.inbox[:count]
        for pattern, original, element in zip(patterns, wanted, received, strict=True):
            self._names.captured.update(matching.captured(pattern, element))
            self._count_habits(original, element)
        return None

    def _loosened(self, pattern: Element, without: Habit | None = None) -> Element:
        for habit in self._driver.habits:
            if habit is not without:
                pattern = habit.loosen(pattern)
        return pattern

    def _count_habits(self, pattern: Element, element: Element) -> None:
        for habit in self._driver.habits:
            if not matching.matches(self._loosened(pattern, without=habit), element):
                habit.uses += 1

    def _expect_nothing(self, name: str, place: str) -> None:
        client = self._clients[name]
        if client.inbox:
            raise Mismatch(f"{place}: {name} received something\n{_shown(client)}")

    # --- names ---------------------------------------------------------------------------

    def _client(self, name: str, step: Step) -> WireClient:
        try:
            return self._clients[name]
        except KeyError:
            raise Mismatch(f"{self._place(step)}: {name} is not connected") from None

    def _place(self, step: Step) -> str:
        return f"{self._transcript.path}:{step.line}: '{step.said}'"

    def _stanzas(self, xml: str, line: int) -> list[Element]:
        clients = {**self._vanished, **self._clients}
        self._names.handled = {name: client.handled for name, client in clients.items()}
        try:
            return read_stanzas(self._names.replace(xml))
        except ValueError as error:
            raise TranscriptError(f"{self._transcript.path}:{line}: {error}") from None


def without_own_id(element: Element, owner: str) -> Element:
    """A message, and those in it, without the one id that the archive of `owner` gave each (XEP-0359).

    So a transcript that does not speak of ids need not name it; two of them, or one of somebody else, stay and show.
    """
    children = [without_own_id(child, owner) if isinstance(child, Element) else child for child in element.children]
    ids = [child for child in element.find_all("stanza-id", NS.STANZA_IDS) if child.get("by") == owner]
    if element.name == "message" and len(ids) == 1 and _is_sound(ids[0]):
        children = [child for child in children if child != ids[0]]
    return element.replace(children=children)


def _is_sound(stanza_id: Element) -> bool:
    return bool(stanza_id.get("id")) and stanza_id.attributes.keys() == {"by", "id"} and not stanza_id.children


_LONGEST_SHOWN = 2_000
_EXPECTATIONS = (
    "is offered", "receives", "receives in any order", "receives nothing", "nobody receives", "is disconnected",
)  # fmt: skip


def read_stanzas(xml: str) -> list[Element]:
    """The elements in `xml`, as on a stream of a client. Raises ValueError."""
    reader = XmlReader(TRUSTED)
    reader.one_at_a_time = False
    header = f"<stream:stream xmlns='{NS.CLIENT}' xmlns:stream='{NS.STREAM}'>"
    try:
        items = reader.feed(f"{header}{xml.strip()}</stream:stream>".encode())
    except StreamError as error:
        raise ValueError(error.text) from None
    if not items or items[-1] is not CLOSED:
        raise ValueError("an element has no end")
    return [item for item in items if isinstance(item, Element)]


def _closest(wanted: list[Element], received: list[Element]) -> str:
    for pattern in wanted:
        problems = [matching.difference(pattern, element) for element in received]
        if all(problems):
            return "; or ".join(problem for problem in problems if problem)
    return "two of what is expected are the same stanza"


def _shown(client: WireClient) -> str:
    if not client.inbox:
        return "  (nothing was received)"
    return "\n".join(f"  received: {element.to_xml(NS.CLIENT)[:_LONGEST_SHOWN]}" for element in client.inbox)
