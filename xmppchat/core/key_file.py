"""Keys in files of their own: what the server encrypts or makes with them is in the database, they are not."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from xmppchat.core.secret import Secret

#: Characters of a key at least; what is made here has 64, of 256 random bits.
MIN_CHARACTERS = 32


def check(key: Secret | None) -> Secret | None:
    """An option that names a key of its own, as it is. Raises `ValueError` where that is too short."""
    if key is not None and len(key.reveal()) < MIN_CHARACTERS:
        raise ValueError(f"a key has {MIN_CHARACTERS} characters at least; `openssl rand -hex 32` makes one")
    return key


def read(path: Path) -> str:
    """The text in the file at `path`, "" where there is no such file. Raises `OSError`."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return ""


def make(path: Path) -> str:
    """A new key, written to `path`: whole or not at all, on the disk when this returns, for its owner only from the
    first byte. Raises `OSError`.
    """
    text = secrets.token_hex(32)
    beside = path.with_name(f"{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return text
