"""Waiting for what another program will show, never for a time to pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

#: Enough for a busy machine; a test that passes never waits so long.
PATIENCE = 15.0

T = TypeVar("T")


async def until(condition: Callable[[], T | None], what: str | Callable[[], str], seconds: float = PATIENCE) -> T:
    """The first true value of `condition`, the event loop running on; AssertionError telling `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {text}")
        await asyncio.sleep(0.02)
