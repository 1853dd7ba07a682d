"""Accounts, their clients, and how one gets them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.sasl import ScramKeys
from xmppchat.protocol.sasl2 import LoginRequest, TokenUse
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.session import Session
    from xmppchat.core.turn import Turn


class AccountService(Protocol):
    """Accounts and their credentials."""

    async def scram_keys(self, domain: str, localpart: str, hash_name: str) -> ScramKeys:
        """Keys for SCRAM; for an unknown account ones that nobody has the password of, at the same cost."""

    def scram_keys_at_hand(self, domain: str, localpart: str, hash_name: str) -> ScramKeys | None:
        """As :meth:`scram_keys`, without waiting: None where the database must be asked first."""

    def offered(self, mechanisms: Sequence[str]) -> Sequence[str]:
        """Those SASL mechanisms that are offered here."""

    @property
    def vouches_for_offer(self) -> bool:
        """Whether SCRAM tells a hash of what was offered (XEP-0474)."""

    async def check_password(self, domain: str, localpart: str, password: str) -> bool:
        """Whether the password is right; takes the same time for an unknown account."""

    def is_disabled(self, domain: str, localpart: str) -> bool:
        """Whether the account of this name may not log in; for who has just proved to be its owner."""

    async def create(self, jid: JID, password: str | None, turn: Turn) -> int:
        """Make an account; its row is one of `turn`'s writes. Raises a stanza error where it may not be made. With None
        nobody can log in before a password is set.

        Returns its id in the database, for what else is written with it.
        """

    async def resembles(self, jid: JID) -> str:
        """The name of an account at the same host that `jid` can be mistaken for, "" for none (reliability.md V-25)."""

    async def set_password(self, account: Account, password: str, turn: Turn) -> None:
        """Replace all credentials of an account. Its sessions end, except the one that `turn` comes from."""

    def upgrades_offered(self) -> Sequence[str]:
        """Mechanisms that some account here has no keys for, but for weaker ones (XEP-0480 §2.1): they tell nothing of
        any single account.
        """

    def missing_keys(self, account: Account) -> Collection[str]:
        """Which of these `account` has no keys for."""

    def upgrade_parameters(self, mechanism: str) -> tuple[bytes, int]:
        """Salt and iterations for a client that makes keys for `mechanism` (XEP-0480 §3)."""

    def store_salted(
        self, account: Account, mechanism: str, salted: bytes, salt: bytes, iterations: int, turn: Turn
    ) -> None:
        """Store keys of a client's SaltedPassword (RFC 5802 §3), made with what :meth:`upgrade_parameters` gave.

        Only from who has just logged in with the password: from anybody else it would be another password. Keys that
        are there stay. Raises `ValueError` where it is no hash of that kind, or none is missing of it.
        """

    def delete(self, account: Account, turn: Turn) -> None:
        """Delete an account and all that components hold of it; its sessions end."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """What came of a login for the list of devices: `device_id` is 0 where the client did not say which it is; `token`
    is ``<token/>`` for it (XEP-0484 §3.3), None where it gets none."""

    device_id: int
    token: Element | None


class DeviceService(Protocol):
    """Clients of accounts by what they call themselves (XEP-0388 §2.3), and their tokens (XEP-0484)."""

    def token_mechanisms(self, channel_bindings: Collection[str]) -> Sequence[str]:
        """Mechanisms that tokens can be used with, where these channel bindings work."""

    async def tokens(self, domain: str, localpart: str, client_id: str, mechanism: str) -> Sequence[bytes]:
        """The tokens of a client for `mechanism`, as keys of its HMAC; none for who is not known, at the same cost."""

    def tokens_at_hand(self, domain: str, localpart: str, client_id: str, mechanism: str) -> Sequence[bytes] | None:
        """As :meth:`tokens`, without waiting: None where the database must be asked first."""

    def refusal(self, account: Account, client_id: str, token: bytes, use: TokenUse) -> str:
        """Why a token that was proved does not do any more: "credentials-expired" (XEP-0484 §4.2), "not-authorized"
        for a count that was there before (§3.4) or a token that is gone, "" where it does.

        Where it does, the count is used up at once, so it is asked once.
        """

    def logged_in(
        self, account: Account, request: LoginRequest, token: bytes | None, channel_bindings: Collection[str],
        turn: Turn,
    ) -> LoggedIn:
        """A client has logged in, with `token` or (None) with the password: note it down, and see to its tokens.

        What `turn` writes has to be on disk before the client hears of it. Raises :class:`NotAuthorized` where the
        token was ended since it was proved.
        """

    def resource_suffix(self, account: Account, client_id: str) -> str:
        """The server's part of a client's resource: the same each time, and nothing tells `client_id` from it
        (XEP-0386 §3.2.1); another each time where the client gives no id.
        """


class PushService(Protocol):
    """Devices that are woken by push notifications (XEP-0357)."""

    def wakes(self, session: Session) -> bool:
        """Whether the device of `session` will be woken for what comes while it has no connection."""

    def forget_device(self, account: Account, device_id: int, turn: Turn) -> None:
        """Notify a device of the list no more: it may not log in any more."""


class Registration(Protocol):
    """What one connection does before it logs in, to get an account (XEP-0077, XEP-0445)."""

    async def answer(self, request: Stanza) -> Stanza:
        """The answer to a request."""


class RegistrationService(Protocol):
    """XEP-0077 before authentication."""

    @property
    def takes_invitations(self) -> bool:
        """Whether an account may be made with an invitation."""

    @property
    def is_open(self) -> bool:
        """Whether anybody may make an account."""

    def begin(self, domain: str, peer: str) -> Registration:
        """For a connection from the address `peer` to the host `domain`."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation to `domain`. `creator` is who invites (a bare JID), "" for the admin; `localpart` the name that the
    account must have, "" for any; `is_account` whether an account may be made with it."""

    token_hash: bytes
    domain: str
    creator: str
    localpart: str
    is_account: bool


class InvitationService(Protocol):
    """Invitations by token (XEP-0379, XEP-0401, XEP-0445)."""

    async def find(self, token: str, domain: str, network: str) -> Invitation | None:
        """The invitation to `domain` with this token, None where it is not good; `network` may not guess for ever."""

    def redemption(self, invitation: Invitation, by: JID, turn: Turn) -> AbstractAsyncContextManager[None]:
        """Use up `invitation` with `turn`, which has to be settled within. Raises ItemNotFound where none is left."""

    async def is_reserved(self, jid: JID) -> bool:
        """Whether an invitation keeps this address for somebody."""


__all__ = [
    "AccountService", "DeviceService", "Invitation", "InvitationService", "LoggedIn", "PushService", "Registration",
    "RegistrationService",
]  # fmt: skip
