"""What can wait while nobody looks at a client, and what replaces what: a decision on a stanza, without state.

Only what is known to be of the moment waits: presence, chat states alone, events of personal eventing. All else is
urgent, so nothing that a later specification invents is kept from anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.message_content import ENCRYPTED, meant
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

PRESENCE, CHAT_STATES, EVENTS = "presence", "chat_states", "events"


class Key(NamedTuple):
    """Of stanzas with one key only the last matters. `kind` is what the option `hold` calls it."""

    kind: str
    sender: str
    node: str = ""
    item: str = ""


#: May stand beside a chat state, and adds nothing to it: (namespace, name), name "" for any.
_BESIDE_A_STATE = frozenset({
    (NS.CLIENT, "thread"), (NS.HINTS, ""), (NS.STANZA_IDS, "origin-id"), (NS.STANZA_IDS, "stanza-id"),
    (NS.OCCUPANT_ID, ""), (NS.DELAY, ""),
})  # fmt: skip
#: Says something: a text, or what may be one.
_SAYS = ENCRYPTED | {(NS.CLIENT, "body"), (NS.ENCRYPTION, "encryption")}
#: XEP-0045 §15.6.2: the presence is about the occupant who gets it.
_SELF_PRESENCE = "110"


def key_of(stanza: Stanza, own: JID) -> Key | None:
    """What replaces `stanza`, which goes to the full JID `own`, should it wait; None: it is urgent."""
    if stanza.kind == "presence":
        return _of_presence(stanza, own)
    if stanza.kind != "message" or stanza.from_ is None:
        return None
    kind, sender, children = meant(stanza, own)
    if kind == "error" or stanza_ids.is_stamped(children, own):
        return None
    if kind == "headline":
        return _of_event(sender, children)
    return Key(CHAT_STATES, sender) if _is_state_alone(children) else None


def outdated_by(stanza: Stanza, own: JID) -> Key | None:
    """The chat state that an urgent message makes old: that of its sender, if it says something."""
    if stanza.kind != "message" or stanza.from_ is None:
        return None
    kind, sender, children = meant(stanza, own)
    if kind == "error" or kind == "headline":
        return None
    says = any(
        isinstance(child, Element)
        and (child.namespace == NS.CHAT_STATES or (child.namespace, child.name) in _SAYS)
        for child in children
    )
    return Key(CHAT_STATES, sender) if says else None


def _of_presence(stanza: Stanza, own: JID) -> Key | None:
    if stanza.type not in ("", "unavailable") or stanza.from_ is None:
        return None
    # What a client itself has just done it is awake for: its own presence, and that in a room.
    if stanza.from_ == own:
        return None
    of_room = stanza.find("x", NS.MUC_USER)
    if of_room is not None and any(status.get("code") == _SELF_PRESENCE for status in of_room.find_all("status")):
        return None
    return Key(PRESENCE, stanza.from_.full)


def _is_state_alone(children: Sequence[Element | str]) -> bool:
    has_state = False
    for child in children:
        if isinstance(child, str):
            continue
        if child.namespace == NS.CHAT_STATES:
            has_state = True
        elif (child.namespace, child.name) not in _BESIDE_A_STATE and (child.namespace, "") not in _BESIDE_A_STATE:
            return False
    return has_state


def _of_event(sender: str, children: Sequence[Element | str]) -> Key | None:
    event: Element | None = None
    for child in children:
        if isinstance(child, Element):
            if child.is_named("body", NS.CLIENT):
                return None
            if child.is_named("event", NS.PUBSUB_EVENT):
                event = child
    if event is None:
        return None
    inside = list(event.elements())
    if len(inside) == 1 and inside[0].name == "items":
        changes = list(inside[0].elements())
        if len(changes) == 1 and changes[0].name in ("item", "retract") and changes[0].get("id"):
            return Key(EVENTS, sender, inside[0].get("node"), changes[0].get("id"))
    return Key(EVENTS, sender)  # replaces nothing: see Holding


__all__ = ["CHAT_STATES", "EVENTS", "PRESENCE", "Key", "key_of", "outdated_by"]
