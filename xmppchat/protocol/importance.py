"""What somebody who is away should be woken for: a decision on a stanza, without state.

Important is what a person wrote to the account, or invites it to; urgent is a call, for which later is too late. All
else can wait until the client comes by itself: receipts, markers, chat states, subjects, reactions, what is taken back.
"""

from __future__ import annotations

import enum
from typing import Final

from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.message_content import ENCRYPTED, meant
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


class Importance(enum.IntEnum):
    """What a stanza is to who is away."""

    NONE = 0
    IMPORTANT = 1
    URGENT = 2


#: Begins a call: XEP-0353 §3.1, XEP-0482 §4.
_CALLS: Final = frozenset({
    (NS.JINGLE_MESSAGE, "propose"), (NS.JINGLE_MESSAGE_1, "propose"), (NS.CALL_INVITES, "invite"),
})  # fmt: skip
#: With these a body is for clients that do not know them (XEP-0424 §3, XEP-0444 §4), or the message is nothing to keep.
_NEVER: Final = frozenset({
    (NS.RETRACT, "retract"), (NS.FASTEN, "apply-to"), (NS.REACTIONS, "reactions"), (NS.PUBSUB_EVENT, "event"),
    (NS.HINTS, "no-store"),
})  # fmt: skip


def importance_of(stanza: Stanza, own: JID) -> Importance:
    """What `stanza` is to the account or session `own`, which it is for."""
    if stanza.kind == "iq":
        return Importance.URGENT if _is_call(stanza) else Importance.NONE
    if stanza.kind != "message" or stanza.from_ is None:
        return Importance.NONE
    kind, sender, children = meant(stanza, own)
    if kind == "error" or kind == "headline" or sender.partition("/")[0] == own.bare:
        return Importance.NONE  # the last one: another device of the account says it, or a carbon shows what it said
    elements = [child for child in children if isinstance(child, Element)]
    names = {(child.namespace, child.name) for child in elements}
    if names & _CALLS:
        return Importance.URGENT
    if names & _NEVER:
        return Importance.NONE
    return Importance.IMPORTANT if any(_is_for_people(child, names) for child in elements) else Importance.NONE


def _is_for_people(child: Element, names: set[tuple[str, str]]) -> bool:
    namespace, name = child.namespace, child.name
    if namespace == NS.CLIENT:
        return name == "body" and bool(child.text)
    if (namespace, name) in ENCRYPTED:
        # OMEMO without it exchanges keys (XEP-0384 §4.6), and nothing is said.
        return name != "encrypted" or child.find("payload") is not None
    if (namespace, name) == (NS.ENCRYPTION, "encryption"):
        return not any(other == "encrypted" for _, other in names)  # that tells more
    if namespace == NS.MUC_USER:
        return name == "x" and child.find("invite") is not None  # XEP-0045 §7.8.2
    return (namespace, name) == (NS.CONFERENCE, "x")


def _is_call(stanza: Stanza) -> bool:
    """A call that was not proposed by a message before (XEP-0166 §6.2, XEP-0167)."""
    jingle = stanza.payload
    if stanza.type != "set" or jingle is None or not jingle.is_named("jingle", NS.JINGLE):
        return False
    return jingle.get("action") == "session-initiate" and any(
        content.find("description", NS.JINGLE_RTP) is not None for content in jingle.find_all("content")
    )


__all__ = ["Importance", "importance_of"]
