"""Budgets of registration (reliability.md, limit 13): how many accounts a network gets, and all networks together."""

from __future__ import annotations

from collections.abc import Mapping

from xmppchat.core.rates import TokenBucket

#: Networks whose registrations are counted; the oldest are forgotten.
_TABLE = 10_000
#: Accounts that the whole server lets register in an hour, whoever asks.
_IN_ALL = 60
#: Attempts of a network, for each account that it may register in an hour (where that is unbounded: in a day).
_ATTEMPTS = 10


class Budget:
    """What one network may register (reliability.md, limit 13), and the whole server with it."""

    def __init__(self, buckets: Mapping[str, TokenBucket], attempts: TokenBucket) -> None:
        self._buckets = buckets
        self._attempts = attempts
        self._now = 0.0

    def attempt(self, now: float) -> str:
        """Take an attempt of it; returns the name of the limit where there is none left, "" where there was."""
        if self._attempts.take(now, 1) > 0:
            self._attempts.take(now, -1)
            return "registration_attempts"
        return ""

    def take(self, now: float) -> str:
        """Take an attempt and an account of it; returns as :meth:`attempt`."""
        self._now = now
        if refused := self.attempt(now):
            return refused
        exhausted = [name for name, bucket in self._buckets.items() if bucket.take(now, 1) > 0]
        if not exhausted:
            return ""
        self.give_back()  # who is refused has spent nothing
        return exhausted[0]

    def give_back(self) -> None:
        """Nothing was made of it; the attempt counts all the same."""
        for bucket in self._buckets.values():
            bucket.take(self._now, -1)


class Budgets:
    """The budgets of all networks, the oldest forgotten first."""

    def __init__(self) -> None:
        self._by_network: dict[str, Budget] = {}
        self._in_all = TokenBucket(_IN_ALL / 3600, _IN_ALL)

    def of(self, network: str, per_hour: int, per_day: int, now: float) -> Budget:
        """The budget of a network; a new one is full. 0: without that bound."""
        budget = self._by_network.pop(network, None)
        if budget is None:
            if len(self._by_network) >= _TABLE:
                del self._by_network[next(iter(self._by_network))]
            budget = self._new(per_hour, per_day, now)
        self._by_network[network] = budget
        return budget

    def _new(self, per_hour: int, per_day: int, now: float) -> Budget:
        bounds = {"registrations_per_hour": (per_hour, 3600), "registrations_per_day": (per_day, 86_400)}
        buckets = {name: TokenBucket(most / period, most, now) for name, (most, period) in bounds.items() if most}
        most, period = next((most * _ATTEMPTS, period) for most, period in bounds.values() if most)
        return Budget({**buckets, "registrations_in_all": self._in_all}, TokenBucket(most / period, most, now))
