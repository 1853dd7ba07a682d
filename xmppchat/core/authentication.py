"""Authentication: runs SASL exchanges against the accounts, and slows down who guesses (`guesses.py`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xmppchat.core.guesses import Guesses
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


class Authenticator:
    """Shared by all connections: starts exchanges, keeps the books on failures."""

    def __init__(
        self, accounts: AccountService, devices: DeviceService, limits: Limits, counters: LimitCounters, clock: Clock,
        nonce: Callable[[], str],
    ) -> None:
        self._accounts = accounts
        self._devices = devices
        self._nonce = nonce
        self._guesses = Guesses(limits, counters, clock)

    def set_limits(self, limits: Limits) -> None:
        """Count by other limits from now on; who has to wait already goes on waiting."""
        self._guesses.set_limits(limits)

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
        return self._guesses.may_try(peer)

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
        self._guesses.failed(username, domain, peer)

    def failure_delay(self, peer: str) -> float:
        """How long `peer`, which has just failed, waits to be told (limit 12), s."""
        return self._guesses.delay(peer)

    def _is_blocked(self, username: str, domain: str, peer: str) -> bool:
        return not self._guesses.may_guess(username, domain, peer)


_TRY_LATER = Failure("temporary-auth-failure", "too many failed attempts from your network; try again later")
