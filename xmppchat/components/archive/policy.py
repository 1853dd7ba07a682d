"""Policy: which messages an archive keeps, and why (XEP-0313 §5.1.1, XEP-0334). Pure; every decision has its reason.

What payloads are worth is one table for the whole server, :data:`xmppchat.protocol.message_content.RULES`; here is
what else counts: the type, the direction, and what the account wants (XEP-0441).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from xmppchat.jid import JID
from xmppchat.protocol.message_content import Content, content_of
from xmppchat.protocol.stanza import Stanza

#: Decisions that the type alone makes.
_HEADLINE: Final = Content("a headline is only of the moment", 9, is_kept=False)
_GROUPCHAT: Final = Content("what is said in a room is in the room's archive", 9, is_kept=False)
_ERROR_SENT: Final = Content("an error of a client", 9, is_kept=False)
_ERROR: Final = Content("an error for somebody else than one device", 9, is_kept=False)
#: So that the other devices learn that a message was not delivered.
_BOUNCE: Final = Content("an error that answers a message", 9)


def judge(stanza: Stanza, *, is_inbound: bool) -> Content:
    """What an archive makes of a message, as far as the message itself decides it."""
    kind = stanza.type
    if kind == "chat" or kind == "normal" or not kind:
        return content_of(stanza)
    if kind == "error":
        if not is_inbound:
            return _ERROR_SENT
        # Events of nodes and other things in the account's own name are bounced to its bare JID.
        return _BOUNCE if stanza.to is not None and stanza.to.resource else _ERROR
    if kind == "headline":
        return _HEADLINE
    if kind == "groupchat":
        return _GROUPCHAT
    return content_of(stanza)  # an unknown type is "normal" (RFC 6121 §5.2.2)


Default = Literal["always", "roster", "never"]


@dataclass(frozen=True, slots=True)
class Preferences:
    """What an account wants archived (XEP-0441 §2): a default, and addresses that are exceptions, full or bare."""

    default: Default = "always"
    always: frozenset[str] = frozenset()
    never: frozenset[str] = frozenset()

    def refusal(self, peer: JID, is_contact: Callable[[JID], bool]) -> str:
        """Why messages to and from `peer` are not archived, "" where they are.

        `is_contact` says of a bare JID whether it is in the roster. A listed address with a resource means that one
        alone (§2.4.1); of two entries that fit, the one with the resource counts.
        """
        for text in (peer.full, peer.bare):
            if text in self.never:
                return "the account never archives this address"
            if text in self.always:
                return ""
        if self.default == "always":
            return ""
        if self.default == "never":
            return "the account archives nothing else"
        return "" if is_contact(peer) else "the account archives contacts only"


#: Of an account that has not said anything.
EVERYTHING: Final = Preferences()
