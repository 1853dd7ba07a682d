"""HT on the server's side (draft-schmaus-kitten-sasl-ht-09): the proof, its binding, who may choose it."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xmppchat.jid import JID
from xmppchat.protocol.sasl import (
    Challenge,
    Exchange,
    ExchangeContext,
    Failure,
    MechanismNotOffered,
    NeedTokens,
    Step,
    Success,
    create,
    mechanisms,
    token_mechanisms,
)
from xmppchat.protocol.sasl.base import MAX_MESSAGE

END_POINT = hashlib.sha256(b"the certificate").digest()
UNBOUND = ExchangeContext("example.org", {}, plus_offered=False, nonce=lambda: "unused")
BOUND = replace(UNBOUND, channel_bindings={"tls-server-end-point": END_POINT}, plus_offered=True)
TOKEN, OTHER = b"WXZzciBwYmFmdmZnZiBqdmd1IGp2eXFhcmZm", b"R3VyIHpiZmcgbnl2aXIgdmYgZ3VyIGp2eXFyZmcu"
NONE, ENDP = "HT-SHA-256-NONE", "HT-SHA-256-ENDP"
BINDINGS = {NONE: b"", ENDP: END_POINT}


def hashed(token: bytes, role: bytes, binding: bytes = b"") -> bytes:
    return hmac.new(token, role + binding, hashlib.sha256).digest()


def message(token: bytes = TOKEN, binding: bytes = b"", username: str = "juliet") -> bytes:
    return username.encode() + b"\0" + hashed(token, b"Initiator", binding)


def exchange(mechanism: str = NONE, context: ExchangeContext = BOUND) -> Exchange:
    return create(mechanism, context, by_token=True)


def run(data: bytes, *candidates: bytes, mechanism: str = NONE) -> Step:
    begun = exchange(mechanism)
    step = begun.start(data)
    return begun.tokens(candidates) if isinstance(step, NeedTokens) else step


def condition(step: Step) -> str:
    assert isinstance(step, Failure), step
    assert step.text
    return step.condition


def test_a_vector() -> None:
    """Worked out with ``printf Initiator | openssl dgst -sha256 -hmac secret``, and so on."""
    proof = bytes.fromhex("080d9fa917c6da67702df4ff5090d8693b5f8c838c832d6f3662b6822cc7a6b9")
    answer = bytes.fromhex("89c7af02627bcde98741a1090dffb254610f1e335bbf086e3b02e708ada5a682")
    assert run(b"juliet\0" + proof, b"secret") == Success("juliet", answer, b"secret")


@pytest.mark.parametrize("mechanism", [NONE, ENDP])
def test_both_prove_that_they_have_the_token(mechanism: str) -> None:
    binding = BINDINGS[mechanism]
    begun = exchange(mechanism)
    assert begun.start(message(binding=binding)) == NeedTokens("juliet")
    assert begun.tokens([TOKEN]) == Success("juliet", hashed(TOKEN, b"Responder", binding), TOKEN)


@pytest.mark.parametrize("candidates", [(TOKEN, OTHER), (OTHER, TOKEN)])
def test_it_is_told_which_token_it_was(candidates: tuple[bytes, ...]) -> None:
    step = run(message(), *candidates)
    assert isinstance(step, Success)
    assert step.token == TOKEN
    assert TOKEN.decode() not in repr(step)


@pytest.mark.parametrize(
    ("data", "candidates"),
    [
        pytest.param(message(OTHER), (TOKEN,), id="another token"),
        pytest.param(message(), (), id="no token"),
        pytest.param(message(b""), (), id="an empty token"),
        pytest.param(message(binding=END_POINT), (TOKEN,), id="bound where nothing is bound"),
        pytest.param(b"juliet\0" + hashed(TOKEN, b"Responder"), (TOKEN,), id="the answer sent back"),
    ],
)
def test_what_proves_nothing(data: bytes, candidates: tuple[bytes, ...]) -> None:
    assert condition(run(data, *candidates)) == "not-authorized"


def test_another_certificate_proves_nothing() -> None:
    other = hashlib.sha256(b"somebody's in between").digest()
    assert condition(run(message(binding=other), TOKEN, mechanism=ENDP)) == "not-authorized"
    assert condition(run(message(), TOKEN, mechanism=ENDP)) == "not-authorized", "nor does none"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", b"juliet", b"juliet\0", b"juliet\0" + bytes(31), b"juliet\0" + bytes(33),
        b"\0" + bytes(32), b"\xff\0" + bytes(32), b"a@b\0" + bytes(32), b"a/b\0" + bytes(32),
        b" \0" + bytes(32), b"x" * 1_100 + b"\0" + bytes(32), b"x" * (MAX_MESSAGE + 1),
        b"juliet@example.org\0" + bytes(32),
    ],
)  # fmt: skip
def test_malformed(data: bytes) -> None:
    assert condition(exchange().start(data)) == "malformed-request"


def test_a_proof_may_hold_any_bytes() -> None:
    """A NUL or what is no UTF-8 in the proof is part of it."""
    tokens = [str(number).encode() for number in range(3_000)]
    odd = [token for token in tokens if b"\0" in hashed(token, b"Initiator")]
    assert odd
    for token in odd[:20]:
        assert isinstance(run(message(token), token), Success)


def test_without_an_initial_response_it_is_asked_for() -> None:
    begun = exchange()
    assert begun.start(None) == Challenge(b"")
    assert begun.respond(message()) == NeedTokens("juliet")


def test_nothing_comes_behind_the_message() -> None:
    begun = exchange()
    begun.start(message())
    failure = begun.respond(message())
    assert condition(failure) == "malformed-request"
    assert begun.tokens([TOKEN]) is failure


def test_tokens_that_nobody_asked_for_are_a_fault_of_the_caller() -> None:
    with pytest.raises(RuntimeError, match="waits for response, not for tokens"):
        exchange().tokens([TOKEN])
    begun = exchange()
    begun.start(message())
    with pytest.raises(RuntimeError, match="waits for tokens, not for password check"):
        begun.password_checked(True)


def test_where_it_is_offered() -> None:
    assert token_mechanisms(BOUND.channel_bindings) == (ENDP, NONE)
    assert token_mechanisms({"tls-exporter": b"x"}) == token_mechanisms({}) == (NONE,)
    with pytest.raises(MechanismNotOffered):
        exchange(ENDP, UNBOUND)
    assert exchange(NONE, UNBOUND).name == NONE


@pytest.mark.parametrize("mechanism", [NONE, ENDP])
def test_it_is_for_tokens_alone(mechanism: str) -> None:
    assert mechanism not in mechanisms(secure=True, channel_bindings=BOUND.channel_bindings)
    with pytest.raises(MechanismNotOffered):
        create(mechanism, BOUND)


@pytest.mark.parametrize("mechanism", [*mechanisms(secure=True, channel_bindings=["x"]), "HT-SHA-256-EXPR", "", "HT"])
def test_nothing_else_takes_tokens(mechanism: str) -> None:
    with pytest.raises(MechanismNotOffered):
        exchange(mechanism)


@given(st.binary(max_size=200))
def test_whatever_comes_leads_to_a_step(data: bytes) -> None:
    begun = exchange()
    step = begun.start(data)
    assert isinstance(step, (NeedTokens, Failure))
    if isinstance(step, NeedTokens):
        assert condition(begun.tokens([TOKEN, OTHER])) == "not-authorized"


@given(st.text(min_size=1, max_size=40).filter(lambda text: "\0" not in text))
def test_names_are_told_as_the_client_meant_them(username: str) -> None:
    step = run(message(username=username), TOKEN)
    try:
        is_localpart = bool(JID.parse(f"{username}@example.org").local) and not set("@/") & set(username)
    except ValueError:
        is_localpart = False
    if is_localpart:
        assert isinstance(step, Success)
        assert step.username == username
    else:
        assert condition(step) == "malformed-request"


@given(st.integers(0, 31), st.integers(1, 255))
def test_no_bit_of_the_proof_may_be_another(position: int, change: int) -> None:
    data = bytearray(message())
    data[len("juliet\0") + position] ^= change
    assert condition(run(bytes(data), TOKEN)) == "not-authorized"
