"""A server in memory for the tests of components, once with each kind of database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from peers.postgresql import Postgresql

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


@pytest.fixture(params=["sqlite", "postgresql"])
async def driver(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    """Anybody may register."""
    options: dict[str, Any] = {"register": {"mode": "open"}}
    if request.param == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        name = server.new_database(request.getfixturevalue("prepared_database"))
        options["storage_url"] = server.url(name)
    driver = MemoryDriver(tmp_path, **options)
    await driver.start()
    yield driver
    await driver.stop()
