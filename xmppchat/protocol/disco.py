"""What a disco#info answer says (XEP-0030 §3.1, XEP-0128), and the string that proves it (XEP-0115 §5.1).

Example::

    >>> info = DiscoInfo([DiscoIdentity("client", "pc", name="Exodus 0.9.1")], [
    ...     "http://jabber.org/protocol/caps", "http://jabber.org/protocol/disco#info",
    ...     "http://jabber.org/protocol/disco#items", "http://jabber.org/protocol/muc",
    ... ])
    >>> info.verification_string("sha-1")
    'QgayPKawpkPSDYmwT/WM94uAlu0='
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS

#: Hash functions by their IANA names (XEP-0115 §9.1: SHA-1 is mandatory); broken ones are left out.
HASHES: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "sha-1": hashlib.sha1, "sha-224": hashlib.sha224, "sha-256": hashlib.sha256, "sha-384": hashlib.sha384,
    "sha-512": hashlib.sha512,
}


class IllFormed(ValueError):
    """The answer says something twice, or is none: nothing in it counts (XEP-0115 §5.4)."""


class DiscoIdentity(NamedTuple):
    """An ``<identity/>``; compared and sorted as XEP-0115 §5.1 wants it, code points being in the order of octets."""

    category: str
    type: str
    lang: str = ""
    name: str = ""


@dataclass(frozen=True, slots=True)
class DiscoForm:
    """A form in disco#info (XEP-0128): its `type` (FORM_TYPE), and (name, values) of each other field.

    Read as XEP-0115 wants it, which bears with more than :class:`~xmppchat.protocol.forms.Form` does.
    """

    type: str
    fields: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True, slots=True)
class DiscoInfo:
    """Identities, features and forms of an entity."""

    identities: Sequence[DiscoIdentity] = ()
    features: Sequence[str] = ()
    forms: Sequence[DiscoForm] = ()

    @classmethod
    def from_element(cls, query: Element) -> DiscoInfo:
        """What a ``<query/>`` says. Raises :class:`IllFormed` (XEP-0115 §5.4, item 3.3 to 3.6)."""
        if not query.is_named("query", NS.DISCO_INFO):
            raise IllFormed("this is no disco#info")
        identities = [
            DiscoIdentity(child.get("category"), child.get("type"), child.get("xml:lang"), child.get("name"))
            for child in query.find_all("identity")
        ]
        features = [child.get("var") for child in query.find_all("feature")]
        forms = [form for form in map(_form, query.find_all("x", NS.FORM)) if form is not None]
        for what, values in (("identity", identities), ("feature", features), ("form", [form.type for form in forms])):
            if len(set(values)) != len(values):
                raise IllFormed(f"the same {what} stands there twice")
        return cls(identities, features, forms)

    def verification_string(self, hash_name: str) -> str:
        """The ``ver`` of XEP-0115 §5.1 by one of :data:`HASHES`."""
        data = "".join(f"{part}<" for part in self._parts()).encode()
        return base64.b64encode(HASHES[hash_name](data).digest()).decode()

    def _parts(self) -> list[str]:
        parts = ["/".join((i.category, i.type, i.lang, i.name)) for i in sorted(self.identities)]
        parts += sorted(self.features)
        for form in sorted(self.forms, key=lambda form: form.type):
            parts.append(form.type)
            for name, values in sorted(form.fields):
                parts += [name, *sorted(values)]
        return parts

    @property
    def is_unambiguous(self) -> bool:
        """Whether no other answer that is so plain has the same verification string.

        The string does not say where identities, features and forms begin (XEP-0115 §9.3): of features followed by
        others a forger can make a form, and so hide them, without breaking the hash. That takes names that look like
        something else; an answer with such must not speak for anybody but its sender.
        """
        identities = all(i.category and i.type and not _CATEGORY_STOPS & set(i.category) for i in self.identities)
        plain = all("/" not in i.type + i.lang for i in self.identities)
        features = not any(_looks_like_identity(feature) for feature in self.features)
        forms = all(
            ":" in form.type and all(":" not in name and values for name, values in form.fields) for form in self.forms
        )
        return identities and plain and features and forms and not any("<" in part for part in self._parts())


_CATEGORY_STOPS = frozenset("/:")


def _looks_like_identity(feature: str) -> bool:
    category, *rest = feature.split("/")
    return bool(category) and ":" not in category and len(rest) >= 3 and bool(rest[0])


def _form(form: Element) -> DiscoForm | None:
    """A form, None where it is one to be ignored (XEP-0115 §5.4, item 3.6)."""
    fields = form.find_all("field")
    types = [field for field in fields if field.get("var") == "FORM_TYPE"]
    if not types or types[0].get("type") != "hidden":
        return None
    names = {value for field in types for value in _values(field)}
    if len(types) > 1 or len(names) > 1:
        raise IllFormed("a form has two types")
    if not names:
        return None
    return DiscoForm(names.pop(), [(field.get("var"), _values(field)) for field in fields if field is not types[0]])


def _values(field: Element) -> list[str]:
    return [value.text for value in field.find_all("value")]


__all__ = ["HASHES", "DiscoForm", "DiscoIdentity", "DiscoInfo", "IllFormed"]
