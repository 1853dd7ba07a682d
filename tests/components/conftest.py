"""A server in memory for the tests of components, once with each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from peers.postgresql import Postgresql

from xmppchat.storage import schema
from xmppchat.storage.database import Database
from xmppchat.testing.memory import MemoryDriver


@pytest.fixture(scope="session")
def prepared_database(postgresql: Postgresql) -> str:
    """A database with all tables: copied for each test, which is faster than migrating one."""
    name = postgresql.new_database()

    async def prepare() -> None:
        await (await Database.open(postgresql.url(name))).close()

    with ThreadPoolExecutor(1) as thread:  # this one has a loop already
        thread.submit(asyncio.run, prepare()).result()
    return name


@pytest.fixture(scope="session")
def idle_databases() -> list[str]:
    """Names of databases that can be used again."""
    return []


@pytest.fixture(params=["sqlite", "postgresql"])
def storage_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of each kind: what takes it runs on both. (SQLite: a file in the server's directory.)"""
    if request.param == "sqlite":
        yield "sqlite:///xmppchat.db"
        return
    server: Postgresql = request.getfixturevalue("postgresql")
    prepared, idle = (request.getfixturevalue(name) for name in ("prepared_database", "idle_databases"))
    name = idle.pop() if idle else server.new_database(prepared)
    yield server.url(name)
    server.empty(name, [table.name for table in schema.TABLES])
    idle.append(name)


@pytest.fixture
async def driver(storage_url: str, tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    """Anybody may register."""
    driver = MemoryDriver(tmp_path, storage_url=storage_url, register={"mode": "open"})
    await driver.start()
    yield driver
    await driver.stop()
