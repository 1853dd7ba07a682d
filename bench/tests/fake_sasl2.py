"""SASL2 with Bind 2 and tokens, as far as the least XMPP server needs it."""

from __future__ import annotations

import base64
import hmac

OFFER = (
    b"<authentication xmlns='urn:xmpp:sasl:2'><mechanism>SCRAM-SHA-1</mechanism><inline>"
    b"<bind xmlns='urn:xmpp:bind:0'><inline><feature var='urn:xmpp:carbons:2'/><feature var='urn:xmpp:sm:3'/></inline>"
    b"</bind><fast xmlns='urn:xmpp:fast:0'><mechanism>HT-SHA-256-NONE</mechanism></fast></inline></authentication>"
)


def answer(token: bytes, proof: bytes) -> bytes | None:
    """The server's proof that it knows the token, None where the client's is none."""
    if proof != hmac.digest(token, b"Initiator", "sha256"):
        return None
    return hmac.digest(token, b"Responder", "sha256")


def bound(session: bytes) -> bytes:
    """A new resource; its stream management can be resumed as `session`."""
    enabled = b"<enabled xmlns='urn:xmpp:sm:3' resume='true' id='" + session + b"'/>"
    return b"<bound xmlns='urn:xmpp:bind:0'>" + enabled + b"</bound>"


def token(text: bytes) -> bytes:
    """A token to log in with the next time."""
    return b"<token xmlns='urn:xmpp:fast:0' expiry='2030-01-01T00:00:00Z' token='" + text + b"'/>"


def success(jid: bytes, proof: bytes, results: bytes) -> bytes:
    """The end of a login, and the features that follow it."""
    return (
        b"<success xmlns='urn:xmpp:sasl:2'><additional-data>" + base64.b64encode(proof) + b"</additional-data>"
        b"<authorization-identifier>" + jid + b"</authorization-identifier>" + results + b"</success>"
        b"<stream:features/>"
    )
