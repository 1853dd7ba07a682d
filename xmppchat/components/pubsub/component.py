"""The component: which request is whose, what disco shows, and what happens around it to accounts and sessions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from xmppchat.components.pubsub import access, nodes
from xmppchat.components.pubsub.engine import Engine
from xmppchat.components.pubsub.nodes import NODES, PENDING
from xmppchat.components.pubsub.portable import exported
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
from xmppchat.protocol.element import Element
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


class Pubsub(Component[ComponentConfig]):
    """Every account is a pubsub service (XEP-0163 §2.1)."""

    name = "pubsub"
    implements = (
        Xep(60, "1.30.0", PARTIAL, note="subscriptions have no options, nodes no collections"),
        Xep(163, "1.2.2", note="the publishing resource is not told"), Xep(222, "1.0"), Xep(223, "1.1.1"),
    )
    features = (
        Feature(NS.PUBSUB, at=ACCOUNT), *(Feature(f"{NS.PUBSUB}#{name}", at=ACCOUNT) for name in FEATURES),
        # profanity looks for it here, and publishes keys for contacts only where it is not.
        Feature(f"{NS.PUBSUB}#publish-options"),
    )  # fmt: skip
    identities = (Identity("pubsub", "pep", at=ACCOUNT),)
    provides = (NodeService, Engine)
    requires = (BlockingService, CapsService, RosterService)
    account_parts = (NODES,)

    def setup(self) -> None:
        """Put the engine together."""
        self._views = Views()
        self._engine = engine = Engine(self.kernel, self._views)
        self._broadcast, self._last_items, self._payloads = engine.broadcast, engine.last_items, engine.payloads
        own_nodes: NodeService = engine.own_nodes
        self.kernel.services.provide(NodeService, own_nodes)
        self.kernel.services.provide(Engine, engine)

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
        shown = None if wanted is None else self._views.answer(request, wanted)
        return shown or self._engine.get(request)

    @iq_set(NS.PUBSUB, "pubsub", at=ACCOUNT, who=Who.ANYONE)
    def set(self, request: IqRequest) -> Element | Later | None:
        """Publish, retract, create, subscribe, unsubscribe."""
        publish = request.payload.find("publish")
        shown = None if publish is None else self._views.answer(request, publish)
        return shown or self._engine.set(request)

    @iq_get(NS.PUBSUB_OWNER, "pubsub", at=ACCOUNT, who=Who.ANYONE)
    def owner_get(self, request: IqRequest) -> Element | None:
        """What an owner may look at (§8)."""
        return self._engine.owner_get(request)

    @iq_set(NS.PUBSUB_OWNER, "pubsub", at=ACCOUNT, who=Who.ANYONE)
    def owner_set(self, request: IqRequest) -> Element | None:
        """What an owner may change (§8)."""
        return self._engine.owner_set(request)

    @stage(Stage.SCREEN, OUTBOUND, kinds=("message",), only_with=PENDING)
    def screen_answers(self, passage: Passage) -> Discard | None:
        """The owner answers the question whether somebody may subscribe (§8.6)."""
        is_answer = passage.stanza.to == passage.account.jid and self._engine.decide(
            passage.account, passage.stanza, passage.turn
        )
        return Discard("the answer to a question of the server's") if is_answer else PASS

    # --- discovery (§5) ----------------------------------------------------------------------------------------------

    def disco_nodes(self, request: IqRequest) -> Sequence[Element]:
        """The nodes that the asker may read (XEP-0163 §6.2)."""
        account = request.account
        assert account is not None
        return self._engine.listed(account, request.sender)

    def disco_node(self, request: IqRequest, node: str) -> Element | None:
        """What a node is (§5.3, §5.4), and the ids of its items (§5.5)."""
        return None if request.account is None else self._engine.described(request.account, request, node)

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
        self._engine.forget(self.kernel.directory.accounts(), event.account.jid.bare, event.turn)

    async def export(self, account: Account) -> Sequence[Element]:
        """Configurations and items (XEP-0227 §4.10)."""
        if not account[NODES]:
            return []
        await self.kernel.gate.committed(account.last_ticket)
        return await exported(account, self._payloads)


def _is_let_in(item: Any) -> bool:
    return item is not None and item.sends_presence


__all__ = ["Pubsub"]
