"""A device that chats: it sends to peers at random, resumes or comes back anew, re-sends, and catches up.

What else it does (stays away, dozes, renames itself, forgets, gives receipts) its plan says.
"""

from __future__ import annotations

import asyncio
import itertools
import time

from . import namespaces as ns
from .client import Client, Unknown
from .connection import Lost, Refused
from .log import Log
from .management import AckError, Counters, Sent
from .payload import Chains
from .plan import ClientPlan, Plan
from .xml import Node, attribute, escape

_MESSAGE = (
    "<message type='chat' id={id} to={to}><body>{body}</body><origin-id xmlns='urn:xmpp:sid:0' id={id}/>{more}"
    "</message>"
)
#: A message without a body, and with nothing but its id that tells it from others.
_RECEIPT = "<message type='chat' id={id} to={to}><received xmlns='urn:xmpp:receipts' id={about}/></message>"
_REQUEST = f"<request xmlns='{ns.RECEIPTS}'/>"
#: Share of the messages that ask for a receipt which get one, from each device that is shown them.
_RECEIPTS = 0.3


class Cut(Lost):
    """The client cut its connection itself."""


class Device(Client):
    """See the module. `drain` and `finish` are the harness's words: send no more; then go."""

    def __init__(self, plan: Plan, client: ClientPlan, log: Log) -> None:
        super().__init__(plan, client, log)
        self.drain = asyncio.Event()
        self.drained = asyncio.Event()
        self.finish = asyncio.Event()
        self._chains = Chains(plan.run, client.name)
        self._counters: Counters | None = None  # of a session that may be resumed, or is alive
        self.jid = ""  # of the newest session
        self._sm_id = ""
        self._is_counting = False
        self._nonza: asyncio.Future[Node] | None = None
        self._resend: list[Sent] = []
        #: Everything up to this archive id was seen.
        self._synced = ""
        #: Something before what comes now was not seen yet; the newest that came meanwhile.
        self._is_behind = True
        self._pending = ""

    async def run(self) -> None:
        """Live until told to finish."""
        while True:
            await self.connect()
            try:
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self.read())
                    await self._live(group)
                    reading.cancel()
                await self.connection.close()
                return
            except* (Lost, Refused, AckError) as errors:
                error = errors.exceptions[0]
                if not isinstance(error, Lost):
                    self.violation(str(error))
                    self.forget_session()
                if isinstance(error, Unknown):
                    self._synced = ""
                self.disconnected(str(error))
                self._is_counting = False
                is_cut = isinstance(error, Cut)
            if is_cut and self.client.absence:
                await self._wait(self.random.expovariate(1 / self.client.absence))

    async def _live(self, group: asyncio.TaskGroup) -> None:
        if not await self._resume():
            await self._begin()
        elif self._is_behind:  # the connection broke while it caught up
            await self._catch_up()
        helpers = [group.create_task(self._pulse())]
        if self.client.restless:
            helpers.append(group.create_task(self._cut()))
        if self.client.is_dozing:
            helpers.append(group.create_task(self._doze()))
        await self._chat()
        while self._counters is not None and self._counters.unacked:
            self.connection.write(f"<r xmlns='{ns.SM}'/>")
            await asyncio.sleep(0.1)
        if not self._counters or not self._counters.unacked:
            self.drained.set()
        await self.finish.wait()
        self.connection.write(f"<active xmlns='{ns.CSI}'/>")
        # What went through the server before this answer has come, too; the rest is in the archive.
        await self.request("get", "<ping xmlns='urn:xmpp:ping'/>", self.plan.endpoint.domain)
        await self._catch_up()
        for helper in helpers:
            helper.cancel()

    # --- stream management ----------------------------------------------------------------------------------------

    async def _resume(self) -> bool:
        if self._counters is None or not self._sm_id:
            return False
        answer = await self._ask(
            f"<resume xmlns='{ns.SM}' previd={attribute(self._sm_id)} h='{self._counters.received}'/>"
        )
        return answer.name == "resumed"

    async def _begin(self) -> None:
        """A new session: what is not acknowledged is sent again, what was missed is fetched."""
        self._is_behind = True
        self._pending = ""
        resource = f"{self.client.resource}-{self.connections}" if self.client.is_renaming else self.client.resource
        answer = await self.request("set", f"<bind xmlns='{ns.BIND}'><resource>{escape(resource)}</resource></bind>")
        bind = answer.find("bind", ns.BIND)
        jid = bind.find("jid", ns.BIND) if bind is not None else None
        if jid is None or not jid.text.startswith(f"{self.bare}/"):
            raise Refused(f"bind: {answer!r}")
        if self.client.has_sm:
            enabled = await self._ask(f"<enable xmlns='{ns.SM}' resume='true'/>", counts=True)
            if enabled.name != "enabled":
                raise Refused(f"enable: {enabled!r}")
        self.jid = jid.text
        self.log.write("session", conn=self.connections, jid=self.jid)
        if self.client.has_carbons:
            enabled = await self.request("set", f"<enable xmlns='{ns.CARBONS}'/>")
            if enabled.get("type") != "result":
                raise Refused(f"carbons: {enabled!r}")
        resend, self._resend = self._resend, []
        for sent in resend:
            self.log.write("resend", body=sent.body, conn=self.connections)
            self._send(sent)
        self.send("<presence/>")
        await self._catch_up()

    async def _ask(self, nonza: str, *, counts: bool = False) -> Node:
        self._nonza = asyncio.get_running_loop().create_future()
        self.connection.write(nonza)
        if counts:  # what follows <enable/> counts, what follows <enabled/> is counted
            self._counters = Counters()
            self._sm_id = ""
        return await self._nonza

    def received(self, node: Node) -> None:
        """Stream management first."""
        if node.namespace == ns.SM:
            self._managed(node)
            return
        if self._is_counting and self._counters is not None and node.name in ("message", "presence", "iq"):
            self._counters.count_received()
        super().received(node)

    def _managed(self, node: Node) -> None:
        counters = self._counters
        if counters is None:
            raise Refused(f"{node!r} without stream management")
        if node.name == "r":
            self.connection.write(f"<a xmlns='{ns.SM}' h='{counters.received}'/>")
        elif node.name == "a":
            self._acknowledged(counters, int(node.get("h")))
        elif node.name == "enabled":
            self._is_counting = True
            self._sm_id = node.get("id") if node.get("resume") in ("true", "1") else ""
        elif node.name == "resumed":
            self.log.write("resumed", conn=self.connections, h=int(node.get("h")))
            self._acknowledged(counters, int(node.get("h")))
            self._is_counting = True
            for sent in counters.unacked:
                self.connection.write(sent.text)
        elif node.name == "failed":
            self.log.write("failed", conn=self.connections, h=node.get("h") or None)
            if node.get("h"):
                self._acknowledged(counters, int(node.get("h")))
            self.forget_session()
        if node.name in ("enabled", "resumed", "failed") and self._nonza is not None and not self._nonza.done():
            self._nonza.set_result(node)

    def _acknowledged(self, counters: Counters, handled: int) -> None:
        bodies = [sent.body for sent in counters.acknowledge(handled) if sent.body is not None]
        if bodies:
            self.log.write("acked", h=handled, bodies=bodies, conn=self.connections)

    def forget_session(self) -> None:
        """The session is gone: its open messages are for the next one."""
        if self._counters is not None:
            self._resend += [sent for sent in self._counters.unacked if sent.body is not None]
        self._counters = None
        self._sm_id = ""
        self._is_counting = False

    # --- sending --------------------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Send a stanza that is not a message to be judged."""
        self._send(Sent(text))

    def _send(self, sent: Sent) -> None:
        if self._counters is not None:
            self._counters.unacked.append(sent)
        self.connection.write(sent.text)

    async def _chat(self) -> None:
        """Send at the plan's rate, at most `window` without acknowledgement, until told to drain."""
        due = time.monotonic()
        while not self.drain.is_set():
            due += self.random.expovariate(self.client.rate) if self.client.rate else 3600.0
            if await self._wait(due - time.monotonic()):
                return
            due = max(due, time.monotonic() - 1.0)  # after a pause, no flood
            while self._counters is not None and len(self._counters.unacked) >= self.plan.window:
                self.connection.write(f"<r xmlns='{ns.SM}'/>")
                await asyncio.sleep(0.05)
            await self._say()

    async def _say(self) -> None:
        account = self.random.choice(self.plan.accounts)
        to = f"{account}@{self.plan.endpoint.domain}"
        if self.random.random() < 0.1:
            to += "/phone"
        body = self._chains.next(f"{self.client.account}>{account}")
        more = _REQUEST if self.client.has_receipts else ""
        text = _MESSAGE.format(id=attribute(_message_id(body)), to=attribute(to), body=escape(body), more=more)
        self.log.write("intent", body=body, id=_message_id(body), to=to, conn=self.connections)
        self._send(Sent(text, body))
        if self._counters is not None and self.random.random() < 0.5:
            self.connection.write(f"<r xmlns='{ns.SM}'/>")
        await self.connection.drain()
        self.log.write("written", body=body, conn=self.connections)

    async def _pulse(self) -> None:
        """Ask for an acknowledgement each second; a server that says nothing for long is gone."""
        while True:
            await asyncio.sleep(1.0)
            silent = time.monotonic() - self.heard
            if silent > self.plan.silence:
                raise Lost(f"silent for {silent:.0f} s")
            if self._counters is not None and (self._counters.unacked or silent > 3):
                self.connection.write(f"<r xmlns='{ns.SM}'/>")

    def _acknowledge_to_sender(self, message: Node) -> None:
        """Say that a message has arrived (XEP-0184 §5.1), to the device that asked."""
        to = message.get("from")
        key = self._chains.next(f"{self.client.account}>{to.partition('@')[0]}")
        text = _RECEIPT.format(id=attribute(key), to=attribute(to), about=attribute(message.get("id")))
        self.log.write("intent", body=key, id=key, to=to, conn=self.connections)
        self._send(Sent(text, key))

    async def _doze(self) -> None:
        """Nobody looks at the device for a while, then somebody does (XEP-0352)."""
        for state in itertools.cycle(("inactive", "active")):
            await asyncio.sleep(self.random.uniform(0.2, 2.0))
            if self.finish.is_set():
                return
            self.connection.write(f"<{state} xmlns='{ns.CSI}'/>")

    async def _wait(self, seconds: float) -> bool:
        """Wait, unless told to drain; whether that was."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                return await self.drain.wait()
        except TimeoutError:
            return False

    async def _cut(self) -> None:
        """Cut the own connection at random; sometimes forget the session, too."""
        await asyncio.sleep(self.random.expovariate(1 / self.client.restless))
        if self.drain.is_set():
            return
        if self.client.is_forgetful and self.random.random() < 0.5:
            self.forget_session()
        raise Cut("cut by the client itself")

    # --- catching up ----------------------------------------------------------------------------------------------

    async def _catch_up(self) -> None:
        """Fetch the archive after what was seen, page by page; meanwhile live messages do not move the mark."""
        self._is_behind = True
        rows: set[str] = set()
        while True:
            page = await self.page(self.random.choice((5, 20, 50)), after=self._synced)
            ids = [archive_id for archive_id, _, _ in page.rows]
            self.log.write("page", conn=self.connections, after=self._synced, ids=ids)
            for archive_id, message, _ in page.rows:
                self.record(message, "mam", archive_id)
                self._synced = archive_id
            rows.update(ids)
            if page.is_complete or not page.rows:
                break
        if self._pending and self._pending not in rows:
            self._synced = self._pending
        self._is_behind = False
        self._pending = ""

    def record(self, message: Node, via: str, archive_id: str | None = None) -> str | None:
        """A live message moves the mark of what was seen, except while something before it is missing."""
        own = super().record(message, via, archive_id)
        if own is not None and via != "mam":
            if self._is_behind:
                self._pending = own
            else:
                self._synced = own
        if via == "live" and self.client.has_receipts and not self.drain.is_set():
            is_asked = message.find("request", ns.RECEIPTS) is not None and message.get("from") != self.jid
            if is_asked and self.random.random() < _RECEIPTS:
                self._acknowledge_to_sender(message)
        return own


def _message_id(body: str) -> str:
    """The id of a message: all of its body but the hash."""
    return body.rpartition("/")[0]
