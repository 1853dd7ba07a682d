"""HT: tokens in one message and one answer (draft-schmaus-kitten-sasl-ht-09), for FAST (XEP-0484) alone.

The client sends its name and HMAC(token, "Initiator" || cb-data), the server answers HMAC(token, "Responder" ||
cb-data): each proves that it has the token, and -ENDP, that both see the same certificate (RFC 5929 §4).
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Collection, Sequence
from typing import Final

from xmppchat.protocol.sasl.base import Exchange, ExchangeContext, NeedTokens, Step, Success, WaitsFor

#: Mechanisms, strongest first, with the type of their channel binding, "" for none. EXPR and UNIQ need bindings that
#: this server cannot verify (docs/adr/0007-tls-layer.md).
HT_MECHANISMS: Final = {"HT-SHA-256-ENDP": "tls-server-end-point", "HT-SHA-256-NONE": ""}
#: Tokens that a client has at most (XEP-0484 §6.1).
MAX_TOKENS: Final = 2

_DIGEST: Final = "sha256"
_PROOF_BYTES: Final = 32
# What is tried where there are fewer tokens, so that an unknown client costs as much as a known one.
_NOBODYS: Final = secrets.token_bytes(_PROOF_BYTES)


def token_mechanisms(channel_bindings: Collection[str]) -> tuple[str, ...]:
    """What FAST can offer where these channel bindings work."""
    return tuple(name for name, binding in HT_MECHANISMS.items() if not binding or binding in channel_bindings)


class TokenExchange(Exchange):
    """``authcid NUL hashed-token``, and the server's hashed token with the success (§3)."""

    __slots__ = ("_binding", "_proof", "_username")

    def __init__(self, name: str, context: ExchangeContext) -> None:
        super().__init__(name, context)
        binding = HT_MECHANISMS[name]
        self._binding = context.channel_bindings[binding] if binding else b""
        self._username = ""
        self._proof = b""

    def _receive(self, data: bytes) -> Step:
        name, separator, proof = data.partition(b"\0")
        if not separator or not name or len(proof) != _PROOF_BYTES:
            return self._fail("malformed-request", f"{self.name} is a user name, NUL, and {_PROOF_BYTES} bytes.")
        try:
            username = name.decode("utf-8")
        except UnicodeDecodeError:
            return self._fail("malformed-request", "The user name is not valid UTF-8.")
        if failure := self._check_identity(username, ""):
            return failure
        self._username, self._proof = username, proof
        self._waits_for = WaitsFor.TOKENS
        return NeedTokens(username)

    def _take_tokens(self, candidates: Sequence[bytes]) -> Step:
        proved: bytes | None = None
        tried = [*candidates, *[_NOBODYS] * (MAX_TOKENS - len(candidates))]
        for number, token in enumerate(tried):
            is_proved = hmac.compare_digest(self._hashed(token, b"Initiator"), self._proof)
            if is_proved and number < len(candidates):
                proved = token
        if proved is None:
            return self._fail("not-authorized", "The token is none, or none any more; log in with the password.")
        self._waits_for = WaitsFor.NOTHING
        return Success(self._username, self._hashed(proved, b"Responder"), proved)

    def _hashed(self, token: bytes, role: bytes) -> bytes:
        return hmac.digest(token, role + self._binding, _DIGEST)
