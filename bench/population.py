"""Accounts and rosters that are in a database before its server starts: written in its own format, not by XMPP."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass

#: What the load generator logs in with.
PASSWORD = "bench-password"
PREFIX = "u"


@dataclass(frozen=True, slots=True)
class Population:
    """`accounts` u0, u1, ...; each has `contacts` mutual contacts, its neighbours in a ring."""

    accounts: int
    contacts: int = 0

    @property
    def key(self) -> str:
        """A name for a folder."""
        return f"{self.accounts}x{self.contacts}"

    def names(self) -> Iterator[str]:
        """All localparts."""
        return (f"{PREFIX}{number}" for number in range(self.accounts))

    def contacts_of(self, number: int) -> Iterator[str]:
        """Localparts of the contacts of an account."""
        for distance in range(1, self.contacts // 2 + 1):
            yield f"{PREFIX}{(number + distance) % self.accounts}"
            yield f"{PREFIX}{(number - distance) % self.accounts}"


@dataclass(frozen=True, slots=True)
class Verifier:
    """SCRAM keys (RFC 5802 §3). All accounts share them: a salt of each its own would take an hour to compute."""

    salt: bytes
    iterations: int
    stored_key: bytes
    server_key: bytes

    def base64(self, name: str) -> str:
        """A field as base64."""
        value: bytes = getattr(self, name)
        return base64.b64encode(value).decode()


def verifier(hash_name: str = "sha1", iterations: int = 10_000) -> Verifier:
    """Keys for :data:`PASSWORD`."""
    salt = b"0123456789abcdef"
    salted = hashlib.pbkdf2_hmac(hash_name, PASSWORD.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    stored = hashlib.new(hash_name, client_key).digest()
    return Verifier(salt, iterations, stored, hmac.digest(salted, b"Server Key", hash_name))
