"""V-03, V-27, V-28, V-44: what one client sends is one stanza from that client to every parser, or nothing at all.

Three judges read what the receiver gets: expat, a strict tokenizer of our own that knows no XML library, and a byte
search for what was to be smuggled in.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest
from attack_client import PATIENCE, Attacker, ping
from attack_target import Target
from strict_tokens import Tag, tokens

SENDER = "mallory@a.test/attack"
RECEIVER = "juliet@a.test/target"
INJECTED = "<iq type='set' id='injected' from='a.test'><query xmlns='jabber:iq:roster'/></iq>"


def message(inner: bytes, more: bytes = b"") -> bytes:
    """What the attacker sends."""
    return b"<message to='" + RECEIVER.encode() + b"' id='sample'" + more + b">" + inner + b"</message>"


def numbered(sample: bytes) -> bytes:
    """The same with an id of its own: the same message from another session is one that is sent again (C2)."""
    return sample.replace(b"id='sample'", b"id='sample-%d'" % next(_NUMBERS))


_NUMBERS = itertools.count()


_TEXT = INJECTED.replace("<", "&lt;").encode()
SAMPLES: dict[str, bytes] = {
    # bytes
    "EB 3C 3E": message(b"<body>\xeb<>" + INJECTED.encode() + b"</body>"),
    "truncated sequence before a tag": message(b"<body>\xeb\x80</body>"),
    "overlong <": message(b"<body>\xc0\xbciq\xc0\xbe</body>"),
    "overlong in three bytes": message(b"<body>\xe0\x80\xbc</body>"),
    "surrogate": message(b"<body>\xed\xa0\x80</body>"),
    "surrogate pair": message(b"<body>\xed\xa0\xbc\xed\xbc\xbc</body>"),
    "FFFE": message(b"<body>\xff\xfe</body>"),
    "not a character": message(b"<body>\xef\xbf\xbe</body>"),
    "NUL": message(b"<body>\0</body>"),
    "NUL in an attribute": message(b"", b" type='a\0b'"),
    "invalid in an attribute": message(b"", b" type='\xeb'"),
    "invalid in a name": message(b"<\xeb/>"),
    "byte order mark": message(b"<body>\xef\xbb\xbf</body>"),
    # references
    "reference to NUL": message(b"<body>&#0;</body>"),
    "reference to a control": message(b"<body>&#1;</body>"),
    "reference to escape": message(b"<body>&#x1b;</body>"),
    "reference to a surrogate": message(b"<body>&#xD83C;</body>"),
    "reference to <": message(b"<body>&#60;/body&#62;&#x3c;iq/></body>"),
    "reference to quotes": message(b"", b" type='&#39; from=&#39;a.test'"),
    "quotes in an attribute": message(b"", b" type=\"' from='a.test\""),
    "line ends in an attribute": message(b"", b" type='&#13;&#10;'"),
    "escaped stanza": message(b"<body>" + _TEXT + b"</body>"),
    "escaped twice": message(b"<body>&amp;lt;iq&amp;gt;</body>"),
    # namespaces
    "space in a namespace": message(b"<x xmlns='urn:a b'/>"),
    "01 in a namespace": message(b"<x xmlns='urn:a\x01b'/>"),
    "line end in a namespace": message(b"<x xmlns='urn:a\nb'/>"),
    "line end by reference in a namespace": message(b"<x xmlns='urn:a&#10;b'/>"),
    "} in a namespace": message(b"<x xmlns='urn:a}iq'/>"),
    "} in the namespace of an attribute": message(b"<x xmlns:p='urn:a}to' p:to='v'/>"),
    "quotes in a namespace": message(b"<x xmlns=\"urn:' from='a.test\"/>"),
    "tag in a namespace": message(b"<x xmlns='&lt;iq/&gt;'/>"),
    "stream rebound": message(b"<x xmlns:stream='urn:evil'><stream:error/></x>"),
    "stream error in the payload": message(b"<stream:error/>"),
    "stream error with a foreign prefix": message(b"<e:error xmlns:e='http://etherx.jabber.org/streams'/>"),
    "header in the payload": message(b"<stream:stream to='a.test' version='1.0'/>"),
    "stanza in the payload": message(INJECTED.encode()),
    "stanza of servers in the payload": message(b"<iq xmlns='jabber:server' from='a.test'/>"),
    "xml as element prefix": message(b"<xml:x/>"),
    "xmlns as element prefix": message(b"<xmlns:x/>"),
    "xml rebound": message(b"<x xmlns:xml='urn:evil'/>"),
    "xml bound to another prefix": message(b"<p:x xmlns:p='http://www.w3.org/XML/1998/namespace'/>"),
    "xmlns bound to another prefix": message(b"<p:x xmlns:p='http://www.w3.org/2000/xmlns/'/>"),
    "prefix unbound": message(b"<x xmlns:p='urn:p'><y xmlns:p=''/></x>"),
    "unbound prefix": message(b"<p:x/>"),
    "no namespace": message(b"<x xmlns=''><body>y</body></x>"),
    "attributes of xml": message(
        b"<x xml:base='http://evil.test/' xml:space='preserve' xml:id='i' xml:foo='f'/>"
    ),
    "same attribute twice": message(b"<x a='1' a='2'/>"),
    "from twice": message(b"", b" from='" + SENDER.encode() + b"' from='a.test'"),
    "same attribute by two prefixes": message(b"<x xmlns:p='u' xmlns:q='u' p:a='1' q:a='2'/>"),
    "from in a namespace": message(b"", b" xmlns:p='jabber:client' p:from='a.test' p:to='x@a.test'"),
    "stanza by prefix": b"<p:message xmlns:p='jabber:client' to='%s' id='sample'/>" % RECEIVER.encode(),
    # sections and the like
    "section": message(b"<body><![CDATA[</body></message>" + INJECTED.encode() + b"]]></body>"),
    "section in a section": message(b"<body><![CDATA[<![CDATA[]]>]]&gt;</body>"),
    "]]> in text": message(b"<body>]]></body>"),
    "]]> by reference": message(b"<body>]]&gt;" + _TEXT + b"</body>"),
    "comment": message(b"<body><!-- --></body>"),
    "comment in text": message(b"<body>&lt;!-- </body><!-- -->"),
    "instruction": message(b"<?x ?>"),
    "declaration": message(b"<?xml version='1.0' encoding='UTF-16'?>"),
    "doctype": message(b"<!DOCTYPE x>"),
    # shape
    "crossed tags": message(b"<a><b></a></b>"),
    "end of the stanza too early": message(b"</message>" + INJECTED.encode() + b"<message>"),
    "end of the stream": message(b"</stream:stream>"),
    "white space in an end tag": message(b"<body>x</body \n>"),
    "white space before a name": message(b"< body>x</body>"),
    "attribute without space": message(b"<x a='1'b='2'/>"),
    "attribute without quotes": message(b"<x a=1/>"),
    "< in an attribute": message(b"<x a='<iq/>'/>"),
    "> in an attribute": message(
        b"<x a='/></message><iq/>'/>".replace(b"<iq", b"&lt;iq").replace(b"</", b"&lt;/")
    ),
    "vertical tab between attributes": message(b"<x a='1'\x0bb='2'/>"),
    "no-break space between attributes": message(b"<x a='1'\xc2\xa0b='2'/>"),
    "line separator in text": message("<body>\u2028\u0085\u2029</body>".encode()),
    "carriage returns": message(b"<body>a\rb\r\nc&#13;d</body>"),
    "direction override": message("<body>\u202egnp.exe</body>".encode()),
}


@pytest.fixture(scope="module")
def juliet(target: Target) -> Iterator[Attacker]:
    """The receiver."""
    with target.login("juliet", resource="target") as client:
        yield client.available()


def judge(data: bytes, sample: str, sent_error: bool) -> None:
    """The receiver's bytes hold at most the one sample with that id, by each judge.

    The one before it may come late: its stream ended with an error, and nothing tells when it is on disk.
    """
    data = data.replace(b"<presence/>", b"")
    root = ElementTree.fromstring(
        b"<stream xmlns='jabber:client' xmlns:stream='urn:unused'>" + data + b"</stream>"
    )
    by_expat = [(stanza.tag.rpartition("}")[2], stanza.get("from"), stanza.get("id")) for stanza in root]
    by_tokens = [(tag.name, tag.attributes.get("from"), tag.attributes.get("id")) for tag in stanzas(data)]
    assert by_expat == by_tokens
    found = [one for one in by_expat if not str(one[2]).startswith("sample-") or one[2] == sample]
    assert found == ([] if sent_error else [("message", SENDER, sample)])
    assert b"id='injected'" not in data or b"<message " in data.partition(b"id='injected'")[0]


def stanzas(data: bytes) -> list[Tag]:
    """The start tags at depth 0, by the strict tokenizer."""
    depth, found = 0, []
    for token in tokens(data):
        if isinstance(token, Tag):
            if depth == 0 and not token.is_end:
                found.append(token)
            depth += 0 if token.is_empty else -1 if token.is_end else 1
        assert depth >= 0
    assert depth == 0
    return found


@pytest.mark.parametrize("split", ["whole", "byte by byte"])
@pytest.mark.parametrize("name", SAMPLES)
def test_one_stanza_or_an_error(target: Target, juliet: Attacker, name: str, split: str) -> None:
    with target.login("mallory", resource="attack") as mallory:
        sample = numbered(SAMPLES[name])
        mallory.restart()
        mallory.send(*([sample] if split == "whole" else [sample[i : i + 1] for i in range(len(sample))]))
        mallory.send(ping("after"))
        mallory.until(lambda data: b"id='after'" in data or b"</stream:stream>" in data)
        is_error = b"<stream:error>" in mallory.received or b"</stream:stream>" in mallory.received
        juliet.restart()
        received = juliet.barrier("judge")
        own = re.findall(rb"id='(sample-[0-9]+)'", sample)[0]
        judge(
            re.sub(rb"<iq [^>]*id='judge'[^>]*/>", b"", received), own.decode(), is_error and own not in received
        )


# --- V-28: from -----------------------------------------

FORGED = [
    "a.test",
    "juliet@a.test",
    "juliet@a.test/target",
    "romeo@b.test",
    "evil.example",
    "",
    "@",
    "mallory@a.test/other",
    "mallory@b.test",
    "mallory@a.test/attack/x",
    "mallory@a.test/",
]


@pytest.mark.parametrize("kind", ["message", "presence", "iq"])
@pytest.mark.parametrize("from_", FORGED)
def test_forged_from(target: Target, juliet: Attacker, from_: str, kind: str) -> None:
    juliet.restart()
    more = {"message": "", "presence": "", "iq": " type='result' id='x'"}[kind]
    with target.login("mallory", resource="attack") as mallory:
        mallory.restart()
        mallory.send(f"<{kind} from='{from_}' to='{RECEIVER}'{more}/>".encode()).until_closed(2)
        assert mallory.condition == "invalid-from"
    assert re.findall(rb"<(\w+) ", juliet.barrier("f")) == [b"iq"], "nothing but the answer to the barrier"


@pytest.mark.parametrize("from_", ["mallory@a.test", "mallory@a.test/attack", "MALLORY@A.TEST", None])
def test_own_from_is_always_the_full_address(target: Target, juliet: Attacker, from_: str | None) -> None:
    juliet.restart()
    with target.login("mallory", resource="attack") as mallory:
        attribute = f" from='{from_}'" if from_ else ""
        mallory.send(f"<message{attribute} to='{RECEIVER}' id='own'/>".encode())
        mallory.barrier()
    assert f"<message from='{SENDER}' to='{RECEIVER}' id='own'/>".encode() in juliet.barrier("o")


def test_an_answer_nobody_asked_for_is_not_delivered(target: Target, juliet: Attacker) -> None:
    """V-28: results and errors go only to who has asked that entity with that id."""
    juliet.restart()
    with (
        target.login("mallory", resource="attack") as mallory,
        target.login("romeo", resource="third") as third,
    ):
        juliet.send(ping("open", to="romeo@a.test/third"))
        third.until(b"id='open'")
        for type_ in ("result", "error"):
            for id_ in ("open", "barrier", "never"):
                mallory.send(
                    f"<iq to='{RECEIVER}' type='{type_}' id='{id_}'><q xmlns='urn:q'/></iq>".encode()
                )
        mallory.barrier()
        assert SENDER.encode() not in juliet.barrier("u")
        third.send(f"<iq to='{RECEIVER}' type='result' id='open'/>".encode())
        juliet.until(b"<iq from='romeo@a.test/third'")
        juliet.restart()
        third.send(f"<iq to='{RECEIVER}' type='result' id='open'/>".encode())
        third.barrier()
        assert b"romeo@a.test/third" not in juliet.barrier("once")


# --- V-27: what only the server may say -----------------------------------------


def test_forged_delays_are_stripped(target: Target, juliet: Attacker) -> None:
    """Three copies, by prefix, by default namespace and nested in a row; a delay of somebody else is theirs to say."""
    juliet.restart()
    stamp = b" stamp='2000-01-01T00:00:00Z'"
    inner = (
        b"<delay xmlns='urn:xmpp:delay' from='a.test'" + stamp + b"/><body>x</body>"
        b"<d:delay xmlns:d='urn:xmpp:delay'" + stamp + b" from='a.test'>why</d:delay>"
        b"<delay xmlns='urn:xmpp:delay' from='A.TEST'" + stamp + b"/>"
        b"<delay xmlns='urn:xmpp:delay' from='room.example'" + stamp + b"/>"
    )
    with target.login("mallory", resource="attack") as mallory:
        mallory.send(numbered(message(inner)))
        mallory.barrier()
    received = juliet.barrier("delay").decode()
    assert re.findall(r"<delay [^>]*from='([^']*)'", received) == ["room.example"]


def test_forged_delays_in_an_offline_message(target: Target) -> None:
    """Stored and handed out: exactly one delay of the server, and it is the server's."""
    with target.login("mallory", resource="attack") as mallory:
        forged = b"<delay xmlns='urn:xmpp:delay' from='b.test' stamp='2000-01-01T00:00:00Z'/>"
        forged += forged.replace(b"b.test", b"a.test")
        mallory.send(
            b"<message type='chat' to='benvolio@b.test' id='off'>" + forged + b"<body>x</body></message>"
        )
        mallory.barrier()
    with target.login("benvolio", "b.test") as benvolio:
        benvolio.restart()
        received = benvolio.send(b"<presence/>").until(b"id='off'").decode() + benvolio.barrier().decode()
        stamps = set(re.findall(r"<delay [^>]*stamp='([^']*)'", received))
        assert len(stamps) == 1
        assert "2000-01-01T00:00:00Z" not in stamps


# --- V-44: errors end where they arrive -----------------------------------------

NOWHERE = [
    "nobody@a.test",
    "nobody@a.test/x",
    "juliet@a.test/none",
    "nobody@evil.example",
    "a.test",
    "juliet@a.test",
    "x@b.test",
]


@pytest.mark.parametrize("to", NOWHERE)
def test_errors_and_results_are_never_answered(target: Target, to: str) -> None:
    with target.login("mallory", resource="attack") as mallory:
        mallory.restart()
        error = (
            "<error type='cancel'><service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        )
        for kind, type_ in (("message", "error"), ("presence", "error"), ("iq", "error"), ("iq", "result")):
            mallory.send(f"<{kind} to='{to}' type='{type_}' id='e-{kind}-{type_}'>{error}</{kind}>".encode())
        mallory.send(f"<iq to='{to}' type='error'/>".encode(), f"<iq to='{to}' type='result'/>".encode())
        assert b"type='error'" not in mallory.barrier("after-errors"), PATIENCE
