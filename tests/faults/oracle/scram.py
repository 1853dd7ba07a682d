"""SCRAM (RFC 5802, RFC 7677), the client's side, without channel binding."""

from __future__ import annotations

import base64
import functools
import hashlib
import hmac
import secrets

#: Mechanisms that are known here, the preferred first.
HASHES = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}


@functools.lru_cache(maxsize=4096)
def _salted(digest: str, password: str, salt: bytes, iterations: int) -> bytes:
    """Remembered, as clients do: they log in again after every fault."""
    return hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)


class Scram:
    """One exchange: `first` is sent with the mechanism, `final` answers the challenge, `verify` judges the server."""

    def __init__(self, mechanism: str, user: str, password: str) -> None:
        self._digest = HASHES[mechanism]
        self._password = password
        self._nonce = secrets.token_urlsafe(18)
        self._bare = f"n={user.replace('=', '=3D').replace(',', '=2C')},r={self._nonce}"
        self._signature = b""

    def first(self) -> bytes:
        """The first message."""
        return f"n,,{self._bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        """The answer to the server's first message; ValueError where its nonce is not an extension of ours."""
        fields = dict(field.split("=", 1) for field in challenge.decode().split(","))
        if not fields["r"].startswith(self._nonce):
            raise ValueError("the server's nonce does not extend ours")
        salted = _salted(self._digest, self._password, base64.b64decode(fields["s"]), int(fields["i"]))
        without_proof = f"c=biws,r={fields['r']}"
        message = f"{self._bare},{challenge.decode()},{without_proof}".encode()
        client_key = hmac.digest(salted, b"Client Key", self._digest)
        stored_key = hashlib.new(self._digest, client_key).digest()
        proof = bytes(a ^ b for a, b in zip(client_key, hmac.digest(stored_key, message, self._digest), strict=True))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", self._digest), message, self._digest)
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def verify(self, success: bytes) -> None:
        """ValueError where the server did not prove that it knows the keys."""
        if success != b"v=" + base64.b64encode(self._signature):
            raise ValueError("the server did not prove that it knows the keys")
