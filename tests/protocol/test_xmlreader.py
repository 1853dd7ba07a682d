"""The hardened reader: what it takes, what it refuses, and that no parser carries anything to another stream."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_driver import HELLO as MESSAGE
from stream_driver import byte_by_byte, cut, header, read, reader

from xmppchat.protocol import xmlreader
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import (
    CLOSED,
    UNTRUSTED,
    ReaderLimits,
    StreamHeader,
    XmlReader,
    parse_document,
)

ACCEPTED = {
    "empty": (b"<message/>", "<message xmlns='jabber:client'/>"),
    "text": (MESSAGE, "<message xmlns='jabber:client'><body>Hi</body></message>"),
    "mixed": (b"<message>a<b/>c</message>", "<message xmlns='jabber:client'>a<b/>c</message>"),
    "entities": (
        b"<a b='&quot;&apos;'>&lt;&amp;&gt;</a>",
        "<a xmlns='jabber:client' b='&quot;&apos;'>&lt;&amp;&gt;</a>",
    ),
    "character references": (
        b"<a>&#60;&#x3c;&#13;&#x1F600;</a>",
        "<a xmlns='jabber:client'>&lt;&lt;&#13;\U0001f600</a>",
    ),
    "cdata": (b"<a><![CDATA[</a><iq>]]></a>", "<a xmlns='jabber:client'>&lt;/a&gt;&lt;iq&gt;</a>"),
    "cdata between texts": (b"<a>x<![CDATA[<]]>y</a>", "<a xmlns='jabber:client'>x&lt;y</a>"),
    "line ends": (b"<a>x\r\ny\rz</a>", "<a xmlns='jabber:client'>x\ny\nz</a>"),
    "attribute white space": (b"<a b='x\n\ty&#10;'/>", "<a xmlns='jabber:client' b='x  y&#10;'/>"),
    "prefix": (
        b"<x:a xmlns:x='urn:x'><x:b/><c/></x:a>",
        "<a xmlns='urn:x'><b/><c xmlns='jabber:client'/></a>",
    ),
    "no namespace": (b"<a xmlns=''><b/></a>", "<a><b/></a>"),
    "attribute with prefix": (
        b"<a xmlns:x='urn:x' x:b='1'/>",
        "<a xmlns='jabber:client' xmlns:ns1='urn:x' ns1:b='1'/>",
    ),
    "xml:lang": (b"<a xml:lang='de'/>", "<a xmlns='jabber:client' xml:lang='de'/>"),
    "stream prefix rebound": (
        b"<message><stream:error xmlns:stream='urn:x'/></message>",
        "<message xmlns='jabber:client'><error xmlns='urn:x'/></message>",
    ),
    "beyond the BMP": ("<a>\U0001f600\u00e9</a>".encode(), "<a xmlns='jabber:client'>\U0001f600\u00e9</a>"),
    "quotes of the other kind": (b"<a b=\"'\" c='\"'/>", "<a xmlns='jabber:client' b='&apos;' c='&quot;'/>"),
    "> in an attribute": (b"<a b='>/>'/>", "<a xmlns='jabber:client' b='&gt;/&gt;'/>"),
}


@pytest.mark.parametrize("one_at_a_time", [True, False], ids=["negotiating", "bound"])
@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_read_and_written(name: str, one_at_a_time: bool) -> None:
    data, expected = ACCEPTED[name]
    for pieces in ([data], list(byte_by_byte(data)), [data + b"\n "], [data, b" "]):
        items = read(*pieces, one_at_a_time=one_at_a_time)
        assert [item.to_xml() for item in items if isinstance(item, Element)] == [expected]
        assert len(items) == 1
    twice = read(data + data[: len(data) // 2], data[len(data) // 2 :], one_at_a_time=one_at_a_time)
    assert [item.to_xml() for item in twice if isinstance(item, Element)] == [expected, expected]


ENDS = [
    *(data for data, _ in ACCEPTED.values()),
    b"<a><a/></a>",
    b"<a><a></a><ab></ab></a>",
    b"<a><b c='>'/></a>",
    b"<a b='>'/>",
    b"<a b='>' c='/'><a></a >\t</a\n>",
    b" \n<x:a xmlns:x='urn:x'><a></a><x:ab></x:ab></x:a>",
    b"<a><![CDATA[</a>]]></a>",
]


@pytest.mark.parametrize("data", ENDS)
def test_negotiation_stops_exactly_behind_an_item(data: bytes) -> None:
    """Whatever follows, be it no XML at all, is not looked at yet."""
    for rest in (b"", b"<a></a>", b"</a>", b"\x16\x03\x01 no XML", b"<?xml version='1.0'?><stream:stream>"):
        for cuts in ([], *([position] for position in range(1, len(data)))):
            one = reader(one_at_a_time=True)
            *pieces, last = cut(data, cuts)
            items = [item for piece in pieces for item in one.feed(piece)]
            items += one.feed(last + rest)
            assert len(items) == 1
            assert one.pending == rest


REFUSED = {
    "doctype": (b"<!DOCTYPE a>", "restricted-xml"),
    "internal subset": (b"<!DOCTYPE a [<!ENTITY b 'c'>]>", "restricted-xml"),
    "external subset": (b"<!DOCTYPE a SYSTEM 'http://127.0.0.1/a.dtd'>", "restricted-xml"),
    "comment": (b"<!-- a -->", "restricted-xml"),
    "comment in an element": (b"<a><!-- a --></a>", "restricted-xml"),
    "processing instruction": (b"<?php a ?>", "restricted-xml"),
    "processing instruction in an element": (b"<a><?php a ?></a>", "restricted-xml"),
    "entity": (b"<a>&b;</a>", "restricted-xml"),
    "entity in an attribute": (b"<a b='&c;'/>", "restricted-xml"),
    "second declaration": (b"<?xml version='1.0'?>", "not-well-formed"),
    "NUL": (b"<a>\0</a>", "not-well-formed"),
    "NUL by reference": (b"<a>&#0;</a>", "not-well-formed"),
    "control": (b"<a>\x01</a>", "not-well-formed"),
    "control by reference": (b"<a>&#x1f;</a>", "not-well-formed"),
    "escape by reference": (b"<a>&#27;</a>", "not-well-formed"),
    "surrogate by reference": (b"<a>&#xD800;</a>", "not-well-formed"),
    "not a character by reference": (b"<a>&#xFFFE;</a>", "not-well-formed"),
    "beyond Unicode": (b"<a>&#x110000;</a>", "not-well-formed"),
    "truncated UTF-8": (b"<a>\xeb<></a>", "not-well-formed"),
    "overlong": (b"<a>\xc0\xbc</a>", "not-well-formed"),
    "overlong in three": (b"<a>\xe0\x80\xbc</a>", "not-well-formed"),
    "surrogate": (b"<a>\xed\xa0\x80</a>", "not-well-formed"),
    "not a character": (b"<a>\xef\xbf\xbe</a>", "not-well-formed"),
    "bytes of UTF-16": (b"<a>\xff\xfe</a>", "not-well-formed"),
    "UTF-8 beyond Unicode": (b"<a>\xf4\x90\x80\x80</a>", "not-well-formed"),
    "invalid UTF-8 in a name": (b"<a\xeb/>", "not-well-formed"),
    "]]> in text": (b"<a>]]></a>", "not-well-formed"),
    "attribute twice": (b"<a b='1' b='2'/>", "not-well-formed"),
    "attribute twice by namespace": (b"<a xmlns:x='u' xmlns:y='u' x:b='1' y:b='2'/>", "not-well-formed"),
    "attribute without quotes": (b"<a b=1/>", "not-well-formed"),
    "< in an attribute": (b"<a b='<'/>", "not-well-formed"),
    "unbound prefix": (b"<x:a/>", "not-well-formed"),
    "unbound prefix of an attribute": (b"<a x:b='1'/>", "not-well-formed"),
    "prefix unbound again": (b"<a xmlns:x=''/>", "not-well-formed"),
    "prefix xmlns": (b"<xmlns:a/>", "not-well-formed"),
    "prefix xmlns bound": (b"<a xmlns:xmlns='urn:x'/>", "not-well-formed"),
    "prefix xml bound": (b"<a xmlns:xml='urn:x'/>", "not-well-formed"),
    "namespace of xml": (b"<a xmlns='http://www.w3.org/XML/1998/namespace'/>", "not-well-formed"),
    "namespace of xmlns": (b"<a xmlns='http://www.w3.org/2000/xmlns/'/>", "not-well-formed"),
    "element with prefix xml": (b"<a><xml:b/></a>", "bad-namespace-prefix"),
    "space in a namespace": (b"<a xmlns='urn:x y'/>", "not-well-formed"),
    "line end in a namespace": (b"<a xmlns='urn:x&#10;y'/>", "bad-format"),
    "} in a namespace": (b"<a xmlns='urn:x}y'/>", "bad-format"),
    "} in the namespace of an attribute": (b"<a xmlns:x='urn:x}y' x:b=''/>", "bad-format"),
    "| in a namespace": (b"<a xmlns='urn:x|y'/>", "bad-format"),
    "tag in a namespace": (b"<a xmlns='&lt;b/&gt;'/>", "bad-format"),
    "wrong end": (b"<a></b>", "not-well-formed"),
    "second header": (header(), "not-well-formed"),
    "second header without declaration": (header().partition(b"?>")[2], "bad-format"),
    "text between stanzas": (b"<a/>x", "bad-format"),
    "cdata between stanzas": (b"<a/><![CDATA[x]]>", "bad-format"),
    "empty cdata between stanzas": (b"<a/><![CDATA[]]>", "bad-format"),
    "reference between stanzas": (b"<a/>&#120;", "bad-format"),
}


@pytest.mark.parametrize("one_at_a_time", [True, False], ids=["negotiating", "bound"])
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str, one_at_a_time: bool) -> None:
    data, condition = REFUSED[name]
    for pieces in ([data], list(byte_by_byte(data)), [data + MESSAGE], [MESSAGE + data]):
        assert read(*pieces, one_at_a_time=one_at_a_time) == condition


# --- limits -----------------------------------------

TIGHT = ReaderLimits(
    bytes=1_000, depth=4, elements=10, attributes=5, name_bytes=50, attribute_bytes=100, namespaces=8
)
AT_THE_LIMIT: dict[str, Callable[[int], bytes]] = {
    # The end tag itself may be counted or not.
    "bytes": (lambda n: b"<a>" + b"x" * (1_000 - 7 + n * 5) + b"</a>"),
    "depth": (lambda n: b"<a>" * (4 + n) + b"</a>" * (4 + n)),
    "elements": (lambda n: b"<a>" + b"<b/>" * (9 + n) + b"</a>"),
    "attributes": (lambda n: b"<a" + b"".join(b" a%d=''" % i for i in range(5 + n)) + b"/>"),
    "attribute bytes": (lambda n: b"<a b='" + b"x" * (100 + n) + b"'/>"),
    "namespaces": (lambda n: b"<a" + b"".join(b" xmlns:a%d='u'" % i for i in range(6 + n)) + b"/>"),
    "name": (lambda n: b"<" + b"a" * (50 - len("jabber:client ") + n) + b"/>"),
}


@pytest.mark.parametrize("name", AT_THE_LIMIT)
def test_limits(name: str) -> None:
    make = AT_THE_LIMIT[name]
    for pieces in (lambda x: [x], lambda x: list(byte_by_byte(x)), lambda x: [MESSAGE + x]):
        within, beyond = read(*pieces(make(0)), limits=TIGHT), read(*pieces(make(1)), limits=TIGHT)
        assert isinstance(within, list), within
        assert beyond == "policy-violation"


@pytest.mark.parametrize(
    "data",
    [
        b"<a>" + b"x" * 1_000,
        b"<a b='" + b"x" * 1_000,
        b"<" + b"a" * 1_000,
        b"<a><![CDATA[" + b"x" * 1_000,
        b"<a>" + b" " * 1_000,
        b"<a" + b" " * 1_000,
    ],
)
def test_an_element_without_end(data: bytes) -> None:
    assert read(data, limits=TIGHT) == "policy-violation"
    assert read(*byte_by_byte(data), limits=TIGHT) == "policy-violation"
    assert read(*[data[i : i + 64] for i in range(0, len(data), 64)], limits=TIGHT) == "policy-violation"


def test_white_space_between_stanzas_costs_nothing() -> None:
    made = reader()
    for _ in range(1_000):
        assert made.feed(b" \r\n\t" * 100) == []
    assert made.is_idle


def test_small_pieces_of_a_token_are_bounded() -> None:
    """Before expat 2.6 each piece scans the token again (CVE-2023-52425)."""
    data = b"<a b='" + b"x" * 8_000
    assert read(*byte_by_byte(data), limits=UNTRUSTED) == "policy-violation"
    assert read(b"<a b='" + b">" * 8_000, limits=UNTRUSTED, one_at_a_time=True) == "policy-violation"


@pytest.mark.parametrize("position", [0, 1, 500, 990, 999, 1_000, 1_001, 1_004])
def test_what_is_too_large_is_seen_by_nobody(position: int) -> None:
    """However it comes: also not as what was complete before the fault."""
    data = b"<message/><a>" + b"x" * 998 + b"</a>"
    one = reader(TIGHT)
    with pytest.raises(StreamError):
        list(map(one.feed, cut(data, [position])))
    assert not [item for item in one.completed if isinstance(item, Element) and item.name == "a"]


def test_a_header_is_bounded() -> None:
    for data in (
        header(more=f" a='{'x' * 20_000}'"),
        header()[:-1] + b" " * 20_000,
        header(more="".join(f" a{i}=''" for i in range(100))),
        header(more="".join(f" xmlns:a{i}='u'" for i in range(100))),
    ):
        with pytest.raises(StreamError) as caught:
            XmlReader(UNTRUSTED).feed(data)
        assert caught.value.condition == "policy-violation"


@pytest.mark.parametrize("root", ["stream:features", "message", "stream:stream2"])
def test_a_parser_that_began_otherwise_reads_no_other_stream(root: str) -> None:
    """Or whoever opens with a wrong tag spoils the good-bye of others."""
    declared = f"xmlns='{NS.CLIENT}' xmlns:stream='{NS.STREAM}'"
    XmlReader(UNTRUSTED).feed(f"<{root} {declared}>".encode())
    others = [reader() for _ in range(100)]  # more than there are parsers kept: all of those will be used
    for one in others:
        assert one.feed(b"</stream:stream>") == [CLOSED]


@pytest.mark.parametrize("data", [
    header(), header().partition(b"?>")[2], header(more=" a='/>'"), header()[:-1] + b"/>",
    header(more=" xmlns:x='urn:x' x:y='1'"), header(more=f" from='{'x' * 600}'"),
])  # fmt: skip
def test_a_header_is_the_same_the_second_time(data: bytes) -> None:
    """Also where another stream began alike, up to the first ">"."""
    XmlReader(UNTRUSTED).feed(header(more=" a='/'"))
    seen = []
    for _ in range(3):
        one = XmlReader(UNTRUSTED)
        items = one.feed(data + MESSAGE)
        while one.pending and CLOSED not in items:
            items += one.resume()
        seen.append(items)
    assert seen[0] == seen[1] == seen[2]
    assert isinstance(seen[0][0], StreamHeader)
    assert seen[0][0].attributes.get("a", "/>") == "/>"
    assert seen[0][1] is CLOSED or seen[0][1] == read(MESSAGE)[0]


def test_a_header_that_is_known_is_judged_by_todays_limits() -> None:
    data = header(more=" a='1' b='2' c='3'")
    XmlReader(UNTRUSTED).feed(data)
    with pytest.raises(StreamError):
        XmlReader(ReaderLimits(attributes=2)).feed(data)


def test_no_more_headers_are_remembered_than_some() -> None:
    for number in range(1_000):
        XmlReader(UNTRUSTED).feed(header(more=f" n='{number}'"))
        XmlReader(UNTRUSTED).feed(header(more=f" n='{number}{'x' * 1_000}'"))
    assert len(xmlreader._headers) <= xmlreader._HEADERS
    assert max(map(len, xmlreader._headers)) <= xmlreader._HEADER_BYTES


def test_closing() -> None:
    message = Element("message", NS.CLIENT, None, [text_element("body", NS.CLIENT, "Hi")])
    assert read(MESSAGE + b"</stream:stream>") == [message, CLOSED]
    assert read(b"</stream:stream>garbage <<<") == [CLOSED]


# --- documents -----------------------------------------

NO_DOCUMENT = [
    b"",
    b" ",
    b"x",
    b"<a/><b/>",
    b"<a>",
    b"<a/></stream:stream>",
    b"</stream:stream>",
    b"<a/>x",
    b"x<a/>",
    b"<!DOCTYPE a><a/>",
    b"<!-- --><a/>",
    b"<a><?x ?></a>",
    b"<?xml version='1.0'?><a/>",
    b"<a/><![CDATA[",
]


@pytest.mark.parametrize("data", NO_DOCUMENT)
def test_what_is_no_document(data: bytes) -> None:
    with pytest.raises(StreamError):
        parse_document(data)


def test_documents() -> None:
    assert parse_document(b" <a><b/></a>\n") == Element("a", "", None, [Element("b", "")])
    with pytest.raises(StreamError):
        parse_document(b"<a>" + b"x" * 2_000 + b"</a>", TIGHT)


# --- any cut -----------------------------------------

_SNIPPETS = [data for data, _ in (*ACCEPTED.values(), *REFUSED.values())] + [b" ", b"\n", b"</stream:stream>"]


@given(
    st.lists(st.sampled_from(_SNIPPETS), max_size=5),
    st.lists(st.integers(0, 2_000), max_size=8),
    st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_the_same_at_any_cut(snippets: list[bytes], cuts: list[int], one_at_a_time: bool) -> None:
    data = b"".join(snippets)
    whole = read(data, one_at_a_time=one_at_a_time)
    if isinstance(whole, list) and CLOSED in whole:
        whole = whole[: whole.index(CLOSED)]
    pieces = read(*cut(data, cuts), one_at_a_time=one_at_a_time)
    if isinstance(pieces, list) and CLOSED in pieces:
        pieces = pieces[: pieces.index(CLOSED)]
    if b"</stream:stream>" not in data:  # what follows the end is looked at or not; nothing depends on it
        # Of two faults either may be found first; whether there is one does not depend on the cut.
        assert isinstance(pieces, str) == isinstance(whole, str)
        assert isinstance(whole, str) or pieces == whole


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
@settings(max_examples=500, deadline=None)
def test_no_bytes_raise_anything_else(data: bytes, cuts: list[int]) -> None:
    read(*cut(data, cuts))
    try:
        parse_document(data)
    except StreamError:
        pass
