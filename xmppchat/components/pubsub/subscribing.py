"""Explicit subscriptions and affiliations (XEP-0060 §5.6, §5.7, §6.1, §6.2, §8.6, §8.8, §8.9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from xmppchat.components.pubsub import access, notices
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.faults import no_such_node, node_required, with_condition
from xmppchat.components.pubsub.kinds import is_service
from xmppchat.components.pubsub.last_items import LastItems
from xmppchat.components.pubsub.nodes import NODES, NONE, OWNER, Node, Nodes, set_entity
from xmppchat.components.pubsub.ownership import owned
from xmppchat.components.pubsub.room import Room
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    Forbidden,
    NotAcceptable,
    NotAuthorized,
    UnexpectedRequest,
)
from xmppchat.protocol.namespaces import NS

SUBSCRIBED, PENDING = "subscribed", "pending"
#: Entries in one request.
MAX_CHANGES: Final = 200


class Subscribing:
    """Answers ``<subscribe/>``, ``<unsubscribe/>``, and ``<subscriptions/>`` and ``<affiliations/>`` of both kinds."""

    def __init__(self, broadcast: Broadcast, last_items: LastItems, room: Room) -> None:
        self._room = room
        self._broadcast = broadcast
        self._last_items = last_items

    # --- subscribe, unsubscribe (§6.1, §6.2) -------------------------------------------------------------------------

    def subscribe(self, request: IqRequest, subscribe: Element) -> Element:
        """Subscribe an address of the asker's; with the access model "authorize" once the owner says so (§6.1.4)."""
        account, node = _node(request, subscribe)
        jid = _address(subscribe)
        if jid.bare != request.sender.bare:
            raise with_condition(BadRequest("you may subscribe your own address only"), "invalid-jid")  # §6.1.3.1
        refusal = self._broadcast.refusal(account, node, jid, to_subscribe=True)
        if refusal is not None:
            raise refusal
        state = node.subscriptions.get(jid.full)
        if state == PENDING:
            raise with_condition(NotAuthorized("the owner was asked already"), "pending-subscription")  # §6.1.3.7
        if state is None:
            state = self._first_state(account, node, jid)
            self._room.need_subscription(account, node, jid)
            set_entity(account, node, jid, request.turn, subscription=state)
            self._tell_owner(account, node, jid, state, request.turn)
            if state == SUBSCRIBED:
                self._last_items.subscribed(account, node, jid, request.turn)
        return Element("pubsub", NS.PUBSUB, None, (notices.subscription(node, jid, state, NS.PUBSUB),))

    def _first_state(self, account: Account, node: Node, jid: JID) -> str:
        is_known = access.affiliation(account.jid, node, jid.bare) != NONE
        return SUBSCRIBED if is_known or node.config.access_model != "authorize" else PENDING

    def _tell_owner(self, account: Account, node: Node, jid: JID, state: str, turn: Turn) -> None:
        if state == PENDING:
            self._broadcast.tell_owners(account, node, notices.authorization_form(node, jid), "normal", turn)  # §8.6
        elif node.config.notify_sub and jid.bare != account.jid.bare:
            event = Element("event", NS.PUBSUB_EVENT, None, (notices.subscription(node, jid, state),))
            self._broadcast.tell_owners(account, node, event, "headline", turn)

    def unsubscribe(self, request: IqRequest, unsubscribe: Element) -> Element:
        """End a subscription of the asker's."""
        account, node = _node(request, unsubscribe)
        jid = _address(unsubscribe)
        if jid.bare != request.sender.bare:
            raise Forbidden("you may end your own subscriptions only")  # §6.2.3.3
        if jid.full not in node.subscriptions:
            raise with_condition(UnexpectedRequest("that is not subscribed", type="cancel"), "not-subscribed")
        set_entity(account, node, jid, request.turn, subscription=NONE)
        self._tell_owner(account, node, jid, NONE, request.turn)
        return Element("pubsub", NS.PUBSUB, None, (notices.subscription(node, jid, NONE, NS.PUBSUB),))

    def subscriptions(self, request: IqRequest, subscriptions: Element) -> Element:
        """All that the asker has here, or at one node (§5.6)."""
        found = [
            notices.subscription(node, JID.parse(jid), state, NS.PUBSUB)
            for node in _nodes(request, subscriptions)
            for jid, state in node.subscriptions_of(request.sender.bare).items()
        ]
        return _listed(NS.PUBSUB, "subscriptions", subscriptions, found)

    def affiliations(self, request: IqRequest, affiliations: Element) -> Element:
        """What the asker is to all nodes, or to one (§5.7)."""
        account, found = request.account, []
        assert account is not None
        for node in _nodes(request, affiliations):
            rank = access.affiliation(account.jid, node, request.sender.bare)
            if rank != NONE:
                found.append(Element("affiliation", NS.PUBSUB, {"node": node.name, "affiliation": rank}))
        return _listed(NS.PUBSUB, "affiliations", affiliations, found)

    # --- the owner's view (§8.8, §8.9) -------------------------------------------------------------------------------

    def subscribers(self, request: IqRequest, subscriptions: Element) -> Element:
        """Who subscribed to the node (§8.8.1)."""
        _, node = owned(request, subscriptions)
        found = [
            Element("subscription", NS.PUBSUB_OWNER, {"jid": jid, "subscription": state})
            for jid, state in node.subscriptions.items()
        ]
        return _listed(NS.PUBSUB_OWNER, "subscriptions", subscriptions, found)

    def change_subscribers(self, request: IqRequest, subscriptions: Element) -> None:
        """Grant, refuse or end subscriptions (§8.8.2); who has another one is told (§8.8.4)."""
        account, node = owned(request, subscriptions)
        changes = _changes(subscriptions, "subscription", (SUBSCRIBED, PENDING, NONE))
        added = [jid for jid, state in changes.items() if state != NONE and jid.full not in node.subscriptions]
        self._room.need_entities(account, node, added)
        for jid, state in changes.items():
            if node.subscriptions.get(jid.full, NONE) != state:
                self._set(account, node, jid, state, request.turn)

    def _set(self, account: Account, node: Node, jid: JID, state: str, turn: Turn) -> None:
        set_entity(account, node, jid, turn, subscription=state)
        self._broadcast.tell_subscriber(account, node, jid, state, turn)
        if state == SUBSCRIBED and self._broadcast.refusal(account, node, jid) is None:
            self._last_items.subscribed(account, node, jid, turn)

    def affiliates(self, request: IqRequest, affiliations: Element) -> Element:
        """Who is what to the node, owners included (§8.9.1)."""
        account, node = owned(request, affiliations)
        ranks = node.affiliations if is_service(account) else {account.jid.bare: OWNER, **node.affiliations}
        found = [
            Element("affiliation", NS.PUBSUB_OWNER, {"jid": jid, "affiliation": rank}) for jid, rank in ranks.items()
        ]
        return _listed(NS.PUBSUB_OWNER, "affiliations", affiliations, found)

    def change_affiliates(self, request: IqRequest, affiliations: Element) -> None:
        """Make somebody owner, member, publisher, outcast, or nothing (§8.9.2). All of it, or an error and nothing."""
        account, node = owned(request, affiliations)
        changes = _changes(affiliations, "affiliation", (*access.AFFILIATIONS, NONE, OWNER))
        if any(jid.resource for jid in changes):
            raise NotAcceptable("affiliations are of addresses without a resource (XEP-0060 §4.1)")
        if is_service(account):
            _keep_an_owner(node, changes)
        elif any((jid.bare == account.jid.bare) != (rank == OWNER) for jid, rank in changes.items()):
            raise NotAcceptable("the account is the one owner of its nodes, and stays it")
        changes.pop(account.jid, None)
        added = [jid for jid, rank in changes.items() if rank != NONE and jid.full not in node.affiliations]
        self._room.need_entities(account, node, added)
        for jid, rank in changes.items():
            if node.affiliations.get(jid.full, NONE) != rank:
                set_entity(account, node, jid, request.turn, affiliation=rank)
                self._broadcast.cancel_lost(account, node, request.turn, jid.bare)

    # --- answers to the question of §8.6 -----------------------------------------------------------------------------

    def decide(
        self, account: Account, node_name: str, jid: JID, turn: Turn, *, is_allowed: bool, by: JID
    ) -> None:
        """An owner allows or refuses a subscription that is pending; of others, or by others, nothing is changed."""
        node = account[NODES].get(node_name)
        if node is None or access.affiliation(account.jid, node, by.bare) != OWNER:
            return
        if node.subscriptions.get(jid.full) == PENDING:
            self._set(account, node, jid, SUBSCRIBED if is_allowed else NONE, turn)


def _keep_an_owner(node: Node, changes: Mapping[JID, str]) -> None:
    """Raise :class:`NotAcceptable` where nobody would be left (§8.9.2.4)."""
    ranks = {**node.affiliations, **{jid.bare: rank for jid, rank in changes.items()}}
    if OWNER not in ranks.values():
        raise NotAcceptable("a node has an owner; make somebody else one first, or delete the node")


def _node(request: IqRequest, element: Element) -> tuple[Account, Node]:
    account, name = request.account, element.get("node")
    assert account is not None
    if not name:
        raise node_required()
    node = account[NODES].get(name)
    if node is None:
        raise no_such_node()
    return account, node


def _nodes(request: IqRequest, element: Element) -> Iterable[Node]:
    """All nodes, or the one that is named."""
    account, name = request.account, element.get("node")
    assert account is not None
    nodes: Nodes = account[NODES]
    if not name:
        return list(nodes.values())
    return [nodes[name]] if name in nodes else []


def _address(element: Element) -> JID:
    """The ``jid`` that is meant."""
    try:
        return JID.parse(element.get("jid"))
    except InvalidJID:
        raise with_condition(BadRequest("'jid' is the address that is meant: your own"), "invalid-jid") from None


def _changes(parent: Element, name: str, states: tuple[str, ...]) -> dict[JID, str]:
    """What is to be changed, by address. Raises :class:`BadRequest` for what is none, with nothing done."""
    found: dict[JID, str] = {}
    elements = parent.find_all(name)
    if len(elements) > MAX_CHANGES:
        raise BadRequest(f"at most {MAX_CHANGES} changes at once")
    for element in elements:
        try:
            jid = JID.parse(element.get("jid"))
        except InvalidJID:
            raise with_condition(BadRequest(f"each <{name}/> has a 'jid' that is an address"), "invalid-jid") from None
        if element.get(name) not in states or jid in found:
            raise BadRequest(f"each address stands there once, with {name}='{_either(states)}'")
        found[jid] = element.get(name)
    return found


def _listed(namespace: str, name: str, asked: Element, found: list[Element]) -> Element:
    answer = Element(name, namespace, {"node": asked.get("node") or None}, found)
    return Element("pubsub", namespace, None, (answer,))


def _either(states: tuple[str, ...]) -> str:
    return "' or '".join(states)
