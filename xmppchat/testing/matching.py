"""Matching: whether a received element is what a transcript expects.

Whitespace around texts and the order of attributes do not count; an attribute that is not in the pattern must not be
there. In a pattern

- ``…`` among the children: further children, and text, may stand there, and the order of children is free,
- ``⇅`` among the children: only their order is free,
- ``…`` as a value: the attribute is there, with any value,
- ``a|b`` as a value: one of these; an empty alternative (``a|``) means that the attribute may be absent,
- ``{=name}`` as a value: as ``…``, and :func:`captured` tells what was there; in a text it is letters, digits, ``-``
  and ``_``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from xmppchat.protocol.element import Element

#: What stands for "anything" in a pattern.
ANYTHING = "…"
UNORDERED = "⇅"
_CAPTURE = re.compile(r"\\?\{=(\w+)\\?\}")


def difference(pattern: Element, actual: Element) -> str | None:
    """Where `actual` is not what `pattern` says, in words; None if it matches."""
    return _difference(pattern, actual, f"<{pattern.name}/>")


def matches(pattern: Element, actual: Element) -> bool:
    """Whether `actual` is what `pattern` says."""
    return difference(pattern, actual) is None


def captured(pattern: Element, actual: Element) -> dict[str, str]:
    """What stands where `pattern`, which matches `actual`, has ``{=name}``."""
    values = {
        wanted[2:-1]: actual.get(attribute)
        for attribute, wanted in pattern.attributes.items()
        if wanted.startswith("{=") and wanted.endswith("}")
    }
    found = _texts(_words(pattern.text), _words(actual.text))
    values.update(found.groupdict() if found is not None else {})
    for child, received in _pairs(pattern, actual):
        values.update(captured(child, received))
    return values


def _texts(wanted: str, found: str) -> re.Match[str] | None:
    """Whether a text is what is wanted of it; with what stands where ``{=name}`` does."""
    return re.fullmatch(_CAPTURE.sub(r"(?P<\1>[\\w-]+)", re.escape(wanted)), found)


def assign(patterns: list[Element], received: list[Element]) -> list[Element] | None:
    """`received` in the order of `patterns`, one for each, or None if that cannot be."""
    if not patterns:
        return []
    for index, element in enumerate(received):
        if matches(patterns[0], element):
            rest = assign(patterns[1:], received[:index] + received[index + 1 :])
            if rest is not None:
                return [element, *rest]
    return None


def _difference(pattern: Element, actual: Element, place: str) -> str | None:
    if (pattern.name, pattern.namespace) != (actual.name, actual.namespace):
        return f"{place} expected, <{actual.name} xmlns={actual.namespace!r}/> received"
    return _attributes(pattern, actual, place) or _content(pattern, actual, place)


def _attributes(pattern: Element, actual: Element, place: str) -> str | None:
    for name in actual.attributes:
        if name not in pattern.attributes:
            return f"{place} has {name}={actual.get(name)!r}, which is not expected"
    for name, wanted in pattern.attributes.items():
        allowed = wanted.split("|")
        found = actual.attributes.get(name)
        if found is None:
            if "" not in allowed:
                return f"{place} has no {name!r}"
        elif ANYTHING not in allowed and not wanted.startswith("{=") and found not in allowed:
            return f"{place} has {name}={found!r}, not {wanted!r}"
    return None


def _content(pattern: Element, actual: Element, place: str) -> str | None:
    is_open = ANYTHING in pattern.text
    text = _words(pattern.text)
    found = _words(actual.text)
    if _texts(text, found) is None and not (is_open and not text):
        return f"{place} has the text {found!r}, not {text!r}"
    wanted, children = list(pattern.elements()), list(actual.elements())
    if _is_unordered(pattern):
        return _in_any_order(wanted, children, is_open, place)
    for child, received in zip(wanted, children, strict=False):
        problem = _difference(child, received, f"{place[:-2]}><{child.name}/>")
        if problem is not None:
            return problem
    if len(wanted) > len(children):
        return f"{place} has no <{wanted[len(children)].name}/>"
    if len(children) > len(wanted):
        return f"{place} has <{children[len(wanted)].name}/>, which is not expected"
    return None


def _in_any_order(wanted: list[Element], children: list[Element], is_open: bool, place: str) -> str | None:
    rest = list(children)
    for child in wanted:
        problem = f"{place} has no <{child.name}/>"
        for received in rest:
            found = _difference(child, received, f"{place[:-2]}><{child.name}/>")
            if found is None:
                rest.remove(received)
                break
            if received.name == child.name:
                problem = found
        else:
            return problem
    return f"{place} has <{rest[0].name}/>, which is not expected" if rest and not is_open else None


def _pairs(pattern: Element, actual: Element) -> Iterator[tuple[Element, Element]]:
    """The children of a pattern with those of an element that match them."""
    wanted, children = list(pattern.elements()), list(actual.elements())
    if not _is_unordered(pattern):
        yield from zip(wanted, children, strict=True)
        return
    for child in wanted:
        received = next(element for element in children if matches(child, element))
        children.remove(received)
        yield child, received


def _is_unordered(pattern: Element) -> bool:
    return ANYTHING in pattern.text or UNORDERED in pattern.text


def _words(text: str) -> str:
    return " ".join(text.replace(ANYTHING, " ").replace(UNORDERED, " ").split())
