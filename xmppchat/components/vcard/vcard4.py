"""vcard-temp (XEP-0054) and vCard4 (RFC 6351) in terms of each other, by the mapping of XEP-0292 §9. Pure.

The tables say what has a counterpart. All else stays on its side as it is; of photos see `avatars.py`. Comparison is by
what of a vCard4 a vcard-temp can say: parameters that it cannot say are kept as long as the value is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS


@dataclass(frozen=True, slots=True)
class _Simple:
    """A property with one value: `name` of vCard4, its value in one of the elements `kinds` (the first is written).
    `prefix` is what a URI begins with there. In vcard-temp the value is in the element `inner`, "" for the property
    itself."""

    name: str
    kinds: tuple[str, ...] = ("text",)
    inner: str = ""
    prefix: str = ""


#: vcard-temp → vCard4. Where two have the same counterpart, what comes back is the first.
_SIMPLE: Final[Mapping[str, _Simple]] = {
    "FN": _Simple("fn"),
    "NICKNAME": _Simple("nickname"),
    "BDAY": _Simple("bday", ("date", "date-time", "text")),
    "TITLE": _Simple("title"),
    "ROLE": _Simple("role"),
    "URL": _Simple("url", ("uri",)),
    "DESC": _Simple("note"),  # XEP-0292 §9.1.1
    "NOTE": _Simple("note"),
    "JABBERID": _Simple("impp", ("uri",), prefix="xmpp:"),  # §9.1.2
    "EMAIL": _Simple("email", inner="USERID"),
    "TEL": _Simple("tel", ("uri", "text"), inner="NUMBER", prefix="tel:"),  # §9.3.5
    "ORG": _Simple("org", inner="ORGNAME"),  # §9.3.3
}
#: Properties of several parts: those of vcard-temp → those of vCard4.
_STRUCTURED: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "N": ("n", {
        "FAMILY": "surname", "GIVEN": "given", "MIDDLE": "additional", "PREFIX": "prefix", "SUFFIX": "suffix",
    }),
    "ADR": ("adr", {
        "POBOX": "pobox", "EXTADD": "ext", "STREET": "street", "LOCALITY": "locality", "REGION": "region",
        "PCODE": "code", "CTRY": "country",
    }),
}  # fmt: skip
#: Kinds of addresses and numbers (RFC 6350 §5.6, §6.4.1); PREF is the parameter "pref" there (§5.3).
_TYPES: Final[Mapping[str, str]] = {
    "HOME": "home", "WORK": "work", "VOICE": "voice", "FAX": "fax", "PAGER": "pager", "CELL": "cell",
    "VIDEO": "video", "MSG": "text",
}  # fmt: skip
_WITH_TYPES: Final = frozenset({"ADR", "EMAIL", "TEL"})
_MAPPED: Final = frozenset({
    *(simple.name for simple in _SIMPLE.values()), *(name for name, _ in _STRUCTURED.values()),
})  # fmt: skip
_BACK: Final[Mapping[str, str]] = {
    **{simple.name: name for name, simple in reversed(list(_SIMPLE.items()))},
    **{name: old for old, (name, _) in _STRUCTURED.items()},
}


def to_vcard4(vcard: Element, before: Element | None = None) -> Element | None:
    """The vCard4 that says what `vcard` says, with what of `before` has no counterpart there. `before` itself where it
    says all that already; None where there is nothing to say."""
    said = [child for child in vcard.elements() if child.namespace == NS.VCARD]
    converted = [one for child in said if (one := _property(child)) is not None]
    rest = [] if before is None else [child for child in before.elements() if child.name not in _MAPPED]
    if before is not None and from_vcard4(before) == [one for child in converted for one in _back(child)]:
        return before
    if not converted and not rest:
        return None
    if not any(child.name == "fn" for child in converted):
        # RFC 6350 §6.2.1: there is one at least.
        converted.insert(0, Element("fn", NS.VCARD_4, None, (Element("text", NS.VCARD_4),)))
    return Element("vcard", NS.VCARD_4, None, [*converted, *rest])


def from_vcard4(vcard4: Element) -> list[Element]:
    """The properties of vcard-temp that `vcard4` has counterparts of."""
    return [one for child in vcard4.elements() for one in _back(child)]


def overlaid(vcard: Element | None, vcard4: Element | None) -> Element | None:
    """The vcard-temp that is shown where `vcard` is stored and `vcard4` published: as it is stored where they say the
    same, else with what `vcard4` says in the place of its own. None where there is nothing to show."""
    if vcard4 is None:
        return vcard
    stored = Element("vCard", NS.VCARD) if vcard is None else vcard
    said = from_vcard4(vcard4)
    converted = [one for child in stored.elements() if (one := _property(child)) is not None]
    if said == [one for child in converted for one in _back(child)]:
        return vcard
    shown = stored.replace(children=[*said, *unmapped(stored)])
    return shown if shown.children else None


def unmapped(vcard: Element) -> list[Element]:
    """What of a vcard-temp has no counterpart."""
    return [child for child in vcard.elements() if child.name not in _SIMPLE and child.name not in _STRUCTURED]


# --- one property ----------------------------------------------------------------------------------------------------

def _property(old: Element) -> Element | None:
    """The counterpart of a property of vcard-temp, None where it has none or is empty."""
    if old.name in _STRUCTURED:
        name, parts = _STRUCTURED[old.name]
        values = [(new, old.child_text(part) or "") for part, new in parts.items()]
        if not any(value for _, value in values):
            return None
        children = [text_element(new, NS.VCARD_4, value) for new, value in values if value]
        return _element(name, _parameters(old), children)
    simple = _SIMPLE.get(old.name)
    value = None if simple is None else _value(old, simple.inner)
    if simple is None or not value:
        return None
    return _element(simple.name, _parameters(old), [text_element(simple.kinds[0], NS.VCARD_4, simple.prefix + value)])


def _back(new: Element) -> Iterator[Element]:
    """The counterpart of a property of vCard4, if there is one that is not empty."""
    name = _BACK.get(new.name)
    if name is None or new.namespace != NS.VCARD_4:
        return
    if name in _STRUCTURED:
        children = [
            text_element(part, NS.VCARD, value) for part, other in _STRUCTURED[name][1].items()
            if (value := (new.child_text(other) or "").strip())
        ]
        if children:
            yield Element(name, NS.VCARD, None, [*_types(name, new), *children])
        return
    simple = _SIMPLE[name]
    value = next((text.strip() for kind in simple.kinds if (text := new.child_text(kind))), "")
    if new.name == "impp" and not value.startswith(simple.prefix):
        return  # an address of something else
    value = value.removeprefix(simple.prefix)
    if not value:
        return
    if not simple.inner:
        yield text_element(name, NS.VCARD, value)
    else:
        kinds = _types(name, new)
        yield Element(name, NS.VCARD, None, [*kinds, text_element(simple.inner, NS.VCARD, value)])


def _value(old: Element, inner: str) -> str:
    return ((old.child_text(inner) or "") if inner else old.text).strip()


def _element(name: str, parameters: Sequence[Element], children: Sequence[Element]) -> Element:
    if not parameters:
        return Element(name, NS.VCARD_4, None, children)
    return Element(name, NS.VCARD_4, None, [Element("parameters", NS.VCARD_4, None, parameters), *children])


def _parameters(old: Element) -> list[Element]:
    if old.name not in _WITH_TYPES:
        return []
    types = [text_element("text", NS.VCARD_4, new) for kind, new in _TYPES.items() if old.find(kind) is not None]
    found = [Element("type", NS.VCARD_4, None, types)] if types else []
    if old.find("PREF") is not None:
        found.append(Element("pref", NS.VCARD_4, None, (text_element("integer", NS.VCARD_4, "1"),)))
    return found


def _types(name: str, new: Element) -> list[Element]:
    parameters = new.find("parameters")
    if name not in _WITH_TYPES or parameters is None:
        return []
    types = parameters.find("type")
    said = set() if types is None else {one.text.strip().lower() for one in types.find_all("text")}
    found = [Element(kind, NS.VCARD) for kind, new_kind in _TYPES.items() if new_kind in said]
    if parameters.find("pref") is not None:
        found.append(Element("PREF", NS.VCARD))
    return found
