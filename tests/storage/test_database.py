"""Opening, reading, keeping others out."""

from __future__ import annotations

import asyncio
import os
import re
import sqlite3
import stat
from pathlib import Path

import pytest
from sqlalchemy import BigInteger, Column, Index, MetaData, Table, Text, bindparam, func, insert, select, text
from storage_support import ALL, INSERT, MARKS, NOTES, TABLES, Gate, Heart, child, expect, finish, note, until, values

from xmppchat.core.commit_gate import StorageUnavailable, Write
from xmppchat.storage.database import Database, DatabaseError, DatabaseInUse, SqliteDatabase

ONE = select(NOTES.c.id, NOTES.c.value).where(NOTES.c.id == bindparam("of"))
SOME = select(NOTES.c.value).where(NOTES.c.id.in_(bindparam("of", expanding=True))).order_by(NOTES.c.id)


async def filled(gate: Gate, rows: int = 10) -> None:
    for number in range(1, rows + 1):
        gate.submit(note(number))
    await gate.settled()


# --- reading ----------------------------------------------------------------------------------------------------------

async def test_fetch(database: Database, gate: Gate) -> None:
    await filled(gate)
    rows = await database.fetch(ONE, {"of": 3})
    assert [(row.id, row.value) for row in rows] == [(3, "value 3")]
    assert await database.fetch(ONE, {"of": 99}) == []
    assert [row.value for row in await database.fetch(SOME, {"of": [1, 2, 99]})] == ["value 1", "value 2"]
    assert (await database.fetch(select(func.count()).select_from(NOTES)))[0][0] == 10


async def test_fetch_many(database: Database, gate: Gate) -> None:
    await filled(gate)
    some, all_, nothing = await database.fetch_many([(SOME, {"of": [4, 5]}), (ALL[NOTES], None), (ALL[MARKS], None)])
    assert [row.value for row in some] == ["value 4", "value 5"]
    assert len(all_) == 10
    assert nothing == []
    assert await database.fetch_many([]) == []
    assert [len(rows) for rows in await database.fetch_many([(ALL[NOTES], None)])] == [10]


async def test_the_queries_of_one_call_see_the_same_state(database: Database, gate: Gate) -> None:
    count = select(func.count()).select_from(NOTES)
    for _ in range(50):
        gate.submit(note(gate.last + 1))
        counts = await database.fetch_many([(count, None)] * 20)
        assert len({rows[0][0] for rows in counts}) == 1
    await gate.settled()
    assert [rows[0][0] for rows in await database.fetch_many([(count, None), (count, None)])] == [50, 50]


async def test_many_readers_at_once(database: Database, gate: Gate) -> None:
    await filled(gate, 200)
    found = await asyncio.gather(*(database.fetch(ONE, {"of": number}) for number in range(1, 201)))
    assert [rows[0].id for rows in found] == list(range(1, 201))


async def test_a_reader_cannot_write(database: Database, gate: Gate) -> None:
    with pytest.raises(StorageUnavailable, match=r"read-?only"):
        await database.fetch(INSERT[NOTES], {"id": 1, "value": "x"})
    with pytest.raises(StorageUnavailable, match=r"read-?only"):
        await database.fetch_many([(ALL[NOTES], None), (text("DROP TABLE notes"), None)])
    await filled(gate, 3)
    assert len(await values(database)) == 3, "the reader is not stuck in what failed"


async def test_a_wrong_query_tells_its_fault(database: Database) -> None:
    with pytest.raises(Exception, match=r"no such table: absent|relation .absent. does not exist"):
        await database.fetch(text("SELECT * FROM absent"))
    with pytest.raises(Exception, match=r"no such table: absent|relation .absent. does not exist"):
        await database.fetch_many([(ALL[NOTES], None), (text("SELECT * FROM absent"), None)])
    assert await values(database) == []


async def test_a_reader_who_goes_away_hurts_nobody(database: Database, gate: Gate) -> None:
    await filled(gate)
    reading = [asyncio.ensure_future(database.fetch(ALL[NOTES])) for _ in range(20)]
    await asyncio.sleep(0)
    for task in reading:
        task.cancel()
    await asyncio.gather(*reading, return_exceptions=True)
    assert len(await values(database)) == 10


async def test_a_long_query_holds_up_neither_loop_nor_others(database: Database, gate: Gate) -> None:
    await filled(gate)
    heart = Heart()
    counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 8000000) SELECT max(i) FROM n"
    reading = asyncio.ensure_future(database.fetch(text(counting)))
    await until(lambda: heart.beats > 5)
    assert len(await values(database)) == 10
    gate.submit(note(11))
    await gate.settled()
    assert not reading.done()
    assert (await reading)[0][0] == 8_000_000
    heart.stop()
    assert heart.longest < 0.5


async def test_integrity(database: Database, gate: Gate, url: str) -> None:
    await filled(gate, 100)
    assert await database.integrity_check() == []


async def test_sqlite_damage_is_found(sqlite_url: str, gate: Gate) -> None:
    database = await Database.open(sqlite_url, on_settled=gate.on_settled, extra_tables=TABLES)
    gate.attach(database.writer)
    await filled(gate, 100)
    await database.close()
    # A value is another in the table than in its index: the file has each twice.
    database.path.write_bytes(database.path.read_bytes().replace(b"value 50", b"value XX", 1))
    database = await Database.open(sqlite_url)
    assert await database.integrity_check() != []
    await database.close()


# --- opening ----------------------------------------------------------------------------------------------------------

async def test_sqlite_only_the_owner_may_read_the_files(sqlite_database: SqliteDatabase, gate: Gate) -> None:
    await filled(gate)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in sqlite_database.path.parent.iterdir()}
    assert modes == dict.fromkeys(["test.db", "test.db-wal", "test.db-shm", "test.db.lock"], 0o600)


async def test_sqlite_a_file_that_others_could_read_is_closed_to_them(sqlite_url: str, tmp_path: Path) -> None:
    (tmp_path / "test.db").touch(0o644)
    database = await Database.open(sqlite_url)
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600
    await database.close()


async def test_sqlite_the_directory_is_made(tmp_path: Path) -> None:
    database = await Database.open(f"sqlite:///{tmp_path}/data/test.db")
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    await database.close()


async def test_sqlite_settings(sqlite_database: SqliteDatabase) -> None:
    async def setting(name: str) -> object:
        return (await sqlite_database.fetch(text(f"PRAGMA {name}")))[0][0]

    assert await setting("journal_mode") == "wal"
    assert await setting("query_only") == 1
    assert await setting("busy_timeout") == 30_000


async def test_sqlite_the_writer_is_as_safe_as_it_gets(sqlite_database: SqliteDatabase, gate: Gate) -> None:
    """Its settings are seen through a table, as only the writer knows them."""
    names = ("synchronous", "cache_size", "query_only")
    gate.submit(Write(text(f"CREATE TABLE seen AS SELECT * FROM {', '.join(f'pragma_{name}' for name in names)}"), {}))
    await gate.settled()
    assert gate.errors() == {}
    assert await sqlite_database.fetch(text("SELECT * FROM seen")) == [(2, -65_536, 0)]  # 2: FULL


async def test_tables_of_third_parties(url: str, gate: Gate) -> None:
    key = Column("id", BigInteger, primary_key=True)
    others = Table("others", MetaData(), key, Column("a", Text), Index("ix_a", "a"))
    for number in range(2):
        database = await Database.open(url, on_settled=gate.on_settled, extra_tables=[*TABLES, others])
        gate.attach(database.writer)
        gate.submit(Write(insert(others), {"id": number, "a": "b"}))
        await gate.settled()
        await database.close()
    assert gate.errors() == {}
    database = await Database.open(url, extra_tables=[*TABLES, others])
    assert len(await database.fetch(select(others))) == 2
    indexes = "sqlite_master WHERE name = 'ix_a'" if "sqlite" in url else "pg_indexes WHERE indexname = 'ix_a'"
    assert await database.fetch(text(f"SELECT 1 FROM {indexes}")) == [(1,)]
    await database.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mysql://localhost/chat", "mysql is not supported; use"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("nonsense", "is no database; it looks like"),
        ("sqlite:////proc/none/x.db", "/proc/none"),
        ("sqlite:////dev/null/x.db", "/dev/null"),
    ],
)
async def test_sqlite_what_cannot_be_opened_says_why(url: str, says: str) -> None:
    with pytest.raises(DatabaseError, match=says):
        await Database.open(url)


async def test_sqlite_what_is_no_database_says_so(sqlite_url: str, tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(b"Wherefore art thou Romeo?" * 1_000)
    with pytest.raises(DatabaseError, match="not a database"):
        await Database.open(sqlite_url)
    path.unlink()
    await (await Database.open(sqlite_url)).close()  # the lock was let go


async def test_sqlite_a_database_locked_by_another_program_says_so(sqlite_url: str, tmp_path: Path) -> None:
    await (await Database.open(sqlite_url)).close()
    other = sqlite3.connect(tmp_path / "test.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(DatabaseError, match="another program keeps the database locked"):
        await Database.open(sqlite_url, busy_timeout=0.1)
    other.close()
    await (await Database.open(sqlite_url)).close()


# --- one process ------------------------------------------------------------------------------------------------------

async def test_a_second_process_is_refused(database: Database, url: str) -> None:
    status, _, err = finish(child("writing_child.py", url, 1, 1))
    assert status == 1
    assert re.search(f"DatabaseInUse: {database.name} is in use by .*process {os.getpid()}.*: stop that server", err)


async def test_a_lock_ends_with_its_process(url: str) -> None:
    process = child("writing_child.py", url, 0, 0)
    expect(process, "ready")
    with pytest.raises(DatabaseInUse, match=f"in use by .*process {process.pid}\\b"):
        await Database.open(url)
    process.kill()
    finish(process)
    await (await Database.open(url)).close()


async def test_open_again_after_close(url: str) -> None:
    for _ in range(2):
        database = await Database.open(url)
        with pytest.raises(DatabaseInUse):
            await Database.open(url)
        await database.close()
