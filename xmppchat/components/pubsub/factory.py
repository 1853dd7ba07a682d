"""New nodes, within the limits (XEP-0060 §8.1): made first, added when nothing speaks against it any more."""

from __future__ import annotations

from typing import Final

from xmppchat.components.pubsub import nodes
from xmppchat.components.pubsub.config import Bounds, NodeConfig
from xmppchat.components.pubsub.last_items import LastItems
from xmppchat.components.pubsub.nodes import NODES, Node
from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import NotAcceptable, ResourceConstraint

#: Bytes of the id of a node or an item: as many as a resource may have (XEP-0060 §4.6.2).
MAX_ID: Final = 1_023


class Factory:
    """Makes nodes."""

    def __init__(self, kernel: Kernel, last_items: LastItems) -> None:
        self._kernel = kernel
        self._last_items = last_items

    def bounds(self) -> Bounds:
        """What a node may be configured to hold, today."""
        limits = self._kernel.limits
        return Bounds(limits.pubsub_items, limits.pubsub_payload_bytes)

    def new(self, account: Account, name: str, config: NodeConfig) -> Node:
        """A node that is nobody's yet. Raises a stanza error where `account` may not have it."""
        if len(name.encode()) > MAX_ID:
            raise NotAcceptable(f"the name of a node has at most {MAX_ID} bytes")
        limit = self._kernel.limits.pubsub_nodes
        if len(account[NODES]) >= limit:
            self._kernel.limit_counters.fired("pubsub_nodes")
            raise ResourceConstraint(f"an account has at most {limit} nodes; delete one first", type="cancel")
        return Node(name, config, self._kernel.clock.now())

    def add(self, account: Account, node: Node, turn: Turn) -> None:
        """It is `account`'s."""
        nodes.add_node(account, node, turn)
        self._last_items.has_nodes(account)
