"""The one hardened XML reader: bytes of a stream to elements, for every entry of the server.

Strict UTF-8; no DTD, processing instruction, comment or foreign entity (RFC 6120 §11.1); bytes, depth, elements,
attributes, namespaces and re-scanning of unfinished tokens are limited *while parsing* (reliability.md V-01, V-02).
Parsers are pooled: a reader holds one only while an element is unfinished, an idle stream none (ADR 6).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import NotWellFormed, StreamError, StreamPolicyViolation, UnsupportedEncoding
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlparser import CLOSED, TRUSTED, UNTRUSTED, Item, Parser, ReaderLimits, StreamHeader

__all__ = [
    "CLOSED", "TRUSTED", "UNTRUSTED", "Item", "ReaderLimits", "StreamHeader", "XmlReader", "parse_document",
    "parse_stored",
]

_POOL_SIZE = 64
_PARSER_LIFETIME = 4_194_304  # bytes; expat keeps every distinct name it has seen until it is freed

_HEADERS = 256  # that are remembered; some say who the client is
_HEADER_BYTES = 512  # of one

_pool: dict[bytes, list[Parser]] = {}


class XmlReader:
    """Reads one XML stream. `limits` may be exchanged at any time (tighter before authentication).

    :meth:`feed` returns what was completed. While :attr:`one_at_a_time` is set it stops behind each item and keeps the
    rest in :attr:`pending` until :meth:`resume`: in negotiation the meaning of later bytes depends on the answer to
    earlier ones. Errors are :class:`StreamError`; after one the reader is finished.
    """

    __slots__ = ("_fed", "_parser", "_prologue", "_rescan", "completed", "limits", "one_at_a_time", "pending")

    def __init__(self, limits: ReaderLimits = UNTRUSTED) -> None:
        self.limits = limits
        self.one_at_a_time = True
        self.pending = b""
        self.completed: list[Item] = []  # by the bytes in which a fault was found, before it
        self._prologue: bytes | None = None
        self._parser: Parser | None = None
        self._fed = 0  # bytes since the last complete item
        self._rescan = 0  # bytes of the unfinished token that were looked at more than once

    @property
    def is_idle(self) -> bool:
        """Whether nothing has begun that has not ended."""
        return self._parser is None and not self.pending

    def reset(self) -> None:
        """A new stream begins (STARTTLS, SASL): the next item is a stream header. Pending bytes stay."""
        self._drop_parser()
        self._prologue = None
        self._fed = self._rescan = 0

    def resume(self) -> list[Item]:
        """Go on with :attr:`pending`."""
        data, self.pending = self.pending, b""
        return self.feed(data) if data else []

    def hold(self, data: bytes) -> None:
        """Add `data` to :attr:`pending`; as much may wait as one element may hold. Raises :class:`StreamError`."""
        self.pending += data
        if len(self.pending) > self.limits.bytes:
            raise StreamPolicyViolation("too many bytes were sent while an answer was still to come", limit="bytes")

    def feed(self, data: bytes) -> list[Item]:
        """Read `data`; returns completed items in order. Raises :class:`StreamError`."""
        if self.pending:
            data, self.pending = self.pending + data, b""
        if not self.one_at_a_time:
            return self._parse(data)
        if self._parser is None and self._prologue is None:
            return self._feed_first(data)
        return self._feed_one(data)

    def _feed_first(self, data: bytes) -> list[Item]:
        """The first bytes of a stream. Clients of one kind begin all of theirs alike: that is not parsed again."""
        head = _first_tag(data)
        known = _headers.get(head)
        if known is not None and known.limits is self.limits:
            self._prologue = known.prologue
            self._keep(data[len(head) :])
            return [known.header]
        items = self._feed_one(head)
        if not items:
            return self._feed_one(data[len(head) :])
        if len(items) == 1 and isinstance(items[0], StreamHeader) and self._prologue in _POOLED_PROLOGUES:
            _remember(head, _Known(items[0], self._prologue, self.limits))
        self._keep(data[len(head) :])
        return items

    def _feed_one(self, data: bytes) -> list[Item]:
        begun = _TAG.match(data) if self._parser is None and self._prologue is not None else None
        items: list[Item] = []
        position, size = 0, len(data)
        while position < size and not items:
            end = self._stop(data, position, begun[1] if begun is not None else b"") or size
            items = self._parse(data[position:end])
            position = end
        self._keep(data[position:])
        return items

    def _keep(self, rest: bytes) -> None:
        self.pending = rest if rest.strip(_WHITESPACE) else b""

    def _stop(self, data: bytes, position: int, name: bytes) -> int:
        """How far can be fed without going beyond the end of an item; 0 for all there is.

        An item can only be complete behind a ">", and once its first tag was read, behind a closing one of its `name`
        (b"": not known).
        """
        if name and self._parser is not None and self._parser.stack:
            position = data.find(b"</" + name, position)
        return data.find(b">", position) + 1 if position >= 0 else 0

    def _parse(self, data: bytes) -> list[Item]:
        parser = self._parser
        if parser is None:
            if self._prologue is not None:
                data = data.lstrip(_WHITESPACE)  # keep-alive whitespace needs no parser
                if not data:
                    return []
            parser = self._parser = _take(self._prologue)
        if self._prologue is None and _NOT_UTF8.search(data):
            raise UnsupportedEncoding("a stream is in UTF-8")
        parser.limits = self.limits
        self.completed = []
        try:
            items = parser.parse(data)
            self._settle(parser, data, items)
        except StreamError:
            self.completed = parser.completed
            raise
        return items

    def _settle(self, parser: Parser, data: bytes, items: list[Item]) -> None:
        if self._prologue is None and parser.prologue is not None:
            self._prologue = parser.prologue
            if self._fed + len(data) > self.limits.bytes:  # a header comes alone: one item at a time
                raise StreamPolicyViolation(f"more than {self.limits.bytes} bytes in the stream header", limit="bytes")
        unfinished = parser.unfinished
        if items and items[-1] is CLOSED:
            self._drop_parser()  # its document has ended: of no use to another stream
        elif unfinished == 0 and not parser.stack and self._prologue is not None:
            self._give_back(parser)
        else:
            self._account(len(data), unfinished, bool(items))

    def _account(self, size: int, unfinished: int, has_items: bool) -> None:
        # Bytes of the item that is still open; exact to a chunk when another item ended in the same chunk.
        self._fed = unfinished if has_items else self._fed + size
        if self._fed > self.limits.bytes:
            raise StreamPolicyViolation(f"more than {self.limits.bytes} bytes in one element", limit="bytes")
        # Nothing but the unfinished token in this piece: expat will scan it again from its start.
        self._rescan = self._rescan + unfinished if unfinished > size else 0
        if self._rescan > self.limits.rescan_bytes:
            raise StreamPolicyViolation("an element arrives in too many small pieces", limit="rescan_bytes")

    def _give_back(self, parser: Parser) -> None:
        self._parser = None
        self._fed = self._rescan = 0
        if parser.fed < _PARSER_LIFETIME and self._prologue in _POOLED_PROLOGUES:
            spare = _pool.setdefault(parser.prologue or b"", [])
            if len(spare) < _POOL_SIZE:
                spare.append(parser)
                return
        parser.dispose()

    def close(self) -> None:
        """Nothing more will be read."""
        self._drop_parser()
        self.pending = b""

    def _drop_parser(self) -> None:
        parser, self._parser = self._parser, None
        if parser is not None:
            parser.dispose()


def parse_document(data: bytes, limits: ReaderLimits = TRUSTED) -> Element:
    """One whole XML document (a WebSocket frame, a request body). Raises :class:`StreamError`."""
    if len(data) > limits.bytes:
        raise StreamPolicyViolation(f"more than {limits.bytes} bytes in one document", limit="bytes")
    parser = _take(_DOCUMENT_PROLOGUE)
    parser.limits = limits
    try:
        items = parser.parse(data.strip(_WHITESPACE))
        is_open = bool(parser.unfinished or parser.stack)
    finally:
        parser.dispose()
    if len(items) != 1 or not isinstance(items[0], Element) or is_open:
        raise NotWellFormed("a document has exactly one root element")
    return items[0]


def parse_stored(text: str | bytes) -> Element:
    """An element this server wrote and kept. It was judged when it came, by the limits of that day and as it was spelt.

    Our spelling may be longer and declare more namespaces, so the limits of the wire must not judge it again.
    """
    return parse_document(text.encode() if isinstance(text, str) else text, _STORED)


_STORED: Final = ReaderLimits(
    bytes=1 << 30, depth=10_000, elements=10_000_000, attributes=10_000, name_bytes=1 << 30, attribute_bytes=1 << 30,
    namespaces=10_000_000, rescan_bytes=1 << 30,
)
_WHITESPACE = b" \t\r\n"
#: The first tag of an item, with its name as it is written there.
_TAG: Final = re.compile(rb"[ \t\r\n]*<([^ \t\r\n/>]+)")
# What UTF-16 and UTF-32 begin with; expat would take a document in them, whatever encoding it was told.
_NOT_UTF8: Final = re.compile(rb"[\x00\xfe\xff]")
_POOLED_PROLOGUES: Final = frozenset({
    f"<stream:stream xmlns='{namespace}' xmlns:stream='{NS.STREAM}'>".encode()
    for namespace in (NS.CLIENT, NS.SERVER, NS.COMPONENT_ACCEPT)
})
_DOCUMENT_PROLOGUE: Final = b"<stream:stream xmlns:stream='" + NS.STREAM.encode() + b"'>"


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of a first tag, within `limits`."""

    header: StreamHeader
    prologue: bytes | None
    limits: ReaderLimits


_headers: dict[bytes, _Known] = {}


def _first_tag(data: bytes) -> bytes:
    """The first tag of a stream, with the declaration before it; less than that where a value has a ">" in it."""
    end = data.find(b">") + 1
    if data.startswith(b"<?"):
        end = data.find(b">", end) + 1
    return data[:end]


def _remember(head: bytes, known: _Known) -> None:
    if len(head) <= _HEADER_BYTES:
        if len(_headers) >= _HEADERS:
            _headers.clear()
        _headers[head] = known


def _take(prologue: bytes | None) -> Parser:
    if prologue is None:
        return Parser()
    spare = _pool.get(prologue)
    if spare:
        return spare.pop()
    parser = Parser()
    parser.parse(prologue)
    return parser
