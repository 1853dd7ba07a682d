"""Who may do what at a node (XEP-0060 §4.1, §4.5): decisions on a node and an address, which change nothing.

Affiliations go before the access model; without one the model decides. An account is the one owner of its nodes; at
a pubsub service of its own address owners have that affiliation.
"""

from __future__ import annotations

from typing import Final

from xmppchat.components.pubsub.faults import with_condition
from xmppchat.components.pubsub.nodes import NONE, OWNER, Node
from xmppchat.core.services import RosterItem
from xmppchat.jid import JID
from xmppchat.protocol.errors import Forbidden, NotAllowed, NotAuthorized, StanzaError

#: What an owner may make somebody (§4.1), beside "none" and "owner".
AFFILIATIONS: Final = ("member", "publisher", "publish-only", "outcast")
_READS: Final = frozenset({OWNER, "publisher", "member"})
_NEVER_READS: Final = frozenset({"outcast", "publish-only"})
_PUBLISHES: Final = frozenset({OWNER, "publisher", "publish-only"})


def affiliation(owner: JID, node: Node, bare: str) -> str:
    """What `bare` is to the node, which is `owner`'s: an account's, or a service's, whose address nobody has."""
    return OWNER if bare == owner.bare else node.affiliations.get(bare, NONE)


def refusal(
    owner: JID, node: Node, bare: str, item: RosterItem | None, *, to_subscribe: bool = False
) -> StanzaError | None:
    """Why `bare`, whose `item` is in the owner's roster, may not retrieve items (§6.5.1, §6.5.9), or `to_subscribe`
    (§6.1.3); None where it may.
    """
    rank = affiliation(owner, node, bare)
    if rank in _READS:
        return None
    if rank in _NEVER_READS:
        return Forbidden("the owner of the node does not want that")
    config = node.config
    if config.access_model == "open":
        return None
    if config.access_model == "whitelist":
        return with_condition(NotAllowed("only those on a list of the owner's may do that"), "closed-node")
    if config.access_model == "authorize":
        if to_subscribe or "subscribed" in node.subscriptions_of(bare).values():
            return None
        return with_condition(NotAuthorized("subscribe to the node first"), "not-subscribed")
    is_seen = item is not None and item.sends_presence
    if config.access_model == "roster":
        if item is not None and is_seen and not set(config.roster_groups_allowed).isdisjoint(item.groups):
            return None
        return with_condition(NotAuthorized("only contacts in some groups may do that"), "not-in-roster-group")
    if is_seen:
        return None
    text = "only who may see the owner's presence may do that; ask for it first"
    return with_condition(NotAuthorized(text), "presence-subscription-required")


def may_publish(owner: JID, node: Node, bare: str) -> bool:
    """Whether `bare` may publish (§4.1; the publisher model of §17.4.4 for who has no affiliation)."""
    rank = affiliation(owner, node, bare)
    if rank in _PUBLISHES:
        return True
    if rank == "outcast":
        return False
    model = node.config.publish_model
    if model == "open":
        return True
    return model == "subscribers" and "subscribed" in node.subscriptions_of(bare).values()


def may_retract(owner: JID, node: Node, bare: str, publisher: str) -> bool:
    """Whether `bare` may remove an item of `publisher`: an owner any, others what they published (§4.1)."""
    is_owner = affiliation(owner, node, bare) == OWNER
    return is_owner or (bare == publisher and may_publish(owner, node, bare))
