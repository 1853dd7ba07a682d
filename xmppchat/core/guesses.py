"""Who guesses passwords (reliability.md V-16, limit 12): the books on failed logins.

Failures are counted by host, by network, and by account and network, never by account alone: nobody can lock out
another.
"""

from __future__ import annotations

from xmppchat.core import networks
from xmppchat.core.limits import LimitCounters, Limits
from xmppchat.core.networks import host_of, network_of, site_of
from xmppchat.core.runtime import Clock

#: Keys that are remembered; the ones whose time has passed, then the oldest, are forgotten first.
_TABLE = 20_000
_MINUTE = 60.0
#: The answer to a failure waits for so many seconds, and so many more for each one before, up to the limit.
_STEP = 0.5


class Backoff:
    """Who failed too often lately must wait; every further penalty doubles, up to `longest` seconds.

    `failures` are so many as bring a penalty; 0: none does.
    """

    def __init__(self, clock: Clock, *, failures: int, window: float, first: float, longest: float) -> None:
        self._clock = clock
        self.failures = failures
        self._window = window
        self._first = first
        self._longest = longest
        # key -> (failures in the window, its end, penalties so far, no attempt before)
        self._entries: dict[str, tuple[int, float, int, float]] = {}

    def may_try(self, key: str) -> bool:
        """Whether an attempt by `key` is looked at now."""
        entry = self._entries.get(key)
        return entry is None or not self.failures or self._clock.monotonic() >= entry[3]

    def failed(self, key: str) -> bool:
        """Count a failure; True where it brought a penalty."""
        if not self.failures:
            return False
        now = self._clock.monotonic()
        count, end, penalties, until = self._entries.pop(key, (0, 0.0, 0, 0.0))
        if now >= end:
            if now >= end + self._longest:
                penalties = 0
            count, end = 0, now + self._window
        count += 1
        is_penalty = count >= self.failures
        if is_penalty:
            until = now + min(self._first * 2**penalties, self._longest)
            count, penalties = 0, penalties + 1
        if len(self._entries) >= _TABLE:
            self._forget(now)
        self._entries[key] = (count, end, penalties, until)
        return is_penalty

    def count(self, key: str) -> int:
        """Failures of `key` in its window, as many as bring a penalty while it waits for the end of one."""
        count, end, _, until = self._entries.get(key, (0, 0.0, 0, 0.0))
        now = self._clock.monotonic()
        return self.failures if now < until else count if now < end else 0

    def _forget(self, now: float) -> None:
        for key, entry in list(self._entries.items()):
            if now >= max(entry[1], entry[3]):
                del self._entries[key]
        for key in list(self._entries)[: max(0, len(self._entries) - _TABLE * 9 // 10)]:
            del self._entries[key]


class Guesses:
    """Failed logins by who made them: counts refusals, too, by the name of the limit."""

    def __init__(self, limits: Limits, counters: LimitCounters, clock: Clock) -> None:
        self._counters = counters
        longest = 60 * _MINUTE
        self._hosts = Backoff(clock, failures=1, window=10 * _MINUTE, first=5 * _MINUTE, longest=longest)
        self._sites = Backoff(clock, failures=1, window=10 * _MINUTE, first=5 * _MINUTE, longest=longest)
        self._pairs = Backoff(clock, failures=1, window=5 * _MINUTE, first=5 * _MINUTE, longest=longest)
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """Count by other limits from now on; who has to wait already goes on waiting."""
        self._hosts.failures = limits.auth_failures_per_address
        self._sites.failures = limits.auth_failures_per_network
        self._pairs.failures = limits.auth_failures_per_account
        self._longest_delay = limits.auth_failure_delay
        self._exempt = networks.parse(limits.exempt_networks)

    def may_try(self, peer: str) -> bool:
        """Whether this address may try at all now."""
        if not self._hosts.may_try(host_of(peer)):
            self._counters.fired("auth_failures_per_address")
            return False
        if not self._sites.may_try(site_of(peer)):
            self._counters.fired("auth_failures_per_network")
            return False
        return True

    def may_guess(self, username: str, domain: str, peer: str) -> bool:
        """Whether this address may try this account now."""
        if not self.may_try(peer):
            return False
        if not self._pairs.may_try(_pair(username, domain, peer)):
            self._counters.fired("auth_failures_per_account")
            return False
        return True

    def failed(self, username: str, domain: str, peer: str) -> None:
        """The client did not prove what it claimed."""
        if self._hosts.failed(host_of(peer)):
            self._counters.fired("auth_failures_per_address")
        if not networks.is_in(peer, self._exempt) and self._sites.failed(site_of(peer)):
            self._counters.fired("auth_failures_per_network")
        if self._pairs.failed(_pair(username, domain, peer)):
            self._counters.fired("auth_failures_per_account")

    def delay(self, peer: str) -> float:
        """How long `peer`, which has just failed, waits to be told, s: the longer the more often it failed lately."""
        return min(_STEP * max(1, self._hosts.count(host_of(peer))), self._longest_delay)


def _pair(username: str, domain: str, peer: str) -> str:
    return f"{username[:256].casefold()}@{domain} {network_of(peer)}"
