"""Authentication: runs SASL exchanges against the accounts, and slows down who guesses (`guesses.py`)."""

from __future__ import annotations

from collections.abc import Callable

from xmppchat.core.guesses import Guesses
from xmppchat.core.limits import LimitCounters, Limits
from xmppchat.core.runtime import Clock
from xmppchat.core.services import AccountService
from xmppchat.protocol.sasl import (
    Challenge,
    Exchange,
    ExchangeContext,
    Failure,
    NeedKeys,
    NeedPasswordCheck,
    Step,
    Success,
    create,
)


class Authenticator:
    """Shared by all connections: starts exchanges, keeps the books on failures."""

    def __init__(
        self, accounts: AccountService, limits: Limits, counters: LimitCounters, clock: Clock, nonce: Callable[[], str]
    ) -> None:
        self._accounts = accounts
        self._nonce = nonce
        self._guesses = Guesses(limits, counters, clock)

    def set_limits(self, limits: Limits) -> None:
        """Count by other limits from now on; who has to wait already goes on waiting."""
        self._guesses.set_limits(limits)

    def create(self, mechanism: str, domain: str, channel_bindings: dict[str, bytes]) -> Exchange:
        """A new exchange; raises :class:`~xmppchat.protocol.sasl.MechanismNotOffered`."""
        return create(mechanism, ExchangeContext(domain, channel_bindings, bool(channel_bindings), self._nonce))

    def may_try(self, peer: str) -> bool:
        """Whether this address may try at all."""
        return self._guesses.may_try(peer)

    def at_hand(self, exchange: Exchange, step: Step, domain: str, peer: str) -> Step:
        """The next step, where nothing has to be waited for; else `step` itself, for :meth:`proceed`."""
        if isinstance(step, NeedKeys):
            if self._is_blocked(step.username, domain, peer):
                return _TRY_LATER
            keys = self._accounts.scram_keys_at_hand(domain, step.username, step.hash_name)
            if keys is not None:
                return exchange.keys(keys)
        return step

    async def proceed(self, exchange: Exchange, step: Step, domain: str, peer: str) -> Challenge | Success | Failure:
        """Look up what `step` asks for, until there is something to tell the client."""
        while True:
            if isinstance(step, NeedKeys):
                if self._is_blocked(step.username, domain, peer):
                    return _TRY_LATER
                step = exchange.keys(await self._accounts.scram_keys(domain, step.username, step.hash_name))
            elif isinstance(step, NeedPasswordCheck):
                if self._is_blocked(step.username, domain, peer):
                    return _TRY_LATER
                is_right = await self._accounts.check_password(domain, step.username, step.password)
                step = exchange.password_checked(is_right)
            else:
                return step

    def refusal(self, success: Success, domain: str) -> Failure | None:
        """Why somebody who proved who they are may not log in all the same (RFC 6120 §6.5.2); only they learn it."""
        if self._accounts.is_disabled(domain, success.username):
            return Failure("account-disabled", "this account is disabled; ask the admin of this server")
        return None

    def failed(self, username: str, domain: str, peer: str) -> None:
        """The client did not prove what it claimed."""
        self._guesses.failed(username, domain, peer)

    def failure_delay(self, peer: str) -> float:
        """How long `peer`, which has just failed, waits to be told (limit 12), s."""
        return self._guesses.delay(peer)

    def _is_blocked(self, username: str, domain: str, peer: str) -> bool:
        return not self._guesses.may_guess(username, domain, peer)


_TRY_LATER = Failure("temporary-auth-failure", "too many failed attempts from your network; try again later")
