"""Authentication: runs SASL exchanges against the accounts, and slows down who guesses (reliability.md V-16).

Failures are counted per address and per (account, network), never per account alone: nobody can lock out another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network

from xmppchat.core.limits import LimitCounters, Limits
from xmppchat.core.runtime import Clock
from xmppchat.core.services import AccountService, DeviceService
from xmppchat.jid import JID
from xmppchat.protocol.sasl import (
    Challenge,
    Exchange,
    ExchangeContext,
    Failure,
    NeedKeys,
    NeedPasswordCheck,
    NeedTokens,
    Step,
    Success,
    create,
)

#: Keys that are remembered; the ones whose time has passed, then the oldest, are forgotten first.
_TABLE = 20_000


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

    def _forget(self, now: float) -> None:
        for key, entry in list(self._entries.items()):
            if now >= max(entry[1], entry[3]):
                del self._entries[key]
        for key in list(self._entries)[: max(0, len(self._entries) - _TABLE * 9 // 10)]:
            del self._entries[key]


class Authenticator:
    """Shared by all connections: starts exchanges, keeps the books on failures."""

    def __init__(
        self, accounts: AccountService, devices: DeviceService, limits: Limits, counters: LimitCounters, clock: Clock,
        nonce: Callable[[], str],
    ) -> None:
        self._accounts = accounts
        self._devices = devices
        self._counters = counters
        self._nonce = nonce
        minutes = 60.0
        self._addresses = Backoff(clock, failures=1, window=10 * minutes, first=5 * minutes, longest=60 * minutes)
        self._pairs = Backoff(clock, failures=1, window=5 * minutes, first=5 * minutes, longest=60 * minutes)
        self.set_limits(limits)

    def set_limits(self, limits: Limits) -> None:
        """Count by other limits from now on; who has to wait already goes on waiting."""
        self._addresses.failures = limits.auth_failures_per_address
        self._pairs.failures = limits.auth_failures_per_account

    def create(
        self, mechanism: str, domain: str, channel_bindings: dict[str, bytes], *, offered: Sequence[str] = (),
        claimed: JID | None = None, by_token: bool = False,
    ) -> Exchange:
        """A new exchange; raises :class:`~xmppchat.protocol.sasl.MechanismNotOffered`.

        `offered` are the mechanisms of the SASL profile in use; `claimed` and `by_token` are as in
        :class:`~xmppchat.protocol.sasl.ExchangeContext` and :func:`~xmppchat.protocol.sasl.create`.
        """
        if not self._accounts.vouches_for_offer:
            offered = ()
        context = ExchangeContext(
            domain, channel_bindings, bool(channel_bindings), self._nonce, tuple(offered), claimed
        )
        return create(mechanism, context, by_token=by_token)

    def may_try(self, peer: str) -> bool:
        """Whether this address may try at all."""
        return self._addresses.may_try(peer)

    def at_hand(self, exchange: Exchange, step: Step, domain: str, peer: str, client_id: str = "") -> Step:
        """The next step, where nothing has to be waited for; else `step` itself, for :meth:`proceed`.

        `client_id` is what the client calls itself (XEP-0388 §2.4), "" for nothing: whose tokens are looked at.
        """
        if isinstance(step, (NeedKeys, NeedTokens)) and self._is_blocked(step.username, domain, peer):
            return _TRY_LATER
        if isinstance(step, NeedKeys):
            keys = self._accounts.scram_keys_at_hand(domain, step.username, step.hash_name)
            if keys is not None:
                return exchange.keys(keys)
        elif isinstance(step, NeedTokens):
            tokens = self._devices.tokens_at_hand(domain, step.username, client_id, exchange.name)
            if tokens is not None:
                return exchange.tokens(tokens)
        return step

    async def proceed(
        self, exchange: Exchange, step: Step, domain: str, peer: str, client_id: str = ""
    ) -> Challenge | Success | Failure:
        """Look up what `step` asks for, until there is something to tell the client."""
        while isinstance(step, (NeedKeys, NeedPasswordCheck, NeedTokens)):
            if self._is_blocked(step.username, domain, peer):
                return _TRY_LATER
            if isinstance(step, NeedKeys):
                step = exchange.keys(await self._accounts.scram_keys(domain, step.username, step.hash_name))
            elif isinstance(step, NeedPasswordCheck):
                is_right = await self._accounts.check_password(domain, step.username, step.password)
                step = exchange.password_checked(is_right)
            else:
                step = exchange.tokens(await self._devices.tokens(domain, step.username, client_id, exchange.name))
        return step

    def refusal(self, success: Success, domain: str) -> Failure | None:
        """Why somebody who proved who they are may not log in all the same (RFC 6120 §6.5.2); only they learn it."""
        if self._accounts.is_disabled(domain, success.username):
            return Failure("account-disabled", "this account is disabled; ask the admin of this server")
        return None

    def failed(self, username: str, domain: str, peer: str) -> None:
        """The client did not prove what it claimed."""
        if self._addresses.failed(peer):
            self._counters.fired("auth_failures_per_address")
        if self._pairs.failed(_pair(username, domain, peer)):
            self._counters.fired("auth_failures_per_account")

    def _is_blocked(self, username: str, domain: str, peer: str) -> bool:
        return not (self._addresses.may_try(peer) and self._pairs.may_try(_pair(username, domain, peer)))


_TRY_LATER = Failure("temporary-auth-failure", "too many failed attempts from your network; try again later")


def _pair(username: str, domain: str, peer: str) -> str:
    return f"{username[:256].casefold()}@{domain} {network_of(peer)}"


@lru_cache(maxsize=4096)
def network_of(address: str) -> str:
    """The network an address is counted with: its /24 (IPv4) or /64 (IPv6)."""
    try:
        bits = 24 if ip_address(address).version == 4 else 64
        return str(ip_network(f"{address}/{bits}", strict=False))
    except ValueError:
        return address
