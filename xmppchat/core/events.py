"""What happened: events that components may be told of with ``@on(Event)``. Past tense; handlers run in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.services import RosterItem
    from xmppchat.core.session import Session
    from xmppchat.core.turn import Turn
    from xmppchat.jid import JID
    from xmppchat.protocol.element import Element
    from xmppchat.protocol.stanza import Stanza


@dataclass(frozen=True, slots=True)
class Serving:
    """The server serves from now on: its ports are open. Not where it only runs a command for the operator."""


@dataclass(frozen=True, slots=True)
class ResourceBound:
    """A session was bound (RFC 6120 §7)."""

    session: Session


@dataclass(frozen=True, slots=True)
class ResourceAvailable:
    """A session sent its first presence and may take messages to the bare JID (priority not negative)."""

    session: Session
    turn: Turn


@dataclass(frozen=True, slots=True)
class PresenceAnnounced:
    """A session broadcast available presence, which is now ``session.presence`` (RFC 6121 §4.2, §4.4)."""

    session: Session
    turn: Turn


@dataclass(frozen=True, slots=True)
class PresenceWithdrawn:
    """A session that had been available is not any more, by its own word (`stanza`) or because it ended."""

    session: Session
    stanza: Stanza
    turn: Turn


@dataclass(frozen=True, slots=True)
class CapabilitiesKnown:
    """What a client can do became known, or is another now (XEP-0115); ask :class:`CapsService` what it is."""

    session: Session
    turn: Turn


@dataclass(frozen=True, slots=True)
class RosterItemChanged:
    """An item of the roster of `account` is another now, or gone; `before` and `after` are None where there is none."""

    account: Account
    contact: JID
    before: RosterItem | None
    after: RosterItem | None
    turn: Turn


@dataclass(frozen=True, slots=True)
class LinkDetached:
    """The connection of an external component (XEP-0114) has ended: nobody in `domain` can be reached for now."""

    domain: str


@dataclass(frozen=True, slots=True)
class SessionHibernated:
    """A session has lost its connection, and waits for another one (XEP-0198 §5)."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """A session has a connection again; its client has what it missed."""

    session: Session


@dataclass(frozen=True, slots=True)
class StanzaKept:
    """A session without a connection got a stanza, which is kept for it (XEP-0198 §5)."""

    session: Session
    stanza: Stanza


@dataclass(frozen=True, slots=True)
class AcknowledgementOverdue:
    """A client was asked long ago what it has (XEP-0198 §4), and does not answer; told again when it is sent more."""

    session: Session


@dataclass(frozen=True, slots=True)
class SessionSaved:
    """A session is written down since the server stops; components add to `state` (JSON) what they know of it."""

    session: Session
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SessionRestored:
    """A session of before the restart is there again, without a connection, with the `state` that was saved."""

    session: Session
    state: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """A session is gone: replaced, ended by the server, or its connection was lost; `is_good_bye`: its client left."""

    session: Session
    turn: Turn
    is_good_bye: bool = False


@dataclass(frozen=True, slots=True)
class AccountDeleted:
    """An account was deleted; components delete what they hold of it, with writes of `turn`."""

    account: Account
    turn: Turn


@dataclass(frozen=True, slots=True)
class CommandExecuted:
    """An operator's command was run by `actor` (an account's bare JID, or "command line").

    `arguments` are without secrets; `error` is "" where it was done. `changes`: whether it is one that changes
    something, run by somebody who may. `result` is its answer, if that is a table; it may hold secrets.
    """

    actor: str
    command: str
    arguments: Mapping[str, object]
    error: str
    changes: bool = True
    result: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """The server runs with another configuration, ``kernel.config``; components have been told (see `reconfigured`)."""


@dataclass(frozen=True, slots=True)
class PasswordChanged:
    """An account has a new password, with writes of `turn`; whose `origin`, where it has one, knows it."""

    account: Account
    turn: Turn


@dataclass(frozen=True, slots=True)
class AccountDisabled:
    """An account may not log in any more, with writes of `turn`."""

    account: Account
    turn: Turn


@dataclass(frozen=True, slots=True)
class DeviceRevoked:
    """A client has lost the access to its account that it had: it was revoked or forgotten, or the password is another.

    Components delete what they hold of it, with writes of `turn`. It may come back with the password, as the same
    device or as another.
    """

    account: Account
    device_id: int
    turn: Turn


@dataclass(frozen=True, slots=True)
class BotMessage:
    """Somebody wrote to a bot: `sender` (a full JID) said `body` to the account `bot`, in a message with this `id`.

    `encryption` is the namespace by which it was encrypted, "" for not at all. `is_verified`: the admin says that the
    device it was written on is the sender's. :class:`~xmppchat.core.services.BotService` answers.
    """

    bot: Account
    sender: JID
    body: str
    id: str
    encryption: str = ""
    is_verified: bool = False


@dataclass(frozen=True, slots=True)
class ItemPublished:
    """An item was published to a node of an account (XEP-0060 §7.1); `is_ours`: by a component, not by a client."""

    account: Account
    node: str
    item_id: str
    payload: Element
    turn: Turn
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class ItemsRemoved:
    """Items of a node were retracted or purged, or went with it; not told: those that made room for newer ones."""

    account: Account
    node: str
    item_ids: Sequence[str]
    turn: Turn
    is_ours: bool = False
