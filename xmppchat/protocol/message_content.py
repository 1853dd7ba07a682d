"""What a message holds: what its payload is worth, as far as a server can tell (XEP-0313 §5.1.1, XEP-0334).

One table (:data:`RULES`) says of each known payload whether it makes a message worth keeping for good; the weightiest
of a message decides. Components ask it where they store messages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


@dataclass(frozen=True, slots=True)
class Content:
    """What a message is: `reason` in words, whether it `is_kept` for good, whether a person can read it (`is_readable`:
    a text, or something encrypted). `weight`: of several payloads the weightiest decides. `is_marker`, `is_retraction`:
    it says what was read, or takes something back; `test`: only for elements of which this is true.
    """

    reason: str
    weight: int
    is_kept: bool = True
    is_readable: bool = False
    is_marker: bool = False
    is_retraction: bool = False
    test: Callable[[Element], bool] | None = None


#: (Namespace, name) of what holds something encrypted: OMEMO of all versions, OpenPGP (XEP-0373, XEP-0027). That a
#: message says it is encrypted (XEP-0380) is another thing.
ENCRYPTED: Final = frozenset({
    (NS.OMEMO_AXOLOTL, "encrypted"), (NS.OMEMO_1, "encrypted"), (NS.OMEMO, "encrypted"), (NS.OPENPGP, "openpgp"),
    (NS.OPENPGP_LEGACY, "x"),
})  # fmt: skip


def _has_invitation(element: Element) -> bool:
    return any(child.name in ("invite", "decline") for child in element.elements())


_FORBIDDEN, _EVENT, _RETRACTING, _READABLE, _USEFUL = 5, 4, 3, 2, 1

NOTHING: Final = Content("nothing in it that is worth keeping", 0, is_kept=False)
_BODY = Content("a body", _READABLE, is_readable=True)
_ENCRYPTED = Content("something encrypted", _READABLE, is_readable=True)
_RECEIPT = Content("a receipt", _USEFUL)
_MARKER = Content("a chat marker", _USEFUL)
_INVITATION = Content("an invitation to a room", _USEFUL)
_CALL = Content("a call", _USEFUL)
_RETRACTION = Content("a retraction", _USEFUL)

#: By namespace and name of a payload; the name "" stands for all others of its namespace.
RULES: Final[Mapping[str, Mapping[str, Content]]] = {
    NS.CLIENT: {"body": _BODY, "subject": Content("a subject", _USEFUL)},
    NS.HINTS: {
        "no-store": Content("the hint no-store", _FORBIDDEN, is_kept=False),  # it wins over "store"
        "no-permanent-store": Content("the hint no-permanent-store", _FORBIDDEN, is_kept=False),
        "store": Content("the hint store", _USEFUL),
    },
    NS.PUBSUB_EVENT: {"event": Content("an event of a node", _EVENT, is_kept=False)},
    **{namespace: {name: _ENCRYPTED} for namespace, name in ENCRYPTED},
    NS.ENCRYPTION: {"encryption": _ENCRYPTED},
    NS.RECEIPTS: {"received": _RECEIPT},  # a request alone asks about nothing
    NS.CHAT_MARKERS: {
        "received": _MARKER, "acknowledged": _MARKER,
        "displayed": Content("a chat marker", _USEFUL, is_marker=True),
    },
    NS.CONFERENCE: {"x": _INVITATION},
    NS.MUC_USER: {"x": Content("an invitation to a room", _USEFUL, test=_has_invitation)},
    NS.JINGLE_MESSAGE: {"": _CALL},
    NS.JINGLE_MESSAGE_1: {"": _CALL},
    NS.CALL_INVITES: {"": _CALL},
    NS.MESSAGE_CORRECT: {"replace": Content("a correction", _USEFUL)},
    NS.REACTIONS: {"reactions": Content("reactions", _USEFUL)},
    NS.REPLY: {"reply": Content("a reply", _USEFUL)},
    NS.RETRACT: {"retract": Content("a retraction", _RETRACTING, is_retraction=True)},
    NS.FASTEN: {"apply-to": _RETRACTION},  # as XEP-0424 had it before 0.4
    NS.OUT_OF_BAND: {"x": Content("an address of data", _USEFUL)},
}

#: What is only of the moment, or only says how to treat the rest: by itself it is nothing to tell anybody later.
_OF_THE_MOMENT: Final = frozenset({"thread", "origin-id", "stanza-id"})


def content_of(stanza: Stanza) -> Content:
    """The weightiest content of a message; :data:`NOTHING` where none is known. Looked for once."""
    known = stanza.memo
    if isinstance(known, Content):
        return known
    found = NOTHING
    for child in stanza.children:
        if isinstance(child, str):
            continue
        rules = RULES.get(child.namespace)
        if rules is None:
            continue
        rule = rules.get(child.name) or rules.get("")
        if rule is not None and rule.weight > found.weight and (rule.test is None or rule.test(child)):
            found = rule
    stanza.memo = found
    return found


def has_text(stanza: Stanza) -> bool:
    """Whether a person can read something in a message, or could if it was decrypted."""
    for child in stanza.elements():
        rule = RULES.get(child.namespace, {}).get(child.name)
        if rule is not None and rule.is_readable:
            return True
    return False


def is_of_the_moment(stanza: Stanza) -> bool:
    """Whether a message has nothing for somebody who comes later: chat states, or the hint no-store (XEP-0334 §4.1)."""
    is_momentary = True
    for child in stanza.elements():
        if child.namespace == NS.HINTS:
            if child.name == "no-store":
                return True
            is_momentary = is_momentary and child.name != "store"
        elif child.namespace != NS.CHAT_STATES and child.name not in _OF_THE_MOMENT:
            is_momentary = False
    return is_momentary


#: Payloads of instant messaging that make a message eligible whatever else it holds (§6.1).
_OF_IM = frozenset({
    NS.RECEIPTS, NS.CHAT_STATES, NS.CHAT_MARKERS, NS.CONFERENCE, NS.JINGLE_MESSAGE, NS.JINGLE_MESSAGE_1,
})  # fmt: skip


def is_for_copies(stanza: Stanza, *, is_inbound: bool, has_reason: bool = False) -> bool:
    """Whether a message is one for carbons by what it holds (XEP-0280 §6.1).

    `has_reason`: there is a reason already (it is archived, or an error that answers a message which was copied), and
    the question is what speaks against it.
    """
    kind = stanza.message_type
    if kind == "groupchat" or kind == "headline":
        return False
    is_of_im = has_reason or kind == "chat"
    is_private_of_room = False
    for child in stanza.elements():
        namespace, name = child.namespace, child.name
        if namespace == NS.CARBONS:
            return False  # <private/>; or it says to be a carbon itself (reliability.md V-26)
        if namespace == NS.HINTS:
            if name == "no-copy":
                return False
        elif namespace == NS.MUC_USER and name == "x":
            if child.find("invite") is not None:
                is_of_im = True
            elif is_inbound and stanza.from_ is not None and stanza.from_.resource:
                is_private_of_room = True  # the room tells each device that joined
        elif namespace in _OF_IM or (name == "body" and namespace == NS.CLIENT and kind == "normal"):
            is_of_im = True
    return is_of_im and not is_private_of_room


def meant(stanza: Stanza, own: JID) -> tuple[str, str, Sequence[Element | str]]:
    """Type, sender and payload of a message to `own`; of the one inside if it is a carbon of a received message."""
    assert stanza.from_ is not None
    if stanza.from_.full == own.bare:  # only the server sends in this name (XEP-0280 §11)
        received = stanza.find("received", NS.CARBONS)
        forwarded = received.find("forwarded", NS.FORWARD) if received is not None else None
        inner = forwarded.find("message", NS.CLIENT) if forwarded is not None else None
        if inner is not None:
            return inner.get("type"), inner.get("from"), inner.children
    return stanza.type, stanza.from_.full, stanza.children


__all__ = ["NOTHING", "RULES", "Content", "content_of", "has_text", "is_for_copies", "is_of_the_moment", "meant"]
