"""The key that tokens are made with, and what else is made with it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import structlog

from xmppchat.core import key_file
from xmppchat.core.key_file import MIN_CHARACTERS

log = structlog.get_logger(__name__)

#: The file in ``data_dir`` that has the key, where the configuration names no other.
FILE = "token.key"

_SUFFIX_CHARACTERS = 12
_ID_CHARACTERS = 16


class TokenKey:
    """Makes the same of the same; what comes out tells nothing of the key, nor of what goes in.

    That is BLAKE2b with a key (RFC 7693 §2.9), which costs a tenth of OpenSSL's HMAC; logins make several tokens.
    """

    __slots__ = ("_key",)

    def __init__(self, text: str) -> None:
        self._key = hashlib.sha256(text.encode()).digest()

    def token(self, account_id: int, device_id: int, mechanism: str, nonce: bytes) -> bytes:
        """The token of a device, as its client knows it: 256 bits in base64url, and the key of its HMAC."""
        made = self._made(b"token", _number(account_id), _number(device_id), mechanism.encode(), nonce)
        return made.encode()

    def resource_suffix(self, account_id: int, client_id: str) -> str:
        """A client's part of its resource; 72 bits."""
        return self._made(b"resource", _number(account_id), client_id.encode())[:_SUFFIX_CHARACTERS]

    def session_id(self, account_id: int, resource: str, connected_at: int) -> str:
        """What a session without a device is called in the list of devices; 96 bits."""
        return self._made(b"session", _number(account_id), resource.encode(), _number(connected_at))[:_ID_CHARACTERS]

    def _made(self, purpose: bytes, *fields: bytes) -> str:
        """256 bits in base64url. Each field is told apart from the next one by its length."""
        data = b"".join([part for field in fields for part in (len(field).to_bytes(4), field)])
        made = hashlib.blake2b(data, key=self._key, digest_size=32, person=purpose).digest()
        return base64.urlsafe_b64encode(made).decode().rstrip("=")


def read_or_make(path: Path) -> TokenKey:
    """The key in the file at `path`; a new one where there is none, or none that could be one. Raises `OSError`."""
    text = key_file.read(path)
    if path.exists() and len(text) < MIN_CHARACTERS:
        log.warning("the key of tokens is damaged, so there is a new one: clients log in with their passwords",
                    file=str(path), next_step="restore the file, if there is a copy, and restart")
    if len(text) < MIN_CHARACTERS:
        text = key_file.make(path)
    return TokenKey(text)


def _number(number: int) -> bytes:
    return number.to_bytes(8)
