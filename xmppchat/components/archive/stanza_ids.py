"""Stanza ids (XEP-0359): those that claim to be of an archive of ours are taken out, then ours is added."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from xmppchat.components.archive.query import id_text
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

#: In our own serialisation an element of that name begins so, whatever prefix it had.
_TRACE = "<stanza-id"

Forged = Callable[[JID], bool]


def without_ids(stanza: Stanza, is_forged: Forged) -> Stanza:
    """`stanza` without the ids, at any depth, whose ``by`` is an address of which `is_forged` is true (§4, V-27).

    What has no trace of an id is not searched: the payload is serialised anyway, and to look into that costs little.
    """
    if _TRACE not in stanza.inner_xml:
        return stanza
    children = _kept(stanza.children, is_forged)
    return stanza if children is None else stanza.replace(children=children)


def stamped(stanza: Stanza, owner: JID, number: int) -> Stanza:
    """`stanza` with the id that it has in the archive of `owner` (a bare JID)."""
    return stanza.with_child(Element("stanza-id", NS.STANZA_IDS, {"by": owner.bare, "id": id_text(number)}))


def _kept(children: Sequence[Element | str], is_forged: Forged) -> list[Element | str] | None:
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


def _is_by(stanza_id: Element, is_forged: Forged) -> bool:
    try:
        return is_forged(JID.parse(stanza_id.get("by")))
    except InvalidJID:
        return False  # nobody's
