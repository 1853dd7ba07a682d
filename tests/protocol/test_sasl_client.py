"""A SCRAM client written from RFC 5802 with hashlib, a second opinion for the tests, and what they share."""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from dataclasses import dataclass, field, replace

import pytest

from xmppchat.protocol.sasl import (
    SCRAM_HASHES,
    Challenge,
    Exchange,
    ExchangeContext,
    Failure,
    NeedKeys,
    Step,
    create,
    derive_keys,
)

DOMAIN = "example.org"
SALT = b"sixteen bytes ok"
END_POINT = hashlib.sha256(b"the certificate").digest()
DIGESTS = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
KEYS = {name: derive_keys(name, "pencil", SALT, 4096) for name in SCRAM_HASHES}

UNBOUND = ExchangeContext(DOMAIN, {}, plus_offered=False, nonce=lambda: "serverNonce")
BOUND = ExchangeContext(
    DOMAIN, {"tls-server-end-point": END_POINT}, plus_offered=True, nonce=lambda: "serverNonce"
)


@dataclass
class Client:
    """RFC 5802 §3 and §5, word for word. Attributes are what a test may want to get wrong."""

    mechanism: str = "SCRAM-SHA-256"
    username: str = "juliet"
    password: str = "pencil"
    header: str = "n,,"
    binding: bytes = b""
    nonce: str = "clientNonce"
    first_extensions: str = ""
    final_extensions: str = ""
    combined_nonce: str = ""
    channel: bytes = b""
    first_bare: str = field(init=False, default="")
    signature: str = field(init=False, default="")

    def first(self) -> bytes:
        name = self.username.replace("=", "=3D").replace(",", "=2C")
        self.first_bare = f"n={name},r={self.nonce}{self.first_extensions}"
        return f"{self.header}{self.first_bare}".encode()

    def final(self, challenge: bytes) -> bytes:
        digest = DIGESTS[self.mechanism.removesuffix("-PLUS")]
        server_first = challenge.decode()
        values = dict(part.split("=", 1) for part in server_first.split(","))
        assert values["r"].startswith(self.nonce)
        assert len(values["r"]) > len(self.nonce)
        salted = hashlib.pbkdf2_hmac(digest, self.password.encode(), b64decode(values["s"]), int(values["i"]))
        client_key = hmac.new(salted, b"Client Key", digest).digest()
        stored_key = hashlib.new(digest, client_key).digest()
        server_key = hmac.new(salted, b"Server Key", digest).digest()
        channel = b64encode(self.channel or self.header.encode() + self.binding).decode()
        unproved = f"c={channel},r={self.combined_nonce or values['r']}{self.final_extensions}"
        message = f"{self.first_bare},{server_first},{unproved}".encode()
        client_signature = hmac.new(stored_key, message, digest).digest()
        proof = bytes(a ^ b for a, b in zip(client_key, client_signature, strict=True))
        self.signature = "v=" + b64encode(hmac.new(server_key, message, digest).digest()).decode()
        return f"{unproved},p={b64encode(proof).decode()}".encode()


def bound(header: str = "p=tls-server-end-point,,", **changes: object) -> Client:
    return replace(Client("SCRAM-SHA-256-PLUS", header=header, binding=END_POINT), **changes)  # type: ignore[arg-type]


def run(client: Client, context: ExchangeContext = UNBOUND) -> Step:
    """The whole exchange; the last step of it."""
    exchange = create(client.mechanism, context)
    step = exchange.start(client.first())
    if isinstance(step, NeedKeys):
        step = exchange.keys(KEYS[step.hash_name])
    if isinstance(step, Challenge):
        step = exchange.respond(client.final(step.data))
    return step


def first(message: str | bytes, context: ExchangeContext = UNBOUND, mechanism: str = "SCRAM-SHA-256") -> Step:
    """The answer to a client's first message, keys looked up."""
    exchange = create(mechanism, context)
    step = exchange.start(message if isinstance(message, bytes) else message.encode())
    return exchange.keys(KEYS[step.hash_name]) if isinstance(step, NeedKeys) else step


def waiting_for_final(client: Client) -> tuple[Exchange, bytes]:
    exchange = create(client.mechanism, UNBOUND)
    assert isinstance(exchange.start(client.first()), NeedKeys)
    step = exchange.keys(KEYS[client.mechanism])
    assert isinstance(step, Challenge)
    return exchange, step.data


def condition(step: Step) -> str:
    assert isinstance(step, Failure), step
    assert step.text
    return step.condition


@pytest.mark.parametrize(
    ("client", "challenge", "final", "signature"),
    [
        pytest.param(
            Client("SCRAM-SHA-1", "user", nonce="fyko+d2lbbFgONRv9qkxdawL"),
            b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
            b"c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
            "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            id="RFC 5802 §5",
        ),
        pytest.param(
            Client("SCRAM-SHA-256", "user", nonce="rOprNGfwEbeRWgbNEkqO"),
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            id="RFC 7677 §3",
        ),
    ],
)
def test_the_client_is_a_scram_client(client: Client, challenge: bytes, final: bytes, signature: str) -> None:
    client.first()
    assert client.final(challenge) == final
    assert client.signature == signature
