"""Domains of their own: what a component of this process speaks for beside the hosts, such as ``pubsub.chat.example``.

A component names its domains (:meth:`Component.domains`) and says how the addresses there are found in the database
(:attr:`Component.address_query`). An address is an :class:`~xmppchat.core.account.Account` like any other: loaded with
its parts, many in one query, with a mailbox and open tickets; but it has no sessions and no rules of an account's, and
nobody logs in. The domain itself is one, without a localpart, which stays in memory. See ADR 21.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from xmppchat.core.component import Component
from xmppchat.core.tables import DeclarationError, where

#: Whose each domain is.
Domains = Mapping[str, Component[Any]]


def collect(components: Sequence[Component[Any]]) -> Domains:
    """The domains of all `components`. Raises :class:`DeclarationError` where two want the same one."""
    found: dict[str, Component[Any]] = {}
    for component in components:
        for domain in component.domains():
            if domain in found:
                raise DeclarationError(f"{where(type(component))}: {component.name} and {found[domain].name} both want "
                                       f"the domain {domain}; give one of them another address")
            found[domain] = component
    return MappingProxyType(found)
