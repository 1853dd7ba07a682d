"""Passwords and the keys that stand for them in storage (RFC 5802 §3, RFC 7677; SASLprep: RFC 4013)."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Final

from scramp.utils import ScramException  # type: ignore[import-untyped]
from scramp.utils import saslprep as _saslprep

SCRAM_HASHES: Final[tuple[str, ...]] = ("SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512")
"""The names under which keys are stored, weakest first."""

#: Bytes of a password. More than a person types or a password manager makes, and PLAIN has room for it.
MAX_PASSWORD: Final = 1024

_HASHES: Final = dict(zip(SCRAM_HASHES, ("sha1", "sha256", "sha512"), strict=True))


@dataclass(frozen=True, slots=True)
class ScramKeys:
    """What is stored instead of a password. A login needs a salt of 12 bytes and 4096 iterations at least."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)


def saslprep(password: str) -> str:
    """The form of a password that both sides hash (RFC 4013, as a stored string).

    Raises `ValueError` with a text for the person who chose the password.
    """
    if password.isascii() and password.isprintable():
        prepared = password  # nothing to map and nothing prohibited
    else:
        _check_length(password)  # preparation costs a microsecond a character
        try:
            prepared = _saslprep(password)
        except ScramException as error:
            raise ValueError(
                "The password holds characters that must not be in one, such as control characters, most "
                f"emoji, or a mixture of writing directions ({error.args[0]})."
            ) from None
    _check_length(prepared)
    if not prepared:
        raise ValueError("The password is empty.")
    return prepared


def derive_keys(hash_name: str, password: str, salt: bytes, iterations: int) -> ScramKeys:
    """Keys for a password; slow on purpose (about 2 ms per 10,000 iterations), so it belongs in a thread.

    `hash_name` is one of :data:`SCRAM_HASHES`, else `KeyError`. Raises `ValueError` as :func:`saslprep` does.
    """
    salted = hashlib.pbkdf2_hmac(_HASHES[hash_name], saslprep(password).encode(), salt, iterations)
    return keys_of_salted(hash_name, salted, salt, iterations)


def keys_of_salted(hash_name: str, salted: bytes, salt: bytes, iterations: int) -> ScramKeys:
    """Keys for a password that somebody else has hashed: `salted` is SaltedPassword of RFC 5802 §3.

    `hash_name` is as there. Raises `ValueError` where `salted` is no hash of that kind.
    """
    digest = _HASHES[hash_name]
    if len(salted) != hashlib.new(digest).digest_size:
        raise ValueError(f"The salted password of {hash_name} has {hashlib.new(digest).digest_size} bytes.")
    client_key = hmac.digest(salted, b"Client Key", digest)
    return ScramKeys(
        salt=salt,
        iterations=iterations,
        stored_key=hashlib.new(digest, client_key).digest(),
        server_key=hmac.digest(salted, b"Server Key", digest),
    )


def digest_of(hash_name: str) -> str:
    """What :mod:`hashlib` calls the hash of a SCRAM mechanism."""
    return _HASHES[hash_name]


def check_password(hash_name: str, password: str, keys: ScramKeys) -> bool:
    """Whether `keys` were derived from `password`; as slow as :func:`derive_keys`, compared in constant time.

    A password that could never have been stored is a wrong one. `hash_name` is as there.
    """
    try:
        derived = derive_keys(hash_name, password, keys.salt, keys.iterations)
    except ValueError:
        return False
    return hmac.compare_digest(derived.stored_key, keys.stored_key)


def _check_length(text: str) -> None:
    # Counting characters first spares the encoding of an absurd one. A lone surrogate has no UTF-8; it passes
    # here, preparation refuses it.
    if len(text) > MAX_PASSWORD or len(text.encode(errors="surrogatepass")) > MAX_PASSWORD:
        raise ValueError(f"The password is longer than {MAX_PASSWORD} bytes.")
