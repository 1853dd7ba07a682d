"""SQLite cannot write for a while: nothing is acknowledged, the loop runs on, and it recovers alone."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import BigInteger, Column, Connection, ForeignKey, MetaData, Table, event, insert, text
from sqlalchemy.exc import OperationalError
from storage_support import NOTES, TABLES, Gate, Heart, child, finish, metadata, note, until, values

from xmppchat.core.commit_gate import StorageUnavailable, Write, WriteConflict
from xmppchat.storage.database import Database, SqliteDatabase
from xmppchat.storage.sqlite import writing_engine
from xmppchat.storage.writer import GroupCommitWriter


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program holds the write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def test_sqlite_a_locked_database_is_waited_for(sqlite_database: SqliteDatabase, gate: Gate) -> None:
    heart = Heart()
    with locked(sqlite_database.path):
        for number in range(1, 11):
            gate.submit(note(number))
        await until(lambda: heart.beats >= 200)  # more than a second
        assert not gate.results, "nothing is acknowledged"
        assert gate.writer.pending == 10
        assert await values(sqlite_database) == [], "reading goes on"
    await gate.settled()
    heart.stop()
    assert gate.results == [(number, None) for number in range(1, 11)]
    assert heart.longest < 0.5, "the event loop stood still"


async def test_sqlite_a_lock_that_stays_makes_the_storage_unavailable(sqlite_url: str, gate: Gate) -> None:
    database = await Database.open(sqlite_url, on_settled=gate.on_settled, extra_tables=TABLES, busy_timeout=0.1)
    gate.attach(database.writer)
    with locked(database.path):
        gate.submit(note(1))
        gate.submit(note(2))
        await gate.settled()
    assert [type(gate.errors()[ticket]) for ticket in (1, 2)] == [StorageUnavailable] * 2
    assert "locked" in str(gate.errors()[1])
    gate.submit(note(3))
    await gate.settled()
    assert await values(database) == [(3, "value 3")]
    await database.close()


def pages(number: int) -> Write:
    """Let the file have `number` pages, no more."""
    return Write(text(f"PRAGMA max_page_count={number}"), {})


async def test_sqlite_a_full_database_is_readable_and_recovers(sqlite_database: SqliteDatabase, gate: Gate) -> None:
    gate.submit(note(1))
    gate.submit(pages(1))  # SQLite makes that: as many as there are
    await gate.settled()
    while not gate.errors():
        gate.submit(note(gate.last + 1, "x" * 2_000 + str(gate.last)), note(gate.last + 10_000))
        gate.submit(note(gate.last + 1, "y" * 2_000 + str(gate.last)))
        await gate.settled()
        assert gate.last < 1_000
    failed = min(gate.errors())
    assert isinstance(gate.errors()[failed], StorageUnavailable)
    assert "full" in str(gate.errors()[failed])
    stored = await values(sqlite_database)
    assert all(number < failed or 10_000 <= number < failed + 9_999 for number, _ in stored)
    assert await sqlite_database.integrity_check() == []
    gate.submit(pages(1_000_000))
    gate.submit(note(5_000))
    await gate.settled()
    assert gate.last not in gate.errors()
    assert await values(sqlite_database) == sorted([*stored, (5_000, "value 5000")])


def test_sqlite_a_full_disk_is_survived(sqlite_url: str) -> None:
    """The system refuses to let the files grow."""
    status, out, err = finish(child("full_disk_child.py", sqlite_url))
    assert (status, out.splitlines()) == (0, ["full", "readable", "sound", "recovered"]), err


async def test_sqlite_a_commit_that_fails_fails_its_whole_batch(tmp_path: Path, gate: Gate) -> None:
    """A rule that is checked only at COMMIT does not tell who broke it."""
    tables = MetaData()
    node = Table(
        "node", tables, Column("id", BigInteger, primary_key=True),
        Column("parent", ForeignKey("node.id", deferrable=True, initially="DEFERRED")),
    )  # fmt: skip
    add = insert(node)
    engine = writing_engine(tmp_path / "nodes.db", busy_timeout=1)
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys=ON"))
    with engine.begin() as connection:
        tables.create_all(connection)
    writer = GroupCommitWriter(engine)
    gate.attach(writer)
    await writer.start()
    gate.submit(Write(add, {"id": 1, "parent": None}))
    gate.submit(Write(add, {"id": 2, "parent": 99}))
    gate.submit(Write(add, {"id": 3, "parent": 1}))
    await gate.settled()
    assert [type(gate.errors()[ticket]) for ticket in (1, 2, 3)] == [WriteConflict] * 3
    gate.submit(Write(add, {"id": 1, "parent": None}))
    await gate.settled()
    await writer.close()
    with engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM node")).all() == [(1,)]
    assert sorted(gate.errors()) == [1, 2, 3]


@pytest.mark.parametrize("tickets", [1, 3])
async def test_sqlite_a_rollback_that_fails_does_not_stop_the_writer(tmp_path: Path, gate: Gate, tickets: int) -> None:
    engine = writing_engine(tmp_path / "rollback.db", busy_timeout=1)
    with engine.begin() as connection:
        metadata.create_all(connection)
    failures = []
    writer = GroupCommitWriter(engine)
    gate.attach(writer)
    await writer.start()

    def fail(_: Connection) -> None:
        if not failures:
            failures.append(1)
            raise _disk_error()

    event.listen(engine, "rollback", fail)
    for number in range(tickets):
        gate.submit(note(number), note(number))
    await gate.settled()
    assert failures
    assert len(gate.errors()) == tickets
    gate.submit(note(100))
    await gate.settled()
    await writer.close()
    assert gate.last not in gate.errors()
    with engine.connect() as connection:
        assert [row.id for row in connection.execute(NOTES.select())] == [100]


def _disk_error() -> Any:
    original = sqlite3.OperationalError("disk I/O error")
    original.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return OperationalError(None, None, original)
