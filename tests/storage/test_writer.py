"""The group-commit writer: tickets settle in order, in few transactions, and only the poisoned ones fail."""

from __future__ import annotations

import asyncio
import re
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, MetaData, Table, delete, insert
from storage_support import DELETE, INSERT, MARKS, NOTES, TABLES, UPDATE, Gate, note, values

from xmppchat.core.commit_gate import Write, WriteConflict
from xmppchat.storage.database import Database


async def test_tickets_settle_in_order_and_are_then_visible(database: Database, gate: Gate) -> None:
    for number in range(1, 501):
        gate.submit(note(number))
        if number % 7 == 0:
            await asyncio.sleep(0)
    await gate.settled()
    assert gate.results == [(number, None) for number in range(1, 501)]
    assert await values(database) == [(number, f"value {number}") for number in range(1, 501)]


async def test_what_arrives_in_one_turn_of_the_loop_is_one_transaction(database: Database, gate: Gate) -> None:
    for number in range(1, 51):
        gate.submit(note(number))
    assert gate.writer.pending == 50
    await gate.settled()
    assert [len(batch) for batch in gate.batches] == [50]
    assert (gate.writer.batches, gate.writer.tickets, gate.writer.largest, gate.writer.pending) == (1, 50, 50, 0)


async def test_what_arrives_during_a_transaction_is_the_next(database: Database, gate: Gate) -> None:
    gate.submit(note(1))
    await asyncio.sleep(0)  # the writer has it
    for number in range(2, 31):
        gate.submit(note(number))
    await gate.settled()
    assert [len(batch) for batch in gate.batches] == [1, 29]


async def test_a_batch_is_bounded(database: Database, gate: Gate) -> None:
    database.writer._max_batch = 10
    for number in range(1, 26):
        gate.submit(note(number))
    await gate.settled()
    assert [len(batch) for batch in gate.batches] == [10, 10, 5]


async def test_results_come_on_the_loop(database: Database, gate: Gate) -> None:
    threads = []

    def on_settled(results: Sequence[tuple[int, BaseException | None]]) -> None:
        threads.append(threading.current_thread())
        gate.on_settled(results)

    database.writer.on_settled = on_settled
    gate.submit(note(1))
    await gate.settled()
    assert threads == [threading.current_thread()]


async def test_a_ticket_may_be_submitted_when_another_settles(database: Database, gate: Gate) -> None:
    def on_settled(results: Sequence[tuple[int, BaseException | None]]) -> None:
        gate.on_settled(results)
        if gate.last < 5:
            gate.submit(note(gate.last + 1))

    database.writer.on_settled = on_settled
    gate.submit(note(1))
    await gate.settled(5)
    assert [number for number, _ in await values(database)] == [1, 2, 3, 4, 5]


async def test_close_writes_and_tells_what_is_queued(url: str, gate: Gate) -> None:
    database = await Database.open(url, on_settled=gate.on_settled, extra_tables=TABLES)
    gate.attach(database.writer)
    for number in range(1, 2_501):
        gate.submit(note(number))
    await database.close()
    assert [ticket for ticket, _ in gate.results] == list(range(1, 2_501))
    assert gate.writer.largest == 1_000
    with pytest.raises(RuntimeError, match="closed"):
        gate.submit(note(3_000))


async def test_a_fault_of_whoever_is_told_does_not_stop_the_writer(database: Database, gate: Gate) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))

    def fail_once(results: Sequence[tuple[int, BaseException | None]]) -> None:
        gate.on_settled(results)
        database.writer.on_settled = gate.on_settled
        raise ValueError("a fault")

    database.writer.on_settled = fail_once
    gate.submit(note(1))
    await gate.settled()
    gate.submit(note(2))
    await gate.settled()
    assert [str(fault) for fault in faults] == ["a fault"]


# --- poisoned batches -------------------------------------------------------------------------------------------------

async def test_a_conflict_fails_its_own_ticket_only(database: Database, gate: Gate) -> None:
    for number in range(1, 21):
        value = "value 3" if number == 11 else f"value {number}"
        gate.submit(note(number, table=MARKS), note(number, value))
    await gate.settled()
    assert [ticket for ticket, _ in gate.results] == list(range(1, 21))
    assert list(gate.errors()) == [11]
    assert isinstance(gate.errors()[11], WriteConflict)
    assert re.search("notes[._]value", str(gate.errors()[11]))
    kept = [number for number in range(1, 21) if number != 11]
    assert [number for number, _ in await values(database)] == kept
    assert [number for number, _ in await values(database, MARKS)] == kept, "a ticket is stored whole or not at all"
    assert (database.writer.failed, database.writer.batches) == (1, 1)


async def test_a_ticket_can_conflict_with_one_of_its_own_batch(database: Database, gate: Gate) -> None:
    """The first wins, and what made way for a third in time does not conflict."""
    gate.submit(note(1, "a"))
    gate.submit(note(2, "a"))
    gate.submit(Write(DELETE[NOTES], {"of": 1}))
    gate.submit(note(3, "a"))
    await gate.settled()
    assert list(gate.errors()) == [2]
    assert await values(database) == [(3, "a")]


async def test_a_lonely_conflict(database: Database, gate: Gate) -> None:
    gate.submit(note(1))
    await gate.settled()
    gate.submit(note(1))
    await gate.settled()
    gate.submit(note(2))
    await gate.settled()
    assert {ticket: type(error) for ticket, error in gate.errors().items()} == {2: WriteConflict}


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(Write(insert(Table("absent", MetaData(), Column("id", BigInteger))), {"id": 1}), id="table"),
        pytest.param(note(2**70), id="number"),
        pytest.param(note(100, "\ud800"), id="surrogate"),
        pytest.param(Write(UPDATE[NOTES], {"of": 1}), id="parameter"),
        pytest.param(Write("no statement", {}), id="statement"),
    ],
)
async def test_a_mistake_of_ours_fails_its_own_ticket_only(database: Database, gate: Gate, broken: Write) -> None:
    gate.submit(note(1))
    gate.submit(note(50), broken)
    gate.submit(note(3))
    await gate.settled()
    assert list(gate.errors()) == [2]
    assert not isinstance(gate.errors()[2], WriteConflict)
    assert [number for number, _ in await values(database)] == [1, 3]


async def test_errors_do_not_tell_what_people_wrote(database: Database, gate: Gate, logs: list[Any]) -> None:
    gate.submit(note(1, "wherefore art thou"))
    gate.submit(note(1, "deny thy father"))
    gate.submit(Write(UPDATE[NOTES], {"of": 1, "new": ["not", "a", "deny thy father"]}))
    await gate.settled()
    assert sorted(gate.errors()) == [2, 3]
    assert all("father" not in f"{error}{error.__cause__}" for error in gate.errors().values())
    assert len([record for record in logs if record["event"] != "database migrated"]) == 2
    assert "father" not in str(logs)


# --- against a model --------------------------------------------------------------------------------------------------

CHANGES = st.one_of(
    st.builds(note, st.integers(1, 3), st.sampled_from("abc"), st.sampled_from(TABLES)),
    st.builds(lambda table, of, new: Write(UPDATE[table], {"of": of, "new": new}),
              st.sampled_from(TABLES), st.integers(1, 3), st.sampled_from("abc")),
    st.builds(lambda table, of: Write(DELETE[table], {"of": of}), st.sampled_from(TABLES), st.integers(1, 3)),
)  # fmt: skip


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(CHANGES, min_size=1, max_size=3), max_size=15), st.integers(1, 8))
def test_the_outcome_is_that_of_one_ticket_at_a_time(url: str, tickets: list[list[Write]], max_batch: int) -> None:
    assert asyncio.run(_by_the_writer(url, tickets, max_batch)) == _one_at_a_time(tickets)


Outcome = tuple[list[int], list[list[tuple[int, str]]]]


async def _by_the_writer(url: str, tickets: list[list[Write]], max_batch: int) -> Outcome:
    database = await Database.open(url, extra_tables=TABLES)
    gate = Gate()
    gate.attach(database.writer)
    gate.submit(*(Write(delete(table), {}) for table in TABLES))
    await gate.settled()
    gate = Gate()
    gate.attach(database.writer)
    database.writer._max_batch = max_batch
    for writes in tickets:
        gate.submit(*writes)
    if tickets:
        await gate.settled()
    assert [ticket for ticket, _ in gate.results] == list(range(1, len(tickets) + 1))
    rows = [await values(database, table) for table in TABLES]
    await database.close()
    return list(gate.errors()), rows


_SQL = {
    **{INSERT[table]: f"INSERT INTO {table.name} VALUES (:id, :value)" for table in TABLES},
    **{UPDATE[table]: f"UPDATE {table.name} SET value = :new WHERE id = :of" for table in TABLES},
    **{DELETE[table]: f"DELETE FROM {table.name} WHERE id = :of" for table in TABLES},
}


def _one_at_a_time(tickets: list[list[Write]]) -> Outcome:
    """What SQLite makes of the same without anything of ours."""
    failed = []
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        for table in TABLES:
            connection.execute(f"CREATE TABLE {table.name} (id INTEGER PRIMARY KEY, value TEXT UNIQUE)")
        for ticket, writes in enumerate(tickets, 1):
            connection.execute("BEGIN")
            try:
                for statement, parameters in writes:
                    connection.execute(_SQL[statement], parameters)
                connection.execute("COMMIT")
            except sqlite3.IntegrityError:
                connection.execute("ROLLBACK")
                failed.append(ticket)
        return failed, [list(connection.execute(f"SELECT * FROM {table.name} ORDER BY id")) for table in TABLES]
    finally:
        connection.close()
