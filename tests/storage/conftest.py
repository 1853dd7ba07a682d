"""Fixtures: an open database with the tables of the tests, and a gate that submits to its writer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from storage_support import TABLES, Gate

from xmppchat.storage.database import Database


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[Any]]:
    """What is logged, in place of the log."""
    with structlog.testing.capture_logs() as records:
        yield records


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
