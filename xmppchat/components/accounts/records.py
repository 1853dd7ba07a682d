"""Files of accounts to import: one line of CSV (with a head line) or JSON for each, checked before anything is done.

Columns or keys: ``account`` (an address, or a name at the first host of the configuration), and what the password is
checked with, one of ``password`` (as it is), ``bcrypt`` (``$2a$``, ``$2b$``, ``$2y$``), or ``scram``: one or more,
separated by spaces, of ``SCRAM-SHA-256$ITERATIONS:SALT$STORED-KEY:SERVER-KEY`` with base64, as PostgreSQL writes them.
Instead of ``scram``, its parts may stand in ``mechanism``, ``iterations``, ``salt``, ``stored_key``, ``server_key``.
"""

from __future__ import annotations

import base64
import binascii
import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TextIO

from xmppchat.components.accounts.passwords import BCRYPT, canonical_bcrypt
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys, saslprep

#: A line of a file; no password or hash is longer.
MAX_LINE = 16_384
_KEYS = ("account", "password", "bcrypt", "scram")
_PARTS = ("mechanism", "iterations", "salt", "stored_key", "server_key")
_NAMES = (*_KEYS, *_PARTS)
#: More would keep every login waiting: each costs as much as that of the dearest account.
_MAX_ITERATIONS = 1_000_000
_SIZES = dict(zip(SCRAM_HASHES, (20, 32, 64), strict=True))
_SCRAM = re.compile(
    r"(SCRAM-SHA-(?:1|256|512))\$([1-9][0-9]{3,6}):([A-Za-z0-9+/=]+)\$([A-Za-z0-9+/=]+):([A-Za-z0-9+/=]+)"
)


@dataclass(frozen=True, slots=True)
class Record:
    """An account to make, with exactly one of `password`, `bcrypt`, `scram`."""

    account: JID
    password: str = ""
    bcrypt: str = ""
    scram: str = ""

    @property
    def keys(self) -> dict[str, ScramKeys]:
        """The SCRAM keys in `scram`."""
        return dict(_scram_keys(text) for text in self.scram.split())

    def plain(self) -> dict[str, str]:
        """As JSON can say it."""
        values = {"account": self.account.bare, "password": self.password, "bcrypt": self.bcrypt, "scram": self.scram}
        return {name: value for name, value in values.items() if value}


def record(values: Mapping[str, Any], default_domain: str) -> Record:
    """Check one line. Raises ValueError with a text that holds nothing secret."""
    unknown = [name for name in values if name not in _NAMES]
    if unknown:
        raise ValueError(f"there is no such column as {unknown[0]!r}; there are {', '.join(_NAMES)}")
    texts = {name: value for name, value in values.items() if value not in (None, "")}
    if type(texts.get("iterations")) is int:
        texts["iterations"] = str(texts["iterations"])
    for name, value in texts.items():
        if not isinstance(value, str):
            raise ValueError(f"{name} has to be text")
    _join_parts(texts)
    given = [name for name in _KEYS[1:] if name in texts]
    if len(given) != 1:
        raise ValueError("exactly one of password, bcrypt and scram is needed")
    account = _account(texts.get("account", ""), default_domain)
    checked = Record(account, texts.get("password", ""), texts.get("bcrypt", ""), texts.get("scram", ""))
    if checked.password:
        saslprep(checked.password)
    if checked.bcrypt and not BCRYPT.fullmatch(checked.bcrypt):
        raise ValueError("bcrypt is no hash of bcrypt: $2b$12$ and 53 characters, with a cost from 04 to 16")
    if checked.scram and not checked.keys:
        raise ValueError("scram is empty")
    if len(checked.keys) < len(checked.scram.split()):
        raise ValueError("scram has two keys of one mechanism")
    return replace(checked, bcrypt=canonical_bcrypt(checked.bcrypt)) if checked.bcrypt else checked


def _join_parts(texts: dict[str, str]) -> None:
    """The five columns of a SCRAM key become the one text that says the same."""
    parts = [texts.pop(name, "") for name in _PARTS]
    if not any(parts):
        return
    if not all(parts) or "scram" in texts:
        raise ValueError(f"{', '.join(_PARTS)} are needed together, and without scram")
    mechanism, iterations, salt, stored, server = parts
    texts["scram"] = f"{mechanism.removesuffix('-PLUS')}${iterations}:{salt}${stored}:{server}"


def _account(text: str, default_domain: str) -> JID:
    if not text:
        raise ValueError("account is missing")
    try:
        jid = JID.parse(text if "@" in text else f"{text}@{default_domain}")
    except InvalidJID as error:
        raise ValueError(str(error)) from None
    if not jid.local or jid.resource:
        raise ValueError(f"{text!r} is not an account's address; it looks like name@{default_domain}")
    return jid


def _scram_keys(text: str) -> tuple[str, ScramKeys]:
    found = _SCRAM.fullmatch(text)
    if found is None:
        raise ValueError("scram has to be MECHANISM$ITERATIONS:SALT$STORED-KEY:SERVER-KEY with base64")
    try:
        salt, stored, server = (base64.b64decode(part, validate=True) for part in found.groups()[2:])
    except binascii.Error:
        raise ValueError("scram has a part that is not base64") from None
    mechanism, iterations = found[1], int(found[2])
    if not 12 <= len(salt) <= 1_024:
        raise ValueError("scram needs a salt of 12 to 1,024 bytes")
    if not 4_096 <= iterations <= _MAX_ITERATIONS:
        raise ValueError(f"scram needs 4,096 to {_MAX_ITERATIONS:,} iterations")
    if {len(stored), len(server)} != {_SIZES[mechanism]}:
        raise ValueError(f"the keys of {mechanism} have {_SIZES[mechanism]} bytes")
    return mechanism, ScramKeys(salt, iterations, stored, server)


def lines(file: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """(line number, values) of a file, or (line number, what is wrong with the line)."""
    start = file.readline(MAX_LINE)
    file.seek(0)
    yield from _json_lines(file) if start.lstrip().startswith("{") else _csv_lines(file)


def _json_lines(file: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    number = 0
    while line := file.readline(MAX_LINE):
        number += 1
        if len(line) == MAX_LINE and not line.endswith("\n"):
            while (rest := file.readline(MAX_LINE)) and not rest.endswith("\n"):
                pass
            yield number, f"this line has more than {MAX_LINE:,} characters"
            continue
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        yield number, values if isinstance(values, dict) else "this is not a JSON object"


def _csv_lines(file: TextIO) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    reader = csv.DictReader(file, strict=True)
    try:
        head = reader.fieldnames or ()
        if len(set(head)) < len(head) or not set(head) <= set(_NAMES):
            # What stands there instead may be a password: it is not repeated.
            yield 1, f"the first line has to name the columns, separated by commas, out of: {', '.join(_NAMES)}"
            return
        for values in reader:
            if None in values:
                yield reader.line_num, "there are more cells than the head line has names"
            else:
                yield reader.line_num, values
    except csv.Error as error:
        yield reader.line_num, f"this is not CSV: {error}"
