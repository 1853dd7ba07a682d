"""Rates: the buckets by which limits slow somebody down (table: docs/reliability.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final


class TokenBucket:
    """Allows `burst` at once and `rate` per second for long. It starts full."""

    __slots__ = ("_burst", "_level", "_rate", "_then")

    def __init__(self, rate: float, burst: float, now: float = 0.0) -> None:
        if rate <= 0 or burst <= 0:
            raise ValueError("rate and burst are positive; leave the bucket out where there is no limit")
        self._rate = rate
        self._burst = burst
        self._level = burst
        self._then = now

    def take(self, now: float, amount: float) -> float:
        """Take `amount` in any case; returns the seconds until the debt is paid, 0.0 where there is none.

        What has arrived cannot be sent back, so whoever exceeds the bucket waits rather than is refused.
        """
        if now > self._then:  # a clock that goes back gives nothing
            self._level = min(self._burst, self._level + (now - self._then) * self._rate)
            self._then = now
        self._level -= amount
        # What rounding leaves of a debt is none.
        return 0.0 if self._level > -1e-9 else -self._level / self._rate


#: The option that bounds what an account causes for others (V-44).
FAN_OUT: Final = "account_fan_out_rate"


class Rates:
    """Buckets by option, each with what it counts: "bytes", "stanzas", or a kind ("message", "presence", "iq"); that of
    :data:`FAN_OUT` counts what is sent on.

    `exceeded` is the option with the longest debt, as of the last time that there was one.
    """

    __slots__ = ("_buckets", "_fan_out", "_paid_at", "exceeded")

    def __init__(self, buckets: Mapping[str, tuple[str, TokenBucket]]) -> None:
        self._buckets = {option: found for option, found in buckets.items() if option != FAN_OUT}
        self._fan_out = buckets[FAN_OUT][1] if FAN_OUT in buckets else None
        self._paid_at = 0.0  # when the debt of the fan-out is paid
        self.exceeded = ""

    def fan_out(self, now: float, recipients: int) -> None:
        """One stanza is sent on to so many; a debt is told by the next :meth:`take`."""
        if self._fan_out is not None:
            self._paid_at = now + self._fan_out.take(now, recipients)

    def take(self, now: float, size: int, kinds: Sequence[str]) -> float:
        """Count `size` bytes with stanzas of these `kinds`; returns the seconds until the longest debt is paid."""
        wait = self._paid_at - now
        if wait > 0:
            self.exceeded = FAN_OUT
        else:
            wait = 0.0
        for option, (counted, bucket) in self._buckets.items():
            amount = size if counted == "bytes" else len(kinds) if counted == "stanzas" else kinds.count(counted)
            if amount and (debt := bucket.take(now, amount)) > wait:
                wait, self.exceeded = debt, option
        return wait
