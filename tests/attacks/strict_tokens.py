"""A second opinion on XML: a tokenizer that takes only what our serialiser has any reason to write, and no library."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_NAME = r"[A-Za-z_][A-Za-z0-9_.:-]*"
_CHARACTER = "[\t\n\x20\x21\x23-\x25\x28-\x3b\x3d\x3f-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
_REFERENCE = r"&(?:lt|gt|amp|apos|quot|#9|#10|#13);"
_VALUE = rf"(?:{_CHARACTER}|{_REFERENCE})*"
_START = re.compile(rf"<({_NAME})((?: {_NAME}='{_VALUE}')*)(/?)>")
_END = re.compile(rf"</({_NAME})>")
_TEXT = re.compile(rf"(?:{_CHARACTER}|['\"]|{_REFERENCE})+")
_ATTRIBUTE = re.compile(rf" ({_NAME})='({_VALUE})'")


@dataclass(frozen=True, slots=True)
class Tag:
    """A start, end or empty tag; values as written."""

    name: str
    attributes: dict[str, str]
    is_end: bool = False
    is_empty: bool = False


def tokens(data: bytes) -> Iterator[Tag | str]:
    """Tags and texts in order; AssertionError for the first thing that is neither."""
    text = data.decode()
    position = 0
    open_names: list[str] = []
    while position < len(text):
        if found := _START.match(text, position):
            name, attributes, slash = found.groups()
            pairs = _ATTRIBUTE.findall(attributes)
            assert len(dict(pairs)) == len(pairs), f"an attribute twice: {found.group()}"
            if not slash:
                open_names.append(name)
            yield Tag(name, dict(pairs), is_empty=bool(slash))
        elif found := _END.match(text, position):
            assert open_names, f"nothing is open at {found.group()}"
            assert open_names.pop() == found.group(1)
            yield Tag(found.group(1), {}, is_end=True)
        else:
            found = _TEXT.match(text, position)
            assert found, f"neither tag nor text: {text[position : position + 60]!r}"
            yield found.group()
        position = found.end()
    assert not open_names, f"left open: {open_names}"
