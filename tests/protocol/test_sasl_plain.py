"""PLAIN on the server's side (RFC 4616)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.protocol.sasl import (
    Challenge,
    Exchange,
    ExchangeContext,
    Failure,
    NeedPasswordCheck,
    Step,
    Success,
    create,
    derive_keys,
)
from xmppchat.protocol.sasl.base import MAX_MESSAGE

CONTEXT = ExchangeContext("example.org", {}, plus_offered=False, nonce=lambda: "unused")


def plain() -> Exchange:
    return create("PLAIN", CONTEXT)


def condition(step: Step) -> str:
    assert isinstance(step, Failure), step
    assert step.text
    return step.condition


def test_the_password_is_checked_outside() -> None:
    exchange = plain()
    assert exchange.start(b"\0juliet\0pencil") == NeedPasswordCheck("juliet", "pencil")
    assert exchange.password_checked(True) == Success("juliet", None)


def test_a_wrong_password() -> None:
    exchange = plain()
    exchange.start(b"\0juliet\0pencils")
    assert condition(exchange.password_checked(False)) == "not-authorized"


def test_without_an_initial_response_it_is_asked_for() -> None:
    exchange = plain()
    assert exchange.start(None) == Challenge(b"")
    assert exchange.respond(b"\0juliet\0pencil") == NeedPasswordCheck("juliet", "pencil")


@pytest.mark.parametrize(
    ("message", "username", "password"),
    [
        ("\0Juliet\0pencil", "Juliet", "pencil"),
        ("\0jülïet\0pässwörd", "jülïet", "pässwörd"),
        ("\0a,b=c\0,=", "a,b=c", ",="),
        ("\0juliet\0 ", "juliet", " "),
        ("\0juliet\0a@b/c", "juliet", "a@b/c"),
        ("juliet@example.org\0juliet\0pencil", "juliet", "pencil"),
        ("Juliet@EXAMPLE.org\0juliet\0pencil", "juliet", "pencil"),
    ],
)
def test_names_and_passwords_come_as_they_were_sent(message: str, username: str, password: str) -> None:
    assert plain().start(message.encode()) == NeedPasswordCheck(username, password)


@pytest.mark.parametrize(
    "authzid",
    [
        "romeo@example.org",
        "juliet@example.com",
        "juliet",
        "example.org",
        "juliet@example.org/balcony",
        "jul\u0456et@example.org",
        "julıet@example.org",
        "@",
        " ",
        "juliet@example.org ",
    ],
)
def test_somebody_else(authzid: str) -> None:
    assert condition(plain().start(f"{authzid}\0juliet\0pencil".encode())) == "invalid-authzid"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"juliet",
        b"juliet\0pencil",
        b"\0\0",
        b"\0juliet\0",
        b"\0\0pencil",
        b"\0\0\0",
        b"\0juliet\0pencil\0",
        b"\0juliet\0pen\0cil",
        b"\0\0juliet\0pencil",
        b"juliet@example.org\0\0pencil",
        b"\0juliet\0\xff",
        b"\0\xff\0pencil",
        b"\xff\0juliet\0pencil",
        b"\0juliet\0\xed\xa0\x80",
        b"\0juliet@example.org\0pencil",
        b"\0romeo@example.org/\0pencil",
        b"\0romeo/x\0pencil",
        b"\0ju liet\0pencil",
        b"\0ju\x07liet\0pencil",
        b"\0" + "\u00ad".encode() + b"\0pencil",
        b"\0" + "😀".encode() + b"\0pencil",
        b"\0" + b"j" * 1024 + b"\0pencil",
        b"\0juliet\0" + b"p" * MAX_MESSAGE,
        b"n,,n=juliet,r=abc",
    ],
)
def test_malformed(message: bytes) -> None:
    assert condition(plain().start(message)) == "malformed-request"


def test_a_second_message_spoils_the_exchange() -> None:
    exchange = plain()
    exchange.start(b"\0juliet\0pencil")
    failure = exchange.respond(b"\0juliet\0pencil")
    assert condition(failure) == "malformed-request"
    assert exchange.password_checked(True) == failure


def test_what_was_not_asked_for_is_the_callers_fault() -> None:
    exchange = plain()
    with pytest.raises(RuntimeError):
        exchange.password_checked(True)
    exchange.start(b"\0juliet\0pencil")
    with pytest.raises(RuntimeError):
        exchange.keys(derive_keys("SCRAM-SHA-1", "pencil", b"salt", 1))


def test_a_password_never_shows() -> None:
    assert "pencil" not in repr(plain().start(b"\0juliet\0pencil"))


@given(
    st.binary(max_size=100) | st.lists(st.sampled_from([b"\0", b"a", b"@", b"example.org", b"\xff", b"/"]))
)
def test_no_input_raises(message: bytes | list[bytes]) -> None:
    step = plain().start(message if isinstance(message, bytes) else b"".join(message))
    assert isinstance(step, Failure | NeedPasswordCheck)
    if isinstance(step, NeedPasswordCheck):
        assert step.username
        assert step.password
