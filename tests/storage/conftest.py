"""Fixtures: an open database with the tables of the tests, and a gate that submits to its writer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from storage_support import TABLES, Gate

from xmppchat.storage.database import Database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/test.db"


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
async def database(url: str, gate: Gate) -> AsyncIterator[Database]:
    database = await Database.open(url, on_settled=gate.on_settled, extra_tables=TABLES)
    gate.attach(database.writer)
    yield database
    await database.close()
