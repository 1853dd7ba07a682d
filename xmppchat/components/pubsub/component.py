"""The component: which request is whose, what disco shows, and what happens around it to accounts and sessions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from xmppchat.components.pubsub import access, items, nodes
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.factory import Factory
from xmppchat.components.pubsub.faults import no_such_node, node_required, unsupported
from xmppchat.components.pubsub.last_items import LastItems
from xmppchat.components.pubsub.nodes import NODES, PENDING, Node
from xmppchat.components.pubsub.own_nodes import OwnNodes
from xmppchat.components.pubsub.ownership import Ownership
from xmppchat.components.pubsub.payloads import Payloads
from xmppchat.components.pubsub.portable import exported, metadata
from xmppchat.components.pubsub.publishing import Publishing
from xmppchat.components.pubsub.subscribing import Subscribing
from xmppchat.components.pubsub.views import Views
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import (
    ACCOUNT,
    OUTBOUND,
    PARTIAL,
    Component,
    ComponentConfig,
    Feature,
    Identity,
    IqRequest,
    Later,
    Stage,
    Who,
    Xep,
    iq_get,
    iq_set,
    on,
    stage,
)
from xmppchat.core.pipeline import PASS, Discard, Passage
from xmppchat.core.services import BlockingService, CapsService, NodeService, RosterService
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest
from xmppchat.protocol.forms import Form, FormError
from xmppchat.protocol.namespaces import NS

#: What of XEP-0060 there is, by the names of its §11. "access-presence" says what the default is.
FEATURES: Final = (
    "access-presence", "auto-create", "auto-subscribe", "config-node", "config-node-max", "create-and-configure",
    "create-nodes", "delete-items", "delete-nodes", "filtered-notifications", "instant-nodes", "item-ids",
    "last-published", "manage-subscriptions", "member-affiliation", "meta-data", "modify-affiliations", "multi-items",
    "outcast-affiliation", "persistent-items", "presence-subscribe", "publish", "publish-node-full",
    "publish-only-affiliation", "publish-options", "publisher-affiliation", "pubsub-on-a-jid", "purge-nodes",
    "retract-items", "retrieve-affiliations", "retrieve-default", "retrieve-items", "retrieve-subscriptions", "rsm",
    "subscribe", "subscription-notifications",
)  # fmt: skip

Handler = Callable[[IqRequest, Element], Element | None]
#: How often items are read again that were replaced meanwhile.
_TRIES: Final = 3
#: What clients may ask for that is not there, with the name of the feature (§6.3.1, §6.4.3.2).
_MISSING: Final = {"options": "subscription-options", "default": "retrieve-default-sub"}


class Pubsub(Component[ComponentConfig]):
    """Every account is a pubsub service (XEP-0163 §2.1)."""

    name = "pubsub"
    implements = (
        Xep(60, "1.30.0", PARTIAL, note="at the addresses of accounts; subscriptions have no options"),
        Xep(163, "1.2.2", note="the publishing resource is not told"), Xep(222, "1.0"), Xep(223, "1.1.1"),
    )
    features = (
        Feature(NS.PUBSUB, at=ACCOUNT), *(Feature(f"{NS.PUBSUB}#{name}", at=ACCOUNT) for name in FEATURES),
    )  # fmt: skip
    identities = (Identity("pubsub", "pep", at=ACCOUNT),)
    provides = (NodeService,)
    requires = (BlockingService, CapsService, RosterService)
    account_parts = (NODES,)

    def setup(self) -> None:
        """Put the parts together."""
        kernel = self.kernel
        self._payloads = Payloads(kernel.reader)
        self._broadcast = broadcast = Broadcast(kernel)
        self._last_items = last_items = LastItems(kernel, broadcast, self._payloads)
        factory = Factory(kernel, last_items)
        publishing = Publishing(kernel, broadcast, self._payloads, factory)
        ownership = Ownership(kernel, broadcast, last_items, factory)
        self._subscribing = subscribing = Subscribing(kernel, broadcast, last_items)
        self._views = Views()
        own_nodes: NodeService = OwnNodes(kernel, self._payloads, broadcast, publishing, ownership, self._views)
        kernel.services.provide(NodeService, own_nodes)
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

    async def start(self) -> None:
        """Find out who has nodes; items that are published from now on are newer than those there are."""
        await self._last_items.start()
        for row in await self.kernel.reader.fetch(nodes.NEWEST):
            self.kernel.ids.not_below(row.id)

    # --- requests ----------------------------------------------------------------------------------------------------

    @iq_get(NS.PUBSUB, "pubsub", at=ACCOUNT, who=Who.ANYONE)
    def get(self, request: IqRequest) -> Element | Later | None:
        """Items, or what the asker has to do with the nodes (§5.6, §5.7, §6.5)."""
        wanted = request.payload.find("items")
        if wanted is None:
            return self._answer(self._gets, request)
        return self._views.answer(request, wanted) or self._retrieve(request, wanted)

    @iq_set(NS.PUBSUB, "pubsub", at=ACCOUNT, who=Who.ANYONE)
    def set(self, request: IqRequest) -> Element | Later | None:
        """Publish, retract, create, subscribe, unsubscribe."""
        publish = request.payload.find("publish")
        shown = None if publish is None else self._views.answer(request, publish)
        return shown or self._answer(self._sets, request)

    @iq_get(NS.PUBSUB_OWNER, "pubsub", at=ACCOUNT, who=Who.ANYONE)
    def owner_get(self, request: IqRequest) -> Element | None:
        """What an owner may look at (§8)."""
        return self._answer(self._owner_gets, request)

    @iq_set(NS.PUBSUB_OWNER, "pubsub", at=ACCOUNT, who=Who.ANYONE)
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
        refusal = self._broadcast.refusal(account, node, request.sender)
        if refusal is not None:
            raise refusal
        return Later(self._read(account, node, wanted, request.payload, items.select(node, wanted, request.payload)))

    async def _read(self, account: Account, node: Node, wanted: Element, pubsub: Element, page: items.Page) -> Element:
        for _ in range(_TRIES):
            await self.kernel.gate.committed(account.last_ticket)  # readers see committed rows only
            payloads = await self._payloads.read([item.number for item in page.items.values()])
            if len(payloads) == len(page.items) or account[NODES].get(node.name) is not node:
                break
            # Something was replaced while it was read: what there is now is as good an answer, an empty one is not.
            page = items.select(node, wanted, pubsub)
        return page.to_element(node, payloads)

    @stage(Stage.SCREEN, OUTBOUND, kinds=("message",), only_with=PENDING)
    def screen_answers(self, passage: Passage) -> Discard | None:
        """The owner answers the question whether somebody may subscribe (§8.6)."""
        stanza, account = passage.stanza, passage.account
        element = stanza.find("x", NS.FORM) if stanza.to == account.jid else None
        if element is None:
            return PASS
        try:
            form = Form.from_element(element)
            jid = JID.parse(form["pubsub#subscriber_jid"]) if form["pubsub#subscriber_jid"] else account.jid
        except (FormError, InvalidJID):
            return PASS
        if form.form_type != NS.PUBSUB_AUTHORIZATION or form.type not in ("submit", "cancel"):
            return PASS
        if form.type == "submit":
            is_allowed = form["pubsub#allow"] in ("1", "true")
            self._subscribing.decide(account, form["pubsub#node"], jid, passage.turn, is_allowed=is_allowed)
        return Discard("the answer to a question of the server's")

    # --- discovery (§5) ----------------------------------------------------------------------------------------------

    def disco_nodes(self, request: IqRequest) -> Sequence[Element]:
        """The nodes that the asker may read (XEP-0163 §6.2)."""
        account = request.account
        assert account is not None
        return [
            Element("item", NS.DISCO_ITEMS, {
                "jid": account.jid.bare, "node": node.name, "name": node.config.title or None,
            })
            for node in account[NODES].values() if self._may_see(account, node, request.sender)
        ]

    def disco_node(self, request: IqRequest, node: str) -> Element | None:
        """What a node is (§5.3, §5.4), and the ids of its items (§5.5)."""
        account = request.account
        found = None if account is None else account[NODES].get(node)
        if account is None or found is None or not self._may_see(account, found, request.sender):
            return None
        query = request.payload
        if query.namespace == NS.DISCO_ITEMS:
            ids = [Element("item", NS.DISCO_ITEMS, {"jid": account.jid.bare, "name": name}) for name in found.items]
            return Element("query", NS.DISCO_ITEMS, {"node": node}, ids)
        identity = Element("identity", NS.DISCO_INFO, {"category": "pubsub", "type": "leaf"})
        feature = Element("feature", NS.DISCO_INFO, {"var": NS.PUBSUB})
        return Element("query", NS.DISCO_INFO, {"node": node}, [identity, feature, metadata(account, found)])

    def _may_see(self, account: Account, node: Node, who: JID) -> bool:
        return self._broadcast.refusal(account, node, who) is None

    # --- who comes and goes ------------------------------------------------------------------------------------------

    @on(events.PresenceAnnounced)
    def presence_announced(self, event: events.PresenceAnnounced) -> None:
        """A client is there, and perhaps known to ask for something (XEP-0163 §4.3.3)."""
        self._last_items.came(event.session, event.turn)

    @on(events.CapabilitiesKnown)
    def capabilities_known(self, event: events.CapabilitiesKnown) -> None:
        """It is known now what a client asks for, or that is something else."""
        self._last_items.came(event.session, event.turn)

    @on(events.PresenceWithdrawn)
    def presence_withdrawn(self, event: events.PresenceWithdrawn) -> None:
        """With its next presence it comes again."""
        self._last_items.left(event.session)

    @on(events.SessionEnded)
    def session_ended(self, event: events.SessionEnded) -> None:
        """Nothing is remembered of it."""
        self._last_items.left(event.session)

    @on(events.SessionRestored)
    def session_restored(self, event: events.SessionRestored) -> None:
        """It was there before."""
        self._last_items.resumed(event.session)

    @on(events.RosterItemChanged)
    def roster_item_changed(self, event: events.RosterItemChanged) -> None:
        """Who may see more gets it, whose subscriptions are not allowed any more loses them (XEP-0163 §7.1)."""
        account, owner, bare = event.account, event.account.jid, event.contact.bare
        gained = set()
        for node in account[NODES].values():
            before = access.refusal(owner, node, bare, event.before) is None and _is_let_in(event.before)
            after = access.refusal(owner, node, bare, event.after) is None and _is_let_in(event.after)
            if after and not before:
                gained.add(node.name)
            elif before and not after:
                self._broadcast.cancel_lost(account, node, event.turn, bare)
        if gained:
            self._last_items.let_in(account, [event.contact], frozenset(gained), event.turn)

    # --- accounts ----------------------------------------------------------------------------------------------------

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """All goes with the account, also what it was to the nodes of others: its name may be taken again one day."""
        nodes.delete_all(event.account, event.turn)
        self._last_items.forget(event.account)
        for account in self.kernel.directory.accounts():
            if account.parts.get(NODES):
                nodes.forget(account, event.account.jid.bare)

    async def export(self, account: Account) -> Sequence[Element]:
        """Configurations and items (XEP-0227 §4.10)."""
        if not account[NODES]:
            return []
        await self.kernel.gate.committed(account.last_ticket)
        return await exported(account, self._payloads)


def _is_let_in(item: Any) -> bool:
    return item is not None and item.sends_presence


__all__ = ["Pubsub"]
