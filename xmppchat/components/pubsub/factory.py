"""New nodes, within the limits (XEP-0060 §8.1): made first, added when nothing speaks against it any more."""

from __future__ import annotations

from typing import Final

from xmppchat.components.pubsub import nodes
from xmppchat.components.pubsub.config import NodeConfig
from xmppchat.components.pubsub.kinds import Creators, is_service
from xmppchat.components.pubsub.last_items import LastItems
from xmppchat.components.pubsub.nodes import Node
from xmppchat.components.pubsub.room import Room
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest
from xmppchat.core.kernel import Kernel
from xmppchat.core.turn import Turn
from xmppchat.protocol.errors import Forbidden, NotAcceptable

#: Bytes of the id of a node or an item: as many as a resource may have (XEP-0060 §4.6.2).
MAX_ID: Final = 1_023


class Factory:
    """Makes nodes. `creators` says who may at services of their own addresses, where there are such."""

    def __init__(self, kernel: Kernel, last_items: LastItems, room: Room) -> None:
        self._kernel = kernel
        self._last_items = last_items
        self._room = room
        self.creators: Creators | None = None

    def creator(self, request: IqRequest) -> str:
        """Who makes a node that `request` asks for: see :meth:`new`. Raises :class:`Forbidden` (§8.1.1)."""
        assert request.account is not None
        if not is_service(request.account):
            if not request.is_owner:
                raise Forbidden("only the owner makes nodes here")
            return ""
        if self.creators is None or not self.creators.may_create(request):
            raise Forbidden("you may not make nodes at this service")
        return request.sender.bare

    def new(self, account: Account, name: str, config: NodeConfig, creator: str = "") -> Node:
        """A node that is nobody's yet; at a service of its own address it will be `creator`'s (a bare JID).

        Raises a stanza error where there may be no such node.
        """
        if len(name.encode()) > MAX_ID:
            raise NotAcceptable(f"the name of a node has at most {MAX_ID} bytes")
        self._room.need_node(account, creator)
        return Node(name, config, self._kernel.clock.now(), creator)

    def add(self, account: Account, node: Node, turn: Turn) -> None:
        """It is `account`'s."""
        nodes.add_node(account, node, turn)
        if not is_service(account):
            self._last_items.has_nodes(account)
