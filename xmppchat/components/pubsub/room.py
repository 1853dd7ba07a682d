"""How much there is room for: the limits of nodes, of what they hold, and of who has to do with them."""

from __future__ import annotations

from collections.abc import Collection

from xmppchat.components.pubsub.config import Bounds
from xmppchat.components.pubsub.faults import with_condition
from xmppchat.components.pubsub.kinds import is_service
from xmppchat.components.pubsub.nodes import NODES, Node
from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.jid import JID
from xmppchat.protocol.errors import PolicyViolation, ResourceConstraint, StanzaError

#: Subscriptions that one bare JID may have to a node: of so many of its clients.
MAX_OF_ONE = 10


class Room:
    """Raises where there is no more; nothing has changed then, and the limit is counted."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel

    def bounds(self) -> Bounds:
        """What a node may be configured to hold, today."""
        limits = self._kernel.limits
        return Bounds(limits.pubsub_items, limits.pubsub_payload_bytes)

    def need_node(self, account: Account, creator: str) -> None:
        """For another node, which `creator` makes. Raises :class:`ResourceConstraint`."""
        limits, nodes = self._kernel.limits, account[NODES]
        if not is_service(account):
            self._need(len(nodes) < limits.pubsub_nodes, "pubsub_nodes",
                       f"an account has at most {limits.pubsub_nodes} nodes; delete one first")
            return
        made = sum(node.creator == creator for node in nodes.values())
        self._need(made < limits.pubsub_created_nodes, "pubsub_created_nodes",
                   f"you have made {made} nodes here, which is as many as one may; delete one first")
        self._need(len(nodes) < limits.pubsub_service_nodes, "pubsub_service_nodes",
                   "there are as many nodes at this service as it may have")

    def need_bytes(self, account: Account, added: int, freed: int) -> None:
        """For `added` bytes in place of `freed` ones. Who is above a limit that was lowered may still make things
        smaller. Raises :class:`ResourceConstraint`.
        """
        limits, size = self._kernel.limits, account[NODES].size
        if is_service(account):
            name, most, whose = "pubsub_service_bytes", limits.pubsub_service_bytes, "this service"
        else:
            name, most, whose = "pubsub_bytes", limits.pubsub_bytes, "an account"
        self._need(size - freed + added <= max(most, size), name,
                   f"the nodes of {whose} hold {most} bytes; remove something first")

    def need_subscription(self, account: Account, node: Node, jid: JID) -> None:
        """For another subscription of `jid`'s (§6.1.3.9). Raises :class:`PolicyViolation`."""
        if len(node.subscriptions_of(jid.bare)) >= MAX_OF_ONE:
            raise _too_many(f"you have {MAX_OF_ONE} subscriptions to this node; end one first")
        if is_service(account):
            most = self._kernel.limits.pubsub_service_subscriptions
            if sum(len(one.subscriptions_of(jid.bare)) for one in account[NODES].values()) >= most:
                self._kernel.limit_counters.fired("pubsub_service_subscriptions")
                raise _too_many(f"you have {most} subscriptions at this service; end one first")
        self.need_entities(account, node, [jid])

    def need_entities(self, account: Account, node: Node, added: Collection[JID]) -> None:
        """For `added` subscriptions or affiliations, at the node of a service or at all of an account. Raises
        :class:`PolicyViolation`.
        """
        nodes = [node] if is_service(account) else account[NODES].values()
        count = sum(len(one.subscriptions) + len(one.affiliations) for one in nodes)
        if added and count + len(added) > self._kernel.limits.pubsub_entities:
            self._kernel.limit_counters.fired("pubsub_entities")
            where = "at this node" if is_service(account) else "at this address"
            raise _too_many(f"there are too many subscriptions and affiliations {where} already")

    def _need(self, is_there: bool, limit: str, text: str) -> None:
        if not is_there:
            self._kernel.limit_counters.fired(limit)
            raise ResourceConstraint(text, type="cancel")


def _too_many(text: str) -> StanzaError:
    return with_condition(PolicyViolation(text, type="wait"), "too-many-subscriptions")
