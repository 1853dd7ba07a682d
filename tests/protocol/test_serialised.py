"""A child that is serialised already is written as it is, and read by nobody."""

from __future__ import annotations

from xmppchat.protocol.element import Element, Serialised
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored

INSIDE = Element("message", "jabber:client", {"id": "a'<"}, (Element("body", "jabber:client", None, ("<&",)), " x"))


def test_it_is_what_its_element_would_be() -> None:
    verbatim = Serialised(INSIDE.to_xml())
    for parent in ("urn:x", "jabber:client"):
        outer = Element("outer", parent, None, ("text", verbatim, Element("next", parent)))
        assert parse_stored(outer.to_xml()) == Element("outer", parent, None, ("text", INSIDE, Element("next", parent)))
    assert Stanza("message", children=(verbatim,)).to_xml() == f"<message>{verbatim}</message>"


def test_it_is_neither_text_nor_element() -> None:
    outer = Element("outer", "urn:x", None, (Serialised("<a xmlns='urn:a'/>"), "text"))
    assert outer.text == "text"
    assert list(outer.elements()) == []
    assert outer.find("a", "urn:a") is None


def test_an_only_child_is_written_as_it_is_too() -> None:
    assert Element("o", "urn:x", None, (Serialised("<a/>"),)).to_xml() == "<o xmlns='urn:x'><a/></o>"


def test_a_child_that_is_added_is_in_what_is_written() -> None:
    stanza = Stanza("message", children=(INSIDE,))
    before = stanza.to_xml()
    added = stanza.with_child(Element("x", "urn:x"))
    assert added.to_xml() == Stanza("message", children=(INSIDE, Element("x", "urn:x"))).to_xml()
    assert stanza.to_xml() == before
    assert Stanza("message").with_child(INSIDE).to_xml() == Stanza("message", children=(INSIDE,)).to_xml()
