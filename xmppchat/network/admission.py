"""Who may open a connection: limits per address and network, tight for peers that have not authenticated.

All tables are bounded. IPv6 is counted by /64 as one address, because a host chooses the rest itself.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from xmppchat.core.networks import LOOPBACK


class Place:
    """One peer's place: among the strangers, then among the members. `keys` are empty for exempt peers."""

    __slots__ = ("_admission", "_is_member", "_keys")

    def __init__(self, admission: Admission, keys: tuple[bytes, ...]) -> None:
        self._admission = admission
        self._keys = keys
        self._is_member = False

    def authenticated(self) -> bool:
        """The peer is no stranger any more; False where too many of its address are members already."""
        if self._is_member or not self._keys:
            return True
        if not self._admission._join(self._keys):
            return False
        self._is_member = True
        return True

    def leave(self) -> None:
        """The peer is gone. May be called more than once."""
        keys, self._keys = self._keys, ()
        if self._is_member:
            self._admission._resign(keys)
        else:
            self._admission._leave(keys)


class Admission:
    """Counts connections by address, and how fast new ones come.

    `per_address` and `per_network` (/24 or /48) bound the strangers (who have not authenticated) at one time, `total`
    those of the whole server; `rate` (per second) and `burst` bound new connections of one address. `members` bounds
    those of one address that have authenticated, 0 not. `exempt` networks are never refused or counted. At most
    `table` addresses are remembered for the rate. `refused` is told the name of the limit, `refusals` counts by reason.
    """

    def __init__(
        self,
        *,
        per_address: int = 20,
        per_network: int = 100,
        total: int = 10_000,
        rate: float = 10.0,
        burst: int = 40,
        members: int = 0,
        exempt: Iterable[str] = LOOPBACK,
        refused: Callable[[str], object] = lambda _: None,
        table: int = 10_000,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.refusals: Counter[str] = Counter()
        self._members: dict[bytes, int] = {}
        self._refused = refused
        self._table = table
        self._known_exempt: set[str] = set()
        self.set_limits(
            per_address=per_address, per_network=per_network, total=total, rate=rate, burst=burst, members=members,
            exempt=exempt,
        )
        self._now = now
        self._strangers: dict[bytes, int] = {}
        # The moment at which an address has its whole burst again: a token bucket in one number (GCRA).
        self._full_at: dict[bytes, float] = {}
        self._count = 0

    def set_limits(
        self,
        *,
        per_address: int = 20,
        per_network: int = 100,
        total: int = 10_000,
        rate: float = 10.0,
        burst: int = 40,
        members: int = 0,
        exempt: Iterable[str] = LOOPBACK,
    ) -> None:
        """Let in by these limits from now on. Who has a place keeps it, and is counted on as it was."""
        self._per_address = per_address
        self._per_network = per_network
        self._total = total
        self._max_members = members
        self._interval = 1.0 / rate
        self._tolerance = (burst - 0.5) / rate  # half a token for the rounding of sums
        self._exempt: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(x) for x in exempt)
        self._known_exempt.clear()

    @property
    def strangers(self) -> int:
        """Connections that have a place and have not left it; exempt ones are not counted."""
        return self._count

    def enter(self, address: str) -> Place | None:
        """A place for a new connection from this IP address, None if it is refused."""
        if address in self._known_exempt:
            return Place(self, ())
        peer = ip_address(address)
        if any(peer in network for network in self._exempt):
            if len(self._known_exempt) >= self._table:
                self._known_exempt.clear()
            self._known_exempt.add(address)
            return Place(self, ())
        keys = _keys(peer)
        reason = self._refusal(*keys)
        if reason is not None:
            self.refusals[reason] += 1
            self._refused(_LIMITS[reason])
            return None
        for key in keys:
            self._strangers[key] = self._strangers.get(key, 0) + 1
        self._count += 1
        return Place(self, keys)

    def _refusal(self, host: bytes, network: bytes) -> str | None:
        # The rate first: whoever hammers at a full house is slowed down as well.
        if not self._take_token(host):
            return "rate"
        if self._strangers.get(host, 0) >= self._per_address:
            return "address"
        if self._strangers.get(network, 0) >= self._per_network:
            return "network"
        return "total" if self._count >= self._total else None

    def _take_token(self, host: bytes) -> bool:
        now = self._now()
        full_at = max(self._full_at.pop(host, 0.0), now)
        is_allowed = full_at - now <= self._tolerance
        if len(self._full_at) >= self._table:
            self._forget(now)
        # Taken out and put in again, so that the table stays in the order of last use.
        self._full_at[host] = full_at + self._interval if is_allowed else full_at
        return is_allowed

    def _forget(self, now: float) -> None:
        """Drop who has a full burst again, then who was away longest, until a tenth of the table is free."""
        remembered = {key: at for key, at in self._full_at.items() if at > now}
        for key in list(remembered)[: max(0, len(remembered) - self._table * 9 // 10)]:
            del remembered[key]
        self._full_at = remembered

    def _join(self, keys: tuple[bytes, ...]) -> bool:
        host = keys[0]
        if self._max_members and self._members.get(host, 0) >= self._max_members:
            self.refusals["members"] += 1
            self._refused("authenticated_per_address")
            return False
        self._members[host] = self._members.get(host, 0) + 1
        self._leave(keys)
        return True

    def _resign(self, keys: tuple[bytes, ...]) -> None:
        if keys:
            _decrement(self._members, keys[0])

    def _leave(self, keys: tuple[bytes, ...]) -> None:
        if not keys:
            return
        self._count -= 1
        for key in keys:
            _decrement(self._strangers, key)


#: Names of the limits, by reason of a refusal.
_LIMITS = {
    "rate": "connection_rate", "address": "connections_per_address", "network": "connections_per_network",
    "total": "connections_in_all",
}  # fmt: skip


def _decrement(counts: dict[bytes, int], key: bytes) -> None:
    left = counts[key] - 1
    if left:
        counts[key] = left
    else:
        del counts[key]


def _keys(peer: IPv4Address | IPv6Address) -> tuple[bytes, bytes]:
    """The host and the network that a peer is counted under; of different length, so they never meet."""
    if isinstance(peer, IPv4Address):
        return peer.packed, peer.packed[:3]
    return peer.packed[:8], peer.packed[:6]


def plain_address(peername: tuple[str, int] | None) -> str:
    """The IP address in a socket's peer name: IPv4 mapped into IPv6 is IPv4, scopes are cut; else empty."""
    if not peername:
        return ""
    address = ip_address(peername[0].partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
