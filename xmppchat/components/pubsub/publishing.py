"""Publishing and removing items (XEP-0060 §7): the checks, the change, the notification."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Final

from xmppchat.components.pubsub import access, config, nodes, notices
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.config import NodeConfig
from xmppchat.components.pubsub.factory import MAX_ID, Factory
from xmppchat.components.pubsub.faults import invalid_payload, no_such_node, node_required, unsupported, with_condition
from xmppchat.components.pubsub.kinds import is_service, kind_of
from xmppchat.components.pubsub.nodes import NODES, Item, Node, cost
from xmppchat.components.pubsub.payloads import Payloads
from xmppchat.components.pubsub.room import Room
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest
from xmppchat.core.kernel import Kernel
from xmppchat.core.turn import Turn
from xmppchat.protocol.element import Element, Serialised
from xmppchat.protocol.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    ItemNotFound,
    NotAcceptable,
)
from xmppchat.protocol.namespaces import NS

_TRUE: Final = frozenset({"true", "1"})


class Publishing:
    """Answers ``<publish/>`` and ``<retract/>``. `factory` makes nodes."""

    def __init__(
        self, kernel: Kernel, broadcast: Broadcast, payloads: Payloads, room: Room, factory: Factory
    ) -> None:
        self._kernel = kernel
        self._broadcast = broadcast
        self._payloads = payloads
        self._room = room
        self._bounds = room.bounds
        self._factory = factory

    # --- publish (§7.1) ----------------------------------------------------------------------------------------------

    def publish(self, request: IqRequest, publish: Element) -> Element:
        """An item for a node, which is made if it is not there and who asks may do that (§7.1.4)."""
        account = request.account
        assert account is not None
        items = publish.find_all("item")
        item_id = items[0].get("id") if items else ""
        self._check_shape(items, item_id)
        node, is_new = self._node(request, account, publish)
        has_item = self._has_item(node.config, items)
        payload = self._payload(node.config, items[0]) if has_item else None
        if payload is None:
            self._begin(account, node, request.turn, is_new=is_new)
            self._broadcast.notify(account, node, notices.published_nothing(node), request.turn)
            return _answer(node, "")
        item_id = item_id or self._kernel.ids.token()
        self.put(account, node, item_id, payload, request.sender.bare, request.turn, is_new=is_new)
        if not is_service(account):
            self._kernel.emit(events.ItemPublished(account, node.name, item_id, payload, request.turn))
        return _answer(node, item_id)

    def put(
        self, account: Account, node: Node, item_id: str, payload: Element, publisher: str, turn: Turn, *, is_new: bool
    ) -> None:
        """An item of `publisher` (a bare JID) for a node that is there, or `is_new`; who is to know is notified.

        Raises a stanza error at a limit; then nothing has changed.
        """
        xml = Serialised(payload.to_xml())
        item = Item(self._kernel.ids.sortable(), len(xml.encode()), publisher)
        self._check_size(node.config, item)
        excess = self._excess(account, node, item_id, item) if node.config.persist_items else []
        # Nothing has changed until here, so an error leaves nothing behind.
        self._begin(account, node, turn, is_new=is_new)
        for one in excess:
            nodes.drop_item(account, node, one, turn)
        if node.config.persist_items:
            if item_id in node.items:
                nodes.drop_item(account, node, item_id, turn)
            nodes.put_item(account, node, item_id, item, xml, turn)
            turn.effect(self._payloads.put, item.number, xml)
        self._broadcast.notify(account, node, notices.published(node, item_id, item, xml), turn)

    def _begin(self, account: Account, node: Node, turn: Turn, *, is_new: bool) -> None:
        if is_new:
            self._factory.add(account, node, turn)

    def _node(self, request: IqRequest, account: Account, publish: Element) -> tuple[Node, bool]:
        """The node to publish to, if it may be published to; or one that is not there yet, and True."""
        name = publish.get("node")
        if not name:
            raise node_required()
        options = request.payload.find("publish-options")
        kind = kind_of(account)
        wanted = {} if options is None else config.preconditions(options, self._bounds(), kind.fields)
        node = account[NODES].get(name)
        if node is None:
            try:
                creator = self._factory.creator(request)
            except Forbidden:
                if is_service(account):
                    raise no_such_node() from None  # §7.1.3.3
                raise
            return self._factory.new(account, name, replace(kind.default, **wanted), creator), True
        if not access.may_publish(account.jid, node, request.sender.bare):
            raise Forbidden("you may not publish to this node")  # §7.1.3.1
        config.require(node.config, wanted, self._bounds())
        return node, False

    def _check_shape(self, items: list[Element], item_id: str) -> None:
        if len(items) > 1:
            raise BadRequest("one <item/> at a time (XEP-0060 §7.1.1)")
        if len(item_id.encode()) > MAX_ID:
            raise NotAcceptable(f"the id of an item has at most {MAX_ID} bytes")

    def _has_item(self, node_config: NodeConfig, items: list[Element]) -> bool:
        """§4.3, §7.1.3.7: whether there is an item, where there has to be one, and only there."""
        is_bare = not node_config.persist_items and not node_config.deliver_payloads
        if is_bare and items:
            text = "the node neither keeps items nor delivers them; publish without one"
            raise with_condition(BadRequest(text), "item-forbidden")
        if not is_bare and not items:
            raise with_condition(BadRequest("what? Add an <item/>"), "item-required")
        return bool(items)

    def _payload(self, node_config: NodeConfig, item: Element) -> Element:
        """§7.1.3.6: exactly one element, of the namespace that the node is for."""
        found = list(item.elements())
        if not found:
            raise with_condition(BadRequest("the <item/> is empty"), "payload-required")
        if len(found) > 1 or not found[0].namespace or item.text.strip():
            raise invalid_payload("an <item/> has exactly one element, in a namespace of its own")
        if node_config.type and node_config.type != found[0].namespace:
            raise invalid_payload(f"items of this node are of the namespace {node_config.type}")
        return found[0]

    def _check_size(self, node_config: NodeConfig, item: Item) -> None:
        bounds = self._bounds()
        most = config.payload_bound(node_config, bounds)
        if item.size <= most:
            return
        if most == bounds.payload_bytes:
            self._kernel.limit_counters.fired("pubsub_payload_bytes")
        raise with_condition(NotAcceptable(f"a payload has at most {most} bytes here"), "payload-too-big")  # §7.1.3.5

    def _excess(self, account: Account, node: Node, item_id: str, item: Item) -> list[str]:
        """§7.1.2.5: the oldest items, which have to go; or the new one is refused."""
        kernel = self._kernel
        most = config.items_kept(node.config, self._bounds())
        over = len(node.items) + (item_id not in node.items) - most
        excess = list(islice((one for one in node.items if one != item_id), max(0, over)))
        if excess and most == kernel.limits.pubsub_items:
            kernel.limit_counters.fired("pubsub_items")
        if excess and node.config.publish_node_full == "reject":
            raise with_condition(Conflict(f"the node is full: {most} items; remove one first"), "node-full")
        freed = sum(cost(one, node.items[one]) for one in (*excess, item_id) if one in node.items)
        self._room.need_bytes(account, cost(item_id, item), freed)
        return excess

    # --- retract (§7.2) ----------------------------------------------------------------------------------------------

    def retract(self, request: IqRequest, retract: Element) -> None:
        """Remove an item; who is to know is told, if the request says so or the node is configured so (§7.2.2.1)."""
        account = request.account
        assert account is not None
        name, items = retract.get("node"), retract.find_all("item")
        if not name:
            raise node_required()
        if len(items) != 1 or not items[0].get("id"):
            raise with_condition(BadRequest("which item? Add one <item/> with its 'id'"), "item-required")
        node = account[NODES].get(name)
        if node is None:
            raise no_such_node()
        item_id = items[0].get("id")
        item = node.items.get(item_id)
        publisher = "" if item is None else item.publisher
        if not access.may_retract(account.jid, node, request.sender.bare, publisher):
            raise Forbidden("you may not remove this item")  # §7.2.3.1; nor know whether it is there
        if not node.config.persist_items:
            raise unsupported("persistent-items", "the node keeps no items")
        if item is None:
            raise ItemNotFound("there is no such item at the node")
        self.remove(account, node, item_id, request.turn, is_told=retract.get("notify") in _TRUE)
        if not is_service(account):
            self._kernel.emit(events.ItemsRemoved(account, name, (item_id,), request.turn))

    def remove(self, account: Account, node: Node, item_id: str, turn: Turn, *, is_told: bool = False) -> None:
        """An item that is there goes; with `is_told` who is to know is notified, however the node is configured."""
        nodes.drop_item(account, node, item_id, turn)
        if node.config.notify_retract or is_told:
            self._broadcast.notify(account, node, notices.retracted(node, item_id), turn)


def _answer(node: Node, item_id: str) -> Element:
    """§7.1.2: with the id, which the service may have made."""
    children = (Element("item", NS.PUBSUB, {"id": item_id}),) if item_id else ()
    publish = Element("publish", NS.PUBSUB, {"node": node.name}, children)
    return Element("pubsub", NS.PUBSUB, None, (publish,))

