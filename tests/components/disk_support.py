"""Disks that are full or slow, in place of a server's writer; and waiting while one is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from xmppchat.core.commit_gate import StorageUnavailable, Write
from xmppchat.testing.memory import MemoryDriver


class FullDisk:
    """A writer that stores nothing."""

    def __init__(self, driver: MemoryDriver) -> None:
        self._gate = driver.server.kernel.gate

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        asyncio.get_running_loop().call_soon(self._gate.on_settled, [(ticket, StorageUnavailable("full"))])


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(100_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to this")


class SlowDisk:
    """A writer that does nothing before it is let."""

    def __init__(self, driver: MemoryDriver) -> None:
        self._gate = driver.server.kernel.gate
        self._writer, self._gate._writer = self._gate._writer, self
        self._tickets: list[tuple[int, Sequence[Write]]] = []

    def submit(self, ticket: int, writes: Sequence[Write]) -> None:
        self._tickets.append((ticket, writes))

    def go_on(self) -> None:
        self._gate._writer = self._writer
        for ticket, writes in self._tickets:
            self._writer.submit(ticket, writes)
