"""The TLS layer without a socket: handshakes, names, bindings, limits, and what must fail."""

from __future__ import annotations

import gc
import hashlib
import ssl
from pathlib import Path

import pytest
from network_support import MemoryClient, client_context, make_host, only_version

from xmppchat.network.certificates import CertificateFault, CertificateFiles, create_self_signed
from xmppchat.network.tls import SLICE, TlsContexts, TlsFailed, TlsLayer

V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def join(layer: TlsLayer, client: MemoryClient, step: int = 100_000) -> None:
    """Let both sides talk until the handshake is done, `step` bytes at a time towards the server."""
    for _ in range(4):
        flight = client.shake()
        for start in range(0, len(flight), step):
            assert layer.receive(flight[start : start + step]) == b""
        client.incoming.write(layer.take_output())
    client.shake()
    assert layer.is_established


def pair(contexts: TlsContexts, client: MemoryClient | None = None) -> tuple[TlsLayer, MemoryClient]:
    layer, client = contexts.layer(), client or MemoryClient(client_context())
    join(layer, client)
    return layer, client


@pytest.mark.parametrize("version", [V1_2, V1_3])
@pytest.mark.parametrize("step", [1, 7, 100_000])
def test_handshake_however_it_is_cut(
    contexts: TlsContexts, one: CertificateFiles, version: ssl.TLSVersion, step: int
) -> None:
    layer, client = contexts.layer(), MemoryClient(only_version(client_context(one), version))
    join(layer, client, step)
    assert layer.version() == client.object.version() == {V1_2: "TLSv1.2", V1_3: "TLSv1.3"}[version]
    assert layer.receive(client.send(b"to the server")) == b"to the server"
    layer.send(b"to the client")
    assert client.receive(layer.take_output()) == b"to the client"
    assert not layer.has_output


def test_records_may_come_byte_by_byte_or_many_at_once(contexts: TlsContexts) -> None:
    layer, client = pair(contexts)
    flight = client.send(b"one") + client.send(b"two")
    assert b"".join(layer.receive(flight[i : i + 1]) for i in range(len(flight))) == b"onetwo"
    flight = b"".join(client.send(b"%05d" % i) for i in range(1000))
    assert layer.receive(flight) == b"".join(b"%05d" % i for i in range(1000))


@pytest.mark.parametrize("size", [1, SLICE, SLICE + 1, 16384, 1_000_000])
def test_any_size_both_ways(contexts: TlsContexts, size: int) -> None:
    layer, client = pair(contexts)
    data = (hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1))[:size]
    assert layer.receive(client.send(data)) == data
    layer.send(data[:10])
    layer.send(data)
    layer.send(data[:10])
    assert client.receive(layer.take_output()) == data[:10] + data + data[:10]


def test_last_handshake_flight_may_carry_data(contexts: TlsContexts) -> None:
    layer, client = contexts.layer(), MemoryClient(client_context())
    layer.receive(client.shake())
    client.incoming.write(layer.take_output())
    finished = client.shake()
    assert layer.receive(finished + client.send(b"early bird")) == b"early bird"


# --- names ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "host"),
    [
        ("one.example", "one.example"),
        ("TWO.example", "two.example"),
        ("rooms.one.example", "one.example"),
        ("unknown.example", "one.example"),
        (None, "one.example"),
    ],
)
def test_the_name_chooses_the_host(contexts: TlsContexts, asked: str | None, host: str) -> None:
    client = MemoryClient(client_context(), asked)
    layer = contexts.layer()
    assert (layer.server_name, layer.host) == (None, None)
    join(layer, client)
    assert layer.host == host
    assert layer.server_name == (asked and asked.lower())
    shown = client.object.getpeercert(binary_form=True)
    assert shown is not None
    assert shown == ssl.PEM_cert_to_DER_cert(Path(_file(contexts, host)).read_text())


def _file(contexts: TlsContexts, host: str) -> Path:
    return next(x.certificate for x in contexts._hosts if x.host == host)


def test_wildcards_and_names_in_certificates_answer(tmp_path: Path, one: CertificateFiles) -> None:
    many = make_host(tmp_path, "many.example", "*.many.example", "elsewhere.example")
    contexts = TlsContexts([one, CertificateFiles("many.example", many.certificate, many.key)])
    for name in ("any.many.example", "elsewhere.example"):
        assert contexts.choose(name).host == "many.example"
    assert contexts.choose("a.b.many.example").host == "one.example"
    assert contexts.default.host == "one.example"


def test_a_name_in_unicode_is_asked_for_in_ascii(tmp_path: Path, one: CertificateFiles) -> None:
    contexts = TlsContexts([one, make_host(tmp_path, "b\u00fccher.example")])
    assert contexts.choose("xn--bcher-kva.example").host == "b\u00fccher.example"


# --- ALPN (XEP-0368, reliability.md V-21) ------------------------------------------------------------------


@pytest.mark.parametrize("offer", [["xmpp-client"], ["h2", "xmpp-client"]])
def test_the_right_protocol_is_selected(contexts: TlsContexts, offer: list[str]) -> None:
    _, client = pair(contexts, MemoryClient(client_context(alpn=offer)))
    assert client.object.selected_alpn_protocol() == "xmpp-client"


def test_no_offer_is_accepted(contexts: TlsContexts) -> None:
    _, client = pair(contexts)
    assert client.object.selected_alpn_protocol() is None


@pytest.mark.parametrize("offer", [["http/1.1"], ["h2", "xmpp-server"], ["xmpp-client2"]])
def test_a_wrong_offer_gets_the_fatal_alert(contexts: TlsContexts, offer: list[str]) -> None:
    layer, client = contexts.layer(), MemoryClient(client_context(alpn=offer))
    with pytest.raises(TlsFailed, match=r"offers .* by ALPN"):
        layer.receive(client.shake())
    client.incoming.write(layer.take_output())
    with pytest.raises(ssl.SSLError) as caught:
        client.object.do_handshake()
    assert "no application protocol" in str(caught.value).replace("_", " ").lower()


# --- what must not work ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_refused(contexts: TlsContexts, version: ssl.TLSVersion) -> None:
    layer, client = contexts.layer(), MemoryClient(only_version(client_context(), version))
    with pytest.raises(TlsFailed, match="unsupported protocol"):
        layer.receive(client.shake())
    client.incoming.write(layer.take_output())
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|(?i:protocol version)"):
        client.object.do_handshake()


@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\n\r\n", b"<iq type='set'/>", b"\x00"])
def test_what_is_no_tls_ends_it_in_silence(contexts: TlsContexts, data: bytes) -> None:
    layer = contexts.layer()
    with pytest.raises(TlsFailed, match="does not speak TLS"):
        layer.receive(data)
    assert layer.take_output() == b""


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "AES256-SHA"])
def test_weak_ciphers_are_refused(contexts: TlsContexts, ciphers: str) -> None:
    context = only_version(client_context(), V1_2)
    context.set_ciphers(ciphers)
    with pytest.raises(TlsFailed, match="no shared cipher"):
        contexts.layer().receive(MemoryClient(context).shake())


def test_a_changed_record_ends_it_with_an_alert(contexts: TlsContexts) -> None:
    layer, client = pair(contexts)
    record = bytearray(client.send(b"sound"))
    record[-1] ^= 1
    with pytest.raises(TlsFailed, match="bad record mac"):
        layer.receive(bytes(record))
    with pytest.raises(ssl.SSLError, match=r"BAD_RECORD_MAC|(?i:bad record mac)"):
        client.receive(layer.take_output())


def test_a_client_that_distrusts_us_is_told_apart(contexts: TlsContexts, two: CertificateFiles) -> None:
    layer, client = contexts.layer(), MemoryClient(client_context(two))
    layer.receive(client.shake())
    client.incoming.write(layer.take_output())
    with pytest.raises(ssl.SSLCertVerificationError):
        client.object.do_handshake()
    with pytest.raises(TlsFailed, match="the peer refuses our certificate"):
        layer.receive(client.outgoing.read())


# --- the end --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_close_notify_of_the_peer(contexts: TlsContexts, version: ssl.TLSVersion) -> None:
    layer, client = pair(contexts, MemoryClient(only_version(client_context(), version)))
    last = client.send(b"last words")
    with pytest.raises(ssl.SSLWantReadError):
        client.object.unwrap()
    assert layer.receive(last + client.outgoing.read()) == b"last words"
    assert layer.is_ended
    assert layer.receive(b"anything") == b""


@pytest.mark.parametrize("version", [V1_2, V1_3])
def test_our_close_notify(contexts: TlsContexts, version: ssl.TLSVersion) -> None:
    layer, client = pair(contexts, MemoryClient(only_version(client_context(), version)))
    layer.send(b"bye")
    layer.close()
    client.incoming.write(layer.take_output())
    assert client.object.read(100) == b"bye"
    assert client.object.read(100) == b""
    assert layer.receive(client.send(b"late")) == b"late"
    with pytest.raises(TlsFailed):
        layer.send(b"too late")


def test_close_before_the_handshake_says_nothing(contexts: TlsContexts) -> None:
    layer = contexts.layer()
    layer.close()
    assert layer.take_output() == b""


def test_layers_leave_nothing_to_the_garbage_collector(contexts: TlsContexts) -> None:
    gc.collect()
    gc.disable()
    try:
        for _ in range(20):
            pair(contexts)
            with pytest.raises(TlsFailed):
                contexts.layer().receive(b"\x16\x03\x01\x00\x00")
        left = [x for x in gc.get_objects() if isinstance(x, TlsLayer)]
    finally:
        gc.enable()
    assert left == []


# --- channel bindings -----------------------------------------------------------------------------------


def test_bindings_of_tls_1_2(contexts: TlsContexts) -> None:
    layer, client = contexts.layer(), MemoryClient(only_version(client_context(), V1_2))
    assert layer.channel_bindings() == {}
    join(layer, client)
    shown = client.object.getpeercert(binary_form=True)
    assert shown is not None
    assert layer.channel_bindings() == {
        "tls-server-end-point": hashlib.sha256(shown).digest(),
        "tls-unique": client.object.get_channel_binding("tls-unique"),
    }


def test_bindings_of_tls_1_3(contexts: TlsContexts) -> None:
    layer, client = pair(contexts, MemoryClient(only_version(client_context(), V1_3)))
    shown = client.object.getpeercert(binary_form=True)
    assert shown is not None
    assert layer.channel_bindings() == {"tls-server-end-point": hashlib.sha256(shown).digest()}


# --- reload ---------------------------------------------------------------------------------------------


def shown_by(contexts: TlsContexts, name: str = "one.example") -> bytes | None:
    _, client = pair(contexts, MemoryClient(client_context(), name))
    return client.object.getpeercert(binary_form=True)


def test_a_reload_leaves_open_connections_alone(contexts: TlsContexts, one: CertificateFiles) -> None:
    layer, client = pair(contexts)
    halfway, other = contexts.layer(), MemoryClient(client_context())
    halfway.receive(other.shake())
    before, binding = shown_by(contexts), layer.channel_bindings()
    make_host(one.certificate.parent, "one.example")
    contexts.reload()
    assert shown_by(contexts) != before
    assert layer.channel_bindings() == binding
    assert layer.receive(client.send(b"still here")) == b"still here"
    other.incoming.write(halfway.take_output())
    halfway.receive(other.shake())
    assert other.object.getpeercert(binary_form=True) == before


def test_a_reload_can_bring_other_hosts(contexts: TlsContexts, two: CertificateFiles) -> None:
    contexts.reload([two])
    assert contexts.default.host == "two.example"
    assert "one.example" not in contexts.hosts


@pytest.mark.parametrize("broken", ["garbage", "other key", "no file"])
def test_a_broken_file_changes_nothing(
    contexts: TlsContexts, one: CertificateFiles, two: CertificateFiles, broken: str
) -> None:
    before = shown_by(contexts), shown_by(contexts, "two.example")
    make_host(one.certificate.parent, "one.example")
    if broken == "garbage":
        two.certificate.write_text("nothing")
        expected = f"{two.certificate}: no certificate in PEM format"
    elif broken == "other key":
        two.key.write_bytes(create_self_signed("two.example")[1])
        expected = f"{two.key}: this key does not belong to the certificate in {two.certificate}"
    else:
        two.key.unlink()
        expected = f"{two.key}: cannot be read: No such file or directory"
    with pytest.raises(CertificateFault) as caught:
        contexts.reload()
    assert str(caught.value).startswith(expected)
    assert (shown_by(contexts), shown_by(contexts, "two.example")) == before


def test_at_least_one_host() -> None:
    with pytest.raises(ValueError, match="at least one host"):
        TlsContexts([])
