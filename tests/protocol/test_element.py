"""Element and its serialiser: what is written reads back as the same, whatever it holds."""

from __future__ import annotations

from xml.parsers import expat

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppchat.protocol.element import Element, escape_attribute, escape_text, text_element, write_children
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_document

#: XML 1.0 §2.2, Char.
_characters = st.characters(codec="utf-8", exclude_categories=["Cs"]).filter(
    lambda c: c in "\t\n\r" or (c >= " " and c not in "\ufffe\uffff")
)
_texts = st.text(_characters, max_size=20)
_names = st.from_regex(r"[a-wyzA-WYZ_][a-zA-Z0-9_.-]{0,8}", fullmatch=True)  # xml… is reserved
_namespaces = st.sampled_from(["", NS.CLIENT, NS.STREAM, "urn:a", "urn:'&", "http://example.org/#a"])
_foreign = st.tuples(st.sampled_from(["urn:a", "urn:'&", "urn:b:[x]"]), _names).map("{%s}%s".__mod__)
_keys = st.one_of(_names, st.just("xml:lang"), _foreign)


def _joined(element: Element) -> Element:
    """Adjacent texts are one text, as any reader has it."""
    children: list[Element | str] = []
    for child in element.children:
        if isinstance(child, Element):
            children.append(_joined(child))
        elif children and isinstance(children[-1], str):
            children[-1] += child
        else:
            children.append(child)
    return Element(element.name, element.namespace, dict(element.attributes), children)


_attributes = st.dictionaries(_keys, _texts, max_size=3)
_leaves = st.builds(Element, _names, _namespaces, _attributes, st.lists(_texts, max_size=2))
elements = st.recursive(
    _leaves,
    lambda inner: st.builds(
        Element, _names, _namespaces, _attributes, st.lists(st.one_of(_texts, inner), max_size=4)
    ),
    max_leaves=8,
).map(_joined)


@given(elements)
@settings(max_examples=300, deadline=None)
def test_what_is_written_reads_back(element: Element) -> None:
    assert parse_document(element.to_bytes()) == element


@given(elements)
@settings(max_examples=200, deadline=None)
def test_writing_is_stable(element: Element) -> None:
    """Serialised, parsed and serialised again: the same bytes, so that it makes no difference who did it last."""
    data = element.to_bytes()
    assert parse_document(data).to_bytes() == data


@given(elements, _namespaces)
@settings(max_examples=200, deadline=None)
def test_the_same_in_any_surroundings(element: Element, namespace: str) -> None:
    outer = Element("outer", namespace, None, [element])
    assert parse_document(outer.to_bytes()) == outer
    inside = f"<outer xmlns='{escape_attribute(namespace)}'>{element.to_xml(namespace)}</outer>"
    assert parse_document(inside.encode()) == outer
    assert write_children(outer.children, namespace) == element.to_xml(namespace)


@given(elements)
@settings(max_examples=200, deadline=None)
def test_nothing_but_elements_and_texts_is_written(element: Element) -> None:
    """No declaration, section, comment or instruction can come out of any content."""
    data = element.to_bytes()
    assert b"<!" not in data
    assert b"<?" not in data
    parser = expat.ParserCreate()
    parser.Parse(data, True)


ESCAPED = {
    "text": (escape_text, "a & b < c > d ' \" \t\n\r", "a &amp; b &lt; c &gt; d ' \" \t\n&#13;"),
    "end of a section": (escape_text, "]]>", "]]&gt;"),
    "nothing to escape": (escape_text, "Grüße \U0001f600", "Grüße \U0001f600"),
    "attribute": (escape_attribute, "&<>'\"\t\n\r", "&amp;&lt;&gt;&apos;&quot;&#9;&#10;&#13;"),
    "entities are no entities": (escape_text, "&lt;", "&amp;lt;"),
}


@pytest.mark.parametrize("name", ESCAPED)
def test_escaping(name: str) -> None:
    escape, text, expected = ESCAPED[name]
    assert escape(text) == expected


def test_reading() -> None:
    element = Element(
        "a",
        "urn:a",
        {"x": "1", "gone": None},
        ["one", "", Element("b", "urn:a"), "two", text_element("b", "urn:b", "B")],
    )
    assert element.attributes == {"x": "1"}
    assert element.get("x") == "1"
    assert element.get("y", "none") == "none"
    assert element.text == "onetwo"
    assert [child.namespace for child in element.elements()] == ["urn:a", "urn:b"]
    assert element.find("b") == Element("b", "urn:a")
    assert element.find("c") is None
    assert element.child_text("b", "urn:b") == "B"
    assert element.child_text("b", "urn:c") is None
    assert len(element.find_all("b")) == 1
    assert element.is_named("a", "urn:a")
    assert not element.is_named("a", "")


def test_changes_make_a_new_element() -> None:
    element = Element("a", "", {"x": "1", "y": "2"}, ["t"])
    before = element.to_xml()
    assert element.replace(attributes={"x": None, "z": "3"}).to_xml() == "<a y='2' z='3'>t</a>"
    assert element.replace(children=()).to_xml() == "<a x='1' y='2'/>"
    assert element.append(Element("b", "")).to_xml() == "<a x='1' y='2'>t<b/></a>"
    assert element.to_xml() == before


def test_a_representation_holds_no_content() -> None:
    assert "secret" not in repr(text_element("body", NS.CLIENT, "secret"))


def test_depth_of_the_greatest_element_the_reader_lets_in() -> None:
    """The writer recurses; what was read must always be writable."""
    element = Element("a", "")
    for _ in range(63):
        element = Element("a", "", None, [element])
    assert parse_document(element.to_bytes()).to_bytes() == element.to_bytes()
