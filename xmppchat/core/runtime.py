"""What the kernel needs of the outside world, in one place so that tests can give another: clock, ids, tasks."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from xmppchat.protocol.moments import timestamp as timestamp

log = structlog.get_logger(__name__)


class Clock(Protocol):
    """Time. `now` is wall time in ms since 1970 (UTC); `monotonic` is for deadlines, in seconds."""

    def now(self) -> int:
        """Wall time, ms since 1970-01-01 UTC."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """Call `function` after `delay` seconds."""


class Timer(Protocol):
    """A call that can still be called off."""

    def cancel(self) -> None:
        """Call it off."""


class SystemClock:
    """The machine's clock and the running loop's timers."""

    def now(self) -> int:
        """See :class:`Clock`."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> Timer:
        """See :class:`Clock`."""
        return asyncio.get_running_loop().call_later(delay, function, *arguments)


#: Bits of a sortable id below its time in ms.
TIME_SHIFT: Final = 22


def time_of(id: int) -> int:
    """When a sortable id was made, ms since 1970."""
    return id >> TIME_SHIFT


class Ids:
    """Identifiers. Tokens are unpredictable (reliability.md V-24); sortable ids are unique and increase."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = 0
        self._random = bytearray()

    def token(self) -> str:
        """128 random bits as text, for stream ids, resources, nonces."""
        return secrets.token_urlsafe(16)

    def sortable(self) -> int:
        """A 63-bit id, greater than all before it: ms of wall time, 16 bits that go up at random, 6 bits of worker (0).

        Nobody can tell the next one (XEP-0313 §2). Never from wall time alone: a clock set back must not disorder
        (reliability.md F-17).
        """
        random = self._random
        if len(random) < 2:
            random[:] = secrets.token_bytes(4_096)
        step = random.pop() << 8 | random.pop()
        self._last = max(self._clock.now() << TIME_SHIFT | step << 6, self._last + 64 + (step & 0x3FF) * 64)
        return self._last

    def moment(self) -> int:
        """Now, comparable with sortable ids: not less than those before it, less than those behind it.

        Cheap: it is no id, and two may be equal.
        """
        return max(self._clock.now() << TIME_SHIFT, self._last)

    def not_below(self, used: int) -> None:
        """Ids after this call are greater than `used` (what is in the database from an earlier run)."""
        self._last = max(self._last, used)


class Tasks:
    """Background tasks with an owner: failures are logged, all are cancelled at the end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, None], *, name: str) -> asyncio.Task[None]:
        """Run `coroutine` in the background."""
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("task failed", task=task.get_name(), exc_info=error)

    @property
    def is_idle(self) -> bool:
        """Whether none is running."""
        return not self._tasks

    async def stop(self) -> None:
        """Cancel all, and wait for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

