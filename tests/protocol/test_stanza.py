"""Stanza: header and payload, what may be answered, and that the cached serialisation never is a wrong one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_element import elements

from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import ItemNotFound, ServiceUnavailable
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.xmlreader import parse_document

ROMEO = JID.parse("romeo@chat.example/orchard")
JULIET = JID.parse("juliet@chat.example/balcony")
ODD = JID.parse("dart@chat.example/<&\"'>")
BODY = text_element("body", NS.CLIENT, "Hi & <bye>")


def read(stanza: Stanza) -> Element:
    """What a receiver's parser makes of it."""
    return parse_document(stanza.to_bytes(namespace=NS.CLIENT))


_texts = st.text(
    st.characters(codec="utf-8", min_codepoint=32, exclude_characters="\ufffe\uffff"), max_size=20
)


@given(
    st.sampled_from(["message", "presence", "iq"]),
    st.sampled_from([None, ROMEO, ODD]),
    st.sampled_from([None, JULIET, ODD]),
    _texts,
    _texts,
    st.sampled_from(["", "en", "de-CH"]),
    st.lists(elements, max_size=3),
)
@settings(max_examples=200, deadline=None)
def test_what_is_written_reads_back(
    kind: str, to: JID | None, from_: JID | None, id_: str, type_: str, lang: str, children: list[Element]
) -> None:
    stanza = Stanza(kind, to=to, from_=from_, id=id_, type=type_, lang=lang, children=children)
    element = read(stanza)
    assert element == stanza.to_element()
    again = Stanza.from_element(element)
    assert (again.to, again.from_, again.id, again.type, again.lang) == (to, from_, id_, type_, lang)
    assert again.to_bytes() == stanza.to_bytes()


def test_only_the_known_header_is_taken() -> None:
    data = b"<message xmlns='jabber:client' xmlns:x='urn:x' to='a@b' x:to='c@d' x:from='e@f' evil='1'/>"
    stanza = Stanza.from_element(parse_document(data))
    assert stanza.to_xml() == "<message to='a@b'/>"


MALFORMED = {
    "to": (b"to='@'", "to"),
    "to without local part": (b"to='@chat.example'", "to"),
    "to without resource": (b"to='a@chat.example/'", "to"),
    "empty to": (b"to=''", "to"),
    "to with white space": (b"to='a b@chat.example'", "to"),
    "to too long": (b"to='" + b"a" * 1024 + b"@b'", "to"),
    "from": (b"to='a@b' from='a@@b'", "from"),
    "empty from": (b"from=''", "from"),
    "from with a control": (b"from='a@b/&#9;'", "from"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_addresses(name: str) -> None:
    attributes, which = MALFORMED[name]
    with pytest.raises(MalformedAddress) as caught:
        Stanza.from_element(parse_document(b"<iq xmlns='jabber:client' " + attributes + b"/>"))
    assert caught.value.attribute == which


ANSWERED = [
    ("message", "", True),
    ("message", "chat", True),
    ("message", "error", False),
    ("presence", "", True),
    ("presence", "error", False),
    ("iq", "get", True),
    ("iq", "set", True),
    ("iq", "result", False),
    ("iq", "error", False),
    ("iq", "nonsense", True),
]


@pytest.mark.parametrize(("kind", "type_", "is_answered"), ANSWERED)
def test_an_error_is_never_answered_by_an_error(kind: str, type_: str, is_answered: bool) -> None:
    """RFC 6120 §8.3.1; reliability.md V-44."""
    stanza = Stanza(kind, to=JULIET, from_=ROMEO, id="1", type=type_, children=[BODY])
    answer = stanza.error(ItemNotFound("no such thing"))
    assert (answer is not None) is is_answered
    if answer is not None:
        assert (answer.to, answer.from_, answer.id, answer.type) == (ROMEO, JULIET, "1", "error")
        assert "Hi" not in answer.to_xml(), "the payload is not sent back"
        assert answer.error(ServiceUnavailable("")) is None


def test_result() -> None:
    request = Stanza("iq", to=JULIET, from_=ROMEO, id="'<", type="get", children=[Element("q", "urn:q")])
    assert request.is_request
    answer = request.result()
    assert answer.to_xml() == f"<iq from='{JULIET}' to='{ROMEO}' id='&apos;&lt;' type='result'/>"
    assert not answer.is_request


def test_a_fan_out_writes_the_payload_once() -> None:
    stanza = Stanza("message", from_=ROMEO, to=JULIET, children=[BODY])
    inner = stanza.inner_xml
    assert stanza.replace(to=ROMEO).inner_xml is inner
    assert stanza.to_xml(ROMEO).startswith(f"<message from='{ROMEO}' to='{ROMEO}'>")
    assert f"to='{JULIET}'" in stanza.to_xml()


def test_another_payload_is_never_written_from_the_cache() -> None:
    stanza = Stanza("message", from_=ROMEO, children=[BODY])
    assert "Hi" in stanza.to_xml()
    changed = stanza.replace(children=[text_element("body", NS.CLIENT, "other")])
    assert "Hi" not in changed.to_xml()
    assert "Hi" in stanza.to_xml()


def test_replacing_addresses() -> None:
    stanza = Stanza("message", from_=ROMEO, to=JULIET, id="1", type="chat", lang="en")
    assert stanza.replace(from_=None).to_xml() == f"<message to='{JULIET}' id='1' type='chat' xml:lang='en'/>"
    assert stanza.replace(to=None, type="").to_xml() == f"<message from='{ROMEO}' id='1' xml:lang='en'/>"
    assert stanza.replace().to_xml() == stanza.to_xml()


def test_types_of_messages() -> None:
    assert Stanza("message").message_type == "normal"
    assert Stanza("message", type="nonsense").message_type == "normal"
    assert Stanza("message", type="groupchat").message_type == "groupchat"


def test_text_between_payloads_is_kept() -> None:
    data = b"<message xmlns='jabber:client'>a<body>b</body>c</message>"
    assert Stanza.from_element(parse_document(data)).to_xml() == "<message>a<body>b</body>c</message>"


def test_a_representation_holds_no_payload() -> None:
    assert "Hi" not in repr(Stanza("message", from_=ROMEO, children=[BODY]))
