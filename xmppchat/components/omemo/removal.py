"""Removing a device: off the lists, its bundles with it, in both versions, in one turn.

A list must be read before it can be published without the device. What a client publishes in that moment counts: it is
heard of (:meth:`Removal.published`), so nobody's list is overwritten by this one.
"""

from __future__ import annotations

from collections.abc import Mapping

from xmppchat.components.omemo.versions import BY_LIST_NODE, VERSIONS, Version
from xmppchat.core.account import Account
from xmppchat.core.services import NodeService
from xmppchat.core.turn import Turn
from xmppchat.protocol.element import Element

#: Item id and payload of a device list.
_List = tuple[str, Element]


class Removal:
    """One removal of `device` from `account`. It hears of lists that are published while it reads."""

    def __init__(self, nodes: NodeService, account: Account, device: int) -> None:
        self._nodes = nodes
        self.account = account
        self._device = device
        self._newer: dict[Version, _List] = {}

    def published(self, node: str, item_id: str, payload: Element) -> None:
        """A list was published meanwhile."""
        version = BY_LIST_NODE.get(node)
        if version is not None:
            self._newer[version] = (item_id, payload)

    async def read(self) -> Mapping[Version, _List]:
        """The lists of both versions, as they are now. Nothing may be waited for before :meth:`carry_out`."""
        found: dict[Version, _List] = {}
        for version in VERSIONS:
            last = await self._nodes.read_last(self.account, version.list_node)
            if last is not None and last.payload is not None:
                found[version] = (last.id, last.payload)
        return {**found, **self._newer}

    def carry_out(self, lists: Mapping[Version, _List], turn: Turn) -> list[str]:
        """Remove the device, with writes of `turn`; returns what was removed, in words. Raises a stanza error."""
        nodes, account, device = self._nodes, self.account, self._device
        removed = []
        for version in VERSIONS:
            if version in lists:
                item_id, payload = lists[version]
                described = nodes.describe_node(account, version.list_node)
                is_there = described is not None and item_id in described.items
                if is_there and device in version.read_list(payload).devices:
                    nodes.publish(account, version.list_node, item_id, version.without(payload, device), turn)
                    removed.append(f"the entry in the list of {version.name}")
            place = version.places(nodes.describe(account))[0].get(device)
            if place is None:
                continue
            if version.has_node_each:
                nodes.delete_node(account, place.node, turn)
            else:
                nodes.retract(account, place.node, place.item_id, turn)
            removed.append(f"the keys for {version.name}")
        return removed
