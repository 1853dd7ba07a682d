"""Stanza content encryption (XEP-0420) as OMEMO uses it (XEP-0384 §5.5.1): what is inside an encrypted message. Pure.

The serialiser writes default namespaces and no prefixes: some clients find a ``<body/>`` by its attribute.
"""

from __future__ import annotations

import secrets
from typing import Final

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.moments import parse_timestamp, timestamp
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_document

#: A short text is padded to so many characters, then by up to so many more (XEP-0420 §4.1).
MIN_LENGTH: Final = 256
MAX_PADDING: Final = 200
#: How far the time inside may be from the time outside, ms: clocks are wrong, but an old message is no new one.
MARGIN: Final = 86_400_000


class Forged(ValueError):
    """What is inside does not belong to what is outside, or is no envelope; the text says why."""


def wrap(body: str, sender: JID, recipient: JID, now: int) -> bytes:
    """An envelope with `body`, written at `now` (ms since 1970)."""
    missing = max(0, MIN_LENGTH - len(body)) + secrets.randbelow(MAX_PADDING + 1)
    padding = secrets.token_urlsafe(missing)[:missing]
    content = Element("content", NS.SCE, None, (text_element("body", NS.CLIENT, body),))
    return Element("envelope", NS.SCE, None, (
        content, text_element("rpad", NS.SCE, padding),
        Element("time", NS.SCE, {"stamp": timestamp(now)}),
        Element("from", NS.SCE, {"jid": sender.bare}), Element("to", NS.SCE, {"jid": recipient.bare}),
    )).to_bytes()  # fmt: skip


def unwrap(data: bytes, sender: JID, recipient: JID, sent_at: int) -> str:
    """The body in an envelope, "" where there is none. The message came from `sender` to `recipient`, and was sent at
    `sent_at` (ms since 1970). Raises :class:`Forged`.
    """
    try:
        envelope = parse_document(data)
    except StreamError as error:
        raise Forged(f"it cannot be read: {error}") from None
    content = envelope.find("content")
    if not envelope.is_named("envelope", NS.SCE) or content is None:
        raise Forged("it is no envelope of XEP-0420")
    for name, jid in (("from", sender), ("to", recipient)):
        affix = envelope.find(name)
        if affix is not None and _bare(affix.get("jid")) != jid.bare:
            raise Forged(f"inside it is {name} somebody else")
    moment = envelope.find("time")
    if moment is not None and abs(_moment(moment.get("stamp")) - sent_at) > MARGIN:
        raise Forged("inside it has another time")
    return content.child_text("body", NS.CLIENT) or ""


def _bare(text: str) -> str:
    try:
        return JID.parse(text).bare
    except InvalidJID:
        return ""


def _moment(text: str) -> int:
    try:
        return parse_timestamp(text)
    except (ValueError, OverflowError):
        raise Forged("it has no time that could be read") from None


__all__ = ["Forged", "unwrap", "wrap"]
