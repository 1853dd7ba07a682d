"""What accounts keep: archives of messages, nodes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from xmppchat.jid import JID
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
    here, and when each item was published (ms since 1970), by id, the oldest first. `max_items` is 0 for "max", `size`
    the bytes of all items."""

    name: str
    access_model: str
    persist_items: bool
    max_items: int
    items: Mapping[str, int]
    size: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class LastItem:
    """The item of a node that was published last, `at` ms since 1970; `payload` is None where it is damaged."""

    id: str
    at: int
    payload: Element | None


class ContentView(Protocol):
    """Another form of what is kept elsewhere, which a component makes: clients read and write it as if it were kept.

    Both run in the mailbox of the account, so that who reads sees what was written before.
    """

    async def read(self, account: Account) -> Element | None:
        """What there is, None for nothing."""

    async def write(self, account: Account, content: Element, turn: Turn) -> None:
        """Put `content` in the place of what there is. Raises a stanza error where that cannot be."""


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
        """Payloads by the ids of their items, the oldest first: all, or those of `ids` that are there; damaged ones are
        left out.

        They are those of the moment at which this returns, so who changes the node then, before waiting for anything
        else, overwrites nobody. Raises :class:`Conflict` where others change it all the time.
        """

    async def read_last(self, account: Account, node: str) -> LastItem | None:
        """The item that was published last, in the same way; None where there is no item."""

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

    def configure(self, account: Account, node: str, options: Mapping[str, str], turn: Turn) -> None:
        """Configure a node, if it is there, by the names of XEP-0060 §17.4.4."""

    def may_read(self, account: Account, node: str, who: JID) -> bool:
        """Whether `who` may retrieve items of a node that is there."""

    def show(self, node: str, view: ContentView) -> None:
        """The node is, for the owners of accounts, `view`: one item, "current"."""

    def tell_of_view(self, account: Account, node: str, content: Element, turn: Turn) -> None:
        """Notify the clients of `account` that ask for a view that it is `content` now."""

    def is_awaited(self, account: Account, node: str) -> bool:
        """Whether a client of `account` that is there asks for notifications of a node."""


class PrivateXmlService(Protocol):
    """Private XML (XEP-0049), for components that show there what is kept elsewhere."""

    def show(self, namespace: str, name: str, view: ContentView) -> None:
        """The element is `view` for clients; what is stored under its name is the component's."""

    def has(self, account: Account, namespace: str, name: str) -> bool:
        """Whether an element is stored."""

    async def read(self, account: Account, namespace: str, name: str) -> Element | None:
        """The element that is stored."""

    def put(self, account: Account, element: Element, turn: Turn) -> None:
        """Store an element in the place of the one of its name; an empty one takes that away. Raises a stanza error at
        a limit."""


class ChatSettingsService(Protocol):
    """What accounts want to be notified of, chat by chat (XEP-0492)."""

    def is_muted(self, account: Account, stanza: Stanza) -> bool:
        """Whether `account` does not want to be notified of a message that came for it."""


__all__ = [
    "ArchiveService", "ArchivedMessage", "ChatSettingsService", "ContentView", "Conversation", "LastItem",
    "NodeDescription", "NodeService", "PrivateXmlService",
]  # fmt: skip
