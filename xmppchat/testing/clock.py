"""A clock that stands still until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FakeTimer:
    """A call of :class:`FakeClock` that can be called off."""

    def __init__(self, due: float, function: Callable[..., object], arguments: tuple[Any, ...]) -> None:
        self.due = due
        self.function = function
        self.arguments = arguments
        self.is_cancelled = False

    def cancel(self) -> None:
        """Call it off."""
        self.is_cancelled = True


class FakeClock:
    """Time as tests want it (see :class:`xmppchat.core.runtime.Clock`); begins at `start`, ms since 1970."""

    def __init__(self, start: int = 1_000_000_000_000) -> None:
        self._start = start
        self._seconds = 0.0
        self._timers: list[FakeTimer] = []

    def now(self) -> int:
        """Wall time, ms since 1970-01-01 UTC."""
        return self._start + round(self._seconds * 1000)

    def monotonic(self) -> float:
        """Seconds since the clock was made."""
        return self._seconds

    def call_later(self, delay: float, function: Callable[..., object], *arguments: Any) -> FakeTimer:
        """Call `function` when the clock has been moved by `delay` seconds."""
        timer = FakeTimer(self._seconds + delay, function, arguments)
        self._timers.append(timer)
        return timer

    def advance(self, seconds: float) -> None:
        """Move the clock; what becomes due is called in the order of time, each at its own."""
        end = self._seconds + seconds
        while True:
            self._timers = [timer for timer in self._timers if not timer.is_cancelled]
            due = min(self._timers, key=lambda timer: timer.due, default=None)
            if due is None or due.due > end:
                break
            self._timers.remove(due)
            self._seconds = max(self._seconds, due.due)
            due.function(*due.arguments)
        self._seconds = end
