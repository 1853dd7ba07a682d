"""The stream table: every element in every phase, hostile orders, and the same outcome however the bytes are cut."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import stream_driver as d
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_driver import Driver, authenticated, bound, byte_by_byte, cut, header, secure

from xmppchat.jid import JID
from xmppchat.protocol.errors import SystemShutdown
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_events import SaslStarted, StanzaReceived
from xmppchat.protocol.stream_phases import Phase


def plain() -> Driver:
    """No TLS, the header exchanged."""
    return Driver(secure=False).feed(header())


def authenticating() -> Driver:
    """A challenge is out."""
    return secure().feed(d.AUTH_CHALLENGED)


ELEMENTS = {
    "starttls": d.STARTTLS,
    "auth": d.AUTH,
    "auth, challenged": d.AUTH_CHALLENGED,
    "response": d.RESPONSE,
    "wrong response": d.WRONG_RESPONSE,
    "abort": d.ABORT,
    "bind": d.BIND,
    "register": d.REGISTER,
    "message": d.MESSAGE,
    "presence": d.PRESENCE,
    "iq": d.IQ,
    "sasl2": d.authenticate(),
    "sasl2, challenged": d.authenticate("SCRAM-SHA-256"),
    "sasl2, bind": d.authenticate(more=d.BIND_2),
    "sasl2, resume": d.authenticate(more=d.RESUME_KNOWN + d.BIND_2),
    "sasl2, resume in vain": d.authenticate(more=d.RESUME_UNKNOWN),
    "sasl2, task": d.authenticate(more=d.UPGRADE),
    "sasl2, no mechanism": b"<authenticate xmlns='urn:xmpp:sasl:2'/>",
    "sasl2 response": d.RESPONSE_2,
    "sasl2 abort": d.ABORT_2,
    "sasl2 next": d.NEXT,
    "sasl2 task data": d.TASK_DATA,
    "sm enable": b"<enable xmlns='urn:xmpp:sm:3'/>",
    "sm request": b"<r xmlns='urn:xmpp:sm:3'/>",
    "sm resume": b"<resume xmlns='urn:xmpp:sm:3' previd='nothing' h='0'/>",
    "sm resume, known": b"<resume xmlns='urn:xmpp:sm:3' previd='known' h='3'/>",
    "sm resume without count": b"<resume xmlns='urn:xmpp:sm:3' previd='nothing' h='-1'/>",
    "compress": b"<compress xmlns='http://jabber.org/protocol/compress'><method>zlib</method></compress>",
    "dialback": b"<result xmlns='jabber:server:dialback' to='chat.example' from='evil.example'>key</result>",
    "features": b"<stream:features/>",
    "proceed": b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "success": b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "stanza of servers": b"<message xmlns='jabber:server' to='a@chat.example'/>",
    "stanza of nobody": b"<message xmlns='' to='a@chat.example'/>",
    "second header": header(),
    "second header, other host": header(d.OTHER_HOST),
    "close": d.CLOSE,
}
#: What is lawful in a phase, and the phase it leads to. All else ends the stream with the phase's error.
LAWFUL = {
    Phase.PLAIN: {"starttls": Phase.OPENING},
    Phase.SECURE: {
        "auth": Phase.OPENING, "auth, challenged": Phase.AUTHENTICATING, "register": Phase.SECURE,
        "sasl2": Phase.AUTHENTICATED, "sasl2, challenged": Phase.AUTHENTICATING_2, "sasl2, bind": Phase.BOUND,
        "sasl2, resume": Phase.BOUND, "sasl2, resume in vain": Phase.AUTHENTICATED, "sasl2, task": Phase.TASK,
        "sasl2, no mechanism": Phase.SECURE,
    },
    Phase.AUTHENTICATING_2: {"sasl2 response": Phase.AUTHENTICATED, "sasl2 abort": Phase.SECURE},
    Phase.TASK: {"sasl2 next": Phase.TASK, "sasl2 task data": Phase.AUTHENTICATED, "sasl2 abort": Phase.SECURE},
    Phase.AUTHENTICATING: {"response": Phase.OPENING, "wrong response": Phase.SECURE, "abort": Phase.SECURE},
    Phase.AUTHENTICATED: {
        "bind": Phase.BOUND, "sm enable": Phase.AUTHENTICATED, "sm resume": Phase.AUTHENTICATED,
        "sm resume without count": Phase.AUTHENTICATED, "sm resume, known": Phase.BOUND,
    },
    Phase.BOUND: dict.fromkeys(("message", "presence", "iq", "bind", "register", "sm enable"), Phase.BOUND),
}
UNLAWFUL = {
    Phase.PLAIN: "policy-violation",
    Phase.SECURE: "not-authorized",
    Phase.AUTHENTICATING: "not-authorized",
    Phase.AUTHENTICATING_2: "not-authorized",
    Phase.TASK: "not-authorized",
    Phase.AUTHENTICATED: "not-authorized",
    Phase.BOUND: "unsupported-stanza-type",
}
SETUP: dict[Phase, Callable[[], Driver]] = {
    Phase.PLAIN: plain,
    Phase.SECURE: secure,
    Phase.AUTHENTICATING: authenticating,
    Phase.AUTHENTICATING_2: lambda: secure().feed(d.authenticate("SCRAM-SHA-256")),
    Phase.TASK: lambda: secure().feed(d.authenticate(more=d.UPGRADE)),
    Phase.AUTHENTICATED: authenticated,
    Phase.BOUND: bound,
}


@pytest.mark.parametrize("feed", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", ELEMENTS)
@pytest.mark.parametrize("phase", SETUP, ids=lambda phase: phase.value)
def test_every_element_in_every_phase(phase: Phase, name: str, feed: str) -> None:
    driver = SETUP[phase]()
    assert driver.stream.phase is phase
    data = ELEMENTS[name]
    driver.feed(*([data] if feed == "whole" else byte_by_byte(data)))
    if name == "close":
        assert driver.error == ""
    elif name in LAWFUL[phase]:
        assert driver.error == "open"
        assert driver.stream.phase is LAWFUL[phase][name]
    elif name.startswith("second header"):
        assert driver.error in {"bad-format", "not-well-formed"}
    else:
        assert driver.error == UNLAWFUL[phase]
    if driver.error != "open":
        assert driver.output.endswith(b"</stream:stream>")
        assert driver.stream.receive(d.MESSAGE) == []
        assert driver.stream.take_output() == b""


@pytest.mark.parametrize(
    "trailing", [d.MESSAGE, d.AUTH, d.IQ, header(), d.STARTTLS, b"<", b">", b"\0", b"x", d.CLOSE]
)
def test_nothing_follows_starttls(trailing: bytes) -> None:
    driver = plain().feed(d.STARTTLS + trailing)
    assert driver.error == "policy-violation"
    assert b"<proceed" not in driver.output
    assert "StartTlsRequested" not in driver.kinds()


def test_whitespace_behind_starttls_is_harmless() -> None:
    assert plain().feed(d.STARTTLS + b"\r\n ").kinds() == ["StartTlsRequested"]


def test_before_tls_there_is_one_offer() -> None:
    output = plain().output.decode()
    offered = output[output.index("<stream:features>") :]
    assert offered == f"<stream:features><starttls xmlns='{NS.TLS}'><required/></starttls></stream:features>"


def test_after_login_nothing_of_login_is_offered() -> None:
    driver = secure().feed(d.AUTH)
    before = len(driver.output)
    output = driver.feed(header()).output[before:].decode()
    assert f"<bind xmlns='{NS.BIND}'" in output
    assert "mechanism" not in output
    assert "starttls" not in output
    assert "register" not in output


HEADERS = {
    "host unknown": (header("nowhere.example"), "host-unknown"),
    "host by account": (header("romeo@chat.example"), "host-unknown"),
    "host with resource": (header("chat.example/x"), "host-unknown"),
    "no to": (header(""), "improper-addressing"),
    "to is no address": (header("@"), "improper-addressing"),
    "no version": (header(version=None), "unsupported-version"),
    "version 0.9": (header(version="0.9"), "unsupported-version"),
    "version of words": (header(version="one"), "unsupported-version"),
    "version of many digits": (header(version="9" * 500), "open"),
    "version 1.1": (header(version="1.1"), "open"),
    "other spelling of the host": (header("CHAT.Example"), "open"),
    "content of servers": (header(content=NS.SERVER), "invalid-namespace"),
    "no content namespace": (header(content=""), "invalid-namespace"),
    "other prefix": (
        f"<s:stream xmlns='{NS.CLIENT}' xmlns:s='{NS.STREAM}' to='{d.HOST}' version='1.0'>".encode(),
        "bad-namespace-prefix",
    ),
    "other stream namespace": (
        f"<stream:stream xmlns='{NS.CLIENT}' xmlns:stream='urn:x' to='{d.HOST}' version='1.0'>".encode(),
        "bad-namespace-prefix",
    ),
    "other name": (
        f"<stream:flood xmlns='{NS.CLIENT}' xmlns:stream='{NS.STREAM}' to='{d.HOST}' version='1.0'>".encode(),
        "invalid-namespace",
    ),
    "http": (b"GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n", "not-well-formed"),
    "a stanza": (d.MESSAGE, "bad-namespace-prefix"),
    "latin-1": (header().replace(b"'1.0'?", b"'1.0' encoding='ISO-8859-1'?"), "unsupported-encoding"),
    "utf-16": (header().decode().encode("utf-16"), "unsupported-encoding"),
}


@pytest.mark.parametrize("name", HEADERS)
@pytest.mark.parametrize("feed", ["whole", "byte by byte", "trailing"])
def test_headers(name: str, feed: str) -> None:
    data, expected = HEADERS[name]
    pieces = {"whole": [data], "byte by byte": list(byte_by_byte(data)), "trailing": [data + d.MESSAGE]}[feed]
    driver = Driver().feed(*pieces)
    if feed == "trailing" and expected == "open":
        expected = "not-authorized"  # a stanza before login
    if name == "utf-16":
        assert driver.error in {expected, "not-well-formed"}
    else:
        assert driver.error == expected
    # An error needs a stream to stand in: our header comes first, once (RFC 6120 §4.9.1.2).
    if driver.error != "open":
        assert driver.output.startswith(b"<?xml version='1.0'?><stream:stream ")
        assert driver.output.count(b"<stream:stream ") == 1
        assert driver.output.count(b"<stream:error>") == 1


@pytest.mark.parametrize("restart", [header(d.OTHER_HOST), header("nowhere.example"), header("")])
def test_a_restart_keeps_the_host(restart: bytes) -> None:
    driver = secure().feed(d.AUTH).feed(restart)
    assert driver.error in {"not-authorized", "improper-addressing"}
    assert driver.stream.domain == d.HOST
    driver = plain().feed(d.STARTTLS).feed(header(d.OTHER_HOST))
    assert driver.error == "not-authorized"


def test_nothing_but_a_header_opens_a_restarted_stream() -> None:
    for data in (d.MESSAGE, d.BIND, d.AUTH, b"x<", d.CLOSE):
        driver = secure().feed(d.AUTH).feed(data)
        assert driver.error not in {"open", ""}, data
        assert not [event for event in driver.events if isinstance(event, StanzaReceived)]


def test_a_refused_resource_may_be_asked_for_again() -> None:
    driver = authenticated().feed(d.REFUSED_BIND)
    assert driver.stream.phase is Phase.AUTHENTICATED
    assert b"id='b0' type='error'" in driver.output
    assert driver.feed(d.BIND).stream.phase is Phase.BOUND


BAD_SASL = {
    "unknown mechanism": (f"<auth xmlns='{NS.SASL}' mechanism='LOGIN'/>", "invalid-mechanism"),
    "mechanism in lower case": (f"<auth xmlns='{NS.SASL}' mechanism='plain'/>", "invalid-mechanism"),
    "no mechanism": (f"<auth xmlns='{NS.SASL}'/>", "invalid-mechanism"),
    "not base64": (f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>*</auth>", "incorrect-encoding"),
    "base64 in pieces": (f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>b2 s=</auth>", "incorrect-encoding"),
    "no ascii": (f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>é</auth>", "incorrect-encoding"),
}


@pytest.mark.parametrize("name", BAD_SASL)
def test_bad_sasl_is_a_failure_and_another_attempt_is_taken(name: str) -> None:
    element, condition = BAD_SASL[name]
    driver = secure().feed(element.encode())
    assert f"<{condition}/>".encode() in driver.output
    assert driver.events == []
    assert driver.feed(d.AUTH).kinds() == ["SaslStarted"]


def test_an_initial_response_may_be_absent_or_empty() -> None:
    absent = secure().feed(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'/>".encode())
    empty = secure().feed(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>=</auth>".encode())
    assert absent.events == [SaslStarted("PLAIN", None)]
    assert empty.events == [SaslStarted("PLAIN", b"")]


def test_too_many_bytes_before_login() -> None:
    driver = secure()
    for _ in range(200):
        driver.feed(d.AUTH_CHALLENGED + b" " * 200, d.ABORT)
        if driver.error != "open":
            break
    assert driver.error == "policy-violation"


def test_after_login_there_is_no_such_total() -> None:
    driver = bound()
    for _ in range(100):
        driver.feed(b"<message><body>" + b"x" * 2_000 + b"</body></message>")
    assert driver.error == "open"
    assert driver.kinds().count("StanzaReceived") == 100


def test_closing_is_idempotent_and_final() -> None:
    driver = bound()
    assert len(driver.stream.close(SystemShutdown(""))) == 1
    assert driver.stream.close(None) == []
    assert driver.stream.receive(d.MESSAGE) == []
    assert driver.stream.resume() == []
    output = driver.stream.take_output()
    assert output.count(b"</stream:stream>") == 1
    assert b"<system-shutdown " in output


def test_before_any_header_an_error_gets_one() -> None:
    stream = Driver().stream
    stream.close(SystemShutdown(""))
    assert b"<stream:stream" in stream.take_output()


def test_the_client_closes_behind_its_last_stanza() -> None:
    driver = bound().feed(d.MESSAGE + d.CLOSE + b"<message/> and more <<<")
    assert driver.kinds()[-2:] == ["StanzaReceived", "StreamEnded"]
    assert driver.error == ""


# --- what waits for an answer -----------------------------------------

ROMEO = JID.parse("romeo@chat.example/phone")
WAITING: dict[str, tuple[Callable[[], Driver], bytes, Callable[[Stream], None], bytes, str]] = {
    "login": (secure, d.AUTH, lambda s: s.sasl_succeeded(None), header() + d.BIND, "BindRequested"),
    "bind": (authenticated, d.BIND, lambda s: s.bound(ROMEO), d.MESSAGE, "StanzaReceived"),
    "challenge": (secure, d.AUTH_CHALLENGED, lambda s: s.sasl_challenge(b"?"), d.RESPONSE, "SaslResponded"),
}


@pytest.mark.parametrize("name", WAITING)
@pytest.mark.parametrize("how", ["in one piece", "in two pieces", "byte by byte"])
def test_what_comes_before_an_answer_waits_for_it(name: str, how: str) -> None:
    """However the bytes are cut: a client that does not wait must not depend on the network's segments."""
    setup, first, answer, second, expected = WAITING[name]
    stream = setup().stream
    pieces = {
        "in one piece": [first + second],
        "in two pieces": [first, second],
        "byte by byte": list(byte_by_byte(first + second)),
    }[how]
    events = [event for piece in pieces for event in stream.receive(piece)]
    assert len(events) == 1, "nothing is looked at before the answer"
    answer(stream)
    assert [type(event).__name__ for event in stream.resume()] == [expected]


def test_what_waits_is_bounded() -> None:
    stream = secure().stream
    stream.receive(d.AUTH)
    events = [event for _ in range(100) for event in stream.receive(d.MESSAGE * 10)]
    assert [type(event).__name__ for event in events] == ["StreamEnded"]


# --- any bytes, any cut -----------------------------------------

FRAGMENTS = [
    *ELEMENTS.values(),
    d.REFUSED_BIND,
    b" ",
    b"\n",
    b"<",
    b"&lt;",
    b"<!--",
    b"<?x ?>",
    b"]]>",
    b"<![CDATA[",
    b"\xed\xa0\x80",
    b"\0",
    b"<a",
    b"='",
    b"/>",
    b"</message>",
    b"<message>",
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=6), st.lists(st.integers(0, 5_000), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_order_at_any_cut_ends_the_same(fragments: list[bytes], cuts: list[int]) -> None:
    data = header() + b"".join(fragments)
    whole = Driver(secure=True).feed(data)
    pieces = Driver(secure=True).feed(*cut(data, cuts))
    assert pieces.kinds() == whole.kinds()
    assert pieces.error == whole.error
    assert [repr(event) for event in pieces.events[:-1]] == [repr(event) for event in whole.events[:-1]]
    assert pieces.stream.phase is whole.stream.phase


@given(st.binary(max_size=200), st.sampled_from(list(SETUP)), st.lists(st.integers(0, 200), max_size=4))
@settings(max_examples=300, deadline=None)
def test_no_bytes_make_a_stream_raise(data: bytes, phase: Phase, cuts: list[int]) -> None:
    driver = SETUP[phase]()
    driver.feed(*cut(data, cuts))
    driver.feed(d.CLOSE, d.MESSAGE, header())
    assert driver.error != "open" or driver.stream.phase in {Phase.OPENING, Phase.AUTHENTICATING, *SETUP}


# --- what came before a fault -----------------------------------------------------------------------------------------

FAULTS = {
    "not well-formed": (b"<message id='3'><body>x</wrong></message>", "not-well-formed"),
    "restricted": (b"<message id='3'><!-- x --></message>", "restricted-xml"),
    "too deep": (b"<message id='3'>" + b"<a>" * 100, "policy-violation"),
    "not expected": (b"<nonsense xmlns='urn:x'/><message id='3'/>", "unsupported-stanza-type"),
    "no UTF-8": (b"<message id='3'>\xff</message>", "not-well-formed"),
}


@pytest.mark.parametrize("name", FAULTS)
@given(positions=st.sets(st.integers(1, 300), max_size=8))
@settings(max_examples=30)
def test_what_was_complete_before_a_fault_is_dealt_with(name: str, positions: set[int]) -> None:
    """In whatever pieces it comes: two stanzas, then the error, and nothing of what comes behind."""
    fault, condition = FAULTS[name]
    data = b"<message id='1'/><presence id='2'/>" + fault + b"<message id='4'/>"
    stream = bound()
    before = len(stream.events)
    stream.feed(*cut(data, positions))
    found = [event.element.get("id") for event in stream.events[before:] if isinstance(event, StanzaReceived)]
    assert found == ["1", "2"]
    assert stream.error == condition


def test_of_two_faults_the_first_is_told() -> None:
    stream = bound().feed(b"<message id='1'/><nonsense xmlns='urn:x'/><message id='2'/><message></wrong>")
    assert stream.error == "unsupported-stanza-type"
    ids = [event.element.get("id") for event in stream.events if isinstance(event, StanzaReceived)]
    assert ids == ["1"]
