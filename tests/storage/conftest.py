"""Fixtures: an open database with the tables of the tests, and a gate that submits to its writer.

What takes `url` or `database` runs on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog
from peers.postgresql import Postgresql
from storage_support import TABLES, Gate
from transfer_support import NewDatabase, fill, make_database, url_of

from xmppchat.storage import schema
from xmppchat.storage.backup import back_up
from xmppchat.storage.database import Database, SqliteDatabase


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged, in place of the log."""
    with structlog.testing.capture_logs() as records:
        yield records


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture(scope="session")
def prepared_database(postgresql: Postgresql) -> str:
    """The name of a database whose schema is complete, to be copied: much faster than to make it each time."""
    name = postgresql.new_database()

    async def prepare() -> None:
        await (await Database.open(postgresql.url(name), extra_tables=TABLES)).close()

    with ThreadPoolExecutor(1) as thread:  # this one may have a loop already
        thread.submit(asyncio.run, prepare()).result()
    return name


@pytest.fixture(scope="session")
def idle_databases() -> list[str]:
    """Names of databases that can be used again: a new one takes ten times as long."""
    return []


@pytest.fixture
def postgresql_name(postgresql: Postgresql, prepared_database: str, idle_databases: list[str]) -> Iterator[str]:
    name = idle_databases.pop() if idle_databases else postgresql.new_database(prepared_database)
    yield name
    postgresql.empty(name, [table.name for table in (*schema.TABLES, *TABLES)])
    idle_databases.append(name)


@pytest.fixture
def postgresql_url(postgresql: Postgresql, postgresql_name: str) -> str:
    return postgresql.url(postgresql_name)


@pytest.fixture
def new_database(postgresql: Postgresql) -> Iterator[NewDatabase]:
    names: list[str] = []

    def make() -> str:
        names.append(postgresql.new_database())
        return postgresql.url(names[-1])

    yield make
    for name in names:
        postgresql.drop(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def database(url: str, gate: Gate) -> AsyncIterator[Database]:
    database = await Database.open(url, on_settled=gate.on_settled, extra_tables=TABLES)
    gate.attach(database.writer)
    yield database
    await database.close()


@pytest.fixture
async def sqlite_database(sqlite_url: str, gate: Gate) -> AsyncIterator[SqliteDatabase]:
    database = await Database.open(sqlite_url, on_settled=gate.on_settled, extra_tables=TABLES)
    assert isinstance(database, SqliteDatabase)
    gate.attach(database.writer)
    yield database
    await database.close()


# --- transfers --------------------------------------------------------------------------------------------------------

@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A SQLite database with hostile rows in each table."""
    path = tmp_path / "source.db"
    make_database(path)
    fill(path)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the backup goes."""
    return tmp_path / "backups" / "file"


@pytest.fixture
async def taken(source: Path, file: Path) -> Path:
    """A backup of `source`."""
    file.parent.mkdir()
    await back_up(url_of(source), file, hosts=["chat.example"])
    return file
