"""Protocols through which components meet: they never import one another.

A component lists what it ``provides`` and ``requires``; ``kernel.services.get(RosterService)`` finds the provider.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from xmppchat.core.session import Output
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.sasl import ScramKeys
from xmppchat.protocol.sasl2 import LoginRequest, TokenUse
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.component import At
    from xmppchat.core.session import Session
    from xmppchat.core.turn import Turn

ServiceT = TypeVar("ServiceT")


class Services:
    """Who provides what."""

    def __init__(self) -> None:
        self._providers: dict[type, object] = {}

    def provide(self, protocol: type, provider: object) -> None:
        """Register `provider`; there is one for each protocol."""
        self._providers[protocol] = provider

    def get(self, protocol: Callable[..., ServiceT]) -> ServiceT:
        """The provider of `protocol` (typed as a callable, since mypy wants no abstract class as ``type[T]``)."""
        return cast(ServiceT, self._providers[protocol])  # type: ignore[index]


class Reader(Protocol):
    """Read access to the database; never blocks the loop, sees committed data only."""

    async def fetch(self, statement: Any, parameters: Mapping[str, Any] | None = None) -> Sequence[Any]:
        """Rows of one query."""

    async def fetch_many(self, queries: Sequence[tuple[Any, Mapping[str, Any] | None]]) -> Sequence[Sequence[Any]]:
        """Rows of several queries, one after the other in one go."""


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
class RosterItem:
    """A contact in a roster (RFC 6121 §2.1.2).

    `subscription` is "none", "to", "from" or "both"; `ask` says that a request of ours is pending; `request` that
    one of theirs is (the subscribe stanza as XML, "" for none). `is_approved`: a request of theirs is granted without
    asking (§3.4). An item with `is_listed` False exists only for its pending request and is not shown (§3.1.3).
    """

    contact: JID
    subscription: str = "none"
    ask: bool = False
    request: str = ""
    name: str = ""
    groups: tuple[str, ...] = ()
    is_listed: bool = True
    is_approved: bool = False

    @property
    def sends_presence(self) -> bool:
        """Whether the contact gets the account's presence ("from" or "both")."""
        return self.subscription in ("from", "both")

    @property
    def gets_presence(self) -> bool:
        """Whether the account gets the contact's presence ("to" or "both")."""
        return self.subscription in ("to", "both")


class RosterService(Protocol):
    """Rosters of this server's accounts."""

    def items(self, account: Account) -> Collection[RosterItem]:
        """All items, unlisted ones too."""

    def item(self, account: Account, contact: JID) -> RosterItem | None:
        """The item of a bare JID."""

    def store(self, account: Account, item: RosterItem, turn: Turn, *, push: bool) -> None:
        """Write `item`; with `push` tell the interested resources (RFC 6121 §2.1.6)."""

    def remove(self, account: Account, item: RosterItem, turn: Turn) -> None:
        """Take `item` off the list and push that; a pending request of the contact's stays."""

    def store_for_new(self, account: Account, account_id: int, item: RosterItem, turn: Turn) -> None:
        """Write the first item of an account that is being made, and has the id `account_id`."""

    def has_room(self, account: Account) -> bool:
        """Whether another item may be added (limit roster_items)."""


class SubscriptionService(Protocol):
    """Subscriptions, as far as other components change them."""

    def cancel(self, account: Account, item: RosterItem, turn: Turn) -> None:
        """End both directions of a subscription, as removing a roster item does (RFC 6121 §2.5.2)."""


class PresenceService(Protocol):
    """Who sees who is there, as far as other components change it."""

    def hide(self, account: Account, contact: JID, turn: Turn) -> None:
        """To a contact that was let out, everybody has gone (RFC 6121 §3.2.2, §3.3.3)."""

    def conceal(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """`others` were blocked (XEP-0191 §3.3): to them, and to who got directed presence, everybody has gone."""

    def reveal(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """`others`, who are let in, are not blocked any more (XEP-0191 §3.4): they see who is there."""

    def look_for(self, account: Account, others: Collection[JID], turn: Turn) -> None:
        """Ask for the presence of `others` again, for every session that is there (RFC 6121 §4.3.1)."""


class BlockingService(Protocol):
    """Block lists (XEP-0191)."""

    def is_blocked(self, account: Account, other: JID) -> bool:
        """Whether `account` blocks `other`: nothing goes from one to the other."""

    def blocks_anyone(self, account: Account) -> bool:
        """Whether there is anybody whom `account` blocks: a quick look before a loop."""


class CapsService(Protocol):
    """What clients can do (XEP-0115)."""

    def features_of(self, session: Session) -> frozenset[str] | None:
        """Features of a client, as far as it proved them; None where nothing is known, or not yet.

        :class:`~xmppchat.core.events.CapabilitiesKnown` tells when that changes.
        """


@dataclass(frozen=True, slots=True)
class Conversation:
    """With whom (`peer`, a bare JID) an account talks: id of the last message, when it came (ms since 1970), and how
    many are `unread`; more than 200 are not counted."""

    peer: str
    last_id: str
    last_at: int
    unread: int


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """A message out of an archive: its id there, when it came (ms since 1970), and the stanza as it was stored."""

    id: str
    at: int
    stanza: Stanza


class ArchiveService(Protocol):
    """Message archives (XEP-0313), for other components to read. All of them see what is committed when they begin."""

    async def conversations(self, account: Account, *, most: int = 100) -> Sequence[Conversation]:
        """The conversations in which something happened last, the newest first."""

    async def messages(
        self, account: Account, *, peer: str = "", before: str = "", after: str = "", most: int = 50
    ) -> Sequence[ArchivedMessage]:
        """A page of all messages or those with `peer` (a bare JID), the oldest first: the last ones, or those next to
        the ids `before` or `after`. Raises ItemNotFound for an id that is not there.
        """

    async def last_id(self, account: Account) -> str:
        """The id of the newest message, "" where there is none."""

    async def metadata(self, account: Account) -> Element | None:
        """``<metadata/>`` of the archive (XEP-0313 §4.4): its first and last message.

        Told at a moment at which nothing more is on its way into it: what comes then goes to whoever has a session when
        the caller goes on. None where there is no such moment, as somebody writes to it all the time.
        """


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


class DiscoService(Protocol):
    """What this server says of itself (XEP-0030)."""

    def description(self, at: At, domain: str) -> Element:
        """The disco#info ``<query/>`` of the host `domain`, or of any account there: without node, forms included."""


class ReloadService(Protocol):
    """Who reads the configuration again: the running server itself, no component."""

    async def reload(self) -> Mapping[str, object]:
        """Take the configuration file as it is now; returns what came of it, for the operator.

        Raises :class:`~xmppchat.core.commands.CommandError` with all faults; then nothing has changed.
        """


class ResumptionService(Protocol):
    """Sessions that outlive their connections (XEP-0198 §5)."""

    def resume(self, account: JID, previd: str, handled: int, successor: Successor) -> bool:
        """Give the session `previd` of `account` to `successor`, soon; False where there is no such session.

        The connection it had is ended. Raises :class:`StreamError` where `handled` is more than was sent.
        """

    async def last_handled(self, account: JID, previd: str) -> int | None:
        """How many stanzas were handled of a session that is no more, None where that is not known."""


class Successor(Output, Protocol):
    """The connection that a session moves to."""

    def take_over(self, session: Session, answer: Element) -> bool:
        """Send `answer` and hold `session` from now on; False where the connection is gone meanwhile."""

    def resume(self) -> None:
        """Go on with what the client sent behind its request."""


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
    "AccountService", "ArchiveService", "ArchivedMessage", "BlockingService", "CapsService", "Conversation",
    "DeviceService", "DiscoService", "Invitation", "InvitationService", "LoggedIn", "PresenceService",
    "PushService", "Reader", "Registration", "RegistrationService", "ReloadService", "ResumptionService",
    "RosterItem", "RosterService", "Services", "SubscriptionService", "Successor",
]  # fmt: skip
