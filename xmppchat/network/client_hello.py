"""The ClientHello, read before OpenSSL sees it.

The standard `ssl` module can neither tell a server that the client offered ALPN nor refuse the offer with the
alert of RFC 7301 §3.2, so the first flight is read here: it says whom the client wants (SNI, RFC 6066 §3),
what it speaks (ALPN), whether it protects its master secret (RFC 7627) and whether it would have OpenSSL do
finite-field Diffie-Hellman, which the standard module cannot switch off for TLS 1.3: with ffdhe8192 that is
95 ms of CPU, two hundred ordinary handshakes, for a key share that the peer need not even have computed.
Bytes that are no TLS are refused at the first one that differs, before OpenSSL allocates anything.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_VERSION_AND_RANDOM = 2 + 32
_HANDSHAKE_RECORD = 22
_CLIENT_HELLO = 1
_RECORD_HEADER = 5
_MESSAGE_HEADER = 4
_SERVER_NAME = 0
_SUPPORTED_GROUPS = 10
_ALPN = 16
_EXTENDED_MASTER_SECRET = 23
_KEY_SHARE = 51
_HOST_NAME = 0
_ELLIPTIC = frozenset((23, 24, 25, 29, 30))  # P-256, P-384, P-521, X25519, X448
_FINITE_FIELD = range(0x0100, 0x0200)
_EXTENSION_HEADER = struct.Struct(">HH")  # type, length (RFC 8446 §4.2)

MAX_HELLO = 16_384
"""Bytes of one ClientHello; real ones have 200 to 2,500, with post-quantum key shares."""

MAX_RECORD_BODY = 16_384
MAX_RECORDS = 64
"""Records one ClientHello may be cut into."""


class Alert(enum.IntEnum):
    """The fatal alerts (RFC 8446 §6.2) that we send ourselves."""

    UNEXPECTED_MESSAGE = 10
    HANDSHAKE_FAILURE = 40
    DECODE_ERROR = 50
    NO_APPLICATION_PROTOCOL = 120


class BadHello(Exception):
    """No ClientHello; `alert` is what the peer is told, None if it does not speak TLS at all."""

    def __init__(self, text: str, alert: Alert | None = Alert.DECODE_ERROR) -> None:
        super().__init__(text)
        self.alert = alert


@dataclass(frozen=True, slots=True)
class ClientHello:
    """What a server has to know before the handshake."""

    server_name: str | None = None
    """The wanted host in lower case (A-labels), None without SNI."""
    protocols: tuple[bytes, ...] | None = None
    """The offered ALPN names, None if the client sent no list."""
    has_extended_master_secret: bool = False
    wants_finite_field: bool = False
    """Whether OpenSSL would agree on a finite-field group (RFC 7919) with this client."""


def alert_record(alert: Alert) -> bytes:
    """An unprotected record with this fatal alert."""
    return bytes((21, 3, 3, 0, 2, 2, alert))


class HelloReader:
    """Gathers a connection's first flight until the ClientHello is whole; bytes may come one by one.

    `flight` keeps everything received, for OpenSSL to read from the start.
    """

    __slots__ = ("_needed", "flight")

    def __init__(self) -> None:
        self.flight = bytearray()
        self._needed = 1

    def receive(self, data: bytes) -> ClientHello | None:
        """Take bytes; the ClientHello once it is complete. Raises `BadHello`."""
        self.flight += data
        if len(self.flight) < self._needed:
            return None
        message = self._message()
        return None if message is None else _parse(message)

    def _message(self) -> bytes | None:
        """The handshake message, put together from its records; None while `_needed` bytes are not there."""
        flight, position, message = self.flight, 0, bytearray()
        for _ in range(MAX_RECORDS):
            header = bytes(flight[position : position + _RECORD_HEADER])
            _check_record_header(header)
            length = int.from_bytes(header[3:5], "big") if len(header) == _RECORD_HEADER else 0
            end = position + _RECORD_HEADER + length
            message += flight[position + _RECORD_HEADER : end]
            wanted = _wanted_size(message)
            if len(message) >= wanted:
                return bytes(message[_MESSAGE_HEADER:wanted])
            if len(flight) < end or len(header) < _RECORD_HEADER:
                # Within the first header each byte is looked at, so that "GET /" is refused at its "G".
                self._needed = max(len(flight) + 1, end if len(header) == _RECORD_HEADER else 0)
                return None
            position = end
        raise BadHello("the ClientHello is cut into too many records")


def _check_record_header(header: bytes) -> None:
    if header[:1] not in (b"", bytes((_HANDSHAKE_RECORD,))) or header[1:2] not in (b"", b"\x03"):
        raise BadHello("the peer does not speak TLS", None)
    if len(header) == _RECORD_HEADER and not 0 < int.from_bytes(header[3:5], "big") <= MAX_RECORD_BODY:
        raise BadHello("a TLS record of impossible length")


def _wanted_size(message: bytearray) -> int:
    """How long the message is with its header; the header's own size while that is incomplete."""
    if message and message[0] != _CLIENT_HELLO:
        raise BadHello("the first TLS message is no ClientHello", Alert.UNEXPECTED_MESSAGE)
    if len(message) < _MESSAGE_HEADER:
        return _MESSAGE_HEADER
    size = int.from_bytes(message[1:4], "big")
    if size > MAX_HELLO:
        raise BadHello(f"a ClientHello of {size} bytes; {MAX_HELLO} are allowed")
    return _MESSAGE_HEADER + size


_TOO_SHORT = "the ClientHello ends too early"


class _Cursor:
    """Reads length-prefixed vectors (RFC 8446 §3.4); a vector past the end is a `BadHello`."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def __bool__(self) -> bool:
        return self._position < len(self._data)

    def take(self, count: int) -> bytes:
        start = self._position
        end = self._position = start + count
        if end > len(self._data):
            raise BadHello(_TOO_SHORT)
        return self._data[start:end]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, length_size: int) -> bytes:
        start = self._position + length_size
        end = self._position = start + int.from_bytes(self._data[self._position : start], "big")
        if end > len(self._data):  # also where the length itself is cut off
            raise BadHello(_TOO_SHORT)
        return self._data[start:end]


def _parse(body: bytes) -> ClientHello:
    """The body of a ClientHello (RFC 8446 §4.1.2, RFC 5246 §7.4.1.2)."""
    position = _VERSION_AND_RANDOM
    for length_size in (1, 2, 1):  # legacy_session_id, cipher_suites, legacy_compression_methods
        start = position + length_size
        position = start + int.from_bytes(body[position:start], "big")
    if position > len(body):
        raise BadHello(_TOO_SHORT)
    if position == len(body):
        return ClientHello()
    found = _extensions(_Cursor(body[position:]).vector(2))
    return ClientHello(
        _server_name(found[_SERVER_NAME]) if _SERVER_NAME in found else None,
        _protocols(found[_ALPN]) if _ALPN in found else None,
        _EXTENDED_MASTER_SECRET in found,
        _wants_finite_field(found.get(_SUPPORTED_GROUPS), found.get(_KEY_SHARE)),
    )


def _extensions(block: bytes) -> dict[int, bytes]:
    """Contents by type. There are a dozen in every hello: this is read without a cursor."""
    found: dict[int, bytes] = {}
    position, size = 0, len(block)
    while position < size:
        if size - position < _EXTENSION_HEADER.size:
            raise BadHello(_TOO_SHORT)
        kind, length = _EXTENSION_HEADER.unpack_from(block, position)
        start = position + _EXTENSION_HEADER.size
        position = start + length
        if position > size:
            raise BadHello(_TOO_SHORT)
        # OpenSSL refuses a repeated extension as well, so both of us always read the same list.
        if kind in found:
            raise BadHello("an extension stands twice in the ClientHello")
        found[kind] = block[start:position]
    return found


#: Clients of one kind say the same of a host.
_remembered = lru_cache(maxsize=64)


@_remembered
def _server_name(content: bytes) -> str | None:
    names = _Cursor(_Cursor(content).vector(2))
    while names:
        kind, name = names.number(1), names.vector(2)
        if kind == _HOST_NAME:
            text = name.decode("ascii", "replace")
            # A name that no certificate can carry counts as none: the first host answers.
            return text.lower().rstrip(".") if text.isascii() and text.isprintable() else None
    return None


@_remembered
def _protocols(content: bytes) -> tuple[bytes, ...]:
    names = _Cursor(_Cursor(content).vector(2))
    protocols = []
    while names:
        protocols.append(names.vector(1))
    return tuple(protocols)


@_remembered
def _groups(content: bytes) -> frozenset[int]:
    groups = _Cursor(content).vector(2)
    if len(groups) % 2:
        raise BadHello(_TOO_SHORT)
    return frozenset(struct.unpack(f">{len(groups) // 2}H", groups))


def _shares(content: bytes) -> Iterator[int]:
    """The groups of the key shares (RFC 8446 §4.2.8), as the client ordered them."""
    shares = _Cursor(_Cursor(content).vector(2))
    while shares:
        yield shares.number(2)
        shares.vector(2)


def _wants_finite_field(groups: bytes | None, shares: bytes | None) -> bool:
    """OpenSSL takes the first share of a group it knows; without one it asks for a curve if it can."""
    for group in _shares(shares) if shares is not None else ():
        if group in _ELLIPTIC:
            return False
        if group in _FINITE_FIELD:
            return True
    found = _groups(groups) if groups is not None else frozenset()
    return not found.isdisjoint(_FINITE_FIELD) and found.isdisjoint(_ELLIPTIC)
