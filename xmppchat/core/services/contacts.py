"""Contacts: rosters, presence, who is blocked, what clients can do."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xmppchat.jid import JID

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.session import Session
    from xmppchat.core.turn import Turn
    from xmppchat.protocol.stanza import Stanza


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

    def show_again(self, account: Account, change: Callable[[Stanza], Stanza], turn: Turn) -> None:
        """What the server adds to the presence of `account` is another: broadcast again what `change` makes another."""

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


__all__ = [
    "BlockingService", "CapsService", "PresenceService", "RosterItem", "RosterService", "SubscriptionService",
]  # fmt: skip
