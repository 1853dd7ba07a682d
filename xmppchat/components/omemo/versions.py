"""The two versions of OMEMO in use (XEP-0384): where each keeps device lists and bundles, and how these are read.

What stands there was published by somebody, so it may be anything; reading it never fails but says what is wrong.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from xmppchat.core.services import NodeDescription
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS

#: Ids of devices and keys go from 1 to this (§4.1, §5.3.2).
MAX_ID: Final = (1 << 31) - 1
#: Bytes of a public key: of Curve25519 or Ed25519, which version 0.3 puts a byte before; and of a signature.
_KEY_BYTES, _SIGNATURE_BYTES = (32, 33), (64,)


@dataclass(frozen=True, slots=True)
class DeviceList:
    """A device list: labels by id ("" for none), what is wrong with it ("" for nothing), when it came (ms)."""

    devices: Mapping[int, str] = field(default_factory=dict)
    fault: str = ""
    published_at: int = 0


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle: how many prekeys are left in it, what is wrong with it ("" for nothing), when it came (ms)."""

    prekeys: int = 0
    fault: str = ""
    published_at: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bundle is, and when it came (ms)."""

    node: str
    item_id: str
    published_at: int


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A version of OMEMO: `name` is for people. `bundles_node` is the one node of all bundles, or (`has_node_each`)
    what the names of the devices' own nodes begin with. `keys` are the parts that a bundle must have, in words and with
    their sizes in bytes; `prekey` is a prekey's element with the attribute of its id."""

    name: str
    namespace: str
    list_element: str
    list_node: str
    bundles_node: str
    has_node_each: bool
    keys: Mapping[str, tuple[str, tuple[int, ...]]]
    prekey: tuple[str, str]

    def is_own(self, node: str) -> bool:
        """Whether a node of this name is one of this version's."""
        if self.has_node_each and node.startswith(self.bundles_node):
            return True
        return node in (self.list_node, self.bundles_node)

    def places(self, nodes: Iterable[NodeDescription]) -> tuple[dict[int, Place], list[str]]:
        """Where bundles are in `nodes`, by device; and names in the place of a device's id that are none."""
        found: dict[int, Place] = {}
        strays: list[str] = []
        for node in nodes:
            if self.has_node_each and node.name.startswith(self.bundles_node):
                last = last_of(node)
                named = [] if last is None else [(node.name.removeprefix(self.bundles_node), *last)]
            elif not self.has_node_each and node.name == self.bundles_node:
                named = [(item_id, item_id, at) for item_id, at in node.items.items()]
            else:
                continue
            for name, item_id, at in named:
                device = number(name)
                if device:
                    found[device] = Place(node.name, item_id, at)
                else:
                    strays.append(name)
        return found, strays

    def read_list(self, payload: Element, at: int = 0) -> DeviceList:
        """A device list (§5.3.1) that was published `at` (ms)."""
        if not payload.is_named(self.list_element, self.namespace):
            fault = f"there is <{payload.name}/> of {payload.namespace} in the place of <{self.list_element}/>"
            return DeviceList({}, fault, at)
        devices: dict[int, str] = {}
        fault = ""
        for element in payload.find_all("device"):
            device = number(element.get("id"))
            if device:
                devices.setdefault(device, element.get("label"))
            elif not fault:
                fault = f"a device in it has the id {shortened(element.get('id'))!r}: no number from 1 to {MAX_ID}"
        return DeviceList(devices, fault, at)

    def without(self, payload: Element, device: int) -> Element:
        """A device list that does not have `device` any more; all else in it stays."""
        return payload.replace(children=[
            child for child in payload.children
            if isinstance(child, str) or child.name != "device" or number(child.get("id")) != device
        ])

    def read_bundle(self, payload: Element, at: int = 0) -> Bundle:
        """A bundle (§5.3.2) that was published `at` (ms). Whether a signature is right is for clients to see."""
        if not payload.is_named("bundle", self.namespace):
            fault = f"there is <{payload.name}/> of {payload.namespace} in the place of <bundle/>"
            return Bundle(0, fault, at)
        for name, (words, sizes) in self.keys.items():
            text = payload.child_text(name)
            if text is None:
                return Bundle(0, f"it has no {words}", at)
            if not _has_size(text, sizes):
                return Bundle(0, f"its {words} is none", at)
        return Bundle(self._count(payload), "", at)

    def _count(self, payload: Element) -> int:
        element, attribute = self.prekey
        prekeys = payload.find("prekeys")
        if prekeys is None:
            return 0
        return len({
            number(one.get(attribute)) for one in prekeys.find_all(element) if _has_size(one.text, _KEY_BYTES)
        } - {0})


def last_of(node: NodeDescription) -> tuple[str, int] | None:
    """The item that was published last: its id, and when (ms); None where there is none."""
    return list(node.items.items())[-1] if node.items else None


def number(text: str) -> int:
    """The id that `text` is; 0 where it is none, or not spelt as one."""
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and text[0] != "0"):
        return 0
    found = int(text)
    return found if found <= MAX_ID else 0


def shortened(text: str) -> str:
    """Enough of somebody's text to know it again."""
    return text if len(text) <= 30 else text[:29] + "…"


def _has_size(text: str, sizes: tuple[int, ...]) -> bool:
    """Whether `text` is Base64 of so many bytes."""
    try:
        return len(base64.b64decode("".join(text.split()), validate=True)) in sizes
    except (binascii.Error, ValueError):
        return False


#: Version 0.3, which most clients speak, and the one of today.
OLDER: Final = Version(
    "OMEMO", NS.OMEMO_AXOLOTL, "list", f"{NS.OMEMO_AXOLOTL}.devicelist", f"{NS.OMEMO_AXOLOTL}.bundles:", True,
    {
        "identityKey": ("identity key", _KEY_BYTES), "signedPreKeyPublic": ("signed prekey", _KEY_BYTES),
        "signedPreKeySignature": ("signature of the signed prekey", _SIGNATURE_BYTES),
    },
    ("preKeyPublic", "preKeyId"),
)  # fmt: skip
NEWER: Final = Version(
    "OMEMO 2", NS.OMEMO, "devices", f"{NS.OMEMO}:devices", f"{NS.OMEMO}:bundles", False,
    {
        "ik": ("identity key", _KEY_BYTES), "spk": ("signed prekey", _KEY_BYTES),
        "spks": ("signature of the signed prekey", _SIGNATURE_BYTES),
    },
    ("pk", "id"),
)  # fmt: skip
VERSIONS: Final = (OLDER, NEWER)
#: By the node of the device list.
BY_LIST_NODE: Final[Mapping[str, Version]] = {version.list_node: version for version in VERSIONS}
