"""Networks: what an address is counted with. With IPv6 a host chooses the last 64 bits itself: its /64 is the host."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

#: Where all clients of one machine come from.
LOOPBACK = ("127.0.0.0/8", "::1/128")


def host_of(address: str) -> str:
    """The host of an address: itself (IPv4), or its /64 (IPv6)."""
    return _within(address, 32, 64)


def network_of(address: str) -> str:
    """The network of an address: its /24 (IPv4) or /64 (IPv6)."""
    return _within(address, 24, 64)


def site_of(address: str) -> str:
    """Where networks belong together: the /24 (IPv4) or /48 (IPv6) of an address, which is what a customer gets."""
    return _within(address, 24, 48)


@lru_cache(maxsize=8_192)  # of each login three are asked for
def _within(address: str, bits_of_4: int, bits_of_6: int) -> str:
    try:
        bits = bits_of_4 if ip_address(address).version == 4 else bits_of_6
        return str(ip_network(f"{address}/{bits}", strict=False))
    except ValueError:
        return address  # a client in memory has none


def parse(networks: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks as they are written. Raises ValueError with a sentence."""
    parsed = []
    for network in networks:
        try:
            parsed.append(ip_network(network))
        except ValueError as error:
            raise ValueError(f"{error}; a network looks like 192.0.2.0/24") from None
    return tuple(parsed)


def is_in(address: str, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Whether one of `networks` has this address."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed in network for network in networks)
