"""PostgreSQL goes away, or somebody else takes it: nothing is told that is not so, and nobody writes beside another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from cutting_proxy import Cut, CuttingProxy
from peers.postgresql import Postgresql
from sqlalchemy import BigInteger, Column, ForeignKey, MetaData, Table, insert, select, text
from storage_support import ALL, NOTES, TABLES, Gate, Heart, note, until, values

from xmppchat.core.commit_gate import StorageUnavailable, Write, WriteConflict
from xmppchat.storage.database import Database
from xmppchat.storage.postgresql import link
from xmppchat.storage.postgresql.database import PostgresqlDatabase
from xmppchat.storage.postgresql.ownership import LOCK


@pytest.fixture
async def proxy(postgresql: Postgresql) -> AsyncIterator[CuttingProxy]:
    async with CuttingProxy(postgresql.port) as proxy:
        yield proxy


@pytest.fixture
async def other(postgresql_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Another program's connection, past the proxy."""
    connection = await asyncpg.connect(postgresql_url)
    yield connection
    await connection.close()


async def opened(url: str, gate: Gate, patience: float = 10.0) -> PostgresqlDatabase:
    database = await Database.open(url, on_settled=gate.on_settled, extra_tables=TABLES, busy_timeout=patience)
    assert isinstance(database, PostgresqlDatabase)
    gate.attach(database.writer)
    return database


@pytest.fixture
async def far(postgresql: Postgresql, postgresql_name: str, proxy: CuttingProxy, gate: Gate) -> AsyncIterator[Any]:
    """A database behind the proxy."""
    database = await opened(postgresql.url(postgresql_name, port=proxy.port), gate)
    yield database
    proxy.is_frozen = proxy.is_down = False
    await database.close()


# --- a connection is lost ---------------------------------------------------------------------------------------------

@pytest.mark.parametrize("how", ["before", "during", "after"])
@pytest.mark.parametrize("tickets", [1, 20])
async def test_a_connection_lost_at_commit_neither_loses_nor_doubles(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate, how: Cut, tickets: int
) -> None:
    """A ticket done twice would conflict with itself."""
    for turn in range(3):
        proxy.cut_at_commit = how
        for _ in range(tickets):
            gate.submit(note(gate.last + 1))
        await gate.settled()
        assert proxy.cuts == turn + 1
    assert gate.results == [(number, None) for number in range(1, 3 * tickets + 1)]
    assert await values(far) == [(number, f"value {number}") for number in range(1, 3 * tickets + 1)]


@pytest.mark.parametrize("how", ["before", "during", "after"])
async def test_a_poisoned_batch_survives_a_cut(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate, how: Cut
) -> None:
    proxy.cut_at_commit = how
    for number in (1, 2, 2, 3):
        gate.submit(note(number))
    await gate.settled()
    assert proxy.cuts == 1
    assert {ticket: type(error) for ticket, error in gate.errors().items()} == {3: WriteConflict}
    assert [number for number, _ in await values(far)] == [1, 2, 3]


async def test_what_became_of_a_commit_is_not_guessed(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate, other: asyncpg.Connection
) -> None:
    """It is on disk and nobody can ask: tickets wait, for longer than others would."""
    far.writer._patience = 0.1
    proxy.cut_at_commit = "after"
    gate.submit(note(1))
    await asyncio.sleep(0)
    gate.submit(note(2))
    proxy.is_down = True
    await until(lambda: proxy.cuts)
    heart = Heart()
    await until(lambda: heart.beats > 100)  # half a second
    heart.stop()
    assert await other.fetchval("SELECT count(*) FROM notes") == 1
    assert gate.results == []
    assert gate.writer.pending == 2
    proxy.is_down = False
    await gate.settled()
    assert gate.results == [(1, None), (2, None)]


async def test_a_commit_that_is_still_going_on_is_waited_for(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate, other: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its outcome is not known before its end, wherever the server does not end it for us."""
    monkeypatch.setattr(link, "_END", "SELECT $1::integer, $2::timestamptz")
    await other.execute("""
        CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END';
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON notes INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow();
    """)
    proxy.cut_at_commit = "during"
    gate.submit(note(1))
    await gate.settled()
    assert (gate.results, proxy.cuts) == ([(1, None)], 1)
    assert await values(far) == [(1, "value 1")]


async def test_a_transaction_that_the_server_does_not_know_to_be_over_is_ended(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate
) -> None:
    """The connection is gone at this end only: over there it keeps its locks."""
    proxy.cut_at_commit = "stranded"
    gate.submit(note(1))
    await until(lambda: proxy.cuts)
    far._writing.drop()
    await gate.settled()
    assert gate.results == [(1, None)]
    assert await values(far) == [(1, "value 1")]


async def test_a_short_outage_only_takes_time(far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate) -> None:
    heart = Heart()
    proxy.is_down = True
    proxy.cut()
    gate.submit(note(1))
    reading = asyncio.ensure_future(far.fetch(ALL[NOTES]))
    await until(lambda: heart.beats > 60)
    assert not gate.results
    assert not reading.done()
    proxy.is_down = False
    await gate.settled()
    assert gate.errors() == {}
    assert len(await reading) in (0, 1)
    heart.stop()
    assert heart.longest < 0.5


async def test_a_long_outage_makes_the_storage_unavailable(
    postgresql: Postgresql, postgresql_name: str, proxy: CuttingProxy, gate: Gate
) -> None:
    far = await opened(postgresql.url(postgresql_name, port=proxy.port), gate, patience=0.3)
    proxy.is_down = True
    proxy.cut()
    gate.submit(note(1))
    gate.submit(note(2))
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await far.fetch(ALL[NOTES])
    await gate.settled()
    gate.submit(note(3))
    await gate.settled()
    assert [type(gate.errors()[ticket]) for ticket in (1, 2, 3)] == [StorageUnavailable] * 3
    proxy.is_down = False
    gate.submit(note(4))
    await gate.settled()
    assert await values(far) == [(4, "value 4")]
    await far.close()


async def test_reading_goes_on_over_a_cut(far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate) -> None:
    gate.submit(note(1))
    await gate.settled()
    for _ in range(5):
        reading = [asyncio.ensure_future(far.fetch_many([(ALL[NOTES], None)] * 3)) for _ in range(10)]
        await asyncio.sleep(0)
        proxy.cut()
        assert [[len(rows) for rows in answer] for answer in await asyncio.gather(*reading)] == [[1, 1, 1]] * 10


async def test_a_silent_network_is_noticed(far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate) -> None:
    """No connection breaks, nothing answers: what waits for an answer must not wait for ever."""
    far.owner._watching.cancel()  # type: ignore[union-attr]
    far.owner._heartbeat = 0.1
    far.owner.watch()
    proxy.is_frozen = True
    gate.submit(note(1))
    await until(lambda: far.owner._link.lost.is_set())
    assert not gate.results
    proxy.is_frozen = False
    await gate.settled()
    assert gate.results == [(1, None)]
    assert await values(far) == [(1, "value 1")]


async def test_a_database_that_answers_is_left_alone(far: PostgresqlDatabase, gate: Gate, logs: list[Any]) -> None:
    far.owner._watching.cancel()  # type: ignore[union-attr]
    far.owner._heartbeat = 0.01
    asked = []
    answers = far.owner._answers

    async def counted() -> bool:
        far.owner._heartbeat = 10.0  # is also how long it may take to answer: long, on a busy machine
        asked.append(await answers())
        far.owner._heartbeat = 0.01
        return asked[-1]

    far.owner._answers = counted  # type: ignore[method-assign]
    far.owner.watch()
    await until(lambda: len(asked) > 10)
    gate.submit(note(1))
    await gate.settled()
    assert all(asked)
    assert (gate.errors(), [record for record in logs if record["log_level"] == "warning"]) == ({}, [])


async def test_it_can_be_closed_while_the_server_is_away(
    postgresql: Postgresql, postgresql_name: str, proxy: CuttingProxy, gate: Gate
) -> None:
    far = await opened(postgresql.url(postgresql_name, port=proxy.port), gate, patience=0.3)
    proxy.is_down = True
    proxy.cut()
    gate.submit(note(1))
    async with asyncio.timeout(5):
        await far.close()
    assert isinstance(gate.errors()[1], StorageUnavailable)


async def test_a_crash_of_the_server_is_survived(
    postgresql: Postgresql, postgresql_url: str, gate: Gate
) -> None:
    database = await opened(postgresql_url, gate)
    for _ in range(2):
        for _ in range(200):
            gate.submit(note(gate.last + 1))
        await asyncio.sleep(0.002)  # somewhere in a transaction
        await asyncio.to_thread(postgresql.stop)
        gate.submit(note(gate.last + 1))
        postgresql.resume()  # not in a thread: it ends with the thread that starts it
        await gate.settled()
    assert gate.errors() == {}
    assert [number for number, _ in await values(database)] == list(range(1, gate.last + 1))
    await until(lambda: not database.owner._link.lost.is_set())
    assert database.owner.refusal == ""
    await database.close()


# --- one server -------------------------------------------------------------------------------------------------------

_HOLDER = f"SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = {LOCK} AND database = " \
          "(SELECT oid FROM pg_database WHERE datname = current_database())"


async def lose_lock(other: asyncpg.Connection) -> None:
    await other.execute("SELECT pg_terminate_backend($1)", await other.fetchval(_HOLDER))


async def test_a_lock_that_is_lost_is_taken_again(
    postgresql_url: str, gate: Gate, other: asyncpg.Connection
) -> None:
    database = await opened(postgresql_url, gate)
    before = await other.fetchval(_HOLDER)
    await lose_lock(other)
    await until(lambda: database.owner._link.identity[0] != before)  # type: ignore[index]
    async with asyncio.timeout(10):
        while await other.fetchval(_HOLDER) in (None, before):
            await asyncio.sleep(0.01)
    gate.submit(note(1))
    await gate.settled()
    assert (gate.errors(), database.owner.refusal) == ({}, "")
    await database.close()


async def test_a_lock_that_somebody_else_has_got_ends_all_writing(
    postgresql_url: str, gate: Gate, other: asyncpg.Connection
) -> None:
    database = await opened(postgresql_url, gate)
    third = await asyncpg.connect(postgresql_url)
    getting = asyncio.ensure_future(third.execute("SELECT pg_advisory_lock($1)", LOCK))  # first in the queue
    async with asyncio.timeout(10):
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"):
            await asyncio.sleep(0.01)
    await lose_lock(other)
    await getting
    await until(lambda: database.owner.refusal)
    gate.submit(note(1))
    await gate.settled()
    assert isinstance(gate.errors()[1], StorageUnavailable)
    assert "this server writes nothing more" in str(gate.errors()[1])
    await third.close()
    gate.submit(note(2))
    await gate.settled()
    assert sorted(gate.errors()) == [1, 2], "what it knows may be out of date"
    assert await values(database) == [], "reading goes on"
    await database.close()


async def test_a_server_that_was_cut_off_cannot_write_beside_its_successor(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate, postgresql_url: str, other: asyncpg.Connection
) -> None:
    """Its lock is gone and it does not know: the database itself must refuse."""
    gate.submit(note(1))
    await gate.settled()
    proxy.is_frozen = True
    await lose_lock(other)
    successor = await opened(postgresql_url, new := Gate())
    gate.submit(note(2))
    new.submit(note(3))
    await new.settled()
    proxy.is_frozen = False
    await gate.settled()
    assert isinstance(gate.errors()[2], StorageUnavailable)
    assert await values(successor) == [(1, "value 1"), (3, "value 3")]
    await successor.close()


async def test_a_successor_waits_for_a_transaction_that_is_under_way(
    far: PostgresqlDatabase, proxy: CuttingProxy, gate: Gate, postgresql_url: str, other: asyncpg.Connection
) -> None:
    """What its predecessor commits is there before it reads anything."""
    await other.execute("BEGIN; LOCK TABLE notes IN SHARE MODE")
    gate.submit(note(1))
    async with asyncio.timeout(10):
        while not await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
    await lose_lock(other)
    far.owner._watching.cancel()  # type: ignore[union-attr]  # it would take the lock again
    opening = asyncio.ensure_future(opened(postgresql_url, Gate()))
    async with asyncio.timeout(10):
        while await other.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted") < 2:
            await asyncio.sleep(0.01)
    assert not opening.done()
    await other.execute("COMMIT")
    await gate.settled()
    assert gate.errors() == {}
    successor = await opening
    assert await values(successor) == [(1, "value 1")]
    gate.submit(note(2))
    await gate.settled()
    assert isinstance(gate.errors()[2], StorageUnavailable)
    await successor.close()


# --- the database says no ---------------------------------------------------------------------------------------------

async def test_a_locked_table_is_waited_for(postgresql_url: str, gate: Gate, other: asyncpg.Connection) -> None:
    database = await opened(postgresql_url, gate)
    heart = Heart()
    await other.execute("BEGIN; LOCK TABLE notes IN SHARE MODE")
    for number in range(1, 11):
        gate.submit(note(number))
    await until(lambda: heart.beats >= 60)
    assert not gate.results, "nothing is acknowledged"
    assert await values(database) == [], "reading goes on"
    await other.execute("COMMIT")
    await gate.settled()
    heart.stop()
    assert gate.results == [(number, None) for number in range(1, 11)]
    assert heart.longest < 0.5
    await database.close()


async def test_a_lock_that_stays_makes_the_storage_unavailable(
    postgresql_url: str, gate: Gate, other: asyncpg.Connection
) -> None:
    database = await opened(postgresql_url, gate, patience=0.2)
    await other.execute("BEGIN; LOCK TABLE notes IN SHARE MODE")
    gate.submit(note(1))
    gate.submit(note(2))
    await gate.settled()
    await other.execute("COMMIT")
    assert [type(gate.errors()[ticket]) for ticket in (1, 2)] == [StorageUnavailable] * 2
    assert "another program keeps a table or row locked" in str(gate.errors()[1])
    gate.submit(note(3))
    await gate.settled()
    assert await values(database) == [(3, "value 3")]
    await database.close()


async def test_a_commit_that_fails_fails_its_whole_batch(postgresql_url: str, gate: Gate) -> None:
    """A rule that is checked only at COMMIT does not tell who broke it."""
    node = Table(
        "node", MetaData(), Column("id", BigInteger, primary_key=True, autoincrement=False),
        Column("parent", ForeignKey("node.id", deferrable=True, initially="DEFERRED")),
    )  # fmt: skip
    add = insert(node)
    database = await Database.open(postgresql_url, on_settled=gate.on_settled, extra_tables=[node])
    gate.attach(database.writer)
    gate.submit(Write(add, {"id": 1, "parent": None}))
    gate.submit(Write(add, {"id": 2, "parent": 99}))
    gate.submit(Write(add, {"id": 3, "parent": 1}))
    await gate.settled()
    assert [type(gate.errors()[ticket]) for ticket in (1, 2, 3)] == [WriteConflict] * 3
    gate.submit(Write(add, {"id": 1, "parent": None}))
    await gate.settled()
    assert await database.fetch(select(node.c.id)) == [(1,)]
    assert sorted(gate.errors()) == [1, 2, 3]
    await database.close()


async def test_a_statement_that_ends_its_own_connection_fails_in_time(postgresql_url: str, gate: Gate) -> None:
    """It is done again, but not for ever."""
    database = await opened(postgresql_url, gate, patience=0.3)
    gate.submit(Write(text("SELECT pg_terminate_backend(pg_backend_pid())"), {}))
    await gate.settled()
    assert isinstance(gate.errors()[1], StorageUnavailable)
    gate.submit(note(2))
    await gate.settled()
    assert await values(database) == [(2, "value 2")]
    await database.close()
