"""The ClientHello is read the same however it is cut, and nothing that is none gets through."""

from __future__ import annotations

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from network_support import MemoryClient, client_context, only_version

from xmppchat.network.client_hello import (
    MAX_HELLO,
    MAX_RECORDS,
    Alert,
    BadHello,
    ClientHello,
    HelloReader,
    alert_record,
)


def hello(alpn: list[str] | None = None, server_name: str | None = "One.Example") -> bytes:
    return MemoryClient(client_context(alpn=alpn), server_name).shake()


def cut(record: bytes, size: int) -> bytes:
    """The same handshake message in records of `size` bytes."""
    body = record[5:]
    parts = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(record[:3] + len(x).to_bytes(2, "big") + x for x in parts)


@pytest.mark.parametrize("alpn", [None, ["xmpp-client"], ["h2", "xmpp-client"]])
def test_tells_name_and_protocols(alpn: list[str] | None) -> None:
    read = HelloReader().receive(hello(alpn))
    assert read == ClientHello(
        "one.example", None if alpn is None else tuple(x.encode() for x in alpn), True
    )


def test_a_client_of_tls_1_2_without_name() -> None:
    context = only_version(client_context(), ssl.TLSVersion.TLSv1_2)
    assert HelloReader().receive(MemoryClient(context, None).shake()) == ClientHello(None, None, True)


def test_bytes_may_come_one_by_one() -> None:
    flight = hello(["xmpp-client"])
    reader = HelloReader()
    results = [reader.receive(flight[i : i + 1]) for i in range(len(flight))]
    assert results[-1] == HelloReader().receive(flight)
    assert not any(results[:-1])
    assert reader.flight == flight


def test_records_may_cut_the_message() -> None:
    flight = cut(hello(["xmpp-client"]), 50)
    reader = HelloReader()
    results = [reader.receive(flight[i : i + 1]) for i in range(len(flight))]
    assert results[-1] == ClientHello("one.example", (b"xmpp-client",), True)
    assert not any(results[:-1])


def test_what_follows_the_message_is_kept() -> None:
    flight = hello()
    reader = HelloReader()
    assert reader.receive(flight + b"more") is not None
    assert reader.flight == flight + b"more"


def test_no_more_records_than_allowed() -> None:
    with pytest.raises(BadHello, match="too many records"):
        HelloReader().receive(cut(hello(), 1)[: 6 * (MAX_RECORDS + 1)])


@pytest.mark.parametrize(
    ("data", "alert"),
    [
        (b"G", None),
        (b"<", None),
        (b"\x16\x02", None),
        (b"\x15\x03\x03\x00\x02\x02\x28", None),
        (b"\x80\x2e\x01\x03\x01", None),  # an SSLv2 hello, which OpenSSL would still take
        (b"\x16\x03\x01\x00\x00", Alert.DECODE_ERROR),
        (b"\x16\x03\x01\xff\xff", Alert.DECODE_ERROR),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", Alert.UNEXPECTED_MESSAGE),
        (b"\x16\x03\x01\x40\x00\x01" + (MAX_HELLO + 1).to_bytes(3, "big"), Alert.DECODE_ERROR),
        (b"\x16\x03\x01\x00\x04\x01\x00\x00\x00", Alert.DECODE_ERROR),
    ],
)
def test_what_is_no_hello_is_refused(data: bytes, alert: Alert | None) -> None:
    with pytest.raises(BadHello) as caught:
        HelloReader().receive(data)
    assert caught.value.alert == alert


def extensions(*found: tuple[int, bytes]) -> bytes:
    """A flight with these extensions."""
    listed = b"".join(k.to_bytes(2, "big") + len(v).to_bytes(2, "big") + v for k, v in found)
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00"
    body += len(listed).to_bytes(2, "big") + listed
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def test_an_extension_stands_once() -> None:
    with pytest.raises(BadHello, match="twice"):
        HelloReader().receive(extensions((16, b"\x00\x03\x02h2"), (16, b"\x00\x03\x02h2")))


@pytest.mark.parametrize("content", [b"", b"\x00\x05\x02h2", b"\x00\x03\x05h2"])
def test_a_broken_extension_is_refused(content: bytes) -> None:
    with pytest.raises(BadHello, match="ends too early"):
        HelloReader().receive(extensions((16, content)))


@pytest.mark.parametrize("name", ["\u00e4.example".encode(), b"a\nb"])
def test_a_name_that_is_none_counts_as_none(name: bytes) -> None:
    entry = b"\x00" + len(name).to_bytes(2, "big") + name
    read = HelloReader().receive(extensions((0, len(entry).to_bytes(2, "big") + entry)))
    assert read == ClientHello()


P_256, X25519, FFDHE_8192, UNKNOWN = 0x17, 0x1D, 0x0104, 0x5A5A


@pytest.mark.parametrize(
    ("groups", "shares", "is_wanted"),
    [
        ([X25519, FFDHE_8192], [X25519], False),
        ([X25519, FFDHE_8192], [P_256, FFDHE_8192], False),
        ([X25519, FFDHE_8192], [FFDHE_8192], True),
        ([X25519, FFDHE_8192], [UNKNOWN, FFDHE_8192, X25519], True),
        ([FFDHE_8192], [], True),
        ([UNKNOWN, FFDHE_8192, X25519], [], False),
        ([], [], False),
    ],
)
def test_finite_fields(groups: list[int], shares: list[int], is_wanted: bool) -> None:
    listed = b"".join(x.to_bytes(2, "big") for x in groups)
    entries = b"".join(x.to_bytes(2, "big") + b"\x00\x01k" for x in shares)
    flight = extensions(
        (10, len(listed).to_bytes(2, "big") + listed), (51, len(entries).to_bytes(2, "big") + entries)
    )
    assert HelloReader().receive(flight) == ClientHello(wants_finite_field=is_wanted)


def test_alert_record() -> None:
    assert alert_record(Alert.NO_APPLICATION_PROTOCOL) == bytes.fromhex("15030300020278")


@given(st.binary(max_size=300), st.integers(0, 300))
def test_nothing_but_bad_hello_is_raised(noise: bytes, position: int) -> None:
    flight = _FLIGHT[:position] + noise + _FLIGHT[position + len(noise) :]
    with contextlib.suppress(BadHello):
        HelloReader().receive(flight)


_FLIGHT = hello(["xmpp-client"])
