"""The time a client has to log in, and the longest silence in it (reliability.md, limit 2)."""

from __future__ import annotations

from collections.abc import Callable

from xmppchat.core.kernel import Kernel
from xmppchat.core.runtime import Timer
from xmppchat.protocol.errors import ConnectionTimeout, StreamError


class Deadline:
    """Calls `on_end` with the error that ends the stream when either time is over."""

    __slots__ = ("_kernel", "_on_end", "_progress_at", "_started_at", "_timer")

    def __init__(self, kernel: Kernel, on_end: Callable[[StreamError | None], None]) -> None:
        self._kernel = kernel
        self._on_end = on_end
        self._started_at = self._progress_at = kernel.clock.monotonic()
        self._timer: Timer = kernel.clock.call_later(kernel.limits.negotiation_stall_seconds, self._check)

    def progress(self) -> None:
        """The client did something."""
        self._progress_at = self._kernel.clock.monotonic()

    def stop(self) -> None:
        """It is logged in, or gone."""
        self._timer.cancel()

    def _check(self) -> None:
        kernel = self._kernel
        now = kernel.clock.monotonic()
        rest, limit = min(
            (self._started_at + kernel.limits.negotiation_seconds - now, "negotiation_seconds"),
            (self._progress_at + kernel.limits.negotiation_stall_seconds - now, "negotiation_stall_seconds"),
        )
        if rest > 0:
            self._timer = kernel.clock.call_later(rest, self._check)
            return
        kernel.limit_counters.fired(limit)
        self._on_end(ConnectionTimeout("log in faster"))
