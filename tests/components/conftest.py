"""A server in memory for the tests of components."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from xmppchat.testing.memory import MemoryDriver


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    """Anybody may register."""
    driver = MemoryDriver(tmp_path, register={"mode": "open"})
    await driver.start()
    yield driver
    await driver.stop()
