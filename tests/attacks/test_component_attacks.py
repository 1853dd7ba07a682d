"""V-01, V-02, V-03, V-29 on the port of external components: who is no component, and a component that is malicious."""

from __future__ import annotations

import hashlib
import re
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from attack_client import STREAMS, Attacker, ping
from attack_target import GATEWAY, A, Target
from live_server import COMPONENT_PORT, wait_for
from observation import MIB

HEADER = (
    f"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='{STREAMS}' to='{GATEWAY}'>"
).encode()
NICK = f"nick@{GATEWAY}"


def opened(target: Target) -> Attacker:
    """A connection on which the headers were exchanged."""
    client = target.connect(port=COMPONENT_PORT)
    client.send(HEADER).until(lambda data: re.search(rb"<stream:stream [^>]*>", data))
    return client


def handshake(client: Attacker, secret: str) -> bytes:
    """What proves `secret` on this stream."""
    found = re.search(rb" id='([^']*)'", client.received)
    assert found is not None
    return b"<handshake>%s</handshake>" % hashlib.sha1(found.group(1) + secret.encode()).hexdigest().encode()


@pytest.fixture
def gateway(target: Target) -> Iterator[Attacker]:
    """The component, attached; whoever had its place before has left it."""
    def attach() -> Attacker | None:
        client = opened(target)
        proof = handshake(client, target.component_secret)
        client.restart()
        client.send(proof).until(lambda data: b"<handshake/>" in data or b"<conflict " in data)
        if b"<handshake/>" in client.received:
            return client
        client.socket.close()
        return None

    client = wait_for(attach, 10, "the place of the component is free")
    client.restart()
    with client:
        yield client


def asked(client: Attacker, number: int = 0) -> bytes:
    """Everything the component gets until the server has answered its ping."""
    request = f"<iq type='get' id='b{number}' from='{GATEWAY}' to='{A}'><ping xmlns='urn:xmpp:ping'/></iq>"
    return client.send(request.encode()).until(f"id='b{number}' type='result'".encode())


@pytest.mark.parametrize("secret", ["", "0" * 48, "secret"])
def test_a_wrong_secret(target: Target, secret: str) -> None:
    with opened(target) as client:
        client.send(handshake(client, secret), message("romeo@a.test", NICK)).until_closed(5)
        assert client.condition == "not-authorized"
        assert b"<handshake" not in client.received


def test_a_proof_is_good_for_one_stream(target: Target) -> None:
    with opened(target) as first, opened(target) as second:
        proof = handshake(first, target.component_secret)
        second.send(proof).until_closed(5)
        assert second.condition == "not-authorized"


@pytest.mark.parametrize("domain", [A, "b.test", "gateway.b.test", "x", f"romeo@{A}", "", "'"])
def test_nobody_else_is_expected(target: Target, domain: str) -> None:
    """Neither a host of the server's nor any other domain; the answer is the same."""
    with target.connect(port=COMPONENT_PORT) as client:
        header = HEADER.replace(f"to='{GATEWAY}'".encode(), b'to="%s"' % domain.encode())
        client.send(header, b"<handshake/>").until_closed(5)
        assert client.condition in {"host-unknown", "improper-addressing"}


def message(to: str, from_: str, id_: str = "m", body: str = "x") -> bytes:
    """A chat message."""
    return f"<message type='chat' id='{id_}' from='{from_}' to='{to}'><body>{body}</body></message>".encode()


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        (message(f"juliet@{A}", f"romeo@{A}"), "invalid-from"),
        (message(f"juliet@{A}", A), "invalid-from"),
        (message(f"juliet@{A}", f"x@sub.{GATEWAY}"), "invalid-from"),
        (message(f"juliet@{A}", f"x@{GATEWAY}.evil.test"), "invalid-from"),
        (message(f"juliet@{A}", f"{GATEWAY}@{A}"), "invalid-from"),
        (message(f"juliet@{A}", f"{A}/{GATEWAY}"), "invalid-from"),
        (message(f"juliet@{A}", ""), "invalid-from"),
        (f"<message type='chat' to='juliet@{A}'><body>x</body></message>".encode(), "improper-addressing"),
        (f"<message type='chat' from='{NICK}'><body>x</body></message>".encode(), "improper-addressing"),
        (f"<presence from='{NICK}'/>".encode(), "improper-addressing"),
    ],
)
def test_a_component_speaks_for_itself_alone(
    target: Target, gateway: Attacker, stanza: bytes, condition: str
) -> None:
    """V-29: the stream ends, and nobody gets anything, of what came behind it neither."""
    with target.login("juliet", resource="victim") as juliet:
        juliet.available()
        gateway.send(stanza + message(f"juliet@{A}", NICK, "behind")).until_closed(5)
        assert gateway.condition == condition
        assert b"<message" not in juliet.barrier()


ENTITIES = b"<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
HOSTILE = {
    "doctype": (ENTITIES, "restricted-xml"),
    "entity": (b"<message><body>&b;</body></message>", "restricted-xml"),
    "comment": (b"<message><!-- x --></message>", "restricted-xml"),
    "instruction": (b"<message><?x y?></message>", "restricted-xml"),
    "depth": (b"<message>" + b"<a>" * 100_000, "policy-violation"),
    "elements": (b"<message>" + b"<a/>" * 50_000, "policy-violation"),
    "attributes": (b"<message " + b" ".join(b"a%d=''" % n for n in range(50_000)), "policy-violation"),
    "namespaces": (
        b"<message><x " + b" ".join(b"xmlns:a%d='urn:a'" % n for n in range(5_000)) + b"/>", "policy-violation"
    ),
    "size": (b"<message><body>" + b"a" * MIB, "policy-violation"),
    "open attribute": (b"<message a='" + b"a" * MIB, "policy-violation"),
    "not UTF-8": (b"<message><body>\xeb<></body></message>", "not-well-formed"),
    "NUL": (b"<message><body>&#0;</body></message>", "not-well-formed"),
    "second header": (HEADER.partition(b"?>")[2], "bad-format"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("is_attached", [False, True], ids=["stranger", "attached"])
def test_hostile_xml(
    target: Target, request: pytest.FixtureRequest, bystander: Callable[[], float], name: str, is_attached: bool
) -> None:
    """V-01, V-02, V-03: the same reader with the same bounds as for clients."""
    data, condition = HOSTILE[name]
    client: Attacker = request.getfixturevalue("gateway") if is_attached else opened(target)
    process = target.process
    rss, cpu = process.rss, process.cpu
    with client:
        client.send(data).until_closed(10)
        assert client.condition == condition
    assert process.rss - rss < 5 * MIB
    assert process.cpu - cpu < 1.0
    assert bystander() < 2.0


def test_a_flood_before_the_handshake(target: Target) -> None:
    rss = target.process.rss
    with opened(target) as client:
        client.send(*[b" " * 65_536] * 16).until_closed(10)
        assert client.condition == "policy-violation"
    assert target.process.rss - rss < 5 * MIB


def test_a_component_that_asks_and_does_not_read(
    target: Target, gateway: Attacker, bystander: Callable[[], float]
) -> None:
    """It is not read either: what waits for it is bounded, and others get their answers."""
    rss = target.process.rss
    request = f"<iq type='get' id='{'x' * 900}' from='{NICK}' to='{A}'><ping xmlns='urn:xmpp:ping'/></iq>".encode()
    gateway.socket.setblocking(False)
    sent = until_blocked(gateway.socket, request * 64)
    assert sent < 64 * MIB, "it was read for ever"
    assert bystander() < 5.0
    assert target.process.rss - rss < 24 * MIB


def until_blocked(connection: socket.socket, data: bytes) -> int:
    """Sends `data` over and over until nothing more is taken for a second; returns how many bytes were."""
    sent = 0
    rest = b""
    while sent < 256 * MIB:
        _, writable, _ = select.select([], [connection], [], 1.0)
        if not writable:
            break
        rest = rest or data
        try:
            count = connection.send(rest)
        except BlockingIOError:
            continue
        except ConnectionError:
            break
        sent, rest = sent + count, rest[count:]
    return sent


def test_users_who_flood_a_component_that_does_not_read(
    target: Target, gateway: Attacker, bystander: Callable[[], float]
) -> None:
    """Its connection is cut when too much waits for it; then what is for it comes back."""
    rss = target.process.rss
    body = "x" * 100_000
    with target.login("romeo", resource="flood") as romeo:
        for number in range(200):
            # Headlines are archived for nobody, so that it is the buffers that are measured.
            romeo.send(message(NICK, romeo.jid, str(number), body).replace(b"'chat'", b"'headline'"))
        romeo.send(ping("after")).until(b"id='after'")
        assert b"<remote-server-timeout " in romeo.received
    assert bystander() < 5.0
    assert target.process.rss - rss < 32 * MIB
    gateway.until_closed(10)


def test_a_flood_is_stored_at_the_pace_of_the_disk(
    target: Target, gateway: Attacker, bystander: Callable[[], float]
) -> None:
    """Messages for somebody who is away, as fast as they go: each is stored or refused, and nobody else waits long."""
    rss = target.process.rss
    count = 2_000
    gateway.send(*(message(f"mallory@{A}", NICK, str(number)) for number in range(count)))
    begin = time.monotonic()
    bystander()
    assert time.monotonic() - begin < 5.0
    asked(gateway)
    assert not gateway.is_closed
    assert target.process.rss - rss < 24 * MIB
