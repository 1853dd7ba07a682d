"""Delayed delivery (XEP-0203): when a stanza was meant to arrive."""

from __future__ import annotations

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


def is_delayed(stanza: Stanza, by: str) -> bool:
    """Whether `by` says that it held `stanza`."""
    return any(child.is_named("delay", NS.DELAY) and child.get("from") == by for child in stanza.elements())


def delayed(stanza: Stanza, by: str, stamp: str) -> Stanza:
    """`stanza` with the note that `by` (a domain or bare JID) held it since `stamp`; an earlier note of `by` stays."""
    if is_delayed(stanza, by):
        return stanza
    return stanza.replace(children=[*stanza.children, Element("delay", NS.DELAY, {"from": by, "stamp": stamp})])
