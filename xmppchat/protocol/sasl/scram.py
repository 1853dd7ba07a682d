"""SCRAM (RFC 5802, RFC 7677) with and without channel binding, and with the offer's hash (XEP-0474).

That hash is put behind the server's first message, and so becomes part of what both sides sign.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from typing import Final

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
from xmppchat.protocol.sasl.passwords import ScramKeys, digest_of

#: Keys of less are not used: iterations by RFC 5802 §5.1; a shorter salt was never made.
MIN_ITERATIONS: Final = 4096
MIN_SALT: Final = 12

# RFC 5802 §7, without the reserved "m=".
_NONCE: Final = r"r=(?P<nonce>[!-+\--~]+)"
_EXTENSIONS: Final = r"(?P<extensions>(?:,[A-Za-z]=[^,\0]+)*)"
_CLIENT_FIRST: Final = re.compile(
    r"(?P<header>(?:[ny]|p=(?P<binding>[A-Za-z0-9.-]+)),(?:a=(?P<authzid>[^,\0]+))?,)"
    rf"(?P<bare>n=(?P<username>[^,\0]+),{_NONCE}{_EXTENSIONS})"
)
_CLIENT_FINAL: Final = re.compile(
    rf"(?P<unproved>c=(?P<bound>[A-Za-z0-9+/=]+),{_NONCE}{_EXTENSIONS}),p=(?P<proof>[A-Za-z0-9+/=]+)"
)
_MANDATORY_EXTENSION: Final = re.compile(r"[^,]*,[^,]*,m=")
_BAD_ESCAPE: Final = re.compile("=(?!2C|3D)")
# Attributes that have a meaning and a place of their own; in that of an extension they have none.
_ATTRIBUTES: Final = frozenset("aceimnprsv")


class ScramExchange(TextExchange):
    """client-first, keys, server-first, client-final, and server-final with the success."""

    __slots__ = ("_bare", "_bound", "_challenge", "_client_nonce", "_hash_name", "_keys", "_nonce", "_username")

    def __init__(self, name: str, hash_name: str, context: ExchangeContext) -> None:
        super().__init__(name, context)
        self._hash_name = hash_name
        self._username = ""
        self._bare = ""  # client-first-message-bare, as sent
        self._client_nonce = self._nonce = ""  # the client's, and the whole one
        self._bound = b""  # what the client must repeat in c=
        self._challenge = ""  # server-first-message
        self._keys: ScramKeys | None = None

    def _receive_text(self, text: str) -> Step:
        return self._client_first(text) if self._keys is None else self._client_final(text, self._keys)

    def _client_first(self, text: str) -> Step:
        message = _CLIENT_FIRST.fullmatch(text)
        if message is None:
            if _MANDATORY_EXTENSION.match(text):
                return self._fail(
                    "malformed-request", "extensions-not-supported: this server knows no mandatory extension."
                )
            return self._fail("malformed-request", "The first message is not one of SCRAM (RFC 5802 §7).")
        if failure := self._check_extensions(message["extensions"]):
            return failure
        header, binding, self._bare, self._client_nonce = message.group("header", "binding", "bare", "nonce")
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

    def _check_extensions(self, extensions: str) -> Failure | None:
        """Optional ones are passed over; each has a name of its own (RFC 5802 §7)."""
        names = [extension[0] for extension in extensions.split(",")[1:]]
        if len(set(names)) == len(names) and _ATTRIBUTES.isdisjoint(names):
            return None
        return self._fail("malformed-request", "An attribute stands twice, or where it must not (RFC 5802 §7).")

    def _take_keys(self, keys: ScramKeys) -> Step:
        if keys.iterations < MIN_ITERATIONS or len(keys.salt) < MIN_SALT:
            return self._fail("temporary-auth-failure", "The stored keys of the account cannot be used.")
        self._keys = keys
        self._nonce = self._client_nonce + self._context.nonce()
        self._challenge = f"r={self._nonce},s={b64encode(keys.salt).decode()},i={keys.iterations}"
        if self._context.offered:
            hashed = offer_hash(self._context.offered, tuple(self._context.channel_bindings), self._hash_name)
            self._challenge += f",h={hashed}"
        self._waits_for = WaitsFor.CLIENT
        return Challenge(self._challenge.encode())

    def _client_final(self, text: str, keys: ScramKeys) -> Step:
        message = _CLIENT_FINAL.fullmatch(text)
        if message is None or message["nonce"] != self._nonce:
            return self._fail("malformed-request", "The last message is not one of this exchange (RFC 5802 §7).")
        if failure := self._check_extensions(message["extensions"]):
            return failure
        try:
            bound, proof = (b64decode(message[name], validate=True) for name in ("bound", "proof"))
        except Base64Error:
            return self._fail("malformed-request", "The binding or the proof is not base64.")
        if bound != self._bound:
            return self._fail(
                "not-authorized",
                "channel-bindings-dont-match: the client sees another TLS connection than this server; "
                "somebody may sit in between.",
            )
        signed = f"{self._bare},{self._challenge},{message['unproved']}".encode()
        if not self._is_proved(signed, proof, keys):
            return self._fail("not-authorized", "The user name or the password is wrong.")
        self._waits_for = WaitsFor.NOTHING
        signature = hmac.digest(keys.server_key, signed, digest_of(self._hash_name))
        return Success(self._username, b"v=" + b64encode(signature))

    def _is_proved(self, signed: bytes, proof: bytes, keys: ScramKeys) -> bool:
        """Whether `proof` is ClientKey XOR ClientSignature (RFC 5802 §3)."""
        digest = digest_of(self._hash_name)
        signature = hmac.digest(keys.stored_key, signed, digest)
        if len(proof) != len(signature):
            return False
        client_key = int.from_bytes(proof, "big") ^ int.from_bytes(signature, "big")
        hashed = hashlib.new(digest, client_key.to_bytes(len(proof), "big")).digest()
        return hmac.compare_digest(hashed, keys.stored_key)


def _unescape(saslname: str) -> str:
    return saslname.replace("=2C", ",").replace("=3D", "=")
