"""SCRAM (RFC 5802, RFC 7677) with and without channel binding.

The exchange itself, its grammar, the proof and the signature, is scramp's. Four things are kept from it:

- **Who and how** (the GS2 header): scramp takes no identity to act as, and knows fewer binding types than TLS
  has. The header is read here; scramp sees a plain one, and what `c=` must hold is given to it.
- **The look-up**, which scramp makes inside the first message, and which is a step here.
- **The downgrade**, which depends on what this connection was offered.
- **The offer's hash** (XEP-0474), which is put behind the server's first message and so becomes part of what both sides
  sign.
"""

from __future__ import annotations

import re
from typing import Any, Final

from scramp import ScramException, ScramMechanism  # type: ignore[import-untyped]
from scramp.utils import ServerError  # type: ignore[import-untyped]

from xmppchat.protocol.sasl.base import (
    Challenge,
    ExchangeContext,
    Failure,
    NeedKeys,
    Step,
    Success,
    TextExchange,
    WaitsFor,
)
from xmppchat.protocol.sasl.offer import offer_hash
from xmppchat.protocol.sasl.passwords import SCRAM_HASHES, ScramKeys

# client-first-message of RFC 5802 §7, without the reserved "m=". What follows the nonce is scramp's to judge.
_CLIENT_FIRST: Final = re.compile(
    r"(?P<header>(?:[ny]|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,\0]+))?,)"
    r"(?P<bare>n=(?P<username>[^,\0]+),r=[!-+\--~]+(?:,[^\0]*)?)"
)
_MANDATORY_EXTENSION: Final = re.compile(r"[^,]*,[^,]*,m=")
_BAD_ESCAPE: Final = re.compile("=(?!2C|3D)")

_MECHANISMS: Final = {name: ScramMechanism(name) for name in SCRAM_HASHES}

# Of the faults that scramp finds, those that are a matter of the proof and not of the syntax.
_UNPROVED: Final = {
    ServerError.INVALID_PROOF: "The user name or the password is wrong.",
    ServerError.CHANNEL_BINDINGS_DONT_MATCH: (
        "channel-bindings-dont-match: the client sees another TLS connection than this server; "
        "somebody may sit in between."
    ),
}


class _Gs2Header:
    """In the place of scramp's own: what `c=` of the client's last message must decode to (RFC 5802 §5.1)."""

    __slots__ = ("_expected",)

    def __init__(self, expected: bytes) -> None:
        self._expected = expected

    def make_cbind_input(self, _binding: object) -> bytes:
        """The header as the client sent it, followed by the binding's data."""
        return self._expected


class ScramExchange(TextExchange):
    """client-first, keys, server-first, client-final, and server-final with the success."""

    __slots__ = ("_bare", "_bound", "_hash_name", "_server", "_username")

    def __init__(self, name: str, hash_name: str, context: ExchangeContext) -> None:
        super().__init__(name, context)
        self._hash_name = hash_name
        self._username = ""
        self._bare = ""  # client-first-message-bare, as sent
        self._bound = b""  # what the client must repeat in c=
        self._server: Any = None  # scramp's, from the moment there are keys

    def _receive_text(self, text: str) -> Step:
        return self._client_first(text) if self._server is None else self._client_final(text)

    def _client_first(self, text: str) -> Step:
        message = _CLIENT_FIRST.fullmatch(text)
        if message is None:
            if _MANDATORY_EXTENSION.match(text):
                return self._fail(
                    "malformed-request", "extensions-not-supported: this server knows no mandatory extension."
                )
            return self._fail("malformed-request", "The first message is not one of SCRAM (RFC 5802 §7).")
        header, binding, self._bare = message.group("header", "binding", "bare")
        username, authzid = message["username"], message["authzid"] or ""
        if _BAD_ESCAPE.search(username) or _BAD_ESCAPE.search(authzid):
            return self._fail("malformed-request", "In a name '=' is written =3D and ',' is written =2C.")
        if failure := self._check_binding(header, binding):
            return failure
        self._username = _unescape(username)
        if failure := self._check_identity(self._username, _unescape(authzid)):
            return failure
        self._waits_for = WaitsFor.KEYS
        return NeedKeys(self._username, self._hash_name)

    def _check_binding(self, header: str, binding: str | None) -> Failure | None:
        """Judge the flag of the header (RFC 5802 §6) and lay down what `c=` must hold."""
        data = b""
        if binding is not None:
            # A real binding is as good under the name without -PLUS.
            data = self._context.channel_bindings.get(binding, b"")
            if not data:
                available = ", ".join(self._context.channel_bindings) or "none"
                return self._fail(
                    "not-authorized",
                    f"unsupported-channel-binding-type: available on this connection: {available}.",
                )
        elif header[0] == "y" and self._context.plus_offered:
            return self._fail(
                "not-authorized",
                "server-does-support-channel-binding: the client did not see the -PLUS mechanisms that this "
                "server offers; somebody may sit in between.",
            )
        elif self.name != self._hash_name:
            return self._fail("malformed-request", f"{self.name} needs a channel binding (p=).")
        self._bound = header.encode() + data
        return None

    def _take_keys(self, keys: ScramKeys) -> Step:
        looked_up = False

        def look_up(_username: str) -> tuple[bytes, bytes, bytes, int]:
            nonlocal looked_up
            looked_up = True
            return keys.salt, keys.stored_key, keys.server_key, keys.iterations

        server = _MECHANISMS[self._hash_name].make_server(look_up, s_nonce=self._context.nonce())
        try:
            server.set_client_first(f"n,,{self._bare}")
            challenge: str = server.get_server_first()
        except ScramException as error:
            if looked_up:  # the message is well, the keys are not: too few iterations, too short a salt
                return self._fail("temporary-auth-failure", "The stored keys of the account cannot be used.")
            return self._refuse(error)
        # Should scramp ever stop asking this attribute, c= is held against "n,,": no binding passes then.
        server.gs2_header = _Gs2Header(self._bound)
        if self._context.offered:
            hashed = offer_hash(self._context.offered, tuple(self._context.channel_bindings), self._hash_name)
            challenge = server.server_first = f"{challenge},h={hashed}"
        self._server = server
        self._waits_for = WaitsFor.CLIENT
        return Challenge(challenge.encode())

    def _client_final(self, text: str) -> Step:
        try:
            self._server.set_client_final(text)
            signature: str = self._server.get_server_final()
        except ScramException as error:
            return self._refuse(error)
        self._waits_for = WaitsFor.NOTHING
        return Success(self._username, signature.encode())

    def _refuse(self, error: ScramException) -> Failure:
        if (text := _UNPROVED.get(error.server_error)) is not None:
            return self._fail("not-authorized", text)
        return self._fail("malformed-request", str(error.args[0]))


def _unescape(saslname: str) -> str:
    return saslname.replace("=2C", ",").replace("=3D", "=")
