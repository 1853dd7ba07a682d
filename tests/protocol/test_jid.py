"""JID: preparation is strict, idempotent and one; two spellings of an address are one address (reliability.md V-25)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xmppchat.jid import JID, InvalidJID

VALID = {
    # RFC 7622 §3.5, those that RFC 6122 preparation takes as well
    "bare": ("juliet@example.com", ("juliet", "example.com", "")),
    "full": ("juliet@example.com/foo", ("juliet", "example.com", "foo")),
    "space in the resource": ("juliet@example.com/foo bar", ("juliet", "example.com", "foo bar")),
    "@ in the resource": ("juliet@example.com/foo@bar", ("juliet", "example.com", "foo@bar")),
    "escaped": ("foo\\20bar@example.com", ("foo\\20bar", "example.com", "")),
    "sharp s": ("fußball@example.com", ("fussball", "example.com", "")),
    "pi": ("π@example.com", ("π", "example.com", "")),
    "capital sigma": ("Σ@example.com/foo", ("σ", "example.com", "foo")),
    "symbol in the resource": ("king@example.com/♚", ("king", "example.com", "♚")),
    "domain": ("example.com", ("", "example.com", "")),
    "domain with resource": ("example.com/foobar", ("", "example.com", "foobar")),
    "/ in the resource": ("a.example.com/b@example.net/c", ("", "a.example.com", "b@example.net/c")),
    "case": ("Juliet@Example.COM/Balcony", ("juliet", "example.com", "Balcony")),
    "full width": ("Ｊｕｌｉｅｔ@example.com", ("juliet", "example.com", "")),
    "decomposed": ("cafe\u0301@example.com", ("café", "example.com", "")),
    "zero width removed": ("ju\u00adliet@example.com", ("juliet", "example.com", "")),
    "IPv4": ("a@127.0.0.1", ("a", "127.0.0.1", "")),
    "1023 bytes": ("a" * 1023 + "@b/" + "c" * 1023, ("a" * 1023, "b", "c" * 1023)),
}


@pytest.mark.parametrize("name", VALID)
def test_parts(name: str) -> None:
    text, parts = VALID[name]
    jid = JID.parse(text)
    assert (jid.local, jid.domain, jid.resource) == parts
    assert JID.parse(jid.full) == jid
    assert hash(JID.parse(jid.full)) == hash(jid)


INVALID = {
    "empty": "",
    "white space": " ",
    "quotes": '"juliet"@example.com',
    "space in the local part": "foo bar@example.com",
    "no local part": "@example.com",
    "no local part, resource": "@example.com/x",
    "no domain": "juliet@",
    "no domain, resource": "juliet@/x",
    "only a resource": "/x",
    "empty resource": "juliet@example.com/",
    "empty resource of a domain": "example.com/",
    "two @": "juliet@romeo@example.com",
    "roman four in capitals": "\u2163\x00@example.com",
    "& in the local part": "a&b@example.com",
    "' in the local part": "a'b@example.com",
    ": in the local part": "a:b@example.com",
    "< in the local part": "a<b@example.com",
    "/ by width": "a\uff0fb@example.com",
    "@ by width": "a\uff20b@example.com",
    "NUL": "a\0b@example.com",
    "line end in the local part": "a\nb@example.com",
    "line end in the resource": "a@example.com/b\nc",
    "line separator in the resource": "a@example.com/b\u2028c",
    "right to left mixed": "\u0627a@example.com",
    "direction override": "a\u202eb@example.com",
    "private use": "a\ue000@example.com",
    "not a character": "a\ufffe@example.com",
    "local part of 1024 bytes": "a" * 1024 + "@b",
    "local part of 1024 bytes in fewer characters": "é" * 512 + "@b",
    "resource of 1024 bytes": "a@b/" + "c" * 1024,
    "longer than can be": "a" * 10_000,
    "local part that is prepared away": "\u00ad@example.com",
    "space in the domain": "a@exam ple.com",
    "empty label": "a@example..com",
    "label too long": "a@" + "b" * 64 + ".com",
}


@pytest.mark.parametrize("name", INVALID)
def test_what_is_no_address(name: str) -> None:
    with pytest.raises(InvalidJID) as caught:
        JID.parse(INVALID[name])
    assert len(str(caught.value)) < 600, "an error does not repeat what may be long"
    assert "\n" not in str(caught.value), "nor what would be a line of its own in a log"


#: Spellings of one address: each row is one account, never two.
SAME = [
    ("juliet@example.com", "JULIET@EXAMPLE.COM", "ｊuliet@example.com", "ju\u00adliet@example.com"),
    ("strasse@example.com", "straße@example.com", "STRASSE@example.com", "STRAẞE@example.com"),
    ("é@example.com", "e\u0301@example.com", "É@example.com", "E\u0301@example.com"),
    ("σ@example.com", "Σ@example.com"),
    ("ffi@example.com", "\ufb03@example.com"),
    ("a@bücher.example", "a@BÜCHER.example", "a@bu\u0308cher.example"),
    ("1@example.com", "\u2460@example.com", "\u00b9@example.com", "\uff11@example.com"),
    ("å@example.com", "\u212b@example.com", "a\u030a@example.com"),
    ("k@example.com", "\u212a@example.com"),
    ("a@example.com", "a@example.com"),
]


@pytest.mark.parametrize("spellings", SAME, ids=lambda row: row[0])
def test_spellings_of_one_address(spellings: tuple[str, ...]) -> None:
    addresses = []
    for text in spellings:
        try:
            addresses.append(JID.parse(text).full)
        except InvalidJID:  # refused is as good: never a second account
            continue
    assert len(set(addresses)) == 1


#: Look-alikes are different addresses; whoever registers them is another question.
DIFFERENT = [
    ("paypal@example.com", "р\u0430ypal@example.com"),
    ("i@example.com", "ı@example.com"),
    ("a@example.com", "a@example.org"),
    ("a@b/C", "a@b/c"),
    ("ο@b", "o@b"),
]


@pytest.mark.parametrize("pair", DIFFERENT)
def test_look_alikes_are_not_the_same(pair: tuple[str, str]) -> None:
    assert JID.parse(pair[0]) != JID.parse(pair[1])


_characters = st.one_of(
    st.characters(codec="utf-8"),
    st.sampled_from("aAzZ09.-_@/\\ '\"&<>:\t\n\0éßΣςıİＡａ＠／.。ﷺ㍿ǰΐᾷ"),
    st.sampled_from("\u0301\u0345\u00ad\u200d\u200f\u0627\u05d0\u1e9e\u03f4"),
)
_parts = st.text(_characters, max_size=8)
_addresses = st.one_of(
    st.text(_characters, max_size=20),
    st.builds("{}@{}/{}".format, _parts, st.sampled_from(["example.com", "bücher.example", "b"]), _parts),
    st.tuples(_parts, _parts).map(lambda p: f"{p[0]}@{p[1]}"),
)


@given(_addresses)
@settings(max_examples=1_000, deadline=None)
def test_preparation_is_idempotent(text: str) -> None:
    try:
        jid = JID.parse(text)
    except InvalidJID:
        return
    assert JID.parse(jid.full) == jid
    assert JID.parse(jid.bare) == jid.to_bare()
    assert "@" not in jid.local
    assert "/" not in jid.local + jid.domain
    assert "@" not in jid.domain
    assert all(len(part.encode()) <= 1023 for part in (jid.local, jid.domain, jid.resource))


@pytest.mark.parametrize("form", ["a{}b@example.com", "x@a{}b.example", "x@example.com/a{}b"])
def test_no_character_has_two_preparations(form: str) -> None:
    """Letters newer than stringprep's Unicode fold to capitals ("\u1d2c" to "A"): prepared again they would be
    another account, so an address that is not stable must be none."""
    unstable = []
    for code in (*range(0x20, 0xD800), *range(0xE000, 0x20000)):
        character = chr(code)
        if unicodedata.normalize("NFKC", character) == character and character.lower() == character:
            continue
        try:
            jid = JID.parse(form.format(character))
        except InvalidJID:
            continue
        try:
            is_stable = JID.parse(jid.full) == jid and JID.parse(jid.bare) == jid.to_bare()
        except InvalidJID:
            is_stable = False
        if not is_stable:
            unstable.append(f"U+{code:04X}")
    assert not unstable


def test_resources() -> None:
    jid = JID.parse("juliet@example.com")
    assert jid.with_resource("x").full == "juliet@example.com/x"
    assert jid.with_resource("x").to_bare() == jid
    assert jid.with_resource("a/b@c").to_bare() == jid
    for resource in ("", "a\nb", "a\0b", "x" * 1024):
        with pytest.raises(InvalidJID):
            jid.with_resource(resource)


def test_as_an_attribute() -> None:
    jid = JID.parse("juliet@example.com/<&\"'>")
    assert jid.xml == "juliet@example.com/&lt;&amp;&quot;&apos;&gt;"
    assert str(jid) == jid.full


def test_the_cache_is_bounded() -> None:
    from xmppchat import jid as module

    for i in range(module._CACHE_SIZE + 10):
        JID.parse(f"u{i}@example.com")
    assert len(module._parsed) <= module._CACHE_SIZE
