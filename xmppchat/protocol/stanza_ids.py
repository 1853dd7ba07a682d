"""Stanza ids (XEP-0359): how an archive's id reads in ``<stanza-id/>``, wherever a stanza shows it."""

from __future__ import annotations

from collections.abc import Sequence

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS


def text_of(id: int) -> str:
    """An archive's id as clients see it: decimal, the same in live copies, carbons and results (XEP-0313)."""
    return str(id)


def element(id: int, by: JID) -> Element:
    """``<stanza-id/>`` of the archive of the bare JID `by` (XEP-0359 §2.1)."""
    return Element("stanza-id", NS.STANZA_IDS, {"by": by.bare, "id": text_of(id)})


def without(children: Sequence[Element | str], by: JID) -> list[Element | str]:
    """`children` but for stanza ids in the name of the bare JID `by`, however it is spelt (XEP-0359 §3)."""
    return [child for child in children if isinstance(child, str) or not _is_of(child, by)]


def is_stamped(children: Sequence[Element | str], by: JID) -> bool:
    """Whether there is a stanza id of `by` among `children`."""
    return any(isinstance(child, Element) and _is_of(child, by) for child in children)


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


__all__ = ["element", "is_stamped", "text_of", "without"]
