"""V-05, V-06, V-08, V-10, V-11, V-23: hostile orders of negotiation, leaks before login, stanzas in pieces."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

import pytest
from attack_client import (
    SASL,
    STARTTLS,
    Attacker,
    Scram,
    auth,
    bind,
    failure,
    header,
    payload,
    ping,
    response,
    sasl_step,
)
from attack_target import PASSWORD, A, B, Target, scale
from live_server import wait_for
from observation import MIB, stopwatch

PLAIN = auth("PLAIN", f"\0mallory\0{PASSWORD}".encode())
REGISTER = b"<iq type='set' id='reg'><query xmlns='jabber:iq:register'><username>x</username></query></iq>"
MESSAGE = b"<message to='juliet@a.test' id='early'><body>x</body></message>"

BEFORE_TLS = {
    "auth": PLAIN,
    "scram": auth("SCRAM-SHA-256", b"n,,n=mallory,r=x"),
    "sasl2": b"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
    "register": REGISTER,
    "bind": bind("x"),
    "enable": b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
    "resume": b"<resume xmlns='urn:xmpp:sm:3' h='0' previd='x'/>",
    "compress": b"<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    "dialback": b"<db:result xmlns:db='jabber:server:dialback' from='b.test' to='a.test'>x</db:result>",
    "handshake": b"<handshake>aaaa</handshake>",
    "message": MESSAGE,
    "ping": ping("early"),
}


@pytest.mark.parametrize("name", BEFORE_TLS)
def test_nothing_but_starttls_before_tls(target: Target, name: str) -> None:
    """V-11: neither offered nor done."""
    with target.connect().open() as client:
        features = client.received.partition(b"<stream:features>")[2]
        assert (
            features
            == b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
        )
        client.send(BEFORE_TLS[name]).until_closed(2)
        assert client.condition in {"policy-violation", "not-authorized"}
        assert b"<success" not in client.received
        assert b"early" not in client.received


BEFORE_LOGIN = [
    *(name for name in BEFORE_TLS if name not in {"auth", "scram", "sasl2", "register"}),
    "second starttls",
]


@pytest.mark.parametrize("name", BEFORE_LOGIN)
def test_nothing_but_login_before_login(target: Target, name: str) -> None:
    with target.connect().secure() as client:
        client.restart()
        client.send(BEFORE_TLS.get(name, STARTTLS)).until_closed(2)
        assert client.condition == "not-authorized"
        assert b"early" not in client.received


@pytest.mark.parametrize("name", ["message", "ping", "auth", "register", "second starttls"])
def test_nothing_but_bind_before_bind(target: Target, name: str) -> None:
    with target.connect().secure() as client:
        assert failure(sasl_step(client, PLAIN)) == ""
        client.open().restart()
        client.send(BEFORE_TLS.get(name, STARTTLS)).until_closed(2)
        assert client.condition == "not-authorized"


@pytest.mark.parametrize(
    "trailing", [ping("injected"), PLAIN, header(A), b"x", b"\x16\x03\x01", b"</stream:stream>"]
)
def test_nothing_is_taken_along_behind_starttls(target: Target, trailing: bytes) -> None:
    """V-10: in one segment the stream ends; what comes ahead of the handshake by itself spoils the handshake."""
    with target.connect().open() as client:
        client.restart()
        client.send(STARTTLS + trailing).until_closed(2)
        assert client.condition == "policy-violation"
        assert b"<proceed" not in client.received
        assert b"injected" not in client.received
    with target.connect().open() as client:
        client.send(STARTTLS).until(b"<proceed ")
        with pytest.raises((ssl.SSLError, OSError)):
            client.send(trailing + b"\r\n" * 10).wrap()


def test_bytes_before_direct_tls(target: Target) -> None:
    """V-23: plaintext ahead of the handshake is neither answered nor taken as said inside it."""
    for data in (header(A), header(A) + ping("injected"), b"\r\n\r\n"):
        with target.connect(port=5223) as client:
            client.send(data)
            with pytest.raises((ssl.SSLError, OSError)):
                client.wrap()
            assert b"<stream" not in client.received


def test_wrong_alpn(target: Target) -> None:
    """V-21: a client of another protocol is not spoken to."""
    for protocol in ("h2", "http/1.1", "xmpp-server"):
        with target.connect(port=5223) as client, pytest.raises((ssl.SSLError, OSError)):
            client.wrap(alpn=protocol)
    with target.connect(port=5223).wrap(alpn="xmpp-client") as client:
        client.open()


def test_old_tls_is_refused(target: Target) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with target.connect(port=5223) as client, pytest.raises((ssl.SSLError, OSError)):
        context.wrap_socket(client.socket)


# --- V-06 -----------------------------------------

RESTARTS = {
    "other host": header(B),
    "unknown host": header("c.test"),
    "no host": header("").replace(b" to=''", b""),
    "account": header(f"juliet@{A}"),
    "other namespace": header(A).replace(b"jabber:client", b"jabber:server"),
    "component": header(A).replace(b"jabber:client", b"jabber:component:accept"),
}


@pytest.mark.parametrize("name", RESTARTS)
def test_a_restart_cannot_move_to_another_host(target: Target, name: str) -> None:
    with target.connect().secure() as client:
        assert failure(sasl_step(client, PLAIN)) == ""
        client.restart()
        client.send(RESTARTS[name]).until_closed(2)
        assert client.condition in {
            "not-authorized",
            "host-unknown",
            "improper-addressing",
            "invalid-namespace",
        }
        assert b"<bind" not in client.received


@pytest.mark.parametrize("where", ["before TLS", "before login", "before bind", "bound"])
@pytest.mark.parametrize("host", [A, B])
def test_a_second_header(target: Target, where: str, host: str) -> None:
    """A header where none is due ends the stream at once, with or without an XML declaration."""
    for begin in (header(host), header(host).partition(b"?>")[2]):
        with target.connect() as client:
            client.open()
            if where != "before TLS":
                client.send(STARTTLS).until(b"<proceed ")
                client.wrap().open()
            if where in {"before bind", "bound"}:
                assert failure(sasl_step(client, PLAIN)) == ""
                client.open()
            if where == "bound":
                client.send(bind()).until(b"<jid>")
            client.restart()
            client.send(begin).until_closed(2)
            assert client.condition in {"bad-format", "not-well-formed", "not-authorized"}


def test_the_identity_is_fixed_by_login(target: Target) -> None:
    """Neither `from` of a later header nor another login changes who it is."""
    with target.connect().secure() as client:
        assert failure(sasl_step(client, PLAIN)) == ""
        client.restart()
        client.send(header(A)[:-1] + b" from='juliet@a.test' xml:lang='xx'>").until(b"</stream:features>")
        client.send(bind("x")).until(b"<jid>mallory@a.test/x</jid>")
        client.send(PLAIN).until_closed(2)
        assert client.condition == "unsupported-stanza-type"


# --- V-08, pipelining -----------------------------------------


def test_a_stanza_cut_anywhere_is_processed_at_once(target: Target) -> None:
    """Each in two segments with silence behind: nothing waits for the next bytes."""
    with target.login("mallory") as client:
        for cut in range(1, len(ping("c00"))):
            stanza = ping(f"c{cut:02d}")
            client.restart()
            client.send(stanza[:cut], stanza[cut:])
            with stopwatch() as seconds:
                client.until(f"id='c{cut:02d}'".encode())
            assert seconds() < 1, f"cut at {cut}: {seconds()} s"


def _scram(client: Attacker) -> bytes:
    scram = Scram("mallory", PASSWORD)
    step = sasl_step(client, auth("SCRAM-SHA-256", scram.first()))
    return response(scram.final(payload(step)))


BIND_AND_PING = bind("p") + ping("pipelined")
PIPELINED: dict[str, Callable[[Attacker], list[bytes]]] = {
    "failure before success": lambda _: [auth("PLAIN", b"nonsense"), PLAIN, header(A), BIND_AND_PING],
    "challenge answered ahead": lambda _: [
        auth("PLAIN"),
        response(f"\0mallory\0{PASSWORD}".encode()),
        header(A),
        BIND_AND_PING,
    ],
    "aborted before": lambda _: [
        auth("SCRAM-SHA-256", b"n,,n=mallory,r=x"),
        f"<abort xmlns='{SASL}'/>".encode(),
        PLAIN,
        header(A),
        BIND_AND_PING,
    ],
    "plain": lambda _: [PLAIN, header(A), BIND_AND_PING],
    "scram": lambda client: [_scram(client), header(A), BIND_AND_PING],
    "two resources": lambda _: [PLAIN, header(A), bind("&#9;"), BIND_AND_PING],
    "questions about registration": lambda _: [
        *[b"<iq type='get' id='q'><query xmlns='jabber:iq:register'/></iq>"] * 3,
        PLAIN,
        header(A),
        BIND_AND_PING,
    ],
}


@pytest.mark.parametrize("how", ["one segment", "many segments", "byte by byte"])
@pytest.mark.parametrize("name", PIPELINED)
def test_a_client_that_does_not_wait_for_answers(target: Target, name: str, how: str) -> None:
    """What is sent ahead waits for the answer before it, and then is not forgotten."""
    with target.connect().secure() as client:
        pieces = PIPELINED[name](client)
        data = b"".join(pieces)
        if how == "one segment":
            client.send(data)
        elif how == "many segments":
            client.send(*pieces)
        else:
            client.send(*(data[i : i + 1] for i in range(len(data))))
        client.until(b"id='pipelined'", 5)


# --- V-05 -----------------------------------------


def _nothing(client: Attacker) -> None: ...


def _half_tls(client: Attacker) -> None:
    client.open().send(STARTTLS).until(b"<proceed ")
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 20)


def _half_sasl(client: Attacker) -> None:
    client.secure()
    sasl_step(client, auth("SCRAM-SHA-256", b"n,,n=mallory,r=x"))


DROPS: dict[str, tuple[Callable[[Attacker], object], int, int]] = {
    "nothing": (_nothing, 800, 60_000),
    "half a header": (lambda c: c.send(header(A)[:60]), 500, 20_000),
    "header": (lambda c: c.open(), 400, 10_000),
    "half a handshake": (_half_tls, 400, 5_000),
    "half a login": (_half_sasl, 200, 5_000),
    "login in flight": (lambda c: c.secure().send(PLAIN), 150, 3_000),
    "bound": (lambda c: c.secure().login("mallory", PASSWORD), 100, 3_000),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", DROPS)
def test_dropped_connections_leave_nothing(target: Target, name: str) -> None:
    """Memory and descriptors come back to where they were; all 100,000 with XMPPCHAT_SOAK=1."""
    attack, few, many = DROPS[name]
    process = target.process

    def cycle(times: int) -> None:
        for i in range(times):
            client = target.connect()
            attack(client)
            if i % 2:  # RST and FIN are different ways to go
                client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            client.socket.close()

    def is_back() -> bool:
        return process.descriptors <= descriptors

    descriptors = process.descriptors
    cycle(few // 2)  # what is made once and kept
    wait_for(is_back, 20, lambda: f"{process.descriptors} open, {descriptors} before")
    rss = process.rss
    cycle(scale(few, many))
    wait_for(is_back, 20, lambda: f"{process.descriptors} open, {descriptors} before")
    assert process.rss - rss < max(2 * MIB, rss * 0.02)
