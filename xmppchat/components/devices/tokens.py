"""The tokens of devices, each in one of two slots (XEP-0484 §6.1)."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

from xmppchat.components.devices import store
from xmppchat.components.devices.keys import TokenKey
from xmppchat.components.devices.store import Device, Token
from xmppchat.core.account import Account
from xmppchat.core.runtime import Clock, timestamp
from xmppchat.core.turn import Turn
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl2 import TokenUse

DAY_MS = 86_400_000
#: What stands for a token where there is none, so that it costs as much.
_NO_TOKEN = Token("", bytes(16), 0)


class Tokens:
    """Makes tokens, finds them again, and moves them from slot to slot."""

    __slots__ = ("_clock", "_key")

    def __init__(self, key: TokenKey, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def candidates(self, account: Account | None, device: Device | None, mechanism: str) -> Sequence[bytes]:
        """Those for `mechanism`, "new" first, expired ones too. As many are made for who has none."""
        account_id, device_id = (account.id, device.id) if account is not None and device is not None else (0, 0)
        found: list[bytes] = []
        for token in (device.new, device.current) if device is not None else (None, None):
            made = self._made(account_id, device_id, token or _NO_TOKEN)
            if token is not None and token.mechanism == mechanism:
                found.append(made)
        return found

    def used(self, account: Account, device: Device, token: bytes) -> Token | None:
        """That of the device's tokens which `token` is; None where it is none of them any more."""
        return next(
            (one for one in device.tokens if hmac.compare_digest(self._made(account.id, device.id, one), token)), None
        )

    def refusal(self, used: Token, use: TokenUse) -> str:
        """See :meth:`~xmppchat.core.services.DeviceService.refusal`."""
        if used.expires_at <= self._clock.now():
            return "credentials-expired"
        if use.count is not None:
            if use.count <= used.counter:
                return "not-authorized"
            used.counter = use.count
        return ""

    def use(self, account: Account, device: Device, used: Token, use: TokenUse, turn: Turn) -> None:
        """A token was used: the one before it is void, and it itself if it is the last time (§3.5, §3.6)."""
        if used is device.new:
            store.promote(account, device, turn)
        elif use.count is not None and not use.is_last:
            store.write_counter(account, device, turn)
        if use.is_last:
            store.drop_current(account, device, turn)

    def is_due(self, token: Token, days: int) -> bool:
        """Whether a third of the `days` that a token is good have passed, so that another is given (§3.5)."""
        return token.expires_at - self._clock.now() < days * DAY_MS * 2 // 3

    def issue(self, account: Account, device: Device, mechanism: str, days: int, turn: Turn) -> Element:
        """``<token/>`` with a new one (§3.3); the current one is good until this one is used."""
        token = Token(mechanism, secrets.token_bytes(16), self._clock.now() + days * DAY_MS)
        store.add_token(account, device, token, turn)
        text = self._made(account.id, device.id, token).decode()
        return Element("token", NS.FAST, {"token": text, "expiry": timestamp(token.expires_at)})

    def _made(self, account_id: int, device_id: int, token: Token) -> bytes:
        return self._key.token(account_id, device_id, token.mechanism, token.nonce)
