"""Clocks that jump: whoever deletes what is old asks first whether the date is to be believed (reliability.md F-17)."""

from __future__ import annotations

from typing import Final

_DAY_SECONDS: Final = 86_400
DAY: Final = _DAY_SECONDS * 1_000


class ClockGuard:
    """Notices a wall clock that jumped, so that nothing is deleted for a wrong date (reliability.md F-17).

    After a jump of more than a day nothing is deleted for a day: time to set the clock right. Where it was right and
    the server was merely off for long, a day later nothing is lost.
    """

    def __init__(self) -> None:
        self._last: tuple[int, float] | None = None
        self._trusted_from = 0.0

    def refusal(self, now: int, monotonic: float, newest: int) -> str:
        """Why nothing may be deleted at `now` (ms of wall time), "" where it may; `monotonic` in s.

        `newest` is when the newest entry was made, 0 for none: all there is to compare with at the first call.
        """
        last, self._last = self._last, (now, monotonic)
        if last is not None:
            jump = (now - last[0]) - round((monotonic - last[1]) * 1_000)
        else:
            jump = now - newest if newest else 0
        if abs(jump) > DAY:
            self._trusted_from = monotonic + _DAY_SECONDS
        if monotonic < self._trusted_from:
            return "the clock, or the server's absence, moved the date by more than a day; it is believed in a day"
        return ""
