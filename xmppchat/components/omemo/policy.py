"""Which messages can be read by whoever carries them, and how often people are reminded of that.

A guard against forgetting, not against the will to: who wants to send plain text past it can call it something else.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final, Literal

from xmppchat.protocol.element import Element
from xmppchat.protocol.message_content import ENCRYPTED
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

#: What holds at a host: nothing; who sends a readable message is reminded; readable messages are refused.
Policy = Literal["off", "encourage", "require"]

#: How a body begins that is encrypted itself (XEP-0364).
_OTR: Final = "?OTR"
#: What a body may stand for (XEP-0428 §2.2), with the element that has to be there: where the text is made by the app,
#: and repeats nothing that anybody wrote. (A quotation or a reaction may.)
_FALLBACKS: Final[Mapping[str, str]] = {NS.RETRACT: "retract"}

#: How long a reminder lasts, ms, and how many are remembered: with one forgotten, somebody is told once more.
DAY_MS: Final = 86_400_000
MAX_REMINDED: Final = 10_000


def is_readable(stanza: Stanza) -> bool:
    """Whether a message has a text of its sender's that is not encrypted."""
    kind = stanza.message_type
    if kind == "error" or kind == "headline":
        return False
    has_text = False
    for child in stanza.elements():
        namespace, name = child.namespace, child.name
        if name == "body" and namespace == NS.CLIENT:
            has_text = has_text or bool(child.text.strip() and not child.text.startswith(_OTR))
        elif child.children and (namespace, name) in ENCRYPTED:
            return False
    return has_text and not _is_made_by_app(stanza)


def _is_made_by_app(stanza: Stanza) -> bool:
    """Whether the body is a fallback or goes with an invitation (XEP-0045 §7.8, XEP-0249): no message of anybody's."""
    for child in stanza.elements():
        if child.namespace == NS.FALLBACK and child.name == "fallback":
            meant = child.get("for")
            if meant in _FALLBACKS and stanza.find(_FALLBACKS[meant], meant) is not None and _is_for_all(child):
                return True
        elif child.name == "x":
            if child.namespace == NS.CONFERENCE:
                return True
            if child.namespace == NS.MUC_USER and child.find("invite") is not None:
                return True
    return False


def _is_for_all(fallback: Element) -> bool:
    """Whether a fallback is the whole body (XEP-0428 §2.2): nothing says which part of it."""
    parts = list(fallback.elements())
    return not parts or any(part.name == "body" and not part.attributes for part in parts)


class Reminders:
    """Who was reminded of a conversation when."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str], int] = OrderedDict()

    def is_due(self, sender: str, other: str, now: int) -> bool:
        """Whether `sender` is to be reminded of its conversation with `other` (bare JIDs) at `now` (ms): once a day."""
        at = self._told.get((sender, other))
        if at is not None and 0 <= now - at < DAY_MS:
            return False
        self._told[sender, other] = now
        self._told.move_to_end((sender, other))
        if len(self._told) > MAX_REMINDED:
            self._told.popitem(last=False)
        return True

    def forget(self, sender: str) -> None:
        """The account is gone."""
        for key in [key for key in self._told if key[0] == sender]:
            del self._told[key]
