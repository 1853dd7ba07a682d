"""The commit gate: nothing leaves before its writes are on disk, order is kept, nobody waits for others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from xmppchat.core.account import Account
from xmppchat.core.commit_gate import CommitGate, StorageUnavailable, Write, WriteConflict
from xmppchat.core.session import MAX_HELD, Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.errors import Conflict, InternalServerError, ResourceConstraint, StanzaError
from xmppchat.protocol.stanza import Stanza


class SlowDatabase:
    """A database that commits when the test says so."""

    def __init__(self) -> None:
        self.submitted: list[tuple[int, Sequence[Write]]] = []

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        self.submitted.append((ticket, writes))


class Wire:
    """The connection of a session: remembers what it was told."""

    def __init__(self) -> None:
        self.pauses: set[str] = set()

    def send(self, stanza: Stanza, to: JID | None = None) -> None: ...
    def close(self, error: object) -> None: ...

    def pause_reading(self, reason: str) -> None:
        self.pauses.add(reason)

    def resume_reading(self, reason: str) -> None:
        self.pauses.discard(reason)


@pytest.fixture
def database() -> SlowDatabase:
    return SlowDatabase()


@pytest.fixture
def gate(database: SlowDatabase) -> CommitGate:
    return CommitGate(database)


def account(name: str) -> Account:
    return Account(JID.parse(f"{name}@chat.example"), 1)


def session(name: str) -> Session:
    jid = JID.parse(f"{name}@chat.example/x")
    return Session(jid, account(name), cast(Any, Wire()), peer="", connected_at=0)


def turn(gate: CommitGate, shown: list[str], what: str, *, origin: Session | None = None, writes: int = 0) -> Turn:
    made = Turn(gate, origin)
    for number in range(writes):
        made.write(None, object(), {"number": number})
    made.effect(shown.append, what)
    made.commit()
    return made


def test_without_writes_everything_leaves_at_once(gate: CommitGate) -> None:
    shown: list[str] = []
    turn(gate, shown, "a", origin=session("romeo"))
    assert shown == ["a"]


def test_nothing_leaves_before_the_commit(gate: CommitGate, database: SlowDatabase) -> None:
    shown: list[str] = []
    turn(gate, shown, "a", writes=2)
    assert shown == []
    assert [len(writes) for _, writes in database.submitted] == [2]
    gate.on_settled([(1, None)])
    assert shown == ["a"]


def test_a_stanza_without_a_write_does_not_overtake_one_with_a_write(gate: CommitGate) -> None:
    romeo, shown = session("romeo"), list[str]()
    turn(gate, shown, "first", origin=romeo, writes=1)
    turn(gate, shown, "second", origin=romeo)
    turn(gate, shown, "third", origin=romeo, writes=1)
    turn(gate, shown, "fourth", origin=romeo)
    assert shown == []
    gate.on_settled([(1, None)])
    assert shown == ["first", "second"]
    gate.on_settled([(2, None)])
    assert shown == ["first", "second", "third", "fourth"]


def test_sessions_without_open_writes_are_not_held_up(gate: CommitGate) -> None:
    shown: list[str] = []
    turn(gate, shown, "romeo writes", origin=session("romeo"), writes=1)
    turn(gate, shown, "juliet asks", origin=session("juliet"))
    assert shown == ["juliet asks"]


def test_two_senders_to_one_recipient_keep_the_order_of_their_tickets(gate: CommitGate) -> None:
    shown: list[str] = []
    turn(gate, shown, "romeo 1", origin=session("romeo"), writes=1)
    turn(gate, shown, "juliet 1", origin=session("juliet"), writes=1)
    turn(gate, shown, "romeo 2", origin=session("romeo"), writes=1)
    gate.on_settled([(1, None), (2, None), (3, None)])
    assert shown == ["romeo 1", "juliet 1", "romeo 2"]


def test_state_that_is_not_on_disk_is_shown_to_nobody(gate: CommitGate) -> None:
    shown: list[str] = []
    juliet = account("juliet")
    change = Turn(gate)
    change.write(juliet, object(), {})
    change.commit()
    look = Turn(gate, session("romeo"))
    look.behind(juliet)
    look.effect(shown.append, "juliet's roster")
    look.commit()
    assert shown == []
    gate.on_settled([(1, None)])
    assert shown == ["juliet's roster"]


@pytest.mark.parametrize(("error", "expected"), [
    (WriteConflict("taken"), Conflict),
    (StorageUnavailable("full"), ResourceConstraint),
    (ValueError("a bug"), InternalServerError),
])
def test_a_failed_ticket_tells_its_own_sender_only(
    gate: CommitGate, error: Exception, expected: type[StanzaError]
) -> None:
    shown: list[str] = []
    failures: list[StanzaError] = []
    juliet = account("juliet")
    poisoned = Turn(gate, session("romeo"))
    poisoned.write(juliet, object(), {})
    poisoned.effect(shown.append, "poisoned")
    poisoned.on_failure = failures.append
    poisoned.commit()
    turn(gate, shown, "sound", origin=session("juliet"), writes=1)
    gate.on_settled([(1, error), (2, None)])
    assert shown == ["sound"]
    assert [type(failure) for failure in failures] == [expected]
    assert juliet.is_stale, "what is in memory is not on disk: it must be loaded afresh"


def test_what_waits_behind_a_failed_ticket_still_leaves(gate: CommitGate) -> None:
    romeo, shown = session("romeo"), list[str]()
    turn(gate, shown, "poisoned", origin=romeo, writes=1)
    turn(gate, shown, "behind", origin=romeo)
    gate.on_settled([(1, ValueError())])
    assert shown == ["behind"]


def test_what_a_release_causes_comes_behind_what_was_there(gate: CommitGate) -> None:
    romeo, shown = session("romeo"), list[str]()
    first = Turn(gate, romeo)
    first.write(None, object(), {})
    first.effect(lambda: turn(gate, shown, "caused", origin=romeo))
    first.commit()
    turn(gate, shown, "there before", origin=romeo)
    gate.on_settled([(1, None)])
    assert sorted(shown) == ["caused", "there before"]


def test_a_session_with_too_much_on_its_way_to_the_disk_is_not_read(gate: CommitGate) -> None:
    romeo = session("romeo")
    wire = cast(Wire, romeo._output)
    for _ in range(MAX_HELD):
        turn(gate, [], "", origin=romeo, writes=1)
    assert wire.pauses == {"uncommitted"}
    gate.on_settled([(ticket, None) for ticket in range(1, MAX_HELD // 2 + 1)])
    assert wire.pauses == set()


def test_a_parked_turn_ends_when_its_work_is_done(gate: CommitGate, database: SlowDatabase) -> None:
    shown: list[str] = []
    parked = Turn(gate, session("romeo"))
    parked.park()
    parked.effect(shown.append, "a")
    parked.commit()
    assert shown == []
    parked.write(None, object(), {})
    parked.unpark()
    assert len(database.submitted) == 1
    gate.on_settled([(1, None)])
    assert shown == ["a"]


async def test_committed_and_drained_wait(gate: CommitGate) -> None:
    await gate.drained()
    turn(gate, [], "", writes=1)
    waiting = gate.committed(1)
    gate.on_settled([(1, None)])
    await waiting
    await gate.committed(1)
