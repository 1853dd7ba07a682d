"""What is not SCRAM is refused, whatever it is, and never raises."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sasl_client import BOUND, KEYS, UNBOUND, Client, bound, condition, first, run, waiting_for_final

from xmppchat.protocol.sasl import Challenge, ExchangeContext, Failure, NeedKeys, Success, create
from xmppchat.protocol.sasl.base import MAX_MESSAGE

# What is not SCRAM

BAD_FIRST = {
    "nothing": "",
    "no gs2 header": "n=juliet,r=clientNonce",
    "a header of one comma": "n,n=juliet,r=clientNonce",
    "unknown flag": "x,,n=juliet,r=clientNonce",
    "flag in upper case": "N,,n=juliet,r=clientNonce",
    "flag with value": "n=1,,n=juliet,r=clientNonce",
    "no type of binding": "p=,,n=juliet,r=clientNonce",
    "p alone": "p,,n=juliet,r=clientNonce",
    "type of binding out of its alphabet": "p=tls_exporter,,n=juliet,r=clientNonce",
    "authzid without a=": "n,juliet@example.org,n=juliet,r=clientNonce",
    "empty authzid": "n,a=,n=juliet,r=clientNonce",
    "authzid with a bad escape": "n,a=juliet=41@example.org,n=juliet,r=clientNonce",
    "mandatory extension": "n,,m=x,n=juliet,r=clientNonce",
    "mandatory extension at the end": "n,,n=juliet,r=clientNonce,m=x",
    "no user name": "n,,r=clientNonce",
    "empty user name": "n,,n=,r=clientNonce",
    "user name prepared away": "n,,n=\u00ad,r=clientNonce",
    "no nonce": "n,,n=juliet",
    "empty nonce": "n,,n=juliet,r=",
    "nonce with a space": "n,,n=juliet,r=client Nonce",
    "nonce beyond ASCII": "n,,n=juliet,r=clientNönce",
    "wrong order": "n,,r=clientNonce,n=juliet",
    "bad escape": "n,,n=ju=2cliet,r=clientNonce",
    "escape cut off": "n,,n=juliet=2,r=clientNonce",
    "bare equals": "n,,n=ju=liet,r=clientNonce",
    "trailing comma": "n,,n=juliet,r=clientNonce,",
    "trailing text": "n,,n=juliet,r=clientNonce,trailing",
    "extension without a value": "n,,n=juliet,r=clientNonce,x=",
    "extension of two letters": "n,,n=juliet,r=clientNonce,xy=1",
    "extension with a digit for a name": "n,,n=juliet,r=clientNonce,1=1",
    "a nonce twice": "n,,n=juliet,r=clientNonce,r=other",
    "an extension twice": "n,,n=juliet,r=clientNonce,x=1,x=2",
    "trailing line end": "n,,n=juliet,r=clientNonce\n",
    "leading space": " n,,n=juliet,r=clientNonce",
    "NUL in the name": "n,,n=jul\0iet,r=clientNonce",
    "NUL in an extension": "n,,n=juliet,r=clientNonce,x=\0",
    "NUL at the end": "n,,n=juliet,r=clientNonce\0",
    "an address as name": "n,,n=juliet@example.org,r=clientNonce",
    "an address in the name": "n,,n=romeo@example.org/,r=clientNonce",
    "a name that would be a resource": "n,,n=romeo/x,r=clientNonce",
    "space in the name": "n,,n=ju liet,r=clientNonce",
    "control character": "n,,n=ju\x07liet,r=clientNonce",
    "not a character": "n,,n=ju\ufffeliet,r=clientNonce",
    "unassigned": "n,,n=ju\u0378liet,r=clientNonce",
    "two directions": "n,,n=a\u05d0,r=clientNonce",
    "a name too long": f"n,,n={'j' * 1024},r=clientNonce",
    "a message too long": f"n,,n=juliet,r={'c' * MAX_MESSAGE}",
    "PLAIN": "\0juliet\0pencil",
}


@pytest.mark.parametrize("message", BAD_FIRST.values(), ids=BAD_FIRST.keys())
def test_malformed_first_messages(message: str) -> None:
    assert condition(first(message)) == "malformed-request"


@pytest.mark.parametrize(
    "message", [b"n,,n=\xff,r=c", b"\xff", b"n,,n=\xed\xa0\x80,r=c", b"n,,n=\xc0\xaf,r=c"]
)
def test_a_first_message_that_is_not_utf8(message: bytes) -> None:
    assert condition(first(message)) == "malformed-request"


def test_a_name_of_the_greatest_length() -> None:
    client = Client(username="j" * 1023)
    assert isinstance(run(client), Success)


BAD_FINAL: dict[str, Callable[[str], str]] = {
    "nothing": lambda good: "",
    "no proof": lambda good: good[: good.index(",p=")],
    "empty proof": lambda good: good[: good.index(",p=")] + ",p=",
    "proof that is not base64": lambda good: good[: good.index(",p=")] + ",p=!!!!",
    "proof without padding": lambda good: good.rstrip("="),
    "proof beyond ASCII": lambda good: good[: good.index(",p=")] + ",p=ä",
    "no binding": lambda good: good[good.index("r=") :],
    "binding that is not base64": lambda good: good.replace("c=biws", "c=biw"),
    "empty binding": lambda good: good.replace("c=biws", "c="),
    "mandatory extension": lambda good: "m=x," + good,
    "order": lambda good: ",".join(reversed(good.split(","))),
    "trailing attribute": lambda good: good + ",x=1",
    "trailing comma": lambda good: good + ",",
    "a proof twice": lambda good: good + good[good.index(",p=") :],
    "wrong nonce": lambda good: good.replace("r=clientNonce", "r=otherNonce"),
    "the client's nonce alone": lambda good: good.replace("clientNonceserverNonce", "clientNonce"),
    "longer nonce": lambda good: good.replace("serverNonce", "serverNonceX"),
    "no nonce": lambda good: good.replace("r=clientNonceserverNonce,", ""),
    "an extension with NUL": lambda good: good.replace(",p=", ",x=\0,p="),
    "too long": lambda good: good.replace(",p=", f",x={'x' * MAX_MESSAGE},p="),
    "the first message again": lambda good: "n,,n=juliet,r=clientNonce",
}


@pytest.mark.parametrize("spoil", BAD_FINAL.values(), ids=BAD_FINAL.keys())
def test_malformed_final_messages(spoil: Callable[[str], str]) -> None:
    client = Client()
    exchange, challenge = waiting_for_final(client)
    message = spoil(client.final(challenge).decode())
    assert condition(exchange.respond(message.encode())) == "malformed-request"


@pytest.mark.parametrize("proof", ["AAAA", b64encode(bytes(32)).decode(), b64encode(bytes(33)).decode()])
def test_wrong_proofs(proof: str) -> None:
    exchange, challenge = waiting_for_final(client := Client())
    good = client.final(challenge).decode()
    assert condition(exchange.respond((good[: good.index("p=")] + f"p={proof}").encode())) == "not-authorized"


def test_a_proof_of_other_words_is_wrong() -> None:
    exchange, challenge = waiting_for_final(client := Client())
    final = client.final(challenge).replace(b",p=", b",x=1,p=")
    assert condition(exchange.respond(final)) == "not-authorized"


def test_a_recorded_login_cannot_be_replayed() -> None:
    exchange, challenge = waiting_for_final(client := Client())
    recorded = client.final(challenge)
    assert isinstance(exchange.respond(recorded), Success)
    again = create("SCRAM-SHA-256", replace(UNBOUND, nonce=lambda: "fresh"))
    again.start(client.first())
    again.keys(KEYS["SCRAM-SHA-256"])
    assert condition(again.respond(recorded)) == "malformed-request"


# Nothing raises, and nothing but the password succeeds

PIECES = st.sampled_from(
    [
        "n",
        "y",
        "p=tls-server-end-point",
        ",",
        ",,",
        "a=",
        "juliet@example.org",
        "n=juliet",
        "r=abc",
        "m=x",
        "x=1",
        "c=biws",
        "p=AAAA",
        "=2C",
        "=",
        "é",
        "/",
        "@",
        "😀",
        "\u202e",
        "\x00",
        "r=clientNonceserverNonce",
    ]
)
MESSAGES = (
    st.binary(max_size=200)
    | st.text(max_size=100).map(lambda text: text.encode(errors="surrogatepass"))
    | st.lists(PIECES, max_size=12).map(lambda pieces: "".join(pieces).encode())
)


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from(["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]),
    st.sampled_from([UNBOUND, BOUND]),
    st.none() | MESSAGES,
    st.lists(MESSAGES, max_size=3),
)
def test_no_input_raises(
    mechanism: str, context: ExchangeContext, initial: bytes | None, rest: list[bytes]
) -> None:
    exchange = create(mechanism, replace(context, plus_offered=True))
    step = exchange.start(initial)
    for message in rest:
        if isinstance(step, NeedKeys):
            step = exchange.keys(KEYS[step.hash_name])
        step = exchange.respond(message)
        assert not isinstance(step, Success)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_byte_anywhere_is_noticed(data: st.DataObject) -> None:
    client = bound()
    good = client.first()
    exchange = create(client.mechanism, BOUND)
    exchange.start(good)
    step = exchange.keys(KEYS["SCRAM-SHA-256"])
    assert isinstance(step, Challenge)
    final = bytearray(client.final(step.data))
    # The last two characters hold bits of the base64 that mean nothing, and may be changed.
    position = data.draw(st.integers(0, len(final) - 3))
    value = data.draw(st.integers(0, 255).filter(lambda value: value != final[position]))
    final[position] = value
    assert isinstance(exchange.respond(bytes(final)), Failure)
