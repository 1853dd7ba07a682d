"""SASL2 (XEP-0388) on a stream: what is offered, what is told, in which order, at any cut."""

from __future__ import annotations

import pytest
import stream_driver as d
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_driver import Driver, byte_by_byte, cut, header, secure

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl2 import UserAgent
from xmppchat.protocol.stream_events import SaslStarted
from xmppchat.protocol.stream_phases import Phase
from xmppchat.protocol.xmlreader import TRUSTED, StreamHeader, XmlReader

FROM = f" from='romeo@{d.HOST}'"


def said(driver: Driver) -> list[Element]:
    """What the stream sent, header left out."""
    reader = XmlReader(TRUSTED)
    items = reader.feed(driver.output)
    found: list[Element] = []
    while items:
        found += [item for item in items if not isinstance(item, StreamHeader) and isinstance(item, Element)]
        items = reader.resume()
    return found


def open_stream(more: str = FROM) -> Driver:
    return Driver().feed(header(more=more))


def test_what_is_offered() -> None:
    offer = said(open_stream())[0].find("authentication", NS.SASL_2)
    assert offer is not None
    names = [child.text for child in offer.elements() if child.name == "mechanism"]
    assert names == ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN"]
    inline = offer.find("inline", NS.SASL_2)
    assert inline is not None
    bind = inline.find("bind", NS.BIND_2)
    assert bind is not None
    features = bind.find("inline", NS.BIND_2)
    assert features is not None
    assert [child.get("var") for child in features.elements()] == ["urn:xmpp:carbons:2"]
    assert inline.find("sm", NS.STREAM_MANAGEMENT) is not None
    assert [child.text for child in offer.elements() if child.name == "upgrade"] == ["UPGR-SCRAM-SHA-512"]


def test_before_tls_nothing_of_it_is_offered() -> None:
    assert "sasl:2" not in Driver(secure=False).feed(header(more=FROM)).output.decode()


def test_one_answer_binds_and_tells_the_features_of_now() -> None:
    """§2.6.1: success, at once the features; no stream restarts."""
    driver = open_stream().feed(d.authenticate(more=d.BIND_2))
    features, success, fresh = said(driver)
    assert (features.name, success.name, fresh.name) == ("features", "success", "features")
    assert success.child_text("authorization-identifier") == f"romeo@{d.HOST}/Client/x"
    bound = success.find("bound", NS.BIND_2)
    assert bound is not None
    assert bound.find("metadata", NS.ARCHIVE) is not None
    assert success.find("additional-data") is None
    for name, namespace in (("authentication", NS.SASL_2), ("mechanisms", NS.SASL), ("bind", NS.BIND)):
        assert fresh.find(name, namespace) is None
    assert driver.stream.phase is Phase.BOUND


def test_without_a_resource_the_old_way_of_binding_goes_on() -> None:
    driver = open_stream().feed(d.authenticate("SCRAM-SHA-256"), d.RESPONSE_2, d.BIND)
    challenge, success, fresh, bound = said(driver)[1:]
    assert challenge.to_xml() == f"<challenge xmlns='{NS.SASL_2}'>cHJvdmUgaXQ=</challenge>"
    assert success.child_text("authorization-identifier") == f"romeo@{d.HOST}"
    assert success.child_text("additional-data") == "dj1wcm9vZg=="
    assert fresh.find("bind", NS.BIND) is not None
    assert bound.get("type") == "result"


def test_a_session_that_goes_on_needs_no_resource() -> None:
    """XEP-0386 §3.2: what is asked of <bind/> is ignored then."""
    _, success = said(open_stream().feed(d.authenticate(more=d.RESUME_KNOWN + d.BIND_2)))  # no features: XEP-0198 §9.2
    assert success.child_text("authorization-identifier") == d.FORMER.full
    assert success.find("resumed", NS.STREAM_MANAGEMENT) is not None
    assert success.find("bound", NS.BIND_2) is None


def test_a_session_that_is_gone_is_told_and_a_resource_bound() -> None:
    success = said(open_stream().feed(d.authenticate(more=d.RESUME_UNKNOWN + d.BIND_2)))[1]
    assert [child.name for child in success.elements()] == ["authorization-identifier", "failed", "bound"]


def test_a_task_comes_between() -> None:
    driver = open_stream().feed(d.authenticate(more=d.UPGRADE + d.BIND_2), d.NEXT, d.TASK_DATA)
    asked, data, success, _ = said(driver)[1:]
    assert asked.name == "continue"
    tasks = asked.find("tasks", NS.SASL_2)
    assert tasks is not None
    assert [child.text for child in tasks.elements()] == ["UPGR-SCRAM-SHA-512"]
    assert data.name == "task-data"
    assert success.name == "success"


@pytest.mark.parametrize(("element", "condition"), [
    (d.authenticate("SCRAM-SHA-1"), "invalid-mechanism"),
    (d.authenticate("HT-SHA-256-NONE"), "invalid-mechanism"),  # without <fast/>
    (d.authenticate("PLAIN", f"<fast xmlns='{NS.FAST}'/>"), "invalid-mechanism"),  # a password is no token
    (d.authenticate("HT-SHA-256-NONE", f"<fast xmlns='{NS.FAST}' count='0'/>"), "malformed-request"),
    (d.authenticate("HT-SHA-256-NONE", f"<fast xmlns='{NS.FAST}' count='many'/>"), "malformed-request"),
    (d.authenticate(initial="="), "incorrect-encoding"),
    (d.authenticate(initial="%"), "incorrect-encoding"),
])  # fmt: skip
def test_refused_requests_leave_everything_as_it_was(element: bytes, condition: str) -> None:
    """§2.6.2; nothing that was asked for with it is done, another attempt is taken."""
    driver = open_stream().feed(element)
    failure = said(driver)[1]
    assert failure.is_named("failure", NS.SASL_2)
    assert next(failure.elements()).is_named(condition, NS.SASL)
    assert driver.feed(d.authenticate(more=d.BIND_2)).stream.phase is Phase.BOUND


def test_a_wrong_response_and_one_that_is_no_data() -> None:
    wrong = f"<response xmlns='{NS.SASL_2}'>d3Jvbmc=</response>".encode()
    broken = f"<response xmlns='{NS.SASL_2}'>=</response>".encode()
    for answer, condition in ((wrong, "not-authorized"), (broken, "incorrect-encoding")):
        driver = open_stream().feed(d.authenticate("SCRAM-SHA-256"), answer)
        assert next(said(driver)[2].elements()).name == condition
        assert driver.stream.phase is Phase.SECURE


def test_a_token_is_used_with_a_mechanism_of_tokens() -> None:
    token = d.authenticate("HT-SHA-256-NONE", f"<fast xmlns='{NS.FAST}'/>{d.BIND_2}")
    # COMPAT(@xmpp/client, 0.14): its first stream says nothing of who it is, so that is not asked for (XEP-0484 §4.1).
    for more in (FROM, ""):
        assert open_stream(more=more).feed(token).stream.phase is Phase.BOUND


def test_an_empty_initial_response_is_one() -> None:
    for initial, expected in (("<initial-response/>", b""), ("", None)):
        driver = open_stream().feed(
            f"<authenticate xmlns='{NS.SASL_2}' mechanism='SCRAM-SHA-256'>{initial}</authenticate>".encode()
        )
        assert [event.initial for event in driver.events if isinstance(event, SaslStarted)] == [expected]


@pytest.mark.parametrize(("given", "taken"), [
    ("D4565FA7-4D72-4749-B3D3-740EDBF87770", "d4565fa7-4d72-4749-b3d3-740edbf87770"), ("phone", "phone"), ("", ""),
])  # fmt: skip
def test_which_client_it_is(given: str, taken: str) -> None:
    agent = f"<user-agent id='{given}'><software> Some  client</software><device>{'x' * 500}</device></user-agent>"
    driver = open_stream().feed(d.authenticate(more=agent))
    (request,) = [event.request for event in driver.events if isinstance(event, SaslStarted)]
    assert request is not None
    assert request.user_agent == UserAgent(taken, "Some client", "x" * 128)


@pytest.mark.parametrize(("address", "error"), [
    ("romeo@elsewhere.example", "invalid-from"), (f"romeo@{d.OTHER_HOST}", "invalid-from"), ("@", "open"),
    (f"romeo@{d.HOST}/phone", "open"),
])  # fmt: skip
def test_from_is_an_address_at_the_host(address: str, error: str) -> None:
    """§2.1; what is no address at all says nothing."""
    assert open_stream(more=f" from='{address}'").error == error


def test_a_second_login_ends_the_stream() -> None:
    """§4.8: once success was said, any further <authenticate/> is an error."""
    assert open_stream().feed(d.authenticate(), d.authenticate()).error == "not-authorized"
    assert open_stream().feed(d.authenticate(more=d.BIND_2), d.authenticate()).error == "unsupported-stanza-type"


def test_profiles_do_not_mix() -> None:
    assert secure().feed(d.authenticate("SCRAM-SHA-256"), d.RESPONSE).error == "not-authorized"
    assert secure().feed(d.AUTH_CHALLENGED, d.RESPONSE_2).error == "not-authorized"


#: Everything a returning client sends before it hears anything.
QUICK = header(more=FROM) + d.authenticate(more=d.RESUME_KNOWN + d.BIND_2) + d.MESSAGE + d.IQ


@given(st.lists(st.integers(0, len(QUICK)), max_size=8))
@settings(max_examples=200, deadline=None)
def test_all_in_one_go_at_any_cut(cuts: list[int]) -> None:
    whole, pieces = Driver().feed(QUICK), Driver().feed(*cut(QUICK, cuts))
    assert pieces.kinds() == whole.kinds() == ["SaslStarted", "StanzaReceived", "StanzaReceived"]
    assert pieces.output == whole.output


def test_all_in_one_go_byte_by_byte() -> None:
    assert Driver().feed(*byte_by_byte(QUICK)).kinds() == ["SaslStarted", "StanzaReceived", "StanzaReceived"]
