"""Retrieving items (XEP-0060 §6.5): all, the newest, those with some ids, or page by page (XEP-0059).

Which items there are is known in memory, so a page is cut there; the database is asked for payloads by number alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xmppchat.components.pubsub.faults import unsupported
from xmppchat.components.pubsub.nodes import Item, Node
from xmppchat.components.pubsub.notices import item_element
from xmppchat.protocol.element import Element, Serialised
from xmppchat.protocol.errors import BadRequest, ItemNotFound
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.rsm import PageRequest, page_element

#: Bytes of payloads in one answer, and ids that may be asked for at once: the rest is asked for with another page.
PAGE_BYTES: Final = 1 << 20
MAX_IDS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Page:
    """Items by id in the order in which they are sent. `about` is the ``<set/>`` of the answer, None where all that
    was asked for is there and nobody asked for pages."""

    items: Mapping[str, Item]
    about: Element | None = None

    def to_element(self, node: Node, payloads: Mapping[int, Serialised]) -> Element:
        """``<pubsub/>`` with what there is: a payload that is gone meanwhile is left out."""
        found = [
            item_element(NS.PUBSUB, node.config, item_id, item, payloads[item.number])
            for item_id, item in self.items.items() if item.number in payloads
        ]
        items = Element("items", NS.PUBSUB, {"node": node.name}, found)
        return Element("pubsub", NS.PUBSUB, None, (items,) if self.about is None else (items, self.about))


def select(node: Node, request: Element, pubsub: Element) -> Page:
    """What ``<items/>`` asks for (`request`, in `pubsub`, where a ``<set/>`` may stand beside it).

    Raises :class:`ItemNotFound` for a page next to an item that is not there (XEP-0059 §2.2, §2.4).
    """
    if not node.config.persist_items:
        raise unsupported("persistent-items", "the node keeps no items")  # §6.5.9.4
    wanted = request.find_all("item")
    if wanted:
        return Page(_by_ids(node, wanted))
    page = PageRequest.find(pubsub)
    if page == PageRequest():
        page = PageRequest.find(request)  # where some clients put it
    ids = list(node.items)
    newest = _newest(request.attributes.get("max_items"))
    if page != PageRequest():
        return _page(node, ids, page)
    return _shortened(node, ids if newest is None else ids[max(0, len(ids) - newest) :])


def _by_ids(node: Node, wanted: Sequence[Element]) -> dict[str, Item]:
    """§6.5.6, §6.5.8: those of them that are there."""
    if len(wanted) > MAX_IDS or not all(item.get("id") for item in wanted):
        raise BadRequest(f"ask for at most {MAX_IDS} items, each by its 'id'")
    found: dict[str, Item] = {}
    size = 0
    for item_id in dict.fromkeys(item.get("id") for item in wanted):
        item = node.items.get(item_id)
        if item is not None:
            size += item.size
            if found and size > PAGE_BYTES:
                raise BadRequest("these items are too large for one answer; ask for fewer at once")
            found[item_id] = item
    return found


def _newest(text: str | None) -> int | None:
    """§6.5.7: how many of the newest are wanted."""
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise BadRequest("max_items is a number, 1 or more")
    return int(text)


def _shortened(node: Node, ids: Sequence[str]) -> Page:
    """All of them, or, where that would be too much, the newest (§6.5.4)."""
    fitting = _fitting(node, ids[::-1])[::-1]
    if len(fitting) == len(ids):
        return Page({item_id: node.items[item_id] for item_id in ids})
    return _described(node, list(node.items), fitting)


def _page(node: Node, ids: Sequence[str], page: PageRequest) -> Page:
    if page.maximum == 0:
        return Page({}, page_element(count=len(ids)))
    low, high = 0, len(ids)
    if page.after is not None:
        low = _place(node, ids, page.after) + 1
    if page.before:
        high = _place(node, ids, page.before)
    size = page.size(default=len(ids), most=len(ids))
    part = ids[low:high]
    if page.is_backwards:
        return _described(node, ids, _fitting(node, part[max(0, len(part) - size) :][::-1])[::-1])
    return _described(node, ids, _fitting(node, part[:size]))


def _place(node: Node, ids: Sequence[str], item_id: str) -> int:
    if item_id not in node.items:
        raise ItemNotFound("there is no such item at the node")
    return ids.index(item_id)


def _fitting(node: Node, ids: Sequence[str]) -> Sequence[str]:
    """The first of `ids` that fit into an answer, one at least."""
    size = 0
    for number, item_id in enumerate(ids):
        size += node.items[item_id].size
        if number and size > PAGE_BYTES:
            return ids[:number]
    return ids


def _described(node: Node, ids: Sequence[str], part: Sequence[str]) -> Page:
    if not part:
        return Page({}, page_element(count=len(ids)))
    about = page_element(part[0], part[-1], count=len(ids), index=ids.index(part[0]))
    return Page({item_id: node.items[item_id] for item_id in part}, about)
