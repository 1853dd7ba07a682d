"""The expat parser under the reader: builds elements, and refuses what a stream must not hold, while parsing.

It knows nothing of whose stream it reads; :class:`~xmppchat.protocol.xmlreader.XmlReader` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Final
from xml.parsers import expat

from xmppchat.protocol.element import Element, escape_attribute
from xmppchat.protocol.errors import (
    BadFormat,
    BadNamespacePrefix,
    NotWellFormed,
    RestrictedXml,
    StreamError,
    StreamPolicyViolation,
    UnsupportedEncoding,
)
from xmppchat.protocol.namespaces import NS


@dataclass(frozen=True, slots=True)
class ReaderLimits:
    """What one top-level element may cost (reliability.md, limits 3 to 10). Bytes are bytes on the wire."""

    bytes: int = 262_144
    depth: int = 64
    elements: int = 10_000
    attributes: int = 64
    name_bytes: int = 512
    attribute_bytes: int = 32_768
    namespaces: int = 64
    #: Bytes of an unfinished token that may be looked at again, summed over the pieces it arrives in: expat before
    #: 2.6 re-scans them all at each piece, which is quadratic (CVE-2023-52425).
    rescan_bytes: int = 4_194_304


#: Before authentication (limit 3).
UNTRUSTED = ReaderLimits(bytes=16_384, depth=8, elements=64, attributes=32, attribute_bytes=8_192, namespaces=16,
                         rescan_bytes=524_288)
TRUSTED = ReaderLimits()


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """The stream's opening tag: attributes as sent (``xml:lang`` under that key) and its content namespace."""

    name: str
    namespace: str
    content_namespace: str
    attributes: dict[str, str]


#: What :meth:`XmlReader.feed` yields: the header, top-level elements, and CLOSED for the closing tag.
CLOSED: Final = "closed"
Item = StreamHeader | Element | str

_SEPARATOR = " "  # cannot stand in a namespace: expat refuses it (CVE-2022-25236)
_NAME_CACHE = 4_096
_NOT_IN_URI: Final = re.compile(r'[\x00-\x20"<>\\^`{|}\x7f]')

_names: dict[str, tuple[str, str]] = {}


class Parser:
    """An expat parser whose handlers build elements; knows nothing of whose stream it reads."""

    __slots__ = (
        "_count", "_declared", "_expat", "_items", "_last", "_namespaces", "_start", "fed", "limits", "prologue",
        "stack",
    )

    def __init__(self) -> None:
        self.limits = UNTRUSTED
        self.stack: list[Element] = []
        self.prologue: bytes | None = None  # known once the stream header was read
        self.fed = 0
        self._items: list[Item] = []
        self._last = b""
        self._count = 0  # elements in the open item
        self._namespaces = 0  # declarations in scope
        self._declared: dict[str | None, str] = {}  # those of the stream header
        self._start = 0  # byte offset at which the open item begins
        parser = self._expat = expat.ParserCreate("UTF-8", _SEPARATOR)
        parser.buffer_text = True
        parser.StartElementHandler = self._on_header
        parser.EndElementHandler = self._on_end
        parser.CharacterDataHandler = self._on_text
        parser.StartCdataSectionHandler = self._on_cdata
        parser.StartNamespaceDeclHandler = self._on_namespace
        parser.EndNamespaceDeclHandler = self._on_namespace_end
        parser.StartDoctypeDeclHandler = _ON_DOCTYPE
        parser.CommentHandler = _ON_COMMENT
        parser.ProcessingInstructionHandler = _ON_INSTRUCTION
        parser.EntityDeclHandler = _ON_ENTITY
        parser.XmlDeclHandler = _on_declaration
        if hasattr(parser, "SetReparseDeferralEnabled"):  # expat >= 2.6: a stanza must not wait for the next bytes
            parser.SetReparseDeferralEnabled(False)

    def dispose(self) -> None:
        """Free expat's memory now: with its handlers it is a cycle, which the garbage collector finds late."""
        self.stack = [Element("", "")]  # takes the text that pyexpat holds back and hands over at this moment
        parser = self._expat
        parser.StartElementHandler = parser.EndElementHandler = parser.CharacterDataHandler = None
        parser.StartCdataSectionHandler = None
        parser.StartNamespaceDeclHandler = parser.EndNamespaceDeclHandler = None

    @property
    def unfinished(self) -> int:
        """Bytes of a token that has begun and not ended."""
        return self.fed - self._expat.CurrentByteIndex

    @property
    def completed(self) -> list[Item]:
        """The items that the last :meth:`parse` completed, also where it found a fault behind them."""
        return self._items

    def parse(self, data: bytes) -> list[Item]:
        """Feed `data`; the items completed by it."""
        items = self._items = []
        try:
            self._expat.Parse(data)
        except expat.ExpatError as error:
            if items and items[-1] is CLOSED:
                return items  # what follows the end of a stream is not looked at
            # In mid-stream expat takes a DTD for a mere syntax error, at the letter behind "<!".
            at = self._expat.ErrorByteIndex - self.fed + len(self._last)
            if (self._last + data)[max(0, at - 2) : at] == b"<!":
                raise RestrictedXml("a document type declaration is not allowed in a stream") from None
            raise _stream_error(error) from None
        self.fed += len(data)
        self._last = (self._last + data)[-2:] if len(data) < 2 else data[-2:]
        return items

    # --- expat handlers ----------------------------------------------------------------------------------------

    def _on_header(self, name: str, attributes: dict[str, str]) -> None:
        namespace, _, local = name.rpartition(_SEPARATOR)
        if len(attributes) > self.limits.attributes:
            raise StreamPolicyViolation("too many attributes", limit="attributes")
        if self._declared.get("stream") != NS.STREAM:
            # RFC 6120 §4.8.5: an implementation may insist on the prefix "stream".
            raise BadNamespacePrefix("the stream header's prefix is 'stream'")
        self.prologue = _prologue(local, namespace, frozenset(self._declared.items()))
        content = self._declared.get(None, "")
        self._items.append(StreamHeader(local, namespace, content, _readable(attributes)))
        self._expat.StartElementHandler = self._on_start

    def _on_start(self, name: str, attributes: dict[str, str]) -> None:
        stack = self.stack
        limits = self.limits
        self._count += 1
        if len(stack) >= limits.depth or self._count > limits.elements:
            limit = "elements" if self._count > limits.elements else "depth"
            text = f"an element may hold {limits.elements} elements, {limits.depth} levels deep"
            raise StreamPolicyViolation(text, limit=limit)
        element = Element.__new__(Element)
        try:
            element.namespace, element.name = _names[name]
        except KeyError:
            element.namespace, element.name = _split(name, limits)
        if not stack:
            self._start = self._expat.CurrentByteIndex
            if element.name == "stream" and element.namespace == NS.STREAM:
                raise BadFormat("a stream has one header; a restart comes only where the RFC says so")  # V-06
        if attributes:
            attributes = _check_attributes(attributes, limits)
        element.attributes = attributes
        element.children = []
        if stack:
            stack[-1].children.append(element)
        stack.append(element)

    def _on_end(self, name: str) -> None:
        stack = self.stack
        if not stack:
            self._items.append(CLOSED)
            return
        element = stack.pop()
        if not stack:
            if self._expat.CurrentByteIndex - self._start > self.limits.bytes:  # first: nobody may see it
                raise StreamPolicyViolation(f"more than {self.limits.bytes} bytes in one element", limit="bytes")
            self._items.append(element)
            self._count = 0

    def _on_text(self, text: str) -> None:
        if self.stack:
            children = self.stack[-1].children
            if children and isinstance(children[-1], str):
                children[-1] += text
            else:
                children.append(text)
        elif text.strip(" \t\r\n"):
            raise BadFormat("there is text between stanzas")

    def _on_cdata(self) -> None:
        # Between stanzas it leaves no other trace: the parser would return to the pool in the middle of a section.
        if not self.stack:
            raise BadFormat("there is text between stanzas")

    def _on_namespace(self, prefix: str | None, uri: str | None) -> None:
        self._namespaces += 1
        if self._namespaces > self.limits.namespaces:
            text = f"more than {self.limits.namespaces} namespace declarations"
            raise StreamPolicyViolation(text, limit="namespaces")
        if self.prologue is None:
            self._declared[prefix] = uri or ""

    def _on_namespace_end(self, prefix: str | None) -> None:
        self._namespaces -= 1


@lru_cache(maxsize=64)
def _prologue(local: str, namespace: str, declared: frozenset[tuple[str | None, str]]) -> bytes:
    """A header with these declarations, for a parser that goes on with such a stream.

    Its name is the root's, which the closing tag has to match: what began otherwise is of use to no other stream.
    """
    name = f"stream:{local}" if namespace == NS.STREAM else local
    declarations = "".join(
        f" xmlns{':' + prefix if prefix else ''}='{escape_attribute(uri)}'"
        for prefix, uri in sorted(declared, key=lambda item: item[0] or "")
    )
    return f"<{name}{declarations}>".encode()


def _refuse(what: str) -> Callable[..., None]:
    def handler(*_: object) -> None:
        raise RestrictedXml(f"{what} is not allowed in a stream")

    return handler


_ON_DOCTYPE: Final = _refuse("a document type declaration")
_ON_COMMENT: Final = _refuse("a comment")
_ON_INSTRUCTION: Final = _refuse("a processing instruction")
_ON_ENTITY: Final = _refuse("an entity declaration")


def _on_declaration(version: str, encoding: str | None, standalone: int) -> None:
    if encoding is not None and encoding.lower() not in ("utf-8", "utf8"):
        raise UnsupportedEncoding("a stream is in UTF-8")


def _split(name: str, limits: ReaderLimits) -> tuple[str, str]:
    namespace, _, local = name.rpartition(_SEPARATOR)
    if namespace == NS.XML:
        # Can be written with the prefix xml only; as a default namespace it ends the receiver's stream (V-03).
        raise BadNamespacePrefix("no element has the prefix 'xml'")
    _check_namespace(namespace)
    if len(name) > limits.name_bytes:
        raise StreamPolicyViolation(f"a name may have {limits.name_bytes} bytes", limit="name_bytes")
    if len(_names) >= _NAME_CACHE:
        _names.clear()
    _names[name] = pair = (intern(namespace), intern(local))
    return pair


def _check_namespace(namespace: str) -> None:
    # Receivers' parsers put one of these between namespace and name, and end the stream when it is in either (V-03).
    if _NOT_IN_URI.search(namespace):
        raise BadFormat("a namespace is a URI (RFC 3986)")


def _check_attributes(attributes: dict[str, str], limits: ReaderLimits) -> dict[str, str]:
    if len(attributes) > limits.attributes:
        raise StreamPolicyViolation(f"an element may have {limits.attributes} attributes", limit="attributes")
    foreign = False
    for key, value in attributes.items():
        if len(value) > limits.attribute_bytes or len(key) > limits.name_bytes:
            raise StreamPolicyViolation("an attribute is too long", limit="attribute_bytes")
        if _SEPARATOR in key:
            foreign = True
    return _readable(attributes) if foreign else attributes


def _readable(attributes: dict[str, str]) -> dict[str, str]:
    """Expat's "uri name" keys as :class:`Element` writes them."""
    readable: dict[str, str] = {}
    for key, value in attributes.items():
        namespace, _, local = key.rpartition(_SEPARATOR)
        if namespace == NS.XML:
            readable[f"xml:{local}"] = value
        elif namespace:
            _check_namespace(namespace)
            readable[f"{{{namespace}}}{local}"] = value
        else:
            readable[local] = value
    return readable


def _stream_error(error: expat.ExpatError) -> StreamError:
    text = expat.ErrorString(error.code)
    if text == expat.errors.XML_ERROR_UNDEFINED_ENTITY:
        return RestrictedXml("only the five predefined entities are allowed (RFC 6120 §11.1)")
    if text in (expat.errors.XML_ERROR_UNKNOWN_ENCODING, expat.errors.XML_ERROR_INCORRECT_ENCODING):
        return UnsupportedEncoding("a stream is in UTF-8")
    return NotWellFormed(f"{text}, at column {error.offset} of what was sent last")
