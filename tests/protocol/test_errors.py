"""Errors: every condition of RFC 6120, each once, each as well-formed XML."""

from __future__ import annotations

import pytest

from xmppchat.protocol import errors
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StanzaError, StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_document

#: RFC 6120 §8.3.3.
STANZA_CONDITIONS = {
    "bad-request": "modify",
    "conflict": "cancel",
    "feature-not-implemented": "cancel",
    "forbidden": "auth",
    "gone": "cancel",
    "internal-server-error": "cancel",
    "item-not-found": "cancel",
    "jid-malformed": "modify",
    "not-acceptable": "modify",
    "not-allowed": "cancel",
    "not-authorized": "auth",
    "policy-violation": "modify",
    "recipient-unavailable": "wait",
    "redirect": "modify",
    "registration-required": "auth",
    "remote-server-not-found": "cancel",
    "remote-server-timeout": "wait",
    "resource-constraint": "wait",
    "service-unavailable": "cancel",
    "subscription-required": "auth",
    "undefined-condition": "cancel",
    "unexpected-request": "wait",
}
#: RFC 6120 §4.9.3.
STREAM_CONDITIONS = {
    "bad-format",
    "bad-namespace-prefix",
    "conflict",
    "connection-timeout",
    "host-gone",
    "host-unknown",
    "improper-addressing",
    "internal-server-error",
    "invalid-from",
    "invalid-namespace",
    "invalid-xml",
    "not-authorized",
    "not-well-formed",
    "policy-violation",
    "remote-connection-failed",
    "reset",
    "resource-constraint",
    "restricted-xml",
    "see-other-host",
    "system-shutdown",
    "undefined-condition",
    "unsupported-encoding",
    "unsupported-feature",
    "unsupported-stanza-type",
    "unsupported-version",
}


def _classes(base: type) -> list[type]:
    return [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, base) and c is not base]


def test_every_stanza_condition_once() -> None:
    found = {c.condition: c.type for c in _classes(StanzaError)}  # type: ignore[attr-defined]
    assert found == STANZA_CONDITIONS
    assert len(_classes(StanzaError)) == len(found)


def test_every_stream_condition_once() -> None:
    found = [c.condition for c in _classes(StreamError)]  # type: ignore[attr-defined]
    assert set(found) == STREAM_CONDITIONS
    assert len(found) == len(STREAM_CONDITIONS)


@pytest.mark.parametrize("cls", _classes(StanzaError), ids=lambda c: c.__name__)
def test_stanza_errors_as_xml(cls: type[StanzaError]) -> None:
    bare = parse_document(cls().to_element().to_bytes())
    assert bare == Element("error", NS.CLIENT, {"type": cls.type}, [Element(cls.condition, NS.STANZA_ERROR)])
    detail = Element("why", "urn:x")
    element = parse_document(cls("<&> what next", details=[detail], type="wait").to_element().to_bytes())
    assert element.get("type") == "wait"
    assert element.child_text("text", NS.STANZA_ERROR) == "<&> what next"
    assert next(element.elements()).name == cls.condition, "the condition comes first (RFC 6120 §8.3.2)"
    assert list(element.elements())[-1] == detail


@pytest.mark.parametrize("cls", _classes(StreamError), ids=lambda c: c.__name__)
def test_stream_errors_as_xml(cls: type[StreamError]) -> None:
    element = parse_document(cls("because of <&>").to_element().to_bytes())
    assert element.is_named("error", NS.STREAM)
    assert [child.name for child in element.elements()] == [cls.condition, "text"]
    assert element.child_text("text", NS.STREAM_ERROR) == "because of <&>"
    assert str(cls()) == cls.condition, "a log line is never empty"
