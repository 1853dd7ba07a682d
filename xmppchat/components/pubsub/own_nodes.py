"""What other components do with the nodes of accounts, in the name of their owners (`NodeService`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from xmppchat.components.pubsub import config, notices
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.factory import Factory
from xmppchat.components.pubsub.nodes import NODES, Item, Node
from xmppchat.components.pubsub.ownership import Ownership
from xmppchat.components.pubsub.payloads import Payloads
from xmppchat.components.pubsub.publishing import Publishing
from xmppchat.components.pubsub.room import Room
from xmppchat.components.pubsub.views import CURRENT, Views
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.runtime import time_of
from xmppchat.core.services import ContentView, LastItem, NodeDescription
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, Serialised
from xmppchat.protocol.errors import Conflict
from xmppchat.protocol.xmlreader import parse_stored

#: How often a node is read again that was changed meanwhile.
_TRIES: Final = 3
_BUSY: Final = "the node is being changed all the time; look again and retry"


class OwnNodes:
    """Implements :class:`~xmppchat.core.services.NodeService`, which says what each does."""

    def __init__(
        self, kernel: Kernel, payloads: Payloads, broadcast: Broadcast, room: Room, factory: Factory,
        publishing: Publishing, ownership: Ownership, views: Views,
    ) -> None:
        self._kernel = kernel
        self._payloads = payloads
        self._broadcast = broadcast
        self._room = room
        self._factory = factory
        self._publishing = publishing
        self._ownership = ownership
        self._views = views

    def describe(self, account: Account) -> Sequence[NodeDescription]:
        """See the protocol."""
        return [_described(node) for node in account[NODES].values()]

    def describe_node(self, account: Account, node: str) -> NodeDescription | None:
        """See the protocol."""
        found = account[NODES].get(node)
        return None if found is None else _described(found)

    async def read(self, account: Account, node: str, ids: Collection[str] | None = None) -> Mapping[str, Element]:
        """See the protocol."""
        for _ in range(_TRIES):
            items = _chosen(account, node, ids)
            payloads = await self._read(account, list(items.values()))
            if _chosen(account, node, ids) == items:
                return {id: payloads[item.number] for id, item in items.items() if item.number in payloads}
        raise Conflict(_BUSY)

    async def read_last(self, account: Account, node: str) -> LastItem | None:
        """See the protocol."""
        for _ in range(_TRIES):
            last = _last(account, node)
            payloads = {} if last is None else await self._read(account, [last[1]])
            if _last(account, node) == last:
                if last is None:
                    return None
                item_id, item = last
                return LastItem(item_id, time_of(item.number), payloads.get(item.number))
        raise Conflict(_BUSY)

    async def _read(self, account: Account, items: Sequence[Item]) -> Mapping[int, Element]:
        await self._kernel.gate.committed(account.last_ticket)  # readers see committed rows only
        payloads = await self._payloads.read([item.number for item in items])
        return {number: parse_stored(payload) for number, payload in payloads.items()}

    def publish(
        self, account: Account, node: str, item_id: str, payload: Element, turn: Turn,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """See the protocol."""
        found = account[NODES].get(node)
        wanted = found or self._factory.new(account, node, config.of_options(options or {}, self._room.bounds()))
        self._publishing.put(account, wanted, item_id, payload, account.jid.bare, turn, is_new=found is None)
        self._kernel.emit(events.ItemPublished(account, node, item_id, payload, turn, is_ours=True))

    def retract(self, account: Account, node: str, item_id: str, turn: Turn) -> None:
        """See the protocol."""
        found = account[NODES].get(node)
        if found is not None and item_id in found.items:
            self._publishing.remove(account, found, item_id, turn)
            self._kernel.emit(events.ItemsRemoved(account, node, (item_id,), turn, is_ours=True))

    def delete_node(self, account: Account, node: str, turn: Turn) -> None:
        """See the protocol."""
        found = account[NODES].get(node)
        if found is not None:
            removed = tuple(found.items)
            self._ownership.remove(account, found, turn)
            self._kernel.emit(events.ItemsRemoved(account, node, removed, turn, is_ours=True))

    def configure(self, account: Account, node: str, options: Mapping[str, str], turn: Turn) -> None:
        """See the protocol."""
        found = account[NODES].get(node)
        if found is not None:
            changed = config.of_options(options, self._room.bounds(), found.config)
            if changed != found.config:
                self._ownership.change(account, found, changed, turn)

    def may_read(self, account: Account, node: str, who: JID) -> bool:
        """See the protocol."""
        found = account[NODES].get(node)
        return found is not None and self._broadcast.refusal(account, found, who.to_bare()) is None

    # --- views -------------------------------------------------------------------------------------------------------

    def show(self, node: str, view: ContentView) -> None:
        """See the protocol."""
        self._views.add(node, view)

    def tell_of_view(self, account: Account, node: str, content: Element, turn: Turn) -> None:
        """See the protocol."""
        shown = Node(node, replace(config.DEFAULT, access_model="whitelist"), 0)
        xml = Serialised(content.to_xml())
        item = Item(self._kernel.ids.sortable(), len(xml.encode()), account.jid.bare)
        self._broadcast.notify(account, shown, notices.published(shown, CURRENT, item, xml), turn)

    def is_awaited(self, account: Account, node: str) -> bool:
        """See the protocol."""
        return next(self._broadcast.interested(account.jid.bare, node), None) is not None


def _chosen(account: Account, node: str, ids: Collection[str] | None) -> dict[str, Item]:
    found = account[NODES].get(node)
    items = {} if found is None else found.items
    return {id: item for id, item in items.items() if ids is None or id in ids}


def _last(account: Account, node: str) -> tuple[str, Item] | None:
    found = account[NODES].get(node)
    return None if found is None else found.last


def _described(node: Node) -> NodeDescription:
    items = {item_id: time_of(item.number) for item_id, item in node.items.items()}
    config, size = node.config, sum(item.size for item in node.items.values())
    return NodeDescription(node.name, config.access_model, config.persist_items, config.max_items, items, size)
