"""What an account publishes for OMEMO, read once: lists and bundles of both versions, with their nodes.

Somebody may have published as much garbage as the limits allow. So only so many devices are looked at, and so much of
what they published; one payload at a time is read, with a turn for everybody else behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xmppchat.components.omemo.versions import VERSIONS, Bundle, DeviceList, Place, Version
from xmppchat.core.account import Account
from xmppchat.core.services import NodeDescription, NodeService
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import Conflict

#: Devices of one account and version that are looked at; people have a few.
MAX_DEVICES: Final = 100
#: Elements that are looked at: twice what so many devices with a hundred prekeys each have. Text counts, too.
MAX_WEIGHT: Final = 50_000
_CHARACTERS: Final = 256
_DAMAGED: Final = "the server's copy of it is damaged"
#: Who publishes without a pause must not keep an admin from seeing the others.
_BUSY: Final = "it is being replaced all the time; look again"


@dataclass(frozen=True, slots=True)
class Published:
    """What there is of one version. `devices` is None where there is no list; `bundles` are by device, `strays` names
    in the place of a device's id that are none; `left_out` is how many devices and bundles were not looked at."""

    version: Version
    nodes: Sequence[NodeDescription]
    devices: DeviceList | None
    bundles: Mapping[int, Bundle]
    strays: Sequence[str] = ()
    left_out: int = 0

    @property
    def is_used(self) -> bool:
        """Whether anything is there."""
        return self.devices is not None or bool(self.bundles or self.strays)

    def label(self, device: int) -> str:
        """What the device calls itself (§5.3.1), "" for nothing."""
        return self.devices.devices.get(device, "") if self.devices is not None else ""


class Budget:
    """How much may yet be looked at: elements, of which so many characters count as one."""

    def __init__(self, weight: int = MAX_WEIGHT) -> None:
        self._weight = weight
        self.left = weight

    @property
    def spent(self) -> int:
        """How much was looked at."""
        return self._weight - self.left

    def pay(self, payload: Element) -> None:
        """`payload` was looked at."""
        self.left -= _weight(payload)


async def take(nodes: NodeService, account: Account, budget: Budget) -> list[Published]:
    """What `account` publishes, of each version, as far as `budget` goes."""
    return [await _take(nodes, account, version, budget) for version in VERSIONS]


async def _take(nodes: NodeService, account: Account, version: Version, budget: Budget) -> Published:
    own = [node for node in nodes.describe(account) if version.is_own(node.name)]
    listed = await _list(nodes, account, version, budget)
    places, strays = version.places(own)
    seen: set[int] = set()
    bundles: dict[int, Bundle] = {}
    for device in _chosen(listed, places):
        if device in places:
            if budget.left <= 0:
                continue
            bundles[device] = await _bundle(nodes, account, version, places[device], budget)
        seen.add(device)
    every = set(places) | set(listed.devices if listed is not None else ())
    left_out = len(every) - len(seen) + max(0, len(strays) - MAX_DEVICES)
    if listed is not None:
        devices = {device: label for device, label in listed.devices.items() if device in seen}
        listed = DeviceList(devices, listed.fault, listed.published_at)
    return Published(version, own, listed, bundles, strays[:MAX_DEVICES], left_out)


def _chosen(listed: DeviceList | None, places: Mapping[int, Place]) -> dict[int, None]:
    """The devices to look at: those in the list, then those with the newest bundles."""
    newest = sorted(places, key=lambda device: -places[device].published_at)
    every = dict.fromkeys([*(listed.devices if listed is not None else ()), *newest])
    return dict.fromkeys(list(every)[:MAX_DEVICES])


async def _list(nodes: NodeService, account: Account, version: Version, budget: Budget) -> DeviceList | None:
    try:
        last = await nodes.read_last(account, version.list_node)
    except Conflict:
        return DeviceList({}, _BUSY)
    if last is None:
        return None
    if last.payload is None:
        return DeviceList({}, _DAMAGED, last.at)
    budget.pay(last.payload)
    return version.read_list(last.payload, last.at)


async def _bundle(nodes: NodeService, account: Account, version: Version, place: Place, budget: Budget) -> Bundle:
    try:
        payload = (await nodes.read(account, place.node, [place.item_id])).get(place.item_id)
    except Conflict:
        return Bundle(0, _BUSY, place.published_at)
    await asyncio.sleep(0)  # others go on between large ones
    if payload is None:
        return Bundle(0, _DAMAGED, place.published_at)
    budget.pay(payload)
    return version.read_bundle(payload, place.published_at)


def _weight(payload: Element) -> int:
    weight, waiting = 0, [payload]
    while waiting:
        element = waiting.pop()
        weight += 1
        for child in element.children:
            if isinstance(child, str):
                weight += len(child) // _CHARACTERS
            else:
                waiting.append(child)
    return weight
