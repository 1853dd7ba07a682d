"""What is in a database before its server starts, written in its own format, not by XMPP."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Iterator
from dataclasses import dataclass

#: What the load generator logs in with.
PASSWORD = "bench-password"
PREFIX = "u"
#: The load generator's `chat_body`: it knows its messages by it.
BODY = "The quick brown fox jumps over the lazy dog, then sits down in the shade and thinks about tomorrow ..."
#: Who the archived conversations are with, as `--peers` of the load generator.
PEERS = 10


@dataclass(frozen=True, slots=True)
class ArchivedMessage:
    """Message `number` of the archive of account `owner`; `at` is when it came, ms since 1970."""

    owner: int
    number: int
    at: int

    @property
    def id(self) -> str:
        """What its sender called it; by this the load generator knows which one it is."""
        return f"a{self.owner}-{self.number}"

    @property
    def is_incoming(self) -> bool:
        """Whether the peer wrote it; they take turns."""
        return self.number // PEERS % 2 == 0

    def peer(self, domain: str) -> str:
        """The bare JID of the other one."""
        return f"peer{self.number % PEERS}@{domain}"

    def addresses(self, domain: str) -> tuple[str, str]:
        """`from` and `to` as the owner's server sees them: a client writes to a bare JID."""
        own, peer = f"{PREFIX}{self.owner}@{domain}", self.peer(domain)
        return (f"{peer}/phone", own) if self.is_incoming else (f"{own}/bench", peer)

    def xml(self, domain: str) -> str:
        """The stanza."""
        sender, to = self.addresses(domain)
        return (
            f'<message xmlns="jabber:client" from="{sender}" to="{to}" type="chat" id="{self.id}">'
            f'<body>{BODY}</body><origin-id xmlns="urn:xmpp:sid:0" id="{self.id}"/></message>'
        )


@dataclass(frozen=True, slots=True)
class Population:
    """`accounts` u0, u1, ...; each has `contacts` mutual contacts, its neighbours in a ring.

    `archived` is the number of messages in the archive of each, from all conversations at once, one a second.
    """

    accounts: int
    contacts: int = 0
    archived: int = 0

    @property
    def key(self) -> str:
        """A name for a folder."""
        return f"{self.accounts}x{self.contacts}x{self.archived}"

    def names(self) -> Iterator[str]:
        """All localparts."""
        return (f"{PREFIX}{number}" for number in range(self.accounts))

    def contacts_of(self, number: int) -> Iterator[str]:
        """Localparts of the contacts of an account."""
        for distance in range(1, self.contacts // 2 + 1):
            yield f"{PREFIX}{(number + distance) % self.accounts}"
            yield f"{PREFIX}{(number - distance) % self.accounts}"

    def archive(self, *, by_owner: bool = False) -> Iterator[ArchivedMessage]:
        """All archived messages, in the order in which they came, or one owner's after the other's."""
        began = _BEGAN - self.archived * 1000
        if by_owner:
            for owner in range(self.accounts):
                for number in range(self.archived):
                    yield ArchivedMessage(owner, number, began + number * 1000 + owner % 1000)
        else:
            for number in range(self.archived):
                for owner in range(self.accounts):
                    yield ArchivedMessage(owner, number, began + number * 1000 + owner % 1000)


_BEGAN = int(time.time() * 1000)


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
