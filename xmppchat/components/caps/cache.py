"""What is known of verification strings, and who else may be asked for one. Pure: no clock, no kernel."""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple

from xmppchat.protocol.disco import HASHES, DiscoInfo, IllFormed
from xmppchat.protocol.element import Element

Features = frozenset[str]

#: Verification strings that are remembered, and the length of their features in all; the longest unused go first.
MAX_ENTRIES, MAX_TOTAL = 2_000, 8_388_608
#: Features of one answer, and their length; a client with more counts as one that did not answer.
MAX_FEATURES, MAX_LENGTH = 1_000, 65_536
#: Longest attribute of a ``<c/>`` that is looked at; a real one has less than 100 characters.
_LONGEST = 256


class Announced(NamedTuple):
    """A ``<c/>``: what its sender claims (XEP-0115 §4). `hash_name` is "" in the format of before 2008."""

    hash_name: str
    ver: str
    node: str

    @classmethod
    def from_element(cls, element: Element) -> Announced | None:
        """What `element` announces, None where it is nothing that could be asked for."""
        found = cls(element.get("hash"), element.get("ver"), element.get("node"))
        return found if found.ver and found.node and max(map(len, found)) <= _LONGEST else None

    @property
    def is_verifiable(self) -> bool:
        """Whether an answer can be proven, so that it may count for others too (XEP-0115 §5.4, items 1 and 2)."""
        return self.hash_name in HASHES

    @property
    def key(self) -> tuple[str, str]:
        """What answers are remembered by."""
        return self.hash_name, self.ver


class Judged(NamedTuple):
    """An answer that holds: its `features`, and whether they hold for everybody who announces the same."""

    features: Features
    is_shared: bool


def judge(announced: Announced, query: Element | None) -> Judged | None:
    """What the answer `query` proves; None where it is ill-formed, a lie, or too long (XEP-0115 §5.4, item 3)."""
    if query is None:
        return None
    try:
        info = DiscoInfo.from_element(query)
    except IllFormed:
        return None
    if len(info.features) > MAX_FEATURES or sum(map(len, info.features)) > MAX_LENGTH:
        return None
    if not announced.is_verifiable:
        return Judged(frozenset(info.features), is_shared=False)
    if info.verification_string(announced.hash_name) != announced.ver:
        return None
    return Judged(frozenset(info.features), is_shared=info.is_unambiguous)


class Cache:
    """Features by (hash, ver), bounded in number and in length."""

    def __init__(self, max_entries: int = MAX_ENTRIES, max_total: int = MAX_TOTAL) -> None:
        self._max_entries = max_entries
        self._max_total = max_total
        self._entries: OrderedDict[tuple[str, str], Features] = OrderedDict()
        self._total = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: tuple[str, str]) -> Features | None:
        """What is known of `key`."""
        features = self._entries.get(key)
        if features is not None:
            self._entries.move_to_end(key)
        return features

    def put(self, key: tuple[str, str], features: Features) -> None:
        """Remember what was proven. The first proof stays."""
        if key in self._entries:
            return
        self._entries[key] = features
        self._total += _cost(features)
        while len(self._entries) > self._max_entries or self._total > self._max_total:
            _, oldest = self._entries.popitem(last=False)
            self._total -= _cost(oldest)


def _cost(features: Features) -> int:
    return sum(map(len, features))
