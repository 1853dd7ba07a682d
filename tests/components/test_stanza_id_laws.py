"""Stanza ids as laws (XEP-0359, XEP-0313 §3.4, reliability.md C2 and V-27), for whatever is sent to whomever.

A message has one id in each archive, which is the same live, in carbons, offline and in results. What is not archived
has none. Nobody sees an id of another account's archive, and none that a client forged, however deep it hid it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from archive_support import JULIET, ROMEO, accounts, connected, page
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xmppchat.components.archive import Archive
from xmppchat.core.pipeline import Archived
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.wire_client import WireClient

HOST, ROOM = "chat.example", "verona@rooms.example"
_SPELLINGS = {
    JULIET: [JULIET, JULIET.upper(), f"{JULIET}/Ä", "ｊuliet@chat.example"],
    ROMEO: [ROMEO, "Romeo@CHAT.example", f"{ROMEO}/phone"],
    HOST: [HOST, "CHAT.example", f"{HOST}/x"],
    ROOM: [ROOM],
}
_IDS = st.builds(
    lambda by, id_: f"<stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{id_}'/>",
    st.sampled_from([spelling for spellings in _SPELLINGS.values() for spelling in spellings]),
    st.sampled_from(["", "1", "forged"]),
)
_LEAVES = st.one_of(_IDS, st.just("<body>x</body>"), st.just("<active xmlns='http://jabber.org/protocol/chatstates'/>"))
_TREES = st.recursive(
    st.lists(_LEAVES, max_size=3).map("".join),
    lambda inner: st.lists(inner.map(
        lambda xml: f"<forwarded xmlns='urn:xmpp:forward:0'><message xmlns='jabber:client'>{xml}</message></forwarded>"
    ), max_size=3).map("".join),
    max_leaves=6,
)  # fmt: skip
_HINTS = st.sampled_from(["", "", "store", "no-store", "no-permanent-store", "no-copy"])


@dataclass(frozen=True)
class Case:
    """A message, and what both archives are told to keep."""

    xml: str
    kind: str
    to: str
    is_present: bool  # juliet's devices are there
    wishes: tuple[str, str]


_CASES = st.builds(
    Case,
    st.builds(
        lambda tree, body, hint: f"{tree}{body}" + (f"<{hint} xmlns='urn:xmpp:hints'/>" if hint else ""),
        _TREES, st.sampled_from(["<body>y</body>", "<body>y</body>", ""]), _HINTS,
    ),
    st.sampled_from(["chat", "chat", "normal"]),
    st.sampled_from([JULIET, JULIET, f"{JULIET}/phone", f"{JULIET}/gone", ROMEO, f"{ROMEO}/laptop"]),
    st.booleans(),
    st.tuples(*[st.sampled_from(["always", "always", "never"])] * 2),
)  # fmt: skip


def drawn(number: int) -> list[Case]:
    """So many cases, always the same."""
    cases: list[Case] = []

    @settings(
        max_examples=number, deadline=None, suppress_health_check=list(HealthCheck), database=None, derandomize=True
    )
    @given(_CASES)
    def draw(case: Case) -> None:
        cases.append(case)

    draw()
    return cases


@dataclass(frozen=True)
class Row:
    """What a result of an archive shows."""

    id: str
    message: Element


class Stage:
    """romeo's and juliet's devices, those of juliet not always; and for each a session that only reads the archive."""

    def __init__(self, driver: MemoryDriver) -> None:
        self.driver = driver
        self.readers: dict[str, WireClient] = {}
        self.last = {ROMEO: "", JULIET: ""}

    async def set_up(self) -> None:
        await accounts(self.driver, "romeo", "juliet")
        for name in ("romeo", "juliet"):
            self.readers[f"{name}@{HOST}"] = await connected(self.driver, name, "reader", is_available=False)
        self.phone, self.laptop = [await self._device("romeo", name) for name in ("phone", "laptop")]

    async def _device(self, name: str, resource: str) -> WireClient:
        client = await connected(self.driver, name, resource)
        await client.request("set", f"<enable xmlns='{NS.CARBONS}'/>")
        client.inbox.clear()
        return client

    async def play(self, case: Case, number: int) -> dict[str, list[tuple[str, Element]]]:
        """What each account's devices receive, by how it came; offline, by coming later."""
        for bare, wish in zip((ROMEO, JULIET), case.wishes, strict=True):
            wanted = f"<prefs xmlns='{NS.ARCHIVE}' default='{wish}'><always/><never/></prefs>"
            await self.readers[bare].request("set", wanted)
        hers = [await self._device("juliet", name) for name in ("phone", "desk")] if case.is_present else []
        for client in (self.phone, self.laptop, *hers):
            client.inbox.clear()
        self.phone.write(f"<message to='{case.to}' type='{case.kind}' id='m{number}'>{case.xml}</message>")
        await self.driver.settle([])
        if not hers:
            hers = [await connected(self.driver, "juliet", "late", is_available=False)]
            hers[0].write("<presence/>")
            await self.driver.settle([])
        shown = {ROMEO: [*_messages(self.phone), *_messages(self.laptop)],
                 JULIET: [message for client in hers for message in _messages(client)]}  # fmt: skip
        for client in hers:
            await client.close()
        await self.driver.settle([])
        return shown

    async def new_rows(self, bare: str) -> list[Row]:
        """What the archive of an account has got since it was asked last."""
        reader, after = self.readers[bare], self.last[bare]
        reader.inbox.clear()
        where = page(max=50, after=after) if after else page(max=50)
        await reader.request("set", f"<query xmlns='{NS.ARCHIVE}'>{where}</query>")
        found = [row for row in map(_row, reader.inbox) if row is not None]
        reader.inbox.clear()
        if found:
            self.last[bare] = found[-1].id
        return found


def _row(element: Element) -> Row | None:
    result = element.find("result", NS.ARCHIVE)
    return None if result is None else Row(result.get("id"), _inside(result))


def _inside(wrapper: Element) -> Element:
    forwarded = wrapper.find("forwarded", NS.FORWARD)
    assert forwarded is not None
    message = forwarded.find("message", NS.CLIENT)
    assert message is not None
    return message


def _messages(client: WireClient) -> Iterator[tuple[str, Element]]:
    """The messages that came, carbons unwrapped."""
    for element in client.inbox:
        if element.name == "message":
            carbon = element.find("sent", NS.CARBONS) or element.find("received", NS.CARBONS)
            yield ("live", element) if carbon is None else (f"carbon {carbon.name}", _inside(carbon))


def _by(element: Element) -> str:
    """Whose archive an id claims to be of."""
    try:
        jid = JID.parse(element.get("by"))
    except InvalidJID:
        return ""
    return jid.bare if jid.local else jid.domain


def all_ids(element: Element) -> Iterator[Element]:
    """Ids at any depth."""
    for child in element.elements():
        if child.is_named("stanza-id", NS.STANZA_IDS):
            yield child
        yield from all_ids(child)


def check(case: Case, owner: str, how: str, message: Element, rows: list[Row]) -> None:
    """The laws, for a message that a device of `owner` was shown."""
    said = f"{case}\n{how}: {message.to_xml()}"
    own = [one for one in message.find_all("stanza-id", NS.STANZA_IDS) if _by(one) == owner]
    kept = [row.id for row in rows if _key(row.message) == _key(message)]
    assert [(one.get("by"), one.get("id")) for one in own] == [(owner, id_) for id_ in kept], said
    others = [_by(one) for one in all_ids(message)]
    assert others.count(owner) == len(own), f"a forged id is left\n{said}"
    assert HOST not in others, said
    if owner == JULIET:
        assert ROMEO not in others, f"what the sender says of its archive came to the recipient\n{said}"
    if message.get("type") != "error":
        assert others.count(ROOM) == case.xml.count(f"by='{ROOM}'"), f"an id of somebody else is gone\n{said}"


def _key(message: Element) -> tuple[str, str]:
    return message.get("id"), message.get("type")


def check_row(case: Case, owner: str, row: Row) -> None:
    """The laws, for a result of the archive of `owner`: its id is that of the result."""
    others = [_by(one) for one in all_ids(row.message)]
    forbidden = {owner, HOST, ROMEO}
    assert not forbidden & set(others), f"{case}\nresult: {row.message.to_xml()}"


async def judge(driver: MemoryDriver, cases: list[Case]) -> set[str]:
    """Play all; how messages came."""
    stage = Stage(driver)
    await stage.set_up()
    seen: set[str] = set()
    for number, case in enumerate(cases):
        shown = await stage.play(case, number)
        for owner, messages in shown.items():
            rows = await stage.new_rows(owner)
            for how, message in messages:
                check(case, owner, how, message, rows)
                is_late = message.find("delay", "urn:xmpp:delay") is not None
                seen.add(f"{owner.partition('@')[0]} {'offline' if is_late else how}")
            for row in rows:
                check_row(case, owner, row)
    return seen


async def test_the_laws_of_stanza_ids(driver: MemoryDriver) -> None:
    seen = await judge(driver, drawn(100))
    assert seen >= {
        "juliet live", "juliet carbon received", "juliet offline", "romeo carbon sent", "romeo live",
    }, "the cases show too little"  # fmt: skip


def leave_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stanza_ids, "stripped", lambda stanza, _: stanza)


def strip_only_the_top(monkeypatch: pytest.MonkeyPatch) -> None:
    def kept(children: Sequence[Element | str], is_forged: Callable[[JID], bool]) -> list[Element | str]:
        return [
            child for child in children
            if isinstance(child, str) or child.name != "stanza-id" or not stanza_ids._is_by(child, is_forged)
        ]

    monkeypatch.setattr(stanza_ids, "_kept", kept)


def give_all_an_id(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = Archive._keep

    def always(self: Archive, *arguments: object) -> object:
        found = keep(self, *arguments)  # type: ignore[arg-type]
        return found if isinstance(found, Archived) else Archived(self.kernel.ids.sortable())

    monkeypatch.setattr(Archive, "_keep", always)


@pytest.mark.parametrize("defect", [leave_what_is_sent, strip_only_the_top, give_all_an_id])
async def test_a_defect_breaks_a_law(defect: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    defect(monkeypatch)  # type: ignore[operator]
    driver = MemoryDriver(tmp_path)
    await driver.start()
    with pytest.raises(AssertionError, match="stanza-id"):
        await judge(driver, drawn(100))
    await driver.stop()
