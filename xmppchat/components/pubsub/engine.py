"""The engine: requests about nodes (XEP-0060) at whatever address, from its parts; who has which address is not its
business, only of which kind it is (:mod:`~xmppchat.components.pubsub.kinds`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from xmppchat.components.pubsub import items, nodes
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.factory import Factory
from xmppchat.components.pubsub.faults import no_such_node, node_required, unsupported
from xmppchat.components.pubsub.kinds import is_service
from xmppchat.components.pubsub.last_items import LastItems
from xmppchat.components.pubsub.nodes import NODES, Node
from xmppchat.components.pubsub.own_nodes import OwnNodes
from xmppchat.components.pubsub.ownership import Ownership
from xmppchat.components.pubsub.payloads import Payloads
from xmppchat.components.pubsub.portable import metadata
from xmppchat.components.pubsub.publishing import Publishing
from xmppchat.components.pubsub.room import Room
from xmppchat.components.pubsub.subscribing import Subscribing
from xmppchat.components.pubsub.views import Views
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest, Later
from xmppchat.core.kernel import Kernel
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest
from xmppchat.protocol.forms import Form, FormError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

Handler = Callable[[IqRequest, Element], Element | None]
#: How often items are read again that were replaced meanwhile.
_TRIES: Final = 3
#: What clients may ask for that is not there, with the name of the feature (§6.3.1, §6.4.3.2).
_MISSING: Final = {"options": "subscription-options", "default": "retrieve-default-sub"}


class Engine:
    """The parts put together."""

    def __init__(self, kernel: Kernel, views: Views) -> None:
        self._kernel = kernel
        self.payloads = Payloads(kernel.reader)
        self.broadcast = broadcast = Broadcast(kernel)
        self.last_items = last_items = LastItems(kernel, broadcast, self.payloads)
        room = Room(kernel)
        self.factory = factory = Factory(kernel, last_items, room)
        publishing = Publishing(kernel, broadcast, self.payloads, room, factory)
        self._ownership = ownership = Ownership(kernel, broadcast, last_items, room, factory)
        self._subscribing = subscribing = Subscribing(broadcast, last_items, room)
        self.own_nodes = OwnNodes(
            kernel, self.payloads, broadcast, room, factory, publishing, ownership, views
        )
        self._gets: dict[str, Handler] = {
            "subscriptions": subscribing.subscriptions, "affiliations": subscribing.affiliations,
        }
        self._sets: dict[str, Handler] = {
            "publish": publishing.publish, "retract": publishing.retract, "create": ownership.create,
            "subscribe": subscribing.subscribe, "unsubscribe": subscribing.unsubscribe,
        }
        self._owner_gets: dict[str, Handler] = {
            "configure": ownership.configuration, "default": ownership.default,
            "subscriptions": subscribing.subscribers, "affiliations": subscribing.affiliates,
        }
        self._owner_sets: dict[str, Handler] = {
            "configure": ownership.configure, "purge": ownership.purge, "delete": ownership.delete,
            "subscriptions": subscribing.change_subscribers, "affiliations": subscribing.change_affiliates,
        }

    # --- requests ----------------------------------------------------------------------------------------------------

    def get(self, request: IqRequest) -> Element | Later | None:
        """Items, or what the asker has to do with the nodes (§5.6, §5.7, §6.5)."""
        wanted = request.payload.find("items")
        return self._answer(self._gets, request) if wanted is None else self._retrieve(request, wanted)

    def set(self, request: IqRequest) -> Element | None:
        """Publish, retract, create, subscribe, unsubscribe."""
        return self._answer(self._sets, request)

    def owner_get(self, request: IqRequest) -> Element | None:
        """What an owner may look at (§8)."""
        return self._answer(self._owner_gets, request)

    def owner_set(self, request: IqRequest) -> Element | None:
        """What an owner may change (§8)."""
        return self._answer(self._owner_sets, request)

    def _answer(self, handlers: dict[str, Handler], request: IqRequest) -> Element | None:
        for element in request.payload.elements():
            handler = handlers.get(element.name)
            if handler is not None and element.namespace == request.payload.namespace:
                return handler(request, element)
        name = next((element.name for element in request.payload.elements()), "")
        if name in _MISSING:
            raise unsupported(_MISSING[name], "subscriptions have no options here")
        raise BadRequest("there is no such request (XEP-0060)")

    def _retrieve(self, request: IqRequest, wanted: Element) -> Later:
        account = request.account
        assert account is not None
        if not wanted.get("node"):
            raise node_required()
        node = account[NODES].get(wanted.get("node"))
        if node is None:
            raise no_such_node()
        refusal = self.broadcast.refusal(account, node, request.sender)
        if refusal is not None:
            raise refusal
        return Later(self._read(account, node, wanted, request.payload, items.select(node, wanted, request.payload)))

    async def _read(self, account: Account, node: Node, wanted: Element, pubsub: Element, page: items.Page) -> Element:
        for _ in range(_TRIES):
            await self._kernel.gate.committed(account.last_ticket)  # readers see committed rows only
            payloads = await self.payloads.read([item.number for item in page.items.values()])
            if len(payloads) == len(page.items) or account[NODES].get(node.name) is not node:
                break
            # Something was replaced while it was read: what there is now is as good an answer, an empty one is not.
            page = items.select(node, wanted, pubsub)
        return page.to_element(node, payloads)

    # --- answers to the question whether somebody may subscribe (§8.6) ------------------------------------------------

    def decide(self, account: Account, stanza: Stanza, turn: Turn) -> bool:
        """Do what an owner answers who was asked; whether `stanza` is such an answer."""
        element = stanza.find("x", NS.FORM)
        if element is None:
            return False
        try:
            form = Form.from_element(element)
            jid = JID.parse(form["pubsub#subscriber_jid"]) if form["pubsub#subscriber_jid"] else account.jid
        except (FormError, InvalidJID):
            return False
        if form.form_type != NS.PUBSUB_AUTHORIZATION or form.type not in ("submit", "cancel"):
            return False
        if form.type == "submit" and stanza.from_ is not None:
            is_allowed = form["pubsub#allow"] in ("1", "true")
            self._subscribing.decide(
                account, form["pubsub#node"], jid, turn, is_allowed=is_allowed, by=stanza.from_
            )
        return True

    # --- discovery (§5) ----------------------------------------------------------------------------------------------

    def listed(self, account: Account, who: JID) -> list[Element]:
        """The nodes that `who` may know of (§5.2; XEP-0163 §6.2)."""
        return [
            Element("item", NS.DISCO_ITEMS, {
                "jid": account.jid.bare, "node": node.name, "name": node.config.title or None,
            })
            for node in account[NODES].values() if self._may_know(account, node, who)
        ]

    def described(self, account: Account, request: IqRequest, node: str) -> Element | None:
        """What a node is (§5.3, §5.4), and the ids of its items (§5.5)."""
        found, query, who = account[NODES].get(node), request.payload, request.sender
        if found is None or not self._may_know(account, found, who):
            return None
        if query.namespace == NS.DISCO_ITEMS:
            may_read = self.broadcast.refusal(account, found, who) is None
            ids = [
                Element("item", NS.DISCO_ITEMS, {"jid": account.jid.bare, "name": name})
                for name in (found.items if may_read else ())
            ]
            return Element("query", NS.DISCO_ITEMS, {"node": node}, ids)
        identity = Element("identity", NS.DISCO_INFO, {"category": "pubsub", "type": "leaf"})
        feature = Element("feature", NS.DISCO_INFO, {"var": NS.PUBSUB})
        return Element("query", NS.DISCO_INFO, {"node": node}, [identity, feature, metadata(account, found)])

    def _may_know(self, account: Account, node: Node, who: JID) -> bool:
        """At a service who may ask to subscribe has to find the node."""
        return self.broadcast.refusal(account, node, who, to_subscribe=is_service(account)) is None

    # --- what ends ---------------------------------------------------------------------------------------------------

    def delete_node(self, account: Account, node: str, turn: Turn) -> None:
        """Delete a node that is there; who is to know is notified."""
        self._ownership.remove(account, account[NODES][node], turn)

    def end_subscriptions(self, account: Account, jid: JID, turn: Turn) -> None:
        """`jid` is gone: its subscriptions end, and nobody is told (§12.4)."""
        for node in account[NODES].values():
            if jid.full in node.subscriptions:
                nodes.set_entity(account, node, jid, turn, subscription=nodes.NONE)

    def forget(self, accounts: Iterable[Account], bare: str, turn: Turn) -> None:
        """`bare` is nothing to the nodes of `accounts` any more. A node at a service that had no other owner goes, too:
        nobody could ever configure or delete it.
        """
        for account in accounts:
            if account.parts.get(NODES):
                if is_service(account):
                    for node in [node for node in account[NODES].values() if node.owners == [bare]]:
                        self._ownership.remove(account, node, turn)
                nodes.forget(account, bare, turn)


__all__ = ["Engine"]
