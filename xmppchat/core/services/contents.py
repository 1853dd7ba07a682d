"""What accounts keep: archives of messages, nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xmppchat.protocol.element import Element
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.turn import Turn


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
class NodeDescription:
    """A node of an account (XEP-0163): the configuration by the names of XEP-0060 §17.4.4, as far as it is asked for
    here, and when each item was published (ms since 1970), by id, the oldest first. `max_items` is 0 for "max"."""

    name: str
    access_model: str
    persist_items: bool
    max_items: int
    items: Mapping[str, int]


class NodeService(Protocol):
    """Nodes of accounts (XEP-0163), for other components: what they do is done in the owner's name.

    They are told of publications by :class:`~xmppchat.core.events.ItemPublished` and
    :class:`~xmppchat.core.events.ItemsRemoved`.
    """

    def describe(self, account: Account) -> Sequence[NodeDescription]:
        """All nodes."""

    def describe_node(self, account: Account, node: str) -> NodeDescription | None:
        """One node, None where there is none of this name."""

    async def read(self, account: Account, node: str, ids: Collection[str] | None = None) -> Mapping[str, Element]:
        """Payloads by the ids of their items, the oldest first: all, or those of `ids` that are there."""

    def publish(
        self, account: Account, node: str, item_id: str, payload: Element, turn: Turn,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """Publish `payload`; a node that is not there is made with `options` (by the names of XEP-0060 §17.4.4), one
        that is there stays as its owner configured it. Who is to know is notified. Raises a stanza error at a limit.
        """

    def retract(self, account: Account, node: str, item_id: str, turn: Turn) -> None:
        """Remove an item, if it is there, and tell of it."""

    def delete_node(self, account: Account, node: str, turn: Turn) -> None:
        """Delete a node, if it is there, and tell of it."""


__all__ = [
    "ArchiveService", "ArchivedMessage", "Conversation", "NodeDescription", "NodeService",
]  # fmt: skip
