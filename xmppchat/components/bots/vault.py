"""The vault: what devices of bots know is encrypted before it goes into the database, with a key that is not in there.

AES-256-GCM (NIST SP 800-38D) with a random nonce for each value. Account and name of a value are authenticated with it:
it cannot be read as another one. That an old value of the same name was put back cannot be seen.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from xmppchat.core import key_file
from xmppchat.core.key_file import MIN_CHARACTERS

#: The file in ``data_dir`` that has the key, where the configuration names no other.
FILE: Final = "bots.key"

_FORMAT: Final = b"\x01"
_NONCE: Final = 12
_PURPOSE: Final = b"xmppchat: values of bots' devices\x00"


class Sealed(Exception):
    """A value cannot be opened: it was encrypted with another key, or changed. The text tells what to do."""


class Vault:
    """Encrypts and decrypts values with the key that is made of `text`."""

    def __init__(self, text: str) -> None:
        self._cipher = AESGCM(hashlib.sha256(_PURPOSE + text.encode()).digest())

    def seal(self, account_id: int, name: str, value: bytes) -> bytes:
        """`value` as it is stored."""
        nonce = secrets.token_bytes(_NONCE)
        return _FORMAT + nonce + self._cipher.encrypt(nonce, value, _context(account_id, name))

    def open(self, account_id: int, name: str, stored: bytes) -> bytes:
        """The value that :meth:`seal` was given. Raises :class:`Sealed`."""
        if stored[:1] == _FORMAT:
            nonce, sealed = stored[1:1 + _NONCE], stored[1 + _NONCE:]
            try:
                return self._cipher.decrypt(nonce, sealed, _context(account_id, name))
            except (InvalidTag, ValueError):
                pass
        raise Sealed(
            f"what the bot's device knows was encrypted with another key than that in {FILE}, or is damaged: put the "
            f"right {FILE} back, or remove the bot and add it anew"
        )


def read_or_make(path: Path, *, is_needed: bool) -> Vault:
    """The vault whose key is in the file at `path`; with a new key where there is none, unless it `is_needed`, as
    there are values already. Raises :class:`Sealed`, `OSError`.
    """
    text = key_file.read(path)
    if len(text) < MIN_CHARACTERS:
        if is_needed or text:
            problem = "is damaged" if text else "is missing"
            raise Sealed(f"{path} {problem}, and without it nobody can read the keys of bots: put a copy of it there")
        text = key_file.make(path)
    return Vault(text)


def _context(account_id: int, name: str) -> bytes:
    return account_id.to_bytes(8) + name.encode()
