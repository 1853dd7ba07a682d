"""Delayed delivery (XEP-0203): when a stanza was meant to arrive."""

from __future__ import annotations

from collections.abc import Callable

from xmppchat.jid import JID, InvalidJID
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


def stripped(stanza: Stanza, is_forged: Callable[[JID], bool]) -> Stanza:
    """`stanza` without the notes whose ``from`` is an address of which `is_forged` is true (XEP-0203 §4, V-27)."""
    if "<delay" not in stanza.inner_xml:  # as the serialiser spells it, whatever prefix it came with
        return stanza
    return stanza.replace(children=[
        child for child in stanza.children
        if isinstance(child, str) or not child.is_named("delay", NS.DELAY) or not _is_of(child, is_forged)
    ])


def _is_of(delay: Element, is_forged: Callable[[JID], bool]) -> bool:
    try:
        return is_forged(JID.parse(delay.get("from")))
    except InvalidJID:
        return False  # nobody's
