"""JID: the one address type (RFC 7622, RFC 6122 preparation).

A JID is parsed once, where text enters the server; inside there are only :class:`JID` values. Preparation (nodeprep,
IDNA, resourceprep) is slixmpp's compiled one; this module alone may import it (docs/adr/0008-jid.md).

Example::

    >>> JID.parse("Romeo@Example.ORG/Orchard").full
    'romeo@example.org/Orchard'
"""

from __future__ import annotations

import re

from slixmpp.jid import JID as _Prepared  # noqa: N811
from slixmpp.jid import InvalidJID as _NotPrepared

#: A part may be this long after preparation (RFC 7622 §3.1).
MAX_PART_BYTES = 1023

#: Parsed addresses kept, by their text. Bounded: the older half goes when it is full.
_CACHE_SIZE = 32_768
_CACHED_LENGTH = 256

_SPECIAL = re.compile(r"[&<>'\"\t\n\r]")
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "'": "&apos;", '"': "&quot;"}


class InvalidJID(ValueError):
    """The text is not an address; the message says which part is wrong and why."""


class JID:
    """An address ``[local@]domain[/resource]``, prepared, immutable, comparable and hashable.

    ``local`` and ``resource`` are ``""`` where absent. ``bare`` and ``full`` are texts (equal when there is no
    resource); ``xml`` is ``full`` escaped for an attribute value.
    """

    __slots__ = ("bare", "domain", "full", "local", "resource", "xml")

    bare: str
    domain: str
    full: str
    local: str
    resource: str
    xml: str

    def __init__(self, local: str, domain: str, resource: str) -> None:
        """For parts that are already prepared; text from outside goes through :meth:`parse`."""
        self.local = local
        self.domain = domain
        self.resource = resource
        self.bare = f"{local}@{domain}" if local else domain
        self.full = f"{self.bare}/{resource}" if resource else self.bare
        self.xml = _SPECIAL.sub(_escape, self.full) if _SPECIAL.search(self.full) else self.full

    @classmethod
    def parse(cls, text: str) -> JID:
        """Prepare and check `text`. Raises :class:`InvalidJID`."""
        jid = _parsed.get(text)
        if jid is None:
            jid = _parse(text)
            if len(_parsed) >= _CACHE_SIZE:
                for old in list(_parsed)[: _CACHE_SIZE // 2]:
                    del _parsed[old]
            if len(text) <= _CACHED_LENGTH:
                _parsed[text] = jid
        return jid

    def to_bare(self) -> JID:
        """This address without its resource."""
        return self if not self.resource else JID.parse(self.bare)

    def with_resource(self, resource: str) -> JID:
        """The bare address with `resource`, which is prepared. Raises :class:`InvalidJID`."""
        return JID.parse(f"{self.bare}/{resource}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JID) and self.full == other.full

    def __hash__(self) -> int:
        return hash(self.full)

    def __str__(self) -> str:
        return self.full

    def __repr__(self) -> str:
        return f"JID({self.full!r})"


_parsed: dict[str, JID] = {}


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _ESCAPES.get(character) or f"&#{ord(character)};"


def _parse(text: str) -> JID:
    # Longer than three full parts with separators can be nothing; checked first, preparation costs per character.
    if len(text) > 3 * MAX_PART_BYTES + 2:
        raise InvalidJID("address is too long")
    try:
        prepared = _Prepared(text)
        # Some characters newer than the tables become others that are prepared again ("outlined" letters): what is
        # stored and compared must be a fixed point.
        for _ in range(4):
            if (again := _Prepared(prepared.full)).full == prepared.full:
                break
            prepared = again
        else:
            raise InvalidJID(f"{text[:100]!r} is not an address: it cannot be prepared")
    except _NotPrepared as error:
        raise InvalidJID(f"{text[:100]!r} is not an address: {error}") from None
    if not prepared.domain:
        raise InvalidJID(f"{text[:100]!r} is not an address: it has no domain")
    return JID(prepared.local, prepared.domain, prepared.resource)
