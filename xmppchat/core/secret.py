"""Secrets in a configuration: named by a file or an environment variable, never shown.

Example::

    [components.push]
    key = {file = "push.key"}       # or {env = "PUSH_KEY"}

A file counts from the configuration file; the line end behind a secret is not part of it. A secret that stands in the
configuration itself is refused: that file is copied, mailed and committed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

_WANTED = 'a secret is {file = "PATH"} or {env = "VARIABLE"}, so that it does not stand in the configuration itself'
_MAX_BYTES = 65_536


class Secret:
    """A secret text. Only :meth:`reveal` gives it; its texts, and so logs and errors, do not."""

    __slots__ = ("_text", "source")

    def __init__(self, text: str, source: str = "") -> None:
        self._text = text
        #: Where it comes from, for people.
        self.source = source

    def reveal(self) -> str:
        """The secret itself."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({self.source or '…'})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a secret is not written down")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(_validate)


def _validate(value: object, info: ValidationInfo) -> Secret:
    """The secret that `value` names. Errors never repeat what was given: it could be the secret."""
    if isinstance(value, Secret):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise ValueError(_WANTED)
    [(kind, name)] = value.items()
    if kind not in ("file", "env") or not isinstance(name, str) or not name:
        raise ValueError(_WANTED)
    text = _from_environment(name) if kind == "env" else _from_file(Path((info.context or {}).get("base", "."), name))
    if not text:
        raise ValueError(f"the secret in {name} is empty")
    return Secret(text, f"{kind} {name}")


def _from_environment(name: str) -> str:
    if name not in os.environ:
        raise ValueError(f"the environment variable {name} is not set")
    return os.environ[name]


def _from_file(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if len(text) > _MAX_BYTES:
        raise ValueError(f"{path} is too long for a secret")
    return text.removesuffix("\n").removesuffix("\r")
