"""Copies from one database to another: all of it, exactly, or nothing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from peers.postgresql import Postgresql
from sqlalchemy import BigInteger, Boolean, Column, DateTime, LargeBinary, MetaData, Table, Text
from storage_support import until
from transfer_support import (
    NewDatabase,
    add_account,
    add_accounts,
    contents,
    indexes,
    make_database,
    query,
    run,
    url_of,
)

from xmppchat.storage import schema, transfer_postgresql
from xmppchat.storage.backup import back_up, copy_database, restore
from xmppchat.storage.database import Database
from xmppchat.storage.faults import DatabaseError, DatabaseInUse, SchemaTooNew
from xmppchat.storage.migrate import revisions
from xmppchat.storage.postgresql.address import Address
from xmppchat.storage.postgresql.ownership import Ownership
from xmppchat.storage.sqlite import ProcessLock
from xmppchat.storage.transfer import Digest, TransferError
from xmppchat.storage.transfer_postgresql import PostgresTarget
from xmppchat.storage.transfer_sqlite import SqliteFile

#: Makes a table with a name and columns.
AddTable = Callable[..., Table]


@pytest.fixture
def add_table(monkeypatch: pytest.MonkeyPatch) -> AddTable:
    """Makes a table of a third party's component, out of the way of all other tests."""
    own = MetaData()
    monkeypatch.setattr(schema, "metadata", own)
    return lambda name, *columns: Table(name, own, *columns)


@pytest.fixture
def notes(add_table: AddTable) -> Table:
    return add_table(
        "third party's notes",
        Column("id", BigInteger, primary_key=True, autoincrement=False), Column("text", Text),
        Column("is read", Boolean), Column("data", LargeBinary),
    )  # fmt: skip


async def tables(database: str) -> list[str]:
    """The tables of a PostgreSQL database."""
    return [row[0] for row in await query(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]


async def test_to_postgresql_and_back_is_the_same_row_for_row(
    source: Path, tmp_path: Path, new_database: NewDatabase
) -> None:
    middle, back = new_database(), tmp_path / "back.db"
    reports: list[tuple[str, int, int]] = []
    moved = await copy_database(url_of(source), middle, lambda *report: reports.append(report))
    assert moved == {table.name: 12 for table in schema.TABLES}
    assert ("offline_messages", 12, 12) in reports
    assert await query(middle, "SELECT count(*) FROM offline_messages WHERE id = 9223372036854775807") == [(1,)]
    assert await copy_database(middle, url_of(back)) == moved
    assert contents(back) == contents(source)
    assert indexes(back) == indexes(source)
    assert back.stat().st_mode & 0o777 == 0o600


async def test_more_rows_than_one_batch(tmp_path: Path, new_database: NewDatabase) -> None:
    source, back = tmp_path / "source.db", tmp_path / "back.db"
    make_database(source)
    add_accounts(source, 1_001)
    middle = new_database()
    assert (await copy_database(url_of(source), middle))["accounts"] == 1_001
    await copy_database(middle, url_of(back))
    assert contents(back) == contents(source)


async def test_tables_of_third_parties_go_along(tmp_path: Path, new_database: NewDatabase, notes: Table) -> None:
    source, back = tmp_path / "source.db", tmp_path / "back.db"
    make_database(source, extra=(notes,))
    run(source, f'INSERT INTO "{notes.name}" VALUES (1, NULL, NULL, NULL), (2, ?, 1, ?)', "ä", b"\0")
    middle = new_database()
    assert (await copy_database(url_of(source), middle))[notes.name] == 2
    await copy_database(middle, url_of(back))
    assert contents(back) == contents(source)


async def test_a_table_that_nobody_knows_is_not_lost_silently(source: Path, new_database: NewDatabase) -> None:
    run(source, "CREATE TABLE widgets (id INTEGER)")
    target = new_database()
    with pytest.raises(TransferError, match="widgets: no loaded component has such a table"):
        await copy_database(url_of(source), target)
    assert await tables(target) == []


async def test_tables_of_other_programs_stay_where_they_are(
    source: Path, tmp_path: Path, new_database: NewDatabase
) -> None:
    middle, back = new_database(), tmp_path / "back.db"
    await query(middle, "CREATE TABLE shop (id bigint)")
    await copy_database(url_of(source), middle)
    await copy_database(middle, url_of(back))
    assert contents(back) == contents(source)
    assert "shop" in await tables(middle)


async def test_a_type_that_cannot_be_moved_is_refused(tmp_path: Path, add_table: AddTable) -> None:
    make_database(tmp_path / "source.db", extra=(add_table("clock", Column("at", DateTime, primary_key=True)),))
    with pytest.raises(TransferError, match=r"clock\.at"):
        await copy_database(url_of(tmp_path / "source.db"), url_of(tmp_path / "target.db"))
    assert not (tmp_path / "target.db").exists()


async def test_a_text_with_nul_is_named(source: Path, new_database: NewDatabase) -> None:
    run(source, "UPDATE audit_log SET error = 'a' || char(0) WHERE id = 9223372036854775807")
    target = new_database()
    with pytest.raises(TransferError, match=r"audit_log\.error: the row 9223372036854775807 has the character 0"):
        await copy_database(url_of(source), target)
    assert await tables(target) == [], "all or nothing"


async def test_a_value_of_another_type_is_refused(source: Path, new_database: NewDatabase) -> None:
    run(source, "UPDATE offline_messages SET size = 2147483648 WHERE id = 1")  # no 32-bit integer
    target = new_database()
    with pytest.raises(TransferError, match="int32"):
        await copy_database(url_of(source), target)
    assert await tables(target) == []


@pytest.mark.parametrize("target_class", [PostgresTarget, SqliteFile])
@pytest.mark.parametrize("fault", ["lost", "changed", "twice"])
async def test_what_does_not_arrive_as_it_was_is_noticed(
    source: Path, tmp_path: Path, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch,
    target_class: type[PostgresTarget] | type[SqliteFile], fault: str,
) -> None:  # fmt: skip
    insert: Any = target_class.insert

    async def damaging(self: Any, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
        if table.name == "vcards":
            if fault == "lost":
                rows = rows[1:]
            else:
                last = rows[-1] if fault == "changed" else rows[0]
                rows = [*rows[:-1], (rows[-1][0], last[1] + ("x" if fault == "changed" else ""))]
        await insert(self, table, rows)

    monkeypatch.setattr(target_class, "insert", damaging)
    empty, path = new_database(), tmp_path / "new.db"
    target = empty if target_class is PostgresTarget else url_of(path)
    with pytest.raises(TransferError, match="vcards: of 12 rows 12 were read"):
        await copy_database(url_of(source), target)
    assert await tables(empty) == []
    assert not list(tmp_path.glob("new.db*[!k]")), "nothing but the lock"


async def test_a_database_that_holds_something_is_no_target(
    source: Path, tmp_path: Path, new_database: NewDatabase
) -> None:
    other, database = tmp_path / "other.db", new_database()
    make_database(other)
    add_account(other, 7)
    before = contents(other)
    await copy_database(url_of(other), database)
    for target in (url_of(other), database):
        with pytest.raises(TransferError, match="holds something already"):
            await copy_database(url_of(source), target)
    assert contents(other) == before
    assert await query(database, "SELECT id FROM accounts") == [(7,)]


async def test_a_target_with_what_a_first_start_makes_is_empty(
    source: Path, tmp_path: Path, new_database: NewDatabase
) -> None:
    fresh, database, back = tmp_path / "fresh.db", new_database(), tmp_path / "back.db"
    make_database(fresh)
    run(fresh, "INSERT INTO secrets VALUES ('made at start', ?)", b"1")
    await copy_database(url_of(fresh), database)
    for target in (database, url_of(fresh)):
        await copy_database(url_of(source), target)
    await copy_database(database, url_of(back))
    assert contents(fresh) == contents(back) == contents(source)


async def test_a_running_server_on_either_side_refuses(source: Path, tmp_path: Path, new_database: NewDatabase) -> None:
    path = tmp_path / "empty.db"
    for used, (of, to) in ((source, (source, path)), (path, (source, path))):
        lock = ProcessLock.take(used)
        with pytest.raises(DatabaseInUse, match=f"{used} is in use"):
            await copy_database(url_of(of), url_of(to))
        lock.release()
    database = new_database()
    server = await Database.open(database)
    for here, there in ((url_of(source), database), (database, url_of(path))):
        with pytest.raises(DatabaseInUse, match=r"in use by xmppchat, process .*: stop that server first"):
            await copy_database(here, there)
    file = tmp_path / "backup"
    await back_up(database, file, hosts=[])  # that is no harm
    with pytest.raises(DatabaseInUse, match="in use by xmppchat"):
        await restore(file, database, force=True)
    await server.close()
    assert not path.exists()
    await copy_database(url_of(source), database)
    await copy_database(database, url_of(path))


async def test_no_server_starts_while_its_database_comes_to_be(source: Path, new_database: NewDatabase) -> None:
    database = new_database()
    async with transfer_postgresql.replacing(database, force=False):
        with pytest.raises(DatabaseInUse, match="in use by xmppchat, process"):
            await Database.open(database)
    await (await Database.open(database)).close()


async def test_a_server_that_was_cut_off_meanwhile_does_not_come_back(source: Path, new_database: NewDatabase) -> None:
    """Nobody sees a server that has lost all its connections; what it has in memory is not what was copied there."""
    database = new_database()
    owner = Ownership(Address.parse(database))
    await owner.take()
    await owner.claim()
    await owner.close()
    await copy_database(url_of(source), database)
    owner.watch()
    await until(lambda: owner.refusal)
    assert "another server has used the database" in owner.refusal
    await owner.close()


async def test_the_same_database_twice_is_refused(source: Path) -> None:
    with pytest.raises(TransferError, match="the same database"):
        await copy_database(url_of(source), url_of(source))


async def test_an_older_schema_is_migrated_where_it_arrives(tmp_path: Path, new_database: NewDatabase) -> None:
    old, database, back = tmp_path / "old.db", new_database(), tmp_path / "back.db"
    make_database(old, "0001")
    add_account(old, 7)
    moved = await copy_database(url_of(old), database)
    assert set(moved) == {"accounts", "credentials", "roster_items", "offline_messages", "secrets"}
    await copy_database(database, url_of(back))
    assert contents(back)["alembic_version"] == [(revisions()[-1],)]
    assert [row[:4] for row in contents(back)["accounts"]] == [(7, "user7", "chat.example", 1)]
    assert contents(old)["alembic_version"] == [("0001",)], "the source stays as it is"


async def test_a_newer_schema_is_refused(source: Path, tmp_path: Path, new_database: NewDatabase) -> None:
    database = new_database()
    await copy_database(url_of(source), database)
    run(source, "UPDATE alembic_version SET version_num = '9999'")
    await query(database, "UPDATE alembic_version SET version_num = '9999'")
    for of, to in ((url_of(source), new_database()), (database, url_of(tmp_path / "new.db"))):
        with pytest.raises(SchemaTooNew, match="9999 and was written by a newer version"):
            await copy_database(of, to)


@pytest.mark.parametrize("of", ["sqlite", "postgresql"])
async def test_an_empty_source_is_refused(of: str, tmp_path: Path, new_database: NewDatabase) -> None:
    source = url_of(tmp_path / "none.db") if of == "sqlite" else new_database()
    with pytest.raises(TransferError, match="first start"):
        await copy_database(source, url_of(tmp_path / "new.db"))
    assert not (tmp_path / "none.db").exists()
    assert not (tmp_path / "new.db").exists()


async def test_a_server_that_cannot_be_reached_is_named_without_password(source: Path, tmp_path: Path) -> None:
    nowhere = f"postgresql://romeo:sesame@/verona?host={tmp_path}"
    with pytest.raises(DatabaseError, match=r"cannot be opened.*check that PostgreSQL runs there") as caught:
        await copy_database(url_of(source), nowhere)
    assert "sesame" not in str(caught.value)


async def test_a_database_in_another_encoding_is_refused(source: Path, postgresql: Postgresql) -> None:
    postgresql.sql("postgres", "CREATE DATABASE copied_to_latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with pytest.raises(DatabaseError, match="has the encoding LATIN1"):
        await copy_database(url_of(source), postgresql.url("copied_to_latin"))


async def test_a_refused_login_is_told_without_password(source: Path, postgresql: Postgresql) -> None:
    wrong = postgresql.url("verona").replace("postgres@", "romeo:sesame@")
    with pytest.raises(DatabaseError, match="does not exist") as caught:
        await copy_database(url_of(source), wrong)
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize("to", ["sqlite", "postgresql"])
async def test_death_in_the_middle_leaves_nothing(
    source: Path, tmp_path: Path, new_database: NewDatabase, to: str
) -> None:
    path, database = tmp_path / "new.db", new_database()
    target = url_of(path) if to == "sqlite" else database
    script = "import asyncio, sys; from xmppchat.storage.backup import copy_database; "
    script += "asyncio.run(copy_database(sys.argv[1], sys.argv[2]))"
    done = subprocess.run(
        [sys.executable, "-c", script, url_of(source), target], env={**os.environ, "XC_CRASHPOINT": "before-replacing"},
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 137, done.stderr
    assert not path.exists()
    assert await tables(database) == []
    async with asyncio.timeout(20):  # the other end notices that its client is gone
        while True:
            try:
                await copy_database(url_of(source), target)
                break
            except DatabaseInUse:
                await asyncio.sleep(0.01)
    if to == "sqlite":
        assert contents(path) == contents(source)
    assert not list(tmp_path.glob("*.restoring*"))


def test_a_digest_knows_rows_whatever_their_order() -> None:
    def of(*rows: tuple[Any, ...]) -> Digest:
        digest = Digest()
        for row in rows:
            digest.add([row])
        return digest

    assert of((1, "a"), (2, "b")) == of((2, "b"), (1, "a"))
    assert of((1, "a")) != of((1, b"a"))
    assert of((1, "a")) != of(("1", "a"))
    assert of((1, True)) != of((1, 1))
    assert of((None,)) != of(("None",))
    assert of((1,), (1,)) != of((2,), (2,)), "pairs do not cancel out"
    assert of((1,), (1,)) != of((1,))
