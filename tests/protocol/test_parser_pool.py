"""Parsers are pooled: none carries anything from one stream to another, and none is left to the collector."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Iterator

import pytest
from stream_driver import HELLO as MESSAGE
from stream_driver import byte_by_byte, header, read, reader

from xmppchat.protocol import xmlreader
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.xmlreader import TRUSTED, XmlReader


@pytest.fixture(autouse=True)
def _own_pool() -> Iterator[None]:
    """Every test begins and ends without spare parsers."""
    xmlreader._pool.clear()
    yield
    xmlreader._pool.clear()


#: What an attacker leaves behind; each once returned, or might return, a parser in the middle of something.
LEFT_BEHIND = [
    b"<![CDATA[",
    b"<message/><![CDATA[",
    b"<message/><![CDATA[ ",
    b"<message/><![CDATA[]]>",
    b"<message/>\r",
    b"<message/><",
    b"<message/><!",
    b"<message/><!-",
    b"<message/><!-- ",
    b"<message/><?",
    b"<message/><?x ",
    b"<message/>&",
    b"<message/>&#",
    b"<message/>&#32;",
    b"<message/>\xef\xbb\xbf",
    b"<message/>\xc3",
    b"<message/></",
    b"<message/></stream:stream>",
    b"<message/></stream:stream>\n",
    b"<message",
    b"<message>",
    b"<message><a xmlns:x='urn:x'>",
    b"<a xmlns:y='urn:y'/>",
    b"<message/>x",
    b"<message/>\0",
    b"<a b='1' b='2'/>",
    b"</a>",
    b"<!DOCTYPE x [",
    b"<message/>]",
    b"<message/>]]",
    b"<message/>]]>",
]


@pytest.mark.parametrize("one_at_a_time", [True, False], ids=["negotiating", "bound"])
@pytest.mark.parametrize("left", LEFT_BEHIND)
def test_no_stream_leaves_anything_to_another(left: bytes, one_at_a_time: bool) -> None:
    """The victims' parsers come from the pool in which the attacker's may have landed."""
    for pieces in ([left], list(byte_by_byte(left))):
        victims = [reader() for _ in range(3)]
        xmlreader._pool.clear()
        attacker = reader(one_at_a_time=one_at_a_time)
        try:
            for piece in pieces:
                attacker.feed(piece)
                attacker.resume()
        except StreamError:
            pass
        for victim in victims:  # each first held a parser back, so that all spares come out
            victim.feed(b"<message>")
        for victim in victims:
            [item] = victim.feed(MESSAGE[len(b"<message>") :])
            assert isinstance(item, Element)
            assert item.to_xml() == "<message xmlns='jabber:client'><body>Hi</body></message>"
            assert victim.is_idle


def test_prefixes_of_one_stream_are_unknown_to_another() -> None:
    rich = XmlReader(TRUSTED)
    rich.one_at_a_time = False
    rich.feed(header(more=" xmlns:x='urn:x'"))
    assert isinstance(rich.feed(b"<x:a/>")[0], Element)
    assert isinstance(rich.feed(b"<x:a/>")[0], Element)
    assert read(b"<x:a/>") == "not-well-formed"


def test_a_parser_is_not_kept_for_ever() -> None:
    """Expat keeps every distinct name: after some MiB a parser is let go."""
    made = reader()
    for i in range(60):
        made.feed(b"<message><body>" + b"x" * 100_000 + b"</body><n%d/></message>" % i)
    assert all(spare.fed < 5_000_000 for spares in xmlreader._pool.values() for spare in spares)


def test_an_idle_stream_holds_no_parser() -> None:
    made = reader()
    made.feed(MESSAGE)
    assert made.is_idle
    made.feed(b"<message>")
    assert not made.is_idle


ENDINGS = [b"", b"<message>", b"<message>text", b"text", b"<message/><a", b"</stream:stream>", b"<a></b>"]


@pytest.mark.parametrize("left", ENDINGS)
def test_an_ended_reader_leaves_no_garbage(left: bytes) -> None:
    """An expat parser with its handlers is a cycle; waiting for the collector would make each a leak (V-05)."""
    gc.collect()
    gc.disable()
    try:
        made = reader(one_at_a_time=True)
        xmlreader._pool.clear()
        with contextlib.suppress(StreamError):
            made.feed(left)
        parser = made._parser
        made.close()
        if parser is not None:
            assert sys.getrefcount(parser) == 2, "ours, and the argument of this very call"
        assert made.is_idle
    finally:
        gc.enable()
