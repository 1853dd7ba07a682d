"""Notifications as XML (XEP-0060 §7.1.2, §7.2.2, §8.2.5.3, §8.4.2, §8.5.2, §13.14; XEP-0163 §4.3). Pure."""

from __future__ import annotations

from collections.abc import Sequence

from xmppchat.components.pubsub import config
from xmppchat.components.pubsub.config import Fields, NodeConfig
from xmppchat.components.pubsub.nodes import NONE, Item, Node
from xmppchat.core.runtime import time_of
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, Serialised
from xmppchat.protocol.forms import Field, Form, boolean, form_type
from xmppchat.protocol.moments import timestamp
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


def item_element(
    namespace: str, node_config: NodeConfig, item_id: str, item: Item, payload: Serialised | None
) -> Element:
    """``<item/>``. Who published it is told everywhere or nowhere (§7.1.2.3)."""
    publisher = item.publisher if node_config.itemreply == "publisher" else None
    children = () if payload is None else (payload,)
    return Element("item", namespace, {"id": item_id, "publisher": publisher}, children)


def published(node: Node, item_id: str, item: Item, payload: Serialised) -> Element:
    """An item was published (§7.1.2.1, §7.1.2.2)."""
    shown = payload if node.config.deliver_payloads else None
    return _items(node, [item_element(NS.PUBSUB_EVENT, node.config, item_id, item, shown)])


def published_nothing(node: Node) -> Element:
    """A node that keeps nothing and delivers no payloads has news (§4.3)."""
    return _items(node, [])


def retracted(node: Node, item_id: str) -> Element:
    """An item was removed (§7.2.2.1)."""
    return _items(node, [Element("retract", NS.PUBSUB_EVENT, {"id": item_id})])


def purged(node: Node) -> Element:
    """All items were removed (§8.5.2)."""
    return Element("purge", NS.PUBSUB_EVENT, {"node": node.name})


def deleted(node: Node) -> Element:
    """The node is no more (§8.4.2)."""
    return Element("delete", NS.PUBSUB_EVENT, {"node": node.name})


def configured(node: Node, fields: Fields) -> Element:
    """It is configured otherwise (§8.2.5.3)."""
    form = (config.form(node.config, "result", fields),) if node.config.deliver_payloads else ()
    return Element("configuration", NS.PUBSUB_EVENT, {"node": node.name}, form)


def subscription(node: Node, jid: JID, state: str, namespace: str = NS.PUBSUB_EVENT) -> Element:
    """``<subscription/>`` (§5.6, §6.1.2, §13.14)."""
    return Element("subscription", namespace, {"node": node.name, "jid": jid.full, "subscription": state or NONE})


def message(owner: JID, change: Element, kind: str, id: str, item: Item | None = None) -> Stanza:
    """The message with `change`, without a recipient. What was published earlier (`item`) is stamped (§6.1.7)."""
    children: list[Element] = [Element("event", NS.PUBSUB_EVENT, None, (change,))]
    if item is not None:
        stamp = timestamp(time_of(item.number))
        children.append(Element("delay", NS.DELAY, {"from": owner.bare, "stamp": stamp}))
    return Stanza("message", from_=owner, id=id, type=kind, children=children)


def authorization_form(node: Node, subscriber: JID) -> Element:
    """The question whether `subscriber` may subscribe (§8.6)."""
    fields = (
        form_type(NS.PUBSUB_AUTHORIZATION),
        Field("pubsub#node", "text-single", (node.name,), "Node"),
        Field("pubsub#subscriber_jid", "jid-single", (subscriber.full,), "Who wants to subscribe"),
        Field("pubsub#allow", "boolean", boolean(False), "Whether to allow it"),
    )
    return Form("form", fields, title="A request to subscribe").to_element()


def _items(node: Node, children: Sequence[Element]) -> Element:
    return Element("items", NS.PUBSUB_EVENT, {"node": node.name}, children)
