"""The stream of an external component (XEP-0114): each order of its two steps, hostile ones included."""

from __future__ import annotations

import hashlib
import inspect
import re
from xml.etree import ElementTree

import pytest

from xmppchat.protocol import component_stream
from xmppchat.protocol.component_stream import (
    ComponentStream,
    ComponentStreamSettings,
    handshake,
)
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import HostGone
from xmppchat.protocol.stream_events import SecretProved, StanzaReceived, StreamEnded
from xmppchat.protocol.stream_phases import Phase
from xmppchat.protocol.xmlreader import ReaderLimits

SECRET = "s3cret" * 6
DOMAIN = "push.example"
STREAMS = "http://etherx.jabber.org/streams"
HEADER = f"<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='{STREAMS}' to='{DOMAIN}'>"
MESSAGE = f"<message from='a@{DOMAIN}' to='romeo@chat.example'><body>Hi</body></message>"
SETTINGS = ComponentStreamSettings({DOMAIN: SECRET}.get, lambda: "id-1", ReaderLimits(depth=6, bytes=4_000))
PROOF = f"<handshake>{handshake('id-1', SECRET)}</handshake>"


class Driver:
    """A stream whose owner accepts at once."""

    def __init__(self, settings: ComponentStreamSettings = SETTINGS, *, accepts: bool = True) -> None:
        self.stream = ComponentStream(settings)
        self.output = ""
        self.stanzas: list[Element] = []
        self.ends: list[StreamEnded] = []
        self._accepts = accepts

    def send(self, *pieces: str | bytes) -> Driver:
        """Each piece as one read."""
        for piece in pieces:
            data = piece.encode() if isinstance(piece, str) else piece
            for events in (self.stream.receive(data), None):
                for event in self.stream.resume() if events is None else events:
                    if isinstance(event, StanzaReceived):
                        self.stanzas.append(event.element)
                    elif isinstance(event, StreamEnded):
                        self.ends.append(event)
                    elif self._accepts:
                        assert isinstance(event, SecretProved)
                        self.stream.accept()
            self.output += self.stream.take_output().decode()
        return self

    @property
    def condition(self) -> str:
        """That of the stream error."""
        found = re.search("<stream:error><([a-z-]+) ", self.output)
        return found.group(1) if found else ""


def test_the_example_of_the_specification() -> None:
    """XEP-0114 §3: header, header with an id, SHA-1 of id and secret in lower-case hex, an empty handshake."""
    driver = Driver().send(HEADER)
    assert driver.output == (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' "
        f"xmlns:stream='{STREAMS}' from='{DOMAIN}' id='id-1'>"
    )
    proof = hashlib.sha1(b"id-1" + SECRET.encode()).hexdigest()
    assert proof == proof.lower()
    driver.send(f"<handshake>{proof}</handshake>")
    assert driver.output.endswith("<handshake/>")
    driver.send(MESSAGE, "</stream:stream>")
    assert [one.get("to") for one in driver.stanzas] == ["romeo@chat.example"]
    assert [end.error for end in driver.ends] == [None]
    ElementTree.fromstring(driver.output)


def test_stanzas_have_the_namespace_of_the_server_inside() -> None:
    driver = Driver().send(HEADER, PROOF, (
        f"<message from='a@{DOMAIN}' to='b@c'><body>Hi</body><forwarded xmlns='urn:xmpp:forward:0'>"
        "<message xmlns='jabber:client'><body>x</body></message>"
        "<message xmlns='jabber:component:accept'><body>y</body></message></forwarded></message>"
        f"<iq xmlns='jabber:client' from='a@{DOMAIN}' to='b@c' type='get' id='1'><query xmlns='urn:q'/></iq>"
    ))
    message, iq = driver.stanzas
    assert message.to_xml("jabber:client").count("jabber:client") == 2, "both messages inside, and nothing else"
    assert "component" not in message.to_xml()
    assert (iq.namespace, next(iq.elements()).namespace) == ("jabber:client", "urn:q")


def test_what_comes_with_the_handshake_waits_for_the_answer() -> None:
    together = Driver().send(HEADER + PROOF + MESSAGE)
    assert together.output.endswith("<handshake/>")
    assert len(together.stanzas) == 1
    undecided = Driver(accepts=False).send(HEADER, PROOF + MESSAGE, MESSAGE)
    assert (undecided.stanzas, undecided.stream.phase) == ([], Phase.BINDING)
    undecided.stream.accept()
    undecided.send("")
    assert len(undecided.stanzas) == 2


def test_every_split_reads_the_same() -> None:
    whole = (HEADER + PROOF + MESSAGE + "</stream:stream>").encode()
    for at in range(1, len(whole)):
        driver = Driver().send(whole[:at], whole[at:])
        assert (len(driver.stanzas), driver.condition, len(driver.ends)) == (1, "", 1), at


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (HEADER.replace(DOMAIN, "other.example"), "host-unknown"),
        (HEADER.replace(DOMAIN, f"a@{DOMAIN}"), "host-unknown"),
        (HEADER.replace(DOMAIN, f"{DOMAIN}/x"), "host-unknown"),
        (HEADER.replace(f" to='{DOMAIN}'", ""), "improper-addressing"),
        (HEADER.replace(f" to='{DOMAIN}'", f" from='{DOMAIN}'"), "improper-addressing"),
        (HEADER.replace(DOMAIN, "a..b"), "improper-addressing"),
        (HEADER.replace(DOMAIN, "&lt;/stream:stream>"), "improper-addressing"),
        (HEADER.replace("jabber:component:accept", "jabber:component:connect"), "invalid-namespace"),
        (HEADER.replace("jabber:component:accept", "jabber:client"), "invalid-namespace"),
        (HEADER.replace("stream:stream", "stream:features"), "invalid-namespace"),
        (HEADER.replace("xmlns:stream", "xmlns:s").replace("stream:stream", "s:stream"), "bad-namespace-prefix"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]>" + HEADER, "restricted-xml"),
        ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (b"\x16\x03\x01\x02\x00\x01", "unsupported-encoding"),  # a client that begins with TLS
    ],
)
def test_a_header_that_is_refused(sent: str | bytes, condition: str) -> None:
    """§3: the error stands in a stream of the server's."""
    driver = Driver().send(sent, PROOF, MESSAGE)
    assert driver.condition == condition
    assert driver.stanzas == []
    assert driver.stream.phase is Phase.CLOSED
    assert driver.output.startswith("<?xml version='1.0'?><stream:stream ")
    ElementTree.fromstring(driver.output)


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        ("<handshake/>", "not-authorized"),
        ("<handshake>" + handshake("id-2", SECRET) + "</handshake>", "not-authorized"),
        ("<handshake>" + handshake("id-1", SECRET[1:]) + "</handshake>", "not-authorized"),
        ("<handshake>" + handshake("id-1", "") + "</handshake>", "not-authorized"),
        ("<handshake>" + handshake("id-1", SECRET)[:-1] + "</handshake>", "not-authorized"),
        ("<handshake>ü</handshake>", "not-authorized"),
        (f"<handshake xmlns='urn:x'>{handshake('id-1', SECRET)}</handshake>", "not-authorized"),
        (f"<handshake><x>{handshake('id-1', SECRET)}</x></handshake>", "not-authorized"),
        (MESSAGE, "not-authorized"),
        ("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "not-authorized"),
        (HEADER.partition("?>")[2], "bad-format"),
        (f"<a><b><c><d><e><f><g><h>{'<i>' * 10}", "policy-violation"),
        ("<handshake>" + "a" * 20_000, "policy-violation"),
        ("<handshake>&lol;</handshake>", "restricted-xml"),
        ("<handshake><!-- --></handshake>", "restricted-xml"),
    ],
)
def test_a_secret_that_is_not_proved(sent: str, condition: str) -> None:
    driver = Driver().send(HEADER, sent, PROOF, MESSAGE)
    assert driver.condition == condition
    assert driver.stanzas == []
    assert "<handshake" not in driver.output
    ElementTree.fromstring(driver.output)


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (PROOF, "unsupported-stanza-type"),
        ("<route/>", "unsupported-stanza-type"),
        (MESSAGE.replace("<message", "<message xmlns='jabber:server'"), "unsupported-stanza-type"),
        (HEADER.partition("?>")[2], "bad-format"),
        ("<message>" + "<a>" * 10, "policy-violation"),
        ("<message><body>" + "a" * 5_000, "policy-violation"),
        ("<message><!DOCTYPE x>", "restricted-xml"),
        ("<message><?x y?></message>", "restricted-xml"),
        (b"<message><body>\xeb<></body></message>", "not-well-formed"),
        ("text", "bad-format"),
    ],
)
def test_what_ends_an_attached_stream(sent: str | bytes, condition: str) -> None:
    driver = Driver().send(HEADER, PROOF, MESSAGE, sent, MESSAGE)
    assert driver.condition == condition
    assert len(driver.stanzas) == 1
    assert driver.ends[0].error is not None
    ElementTree.fromstring(driver.output)


def test_upper_case_and_white_space_are_forgiven() -> None:
    driver = Driver().send(HEADER, f"<handshake>\n {handshake('id-1', SECRET).upper()} </handshake>", MESSAGE)
    assert len(driver.stanzas) == 1


def test_the_bytes_before_the_handshake_are_bounded() -> None:
    driver = Driver().send(HEADER, *[b" " * 1_000] * 70)
    assert driver.condition == "policy-violation"


def test_what_waits_for_the_answer_is_bounded() -> None:
    driver = Driver(accepts=False).send(HEADER, PROOF, *[MESSAGE] * 400)
    assert (driver.condition, driver.stanzas) == ("policy-violation", [])


def test_a_component_that_was_taken_off_meanwhile_proves_nothing() -> None:
    secrets = {DOMAIN: SECRET}
    driver = Driver(ComponentStreamSettings(secrets.get, lambda: "id-1")).send(HEADER)
    secrets.clear()
    assert driver.send("<handshake>" + handshake("id-1", "") + "</handshake>").condition == "not-authorized"


def test_new_limits_hold_from_the_next_bytes_on() -> None:
    driver = Driver().send(HEADER, PROOF)
    driver.stream.reconfigure(ComponentStreamSettings(SETTINGS.secret_of, SETTINGS.new_id, ReaderLimits(depth=1)))
    assert driver.send(MESSAGE).condition == "policy-violation"


def test_an_end_of_the_servers_comes_once() -> None:
    driver = Driver().send(HEADER, PROOF)
    assert driver.stream.close(HostGone("bye")) != []
    assert driver.stream.close(HostGone("again")) == []
    assert driver.send(MESSAGE).condition == "host-gone"
    assert driver.output.count("</stream:stream>") == 1


def test_digests_are_compared_in_constant_time() -> None:
    source = inspect.getsource(component_stream.ComponentStream._handshake)
    assert "compare_digest" in source
    assert "==" not in source
