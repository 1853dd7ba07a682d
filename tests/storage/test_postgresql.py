"""PostgreSQL: what it is called, what it must be, what the first start makes of it; statements."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from peers.postgresql import Postgresql
from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, bindparam, delete, select, text, tuple_
from sqlalchemy.ext.asyncio import create_async_engine
from storage_support import NOTES, TABLES, Gate, child, finish, note, of_dialect, values

from xmppchat.core.commit_gate import Write
from xmppchat.storage import migrate, schema
from xmppchat.storage.database import Database, DatabaseError, SchemaTooNew
from xmppchat.storage.postgresql.address import Address
from xmppchat.storage.postgresql.ownership import TABLE
from xmppchat.storage.postgresql.statements import prepare

# --- its URL ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://me:hunter2@db.example:5433/chat", "postgresql://me@db.example:5433/chat"),
        ("postgres://me:hunter2@db.example/chat?password=hunter2", "postgresql://me@db.example/chat"),
        ("postgresql://me:hunter2@[2001:db8::1]:5433/chat", "postgresql://me@[2001:db8::1]:5433/chat"),
        ("postgresql://me@/chat?host=/run/postgresql", "postgresql://me@/run/postgresql/chat"),
        ("postgresql:///chat", "postgresql:///chat"),
        ("postgresql://me:hunter2@one:5432,two:5433/chat", "postgresql://me@one:5432,two:5433/chat"),
    ],
)
def test_an_address_has_a_name_without_the_password(url: str, name: str) -> None:
    address = Address.parse(url)
    assert address.name == name
    assert "hunter2" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@x", "postgresql://me:hunter2@x:y/z", "postgres:hunter2", "postgresql:hunter2",
        "postgresql://me:hunter2/@x/z", "postgresql://me:12/hunter2@x/z", "postgresql://me:a@hunter2@x/z",
        "postgresql://me:#hunter2@x/z", "postgresql://me:?hunter2@x/z",
    ],
)  # fmt: skip
async def test_what_is_no_address_is_not_repeated(url: str) -> None:
    with pytest.raises(DatabaseError, match="it looks like postgresql://") as caught:
        await Database.open(url)
    assert "hunter2" not in str(caught.value)


async def test_a_password_is_asked_for_and_never_told(postgresql: Postgresql, logs: list[Any]) -> None:
    name = postgresql.new_database()
    postgresql.sql("postgres", f"ALTER DATABASE {name} OWNER TO keyed")
    where = f"127.0.0.1:{postgresql.port}/{name}"
    await (await Database.open(f"postgresql://keyed:right@{where}")).close()
    with pytest.raises(DatabaseError, match="check user and password") as caught:
        await Database.open(f"postgresql://keyed:hunter2@{where}")
    assert f"postgresql://keyed@{where}" in str(caught.value)
    assert not any(secret in f"{caught.value}{caught.value.__cause__}{logs}" for secret in ("right", "hunter2"))


async def test_without_the_driver_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in list(sys.modules):
        if module.startswith("xmppchat.storage.postgresql."):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(DatabaseError, match=r"pip install 'xmppchat\[postgres\]'"):
        await Database.open("postgresql://me@x/y")


# --- the server -------------------------------------------------------------------------------------------------------

async def test_what_cannot_be_opened_says_what_to_do(postgresql: Postgresql) -> None:
    async def refused(url: str) -> str:
        with pytest.raises(DatabaseError) as caught:
            await Database.open(url)
        return str(caught.value)

    assert "createdb --encoding UTF8" in await refused(postgresql.url("absent"))
    assert "check that PostgreSQL runs there" in await refused("postgresql://me@127.0.0.1:1/x")
    assert "check that PostgreSQL runs there" in await refused("postgresql://me@/x?host=/nowhere")
    postgresql.sql("postgres", "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    assert "has the encoding LATIN1" in await refused(postgresql.url("latin"))
    guarded = postgresql.new_database()
    postgresql.sql(guarded, "REVOKE CREATE ON SCHEMA public FROM public")
    keyed = f"postgresql://keyed:right@127.0.0.1:{postgresql.port}/{guarded}"
    assert "ALTER DATABASE … OWNER TO keyed" in await refused(keyed)


async def test_the_writer_is_as_safe_as_it_gets(
    postgresql: Postgresql, postgresql_name: str, postgresql_url: str, gate: Gate
) -> None:
    """Its settings are seen through a table, as only the writer knows them."""
    query = "SELECT current_setting('synchronous_commit')"
    for number, (default, used) in enumerate([("off", "on"), ("local", "on"), ("remote_apply", "remote_apply")], 1):
        postgresql.sql("postgres", f"ALTER DATABASE {postgresql_name} SET synchronous_commit = {default}")
        database = await Database.open(postgresql_url, on_settled=gate.on_settled)
        gate.attach(database.writer)
        gate.submit(Write(text(f"CREATE TABLE seen{number} AS {query} AS value"), {}))
        await gate.settled()
        assert await database.fetch(text(f"SELECT value FROM seen{number}")) == [(used,)]
        await database.close()


# --- migrations -------------------------------------------------------------------------------------------------------

@pytest.fixture
def empty_name(postgresql: Postgresql) -> Iterator[str]:
    name = postgresql.new_database()
    yield name
    postgresql.drop(name)


@pytest.fixture
def empty_url(postgresql: Postgresql, empty_name: str) -> str:
    return postgresql.url(empty_name)


async def run(url: str, function: Callable[[Connection], Any]) -> Any:
    """Run `function` with a connection of SQLAlchemy's."""
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda **_: asyncpg.connect(url)
    )
    async with engine.begin() as connection:
        result = await connection.run_sync(function)
    await engine.dispose()
    return result


def objects(postgresql: Postgresql, name: str) -> str:
    """Columns, constraints and indexes of this package's tables."""
    ours = ", ".join(f"'{table.name}'" for table in schema.TABLES)
    return postgresql.sql(name, f"""
        SELECT table_name, column_name, data_type, is_nullable, column_default FROM information_schema.columns
        WHERE table_name IN ({ours}) ORDER BY table_name, column_name
    """) + postgresql.sql(name, f"""
        SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE conrelid::regclass::text IN ({ours}) ORDER BY conname
    """) + postgresql.sql(name, f"SELECT indexdef FROM pg_indexes WHERE tablename IN ({ours}) ORDER BY indexname")


async def test_the_migrations_make_the_schema(postgresql: Postgresql, postgresql_name: str, empty_name: str) -> None:
    await run(
        postgresql.url(empty_name),
        lambda connection: schema.metadata.create_all(connection, tables=schema.TABLES),
    )
    assert objects(postgresql, postgresql_name) == objects(postgresql, empty_name) != ""


async def test_alembic_finds_nothing_to_change(postgresql_url: str) -> None:
    ours = {table.name for table in schema.TABLES}

    def compare(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={
            "compare_type": True, "compare_server_default": True,
            "include_name": lambda name, kind, _: kind != "table" or name in ours,
            "include_object": of_dialect("postgresql"),
        })  # fmt: skip
        return compare_metadata(context, schema.metadata)

    assert await run(postgresql_url, compare) == []


@pytest.mark.parametrize("kills", [1, 3])
async def test_a_crash_during_migration_needs_no_care(
    postgresql: Postgresql, postgresql_name: str, empty_name: str, empty_url: str, kills: int
) -> None:
    for _ in range(kills):
        process = child("writing_child.py", empty_url, 0, 0, environment={"XC_CRASHPOINT": "during-migration"})
        assert finish(process)[:2] == (137, "")
        assert objects(postgresql, empty_name) == "", "half a schema"
    await (await Database.open(empty_url)).close()
    assert objects(postgresql, empty_name) == objects(postgresql, postgresql_name)


async def test_an_older_schema_is_brought_up_to_date(
    postgresql: Postgresql, postgresql_name: str, empty_name: str, empty_url: str
) -> None:
    """Each migration is a transaction: the first is done, the second is not."""
    crash = {"XC_CRASHPOINT": "during-migration:2"}
    assert finish(child("writing_child.py", empty_url, 0, 0, environment=crash))[:2] == (137, "")
    assert postgresql.sql(empty_name, "SELECT version_num FROM alembic_version") == migrate.revisions()[0]
    await (await Database.open(empty_url)).close()
    assert objects(postgresql, empty_name) == objects(postgresql, postgresql_name)


async def test_a_newer_schema_is_refused_and_left_alone(
    postgresql: Postgresql, postgresql_name: str, postgresql_url: str
) -> None:
    postgresql.sql(postgresql_name, "UPDATE alembic_version SET version_num = '9999'")
    epoch = f"SELECT value FROM {TABLE} WHERE slot = 0"
    before = postgresql.sql(postgresql_name, epoch)
    with pytest.raises(SchemaTooNew, match=r"has schema 9999 .* by a newer version"):
        await Database.open(postgresql_url)
    assert postgresql.sql(postgresql_name, epoch) == before
    postgresql.sql(postgresql_name, f"UPDATE alembic_version SET version_num = '{migrate.revisions()[-1]}'")
    await (await Database.open(postgresql_url)).close()  # the lock was let go


# --- statements -------------------------------------------------------------------------------------------------------

@pytest.fixture
async def filled(postgresql_url: str, gate: Gate) -> AsyncIterator[Database]:
    database = await Database.open(postgresql_url, on_settled=gate.on_settled, extra_tables=TABLES)
    gate.attach(database.writer)
    for number in range(1, 6):
        gate.submit(note(number))
    await gate.settled()
    yield database
    await database.close()


LIST = bindparam("list", expanding=True)
PAIR = tuple_(NOTES.c.id, NOTES.c.value)
GREATER = select(NOTES.c.id).where(NOTES.c.id > bindparam("n"))


@pytest.mark.parametrize(
    ("condition", "parameters", "found"),
    [
        pytest.param(NOTES.c.id.in_(LIST), {"list": [2, 3]}, [2, 3], id="list"),
        pytest.param(NOTES.c.id.in_(LIST), {"list": []}, [], id="empty"),
        pytest.param(NOTES.c.id.not_in(LIST), {"list": [2, 3]}, [1, 4, 5], id="not"),
        pytest.param(NOTES.c.id.not_in(LIST), {"list": []}, [1, 2, 3, 4, 5], id="not-empty"),
        pytest.param(NOTES.c.id.in_([1, 5]), {}, [1, 5], id="literal"),
        pytest.param(NOTES.c.value.in_(LIST), {"list": ["value 4", "?"]}, [4], id="text"),
        pytest.param(NOTES.c.id.in_(GREATER), {"n": 3}, [4, 5], id="query"),
        pytest.param(PAIR.in_(LIST), {"list": [(1, "value 1"), (2, "?")]}, [1], id="tuple"),
        pytest.param((NOTES.c.id == bindparam("n")) | (NOTES.c.id == bindparam("n") + 2), {"n": 1}, [1, 3], id="twice"),
        pytest.param((NOTES.c.id == bindparam("n")) | NOTES.c.id.in_(LIST), {"n": 1, "list": [5]}, [1, 5], id="or"),
    ],
)  # fmt: skip
async def test_conditions(filled: Database, condition: Any, parameters: dict[str, Any], found: list[int]) -> None:
    for _ in range(2):
        rows = await filled.fetch(select(NOTES.c.id).where(condition).order_by(NOTES.c.id), parameters)
        assert [row.id for row in rows] == found


async def test_a_list_in_a_write(filled: Database, gate: Gate) -> None:
    some = delete(NOTES).where(NOTES.c.id.in_(LIST))
    gate.submit(Write(some, {"list": [1, 2]}), Write(some, {"list": [5]}))
    await gate.settled()
    assert (gate.errors(), [number for number, _ in await values(filled)]) == ({}, [3, 4])


def test_lists_of_any_length_have_one_text() -> None:
    statement = select(NOTES.c.id).where(NOTES.c.id.in_(LIST))
    texts = {prepare(statement, {"list": numbers}).call({"list": numbers})[0] for numbers in ([], [1], [1, 2, 3])}
    assert len(texts) == 1


def test_a_missing_parameter_is_not_null() -> None:
    statement = select(NOTES.c.id).where(NOTES.c.id == bindparam("n"), NOTES.c.value == bindparam("v"))
    with pytest.raises(KeyError, match="v"):
        prepare(statement, {"n": 1}).call({"n": 1})


def test_a_default_that_only_python_knows_is_refused() -> None:
    """It would silently be left out."""
    table = Table("t", MetaData(), Column("id", BigInteger, primary_key=True), Column("a", BigInteger, default=7))
    with pytest.raises(TypeError, match="server_default"):
        prepare(table.insert(), {"id": 1})


async def test_rows_are_like_those_of_sqlite(filled: Database) -> None:
    [row] = await filled.fetch(select(NOTES.c.id, NOTES.c.value).where(NOTES.c.id == 3))
    number, value = row
    assert (row.id, row[1], number, value) == (3, "value 3", 3, "value 3")
    assert row == (3, "value 3")
    with pytest.raises(AttributeError):
        _ = row.absent


async def test_a_transaction_is_not_left_open_by_a_fault(filled: Database, postgresql_url: str) -> None:
    for _ in range(10):
        with pytest.raises(Exception, match="absent"):
            await filled.fetch_many([(text("SELECT 1"), None), (text("SELECT * FROM absent"), None)])
    other = await asyncpg.connect(postgresql_url)
    open_ = await other.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'"
    )
    await other.close()
    assert open_ == 0
