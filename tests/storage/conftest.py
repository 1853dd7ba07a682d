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


@pytest.fixture
def postgresql_name(postgresql: Postgresql, prepared_database: str) -> str:
    return postgresql.new_database(prepared_database)


@pytest.fixture
def postgresql_url(postgresql: Postgresql, postgresql_name: str) -> str:
    return postgresql.url(postgresql_name)


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
