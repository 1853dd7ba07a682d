"""V-01, V-02, V-21: hostile XML on the live port, in every phase: the right error, closed, cheap, nobody else hurt."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attack_client import Attacker, Canary, header
from attack_target import PASSWORD, A, Target
from observation import MIB, stopwatch

PHASES = ("before TLS", "after TLS", "after login")


def reach(target: Target, phase: str, *, direct: bool = False) -> Attacker:
    """A connection in that phase."""
    if direct:
        client = target.connect(port=5223).wrap(alpn="xmpp-client").open()
    elif phase == "before TLS":
        return target.connect().open()
    else:
        client = target.connect().secure()
    return client.login("mallory", PASSWORD) if phase == "after login" else client


FORBIDDEN = {
    "doctype": "<!DOCTYPE a>",
    "internal subset": "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    "billion laughs": "<!DOCTYPE a [<!ENTITY b 'ha'><!ENTITY c '&b;&b;&b;&b;'><!ENTITY d '&c;&c;&c;&c;'>]><a>&d;</a>",
    "external entity": "<!DOCTYPE a [<!ENTITY b SYSTEM 'http://127.0.0.1:{port}/x'>]><a>&b;</a>",
    "external subset": "<!DOCTYPE a SYSTEM 'http://127.0.0.1:{port}/x.dtd'><a/>",
    "parameter entity": "<!DOCTYPE a [<!ENTITY % b SYSTEM 'http://127.0.0.1:{port}/x'> %b;]><a/>",
    "entity of a file": "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>",
    "undeclared entity": "<message><body>&nbsp;</body></message>",
    "processing instruction": "<?xml-stylesheet href='http://127.0.0.1:{port}/x'?>",
    "processing instruction in a stanza": "<message><body><?php x ?></body></message>",
    "comment": "<!-- x -->",
    "comment in a stanza": "<message><body><!-- x --></body></message>",
}


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_xml(target: Target, name: str, phase: str) -> None:
    """RFC 6120 §11.1: restricted-xml, and nothing is fetched or expanded."""
    with Canary() as canary, reach(target, phase) as client:
        before = target.process.rss
        client.restart()
        client.send(FORBIDDEN[name].replace("{port}", str(canary.port)).encode())
        client.until_closed(2)
        assert client.condition == "restricted-xml"
        assert client.received.endswith(b"</stream:stream>")
        assert b"root:" not in client.received
        assert target.process.rss - before < 5 * MIB
        assert not canary.was_touched


@pytest.mark.parametrize("name", FORBIDDEN)
def test_forbidden_xml_instead_of_a_header(target: Target, name: str) -> None:
    with Canary() as canary, target.connect() as client:
        client.send(FORBIDDEN[name].replace("{port}", str(canary.port)).encode()).until_closed(2)
        assert client.condition in {"restricted-xml", "not-well-formed", "bad-namespace-prefix"}
        assert not canary.was_touched


def test_forbidden_xml_on_direct_tls(target: Target) -> None:
    with reach(target, "after TLS", direct=True) as client:
        client.send(b"<!DOCTYPE a>").until_closed(2)
        assert client.condition == "restricted-xml"


def _many(piece: bytes, of: int = 64 * 1024) -> Callable[[Attacker], None]:
    """Sends `piece` again and again until the server has closed, a megabyte at most."""

    def send(client: Attacker) -> None:
        block = piece * max(1, of // len(piece))
        for _ in range(max(1, MIB // len(block))):
            client.send(block)

    return send


def _in_small_writes(begin: bytes, size: int) -> Callable[[Attacker], None]:
    def send(client: Attacker) -> None:
        client.send(begin)
        for _ in range(size // 64):
            client.send(b"x" * 64)

    return send


COSTLY: dict[str, Callable[[Attacker], object]] = {
    "attribute of 1 MB in writes of 64 bytes": _in_small_writes(b"<a b='", MIB),
    "depth of 100,000": lambda client: client.send(b"<a>" * 100_000),
    "50,000 attributes": lambda client: client.send(
        b"<a" + b"".join(b" a%d=''" % i for i in range(50_000)) + b"/>"
    ),
    "50,000 declarations": lambda client: client.send(
        b"<a" + b"".join(b" xmlns:a%d='u'" % i for i in range(50_000)) + b"/>"
    ),
    "50,000 elements": lambda client: client.send(b"<iq type='set'>" + b"<a/>" * 50_000 + b"</iq>"),
    "endless attribute": lambda client: _many(b"x")(client.send(b"<a b='")),
    "endless attribute of >": lambda client: _many(b">")(client.send(b"<a b='")),
    "endless name": lambda client: _many(b"x")(client.send(b"<")),
    "endless text": lambda client: _many(b"x")(client.send(b"<a>")),
    "endless text of >": lambda client: _many(b">")(client.send(b"<a>")),
    "endless section": lambda client: _many(b"x")(client.send(b"<a><![CDATA[")),
    "endless section of ]": lambda client: _many(b"]")(client.send(b"<a><![CDATA[")),
    "endless references": lambda client: _many(b"&#65;")(client.send(b"<a>")),
    "endless white space": _many(b" \n"),
    "endless white space in a tag": lambda client: _many(b" ")(client.send(b"<a")),
}


@pytest.mark.parametrize("phase", PHASES[:2])
@pytest.mark.parametrize("name", COSTLY)
def test_costly_xml_before_login(
    target: Target, bystander: Callable[[], float], name: str, phase: str
) -> None:
    """Closed by a limit after at most 64 KiB, within little CPU and memory, and nobody else notices."""
    bystander()
    with reach(target, phase) as client:
        process = target.process
        rss, cpu = process.rss, process.cpu
        client.restart()
        COSTLY[name](client)
        delay = bystander()
        client.until_closed()
        # The client may see a reset in place of the error: it was still sending.
        assert client.condition in {"policy-violation", ""}
        assert process.cpu - cpu < 0.3  # the bystander's pings, TLS and a tick of the clock are in it
        assert process.rss - rss < 5 * MIB
        assert delay < 1


AFTER_LOGIN = {name: send for name, send in COSTLY.items() if "white space" not in name or "tag" in name}


@pytest.mark.parametrize("name", AFTER_LOGIN)
def test_costly_xml_after_login(target: Target, bystander: Callable[[], float], name: str) -> None:
    with reach(target, "after login") as client:
        process = target.process
        rss, cpu = process.rss, process.cpu
        client.restart()
        AFTER_LOGIN[name](client)
        delay = bystander()
        client.until_closed()
        assert client.condition in {"policy-violation", ""}
        assert process.cpu - cpu < 1.5
        # 30,000 names of attributes fit into a stanza; expat needs 14 MiB for them and gives them back.
        assert process.rss - rss < 24 * MIB
        assert delay < 1


def test_costly_stanzas_do_not_add_up(target: Target) -> None:
    attributes = b"<a" + b"".join(b" a%d=''" % i for i in range(50_000))
    sizes = []
    for _ in range(8):
        with reach(target, "after login") as client:
            client.send(attributes).until_closed()
        sizes.append(target.process.rss)
    assert max(sizes[4:]) - max(sizes[:4]) < 5 * MIB


def test_whitespace_after_login_is_keep_alive_and_costs_nothing(
    target: Target, bystander: Callable[[], float]
) -> None:
    with reach(target, "after login") as client:
        rss = target.process.rss
        _many(b" \n")(client)
        client.barrier()
        assert target.process.rss - rss < 4 * MIB
        assert bystander() < 1


def test_an_oversized_stanza_after_login(target: Target) -> None:
    """Not delivered, not in part; and the largest that is allowed passes."""
    with target.login("juliet", resource="big") as juliet, reach(target, "after login") as client:
        juliet.available()
        message = b"<message to='juliet@a.test/big' id='%s'><body>%s</body></message>"
        client.send(message % (b"fits", b"x" * 262_000))
        juliet.until(b"</message>")
        assert b"id='fits'" in juliet.received
        juliet.restart()
        client.send(message % (b"too-big", b"x" * 262_200)).until_closed()
        assert client.condition in {"policy-violation", ""}
        juliet.barrier()
        assert b"too-big" not in juliet.received


@pytest.mark.parametrize("size", ["bytes", "elements"])
def test_limits_before_login_are_tighter(target: Target, size: str) -> None:
    """V-07: 17 KB and 65 elements are refused, what clients send in their most talkative step passes."""
    inner = {"bytes": b"x" * 17_000, "elements": b"<a/>" * 65}[size]
    with target.connect().secure() as client:
        client.send(b"<iq type='set' id='r'><query xmlns='jabber:iq:register'>" + inner + b"</query></iq>")
        client.until_closed(2)
        assert client.condition == "policy-violation"
    with target.connect().secure() as client:
        client.send(
            b"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='SCRAM-SHA-256'><initial-response>"
            + b"x" * 4_000
            + b"</initial-response>"
            + b"<a/>" * 40
            + b"</authenticate>"
        )
        client.until(b"</failure>")
        assert b"<malformed-request " in client.received, "within the limits: it is read, and is no SCRAM"


def test_http_on_the_xmpp_ports(target: Target) -> None:
    """V-21: closed within a second, nothing echoed."""
    request = b"GET /canary-path HTTP/1.1\r\nHost: canary-host\r\nX: <script>canary</script>\r\n\r\n"
    with target.connect() as client, stopwatch() as seconds:
        client.send(request).until_closed()
        assert seconds() < 1
        assert b"canary" not in client.received
        assert client.condition == "not-well-formed"
    with target.connect(port=5223) as client, stopwatch() as seconds:
        client.send(request).until_closed()
        assert seconds() < 1
        assert b"canary" not in client.received
    with target.connect(port=5223).wrap(alpn="xmpp-client") as client:
        client.send(request).until_closed(1)
        assert b"canary" not in client.received


@pytest.mark.parametrize("left", [b"<![CDATA[", b"<!", b"<?", b"<", b"&", b"<a", b"<a><![CDATA["])
def test_nothing_of_one_stream_is_left_to_another(target: Target, left: bytes) -> None:
    """Parsers are shared: what strangers leave half open must not be the beginning of somebody's stanza."""
    with target.login("juliet", resource="victim") as victim:
        strangers = [target.connect().open().send(left) for _ in range(5)]
        with reach(target, "after login") as mallory:
            mallory.send(b"<presence/>" + left)
            for i in range(20):
                victim.restart()
                victim.barrier(f"v{i}")
        for stranger in strangers:
            stranger.socket.close()


@pytest.mark.parametrize("root", [b"stream:features", b"message"])
def test_a_stream_that_begins_otherwise_spoils_no_good_bye(target: Target, root: bytes) -> None:
    """Its parser is not kept for others, whose closing tag it would not know."""
    for _ in range(3):
        with target.connect() as mallory:
            mallory.send(header(A).replace(b"<stream:stream", b"<" + root)).until_closed()
            assert mallory.condition == "invalid-namespace"
    # Each good-bye uses up a parser, so that after these all are used that were kept.
    others = [target.connect().open() for _ in range(100)]
    for one in others:
        with one:
            assert b"not-well-formed" not in one.send(b"</stream:stream>").until_closed()
