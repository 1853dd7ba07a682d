"""Nodes of accounts, for a bot's device: it publishes its own and reads those of others (XEP-0060, XEP-0163)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xmppchat.components.bots.session import BotSession, Refused
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field, Form, form_type
from xmppchat.protocol.namespaces import NS

#: XEP-0384 §5.3: everybody may read, and it stays.
_OPEN: Final = {"pubsub#access_model": "open", "pubsub#persist_items": "true"}


class Pep:
    """Requests of `session` about nodes. All of them raise :class:`Refused`."""

    def __init__(self, session: BotSession) -> None:
        self._session = session
        self._own = session.session.account.jid

    async def publish(self, node: str, item_id: str, payload: Element, *, max_items: str) -> None:
        """Publish to a node of its own that everybody may read; it is made so if it is not."""
        options = {**_OPEN, "pubsub#max_items": max_items}
        publish = _pubsub(
            Element("publish", NS.PUBSUB, {"node": node}, (Element("item", NS.PUBSUB, {"id": item_id}, (payload,)),)),
            Element("publish-options", NS.PUBSUB, None, (_form(NS.PUBSUB_OPTIONS, options),)),
        )
        try:
            await self._session.request(self._own, "set", publish)
        except Refused as refused:
            if "precondition-not-met" not in refused.conditions:
                raise
            # Somebody configured it otherwise: XEP-0384 §5.3.2 has it configured anew.
            form = _form(NS.PUBSUB_NODE_CONFIG, options)
            configure = Element("configure", NS.PUBSUB_OWNER, {"node": node}, (form,))
            await self._session.request(self._own, "set", Element("pubsub", NS.PUBSUB_OWNER, None, (configure,)))
            await self._session.request(self._own, "set", publish)

    async def item(self, owner: JID, node: str, item_id: str = "") -> Element | None:
        """The payload of an item, or of the last one; None where there is none."""
        item = (Element("item", NS.PUBSUB, {"id": item_id}),) if item_id else ()
        # The newest where no item is named: a list may have been published under any id.
        items = Element("items", NS.PUBSUB, {"node": node, "max_items": None if item_id else "1"}, item)
        try:
            answer = await self._session.request(owner, "get", _pubsub(items))
        except Refused as refused:
            if "item-not-found" in refused.conditions:
                return None
            raise
        pubsub = answer.find("pubsub", NS.PUBSUB)
        found = pubsub.find("items") if pubsub is not None else None
        return next((payload for one in found.find_all("item") for payload in one.elements()), None) if found else None

    async def retract(self, node: str, item_id: str) -> None:
        """Delete an item of its own."""
        item = Element("item", NS.PUBSUB, {"id": item_id})
        await self._ignoring_what_is_gone(NS.PUBSUB, Element("retract", NS.PUBSUB, {"node": node}, (item,)))

    async def delete(self, node: str) -> None:
        """Delete a node of its own."""
        await self._ignoring_what_is_gone(NS.PUBSUB_OWNER, Element("delete", NS.PUBSUB_OWNER, {"node": node}))

    async def _ignoring_what_is_gone(self, namespace: str, child: Element) -> None:
        try:
            await self._session.request(self._own, "set", Element("pubsub", namespace, None, (child,)))
        except Refused as refused:
            if "item-not-found" not in refused.conditions:
                raise


def _pubsub(*children: Element) -> Element:
    return Element("pubsub", NS.PUBSUB, None, children)


def _form(kind: str, values: Mapping[str, str]) -> Element:
    fields = [Field(name, values=(value,)) for name, value in values.items()]
    return Form("submit", (form_type(kind), *fields)).to_element()
