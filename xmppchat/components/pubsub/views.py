"""Nodes that are another form of what is kept elsewhere (`NodeService.show`): for their owners, who read and publish.

Nothing is stored at such a node. What clients ask of it otherwise (configure, retract, delete) is answered as at a node
that is not there: the old form of a list is replaced by another list only.
"""

from __future__ import annotations

from typing import Final

from xmppchat.components.pubsub.faults import invalid_payload, no_such_node, with_condition
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest, Later
from xmppchat.core.services import ContentView
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest
from xmppchat.protocol.namespaces import NS

#: The id of the one item (XEP-0048 §3, XEP-0223 §3).
CURRENT: Final = "current"


class Views:
    """Answers for them."""

    def __init__(self) -> None:
        self._views: dict[str, ContentView] = {}

    def add(self, node: str, view: ContentView) -> None:
        """The node is `view`."""
        self._views[node] = view

    def answer(self, request: IqRequest, element: Element) -> Later | None:
        """The answer to ``<items/>`` or ``<publish/>``; None where the node is no view, or not the asker's."""
        view = self._views.get(element.get("node"))
        account = request.account
        if view is None or account is None or not request.is_owner:
            return None
        if element.name == "items":
            return Later(self._read(account, view, element), is_in_order=True)
        return Later(self._write(account, view, element, _content(element), request), is_in_order=True)

    async def _read(self, account: Account, view: ContentView, asked: Element) -> Element:
        content = await view.read(account)
        if content is None:
            raise no_such_node()
        return _pubsub(asked, Element("item", NS.PUBSUB, {"id": CURRENT}, (content,)))

    async def _write(
        self, account: Account, view: ContentView, asked: Element, content: Element, request: IqRequest
    ) -> Element:
        await view.write(account, content, request.turn)
        return _pubsub(asked, Element("item", NS.PUBSUB, {"id": CURRENT}))


def _content(publish: Element) -> Element:
    """The payload; its id counts for nothing, and neither do publish-options: it is the owner's alone."""
    items = publish.find_all("item")
    found = [element for item in items for element in item.elements()]
    if not items:
        raise with_condition(BadRequest("what? Add an <item/>"), "item-required")
    if len(items) > 1 or len(found) != 1 or not found[0].namespace:
        raise invalid_payload("this node has one <item/> with exactly one element, in a namespace of its own")
    return found[0]


def _pubsub(asked: Element, item: Element) -> Element:
    shown = Element(asked.name, NS.PUBSUB, {"node": asked.get("node")}, (item,))
    return Element("pubsub", NS.PUBSUB, None, (shown,))
