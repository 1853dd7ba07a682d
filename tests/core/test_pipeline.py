"""The stages, with components made for it: who may do what, in which order, and what fails how."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from xmppchat.components import BUILTIN
from xmppchat.components.archive import Archive
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.commit_gate import CommitGate, Write
from xmppchat.core.component import (
    INBOUND,
    OUTBOUND,
    Component,
    ComponentConfig,
    Stage,
    stage,
)
from xmppchat.core.declarations import StageDeclaration
from xmppchat.core.pipeline import Archived, Discard, NotArchived, Passage, Pipeline, Refuse
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import NotAcceptable
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.memory import MemoryClient, MemoryDriver


class Probe(Component[ComponentConfig]):
    """Takes part in every stage; what it does depends on the stanza's id."""

    name = "probe"
    seen: ClassVar[list[str]] = []

    def _note(self, what: str, passage: Passage) -> None:
        if passage.stanza.kind == "message":
            self.seen.append(f"{what} {passage.stanza.id}")

    @stage(Stage.SCREEN, OUTBOUND)
    def screen_out(self, passage: Passage) -> Refuse | None:
        """Refuses by the sender's rules."""
        self._note("screen out", passage)
        return Refuse(NotAcceptable("no"), "a test") if passage.stanza.id == "refused" else None

    @stage(Stage.SANITISE, OUTBOUND)
    def sanitise_out(self, passage: Passage) -> Stanza:
        """Removes what a client may not say."""
        self._note("sanitise out", passage)
        kept = [child for child in passage.stanza.elements() if child.namespace != "urn:forged"]
        return passage.stanza.replace(children=kept)

    @stage(Stage.SCREEN, INBOUND)
    def screen_in(self, passage: Passage) -> Discard | None:
        """Drops by the recipient's rules."""
        self._note("screen in", passage)
        if passage.stanza.id == "broken":
            raise RuntimeError("a bug in a stage")
        return Discard("a test") if passage.stanza.id == "dropped" else None

    @stage(Stage.ARCHIVE, INBOUND)
    def archive(self, passage: Passage) -> Archived | NotArchived:
        """Archives what has an id that says so."""
        self._note("archive", passage)
        return Archived(7) if passage.stanza.id == "archived" else NotArchived("a test")

    @stage(Stage.STAMP, INBOUND)
    def stamp(self, passage: Passage) -> Stanza:
        """Adds the archive's id."""
        self._note("stamp", passage)
        assert isinstance(passage.archived, Archived)
        stanza_id = Element("stanza-id", "urn:xmpp:sid:0", {"id": str(passage.archived.id)})
        return passage.stanza.replace(children=[*passage.stanza.children, stanza_id])

    @stage(Stage.COPY, INBOUND)
    def copy(self, passage: Passage) -> None:
        """Fails open."""
        self._note("copy", passage)
        if passage.stanza.id == "copy-fails":
            raise RuntimeError("a bug in a stage that only copies")

    @stage(Stage.OBSERVE, INBOUND)
    def observe(self, passage: Passage) -> None:
        """Sees it last."""
        self._note("observe", passage)


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    others = tuple(one for one in BUILTIN if one is not Archive)  # whose stages would do the same
    driver.server.config = dataclasses.replace(driver.server.config, component_classes=(*others, Probe))
    await driver.start()
    Probe.seen.clear()
    yield driver
    await driver.stop()


async def client(driver: MemoryDriver, name: str) -> MemoryClient:
    await driver.create_account(name, "secret")
    made = await driver.connect()
    assert isinstance(made, MemoryClient)
    await made.log_in(name, "secret", "x")
    made.write("<presence/>")
    await made.take(lambda element: element.name == "presence")
    return made


def message(name: str) -> str:
    return (
        f"<message to='juliet@chat.example' type='chat' id='{name}'><body>x</body>"
        "<claim xmlns='urn:forged'/></message>"
    )


async def test_the_order_of_the_stages(driver: MemoryDriver) -> None:
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    romeo.write(message("archived"))
    received = await juliet.take(lambda element: element.name == "message")
    assert [child.name for child in received.elements()] == ["body", "stanza-id"], "sanitised, then stamped"
    stages = ["screen out", "sanitise out", "screen in", "archive", "stamp", "copy", "observe"]
    assert Probe.seen == [f"{name} archived" for name in stages]


async def test_what_is_not_archived_is_not_stamped(driver: MemoryDriver) -> None:
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    romeo.write(message("m1"))
    received = await juliet.take(lambda element: element.name == "message")
    assert [child.name for child in received.elements()] == ["body"]


async def test_refused_the_sender_hears_of_it_and_nobody_else(driver: MemoryDriver) -> None:
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    romeo.write(message("refused"))
    answer = await romeo.take(lambda element: element.name == "message")
    assert answer.get("type") == "error"
    await driver.settle([romeo, juliet])
    assert juliet.inbox == []
    # Nothing comes behind a refusal; the answer, which has the same id, may be copied to other devices of his.
    assert Probe.seen == ["screen out refused", "copy refused"]


async def test_discarded_nobody_hears_of_it(driver: MemoryDriver) -> None:
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    romeo.write(message("dropped"))
    await driver.settle([romeo, juliet])
    assert romeo.inbox == juliet.inbox == []


async def test_a_stage_that_decides_fails_closed(driver: MemoryDriver) -> None:
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    romeo.write(message("broken"))
    answer = await romeo.take(lambda element: element.name == "message")
    error = answer.find("error")
    assert error is not None
    assert error.find("internal-server-error", "urn:ietf:params:xml:ns:xmpp-stanzas") is not None
    await romeo.barrier()
    assert not romeo.is_closed, "a bug in a handler does not end the stream"
    assert juliet.inbox == []


async def test_a_stage_that_copies_fails_open(driver: MemoryDriver) -> None:
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    romeo.write(message("copy-fails"))
    await juliet.take(lambda element: element.name == "message")


PART: AccountPart[set[str]] = AccountPart("part", None, lambda account, rows: set())


def test_a_screen_for_some_kinds_and_accounts_leaves_the_others_alone() -> None:
    seen: list[str] = []

    def screen(passage: Passage) -> None:
        seen.append(passage.stanza.id)

    declared = {screen: StageDeclaration(Stage.SCREEN, INBOUND, (), ("message", "iq"), PART)}
    pipeline = Pipeline({(Stage.SCREEN, INBOUND): (screen,)}, declared)
    empty, full, bare = (Account(JID.parse(f"{name}@chat.example"), 1) for name in ("empty", "full", "bare"))
    empty.parts[PART], full.parts[PART] = set(), {"something"}
    cases = [(kind, account) for kind in ("message", "presence", "iq") for account in (empty, full, bare)]
    concerned = [(kind, account.jid.local) for kind, account in cases if pipeline.has_inbound(kind, account)]
    assert concerned == [("message", "full"), ("iq", "full")]
    assert not any(pipeline.has_outbound(kind, account) for kind, account in cases)
    router: Any = None  # for answers, of which there are none
    for kind, account in cases:
        stanza = Stanza(kind, id=f"{kind} {account.jid.local}")
        assert pipeline.admit(Passage(stanza, INBOUND, account, Turn(CommitGate(Unused()))), router)
    assert seen == ["message full", "iq full"]


class Unused:
    """A writer that nobody needs."""

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        """See :class:`~xmppchat.core.commit_gate.Writer`."""
        raise AssertionError("nothing is written")
