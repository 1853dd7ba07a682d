"""Keys from passwords, and the preparation before (RFC 4013, RFC 5802 §3)."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys, check_password, derive_keys, saslprep
from xmppchat.protocol.sasl.passwords import MAX_PASSWORD


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("I\u00adX", "IX"),  # RFC 4013 §3
        ("user", "user"),
        ("USER", "USER"),
        ("\u00aa", "a"),
        ("\u2168", "IX"),
        (" with spaces, and = signs ", " with spaces, and = signs "),
        ("no\u00a0break", "no break"),
        ("e\u0301", "é"),
        ("\u0627\u0628", "\u0627\u0628"),
        ("☺", "☺"),
    ],
)
def test_saslprep(password: str, prepared: str) -> None:
    assert saslprep(password) == prepared
    assert saslprep(prepared) == prepared


@pytest.mark.parametrize(
    "password",
    [
        "\u0007",  # RFC 4013 §3
        "\u0627\u0031",
        "\0",
        "\x7f",
        "tab\t",
        "\ue000",
        "\ufffe",
        "\ud800",
        "😀",
        "\u0378",
        "\u200e",
        "a\u05d0",
    ],
)
def test_what_must_not_be_in_a_password(password: str) -> None:
    with pytest.raises(ValueError, match="password holds characters"):
        saslprep(password)


@pytest.mark.parametrize("password", ["", "\u00ad"])
def test_no_password(password: str) -> None:
    with pytest.raises(ValueError, match="is empty"):
        saslprep(password)


@pytest.mark.parametrize("password", ["p" * 1025, "ä" * 513, "\ufdfa" * 300, "\ud800" * 2000])
def test_too_long_before_or_after_preparation(password: str) -> None:
    with pytest.raises(ValueError, match="longer than 1024 bytes"):
        saslprep(password)


def test_the_longest() -> None:
    assert saslprep("p" * MAX_PASSWORD) == "p" * MAX_PASSWORD


@given(st.text(st.characters() | st.characters(categories=["Cs"]), max_size=50))
def test_preparation_refuses_or_settles(password: str) -> None:
    try:
        prepared = saslprep(password)
    except ValueError:
        return
    prepared.encode()
    assert saslprep(prepared) == prepared


@pytest.mark.parametrize(
    ("hash_name", "digest"),
    [("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256"), ("SCRAM-SHA-512", "sha512")],
)
def test_keys_against_the_formulas_of_the_rfc(hash_name: str, digest: str) -> None:
    salt, iterations = b"a salt", 10
    # Hi() of RFC 5802 §2.2, by hand.
    block = hmac.new(b"pencil", salt + b"\0\0\0\1", digest).digest()
    salted = int.from_bytes(block, "big")
    for _ in range(iterations - 1):
        block = hmac.new(b"pencil", block, digest).digest()
        salted ^= int.from_bytes(block, "big")
    salted_password = salted.to_bytes(len(block), "big")
    client_key = hmac.new(salted_password, b"Client Key", digest).digest()
    assert derive_keys(hash_name, "pencil", salt, iterations) == ScramKeys(
        salt,
        iterations,
        hashlib.new(digest, client_key).digest(),
        hmac.new(salted_password, b"Server Key", digest).digest(),
    )


@pytest.mark.parametrize("hash_name", SCRAM_HASHES)
def test_check_password(hash_name: str) -> None:
    keys = derive_keys(hash_name, "pässword", b"salt", 10)
    assert check_password(hash_name, "pässword", keys)
    assert check_password(hash_name, "pa\u0308ss\u00adword", keys)
    assert not check_password(hash_name, "password", keys)
    assert not check_password(hash_name, "Pässword", keys)


@pytest.mark.parametrize("password", ["", "\0", "\ud800", "p" * 1025])
def test_a_password_that_cannot_be_stored_is_wrong(password: str) -> None:
    assert not check_password("SCRAM-SHA-1", password, derive_keys("SCRAM-SHA-1", "pencil", b"salt", 10))


def test_a_hash_that_is_not_stored() -> None:
    with pytest.raises(KeyError):
        derive_keys("SCRAM-SHA3-512", "pencil", b"salt", 10)


def test_keys_never_show() -> None:
    keys = ScramKeys(b"salt", 10, b"stored secret", b"server secret")
    assert "secret" not in repr(keys)
