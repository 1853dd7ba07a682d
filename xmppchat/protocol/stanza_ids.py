"""Stanza ids (XEP-0359): how an archive's id reads in ``<stanza-id/>``, wherever a stanza shows it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

#: In our own serialisation an element of that name begins so, whatever prefix it had.
_TRACE = "<stanza-id"


def text_of(id: int) -> str:
    """An archive's id as clients see it: decimal, the same in live copies, carbons and results (XEP-0313)."""
    return str(id)


def element(id: int, by: JID) -> Element:
    """``<stanza-id/>`` of the archive of the bare JID `by` (XEP-0359 §2.1)."""
    return Element("stanza-id", NS.STANZA_IDS, {"by": by.bare, "id": text_of(id)})


def stamped(stanza: Stanza, id: int, by: JID) -> Stanza:
    """`stanza` with the id that it has in the archive of the bare JID `by`."""
    xml = f"<stanza-id xmlns='{NS.STANZA_IDS}' by='{by.xml}' id='{text_of(id)}'/>"
    return stanza.with_child(element(id, by), xml)


def without(children: Sequence[Element | str], by: JID) -> list[Element | str]:
    """`children` but for stanza ids in the name of the bare JID `by`, however it is spelt (XEP-0359 §3)."""
    return [child for child in children if isinstance(child, str) or not _is_of(child, by)]


def stripped(stanza: Stanza, is_forged: Callable[[JID], bool]) -> Stanza:
    """`stanza` without the ids, at any depth, whose ``by`` is an address of which `is_forged` is true (§4, V-27).

    What has no trace of an id is not searched: the payload is serialised anyway, and to look into that costs little.
    """
    if _TRACE not in stanza.inner_xml:
        return stanza
    children = _kept(stanza.children, is_forged)
    return stanza if children is None else stanza.replace(children=children)


def _kept(children: Sequence[Element | str], is_forged: Callable[[JID], bool]) -> list[Element | str] | None:
    """`children` without forged ids; None where there is none."""
    kept: list[Element | str] = []
    is_changed = False
    for child in children:
        if isinstance(child, Element):
            if child.is_named("stanza-id", NS.STANZA_IDS) and _is_by(child, is_forged):
                is_changed = True
                continue
            inside = _kept(child.children, is_forged)  # bounded by the reader's depth limit
            if inside is not None:
                child = child.replace(children=inside)
                is_changed = True
        kept.append(child)
    return kept if is_changed else None


def _is_by(stanza_id: Element, is_forged: Callable[[JID], bool]) -> bool:
    try:
        return is_forged(JID.parse(stanza_id.get("by")))
    except InvalidJID:
        return False  # nobody's


def is_stamped(children: Sequence[Element | str], by: JID) -> bool:
    """Whether there is a stanza id of `by` among `children`."""
    return any(isinstance(child, Element) and _is_of(child, by) for child in children)


def id_of(children: Sequence[Element | str], by: JID) -> int:
    """The number of the stanza id of `by` among `children`; 0 for none."""
    for child in children:
        if isinstance(child, Element) and _is_of(child, by):
            text = child.get("id")
            return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else 0
    return 0


def _is_of(child: Element, by: JID) -> bool:
    if child.namespace != NS.STANZA_IDS or child.name != "stanza-id":
        return False
    claimed = child.get("by")
    if claimed == by.bare:
        return True
    try:
        return JID.parse(claimed).bare == by.bare
    except InvalidJID:
        return False


__all__ = ["element", "id_of", "is_stamped", "stamped", "stripped", "text_of", "without"]
