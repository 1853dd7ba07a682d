"""SCRAM on the server's side: vectors, channel binding, the identity to act as, and the order of steps."""

from __future__ import annotations

import hashlib
from base64 import b64decode
from dataclasses import replace

import pytest
from test_sasl_client import (
    BOUND,
    END_POINT,
    KEYS,
    SALT,
    UNBOUND,
    Client,
    bound,
    condition,
    first,
    run,
    waiting_for_final,
)

from xmppchat.protocol.sasl import (
    SCRAM_HASHES,
    Challenge,
    Failure,
    NeedKeys,
    ScramKeys,
    Success,
    create,
    derive_keys,
)

VECTORS = [
    pytest.param(
        "SCRAM-SHA-1",
        "QSXCR+Q6sek8bf92",
        "3rfcNHYJY1ZVvWVs7j",
        "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
        "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
        "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
        "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
        id="RFC 5802 §5",
    ),
    pytest.param(
        "SCRAM-SHA-256",
        "W22ZaJ0SNY7soEsUEjb6gQ==",
        "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
        "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        id="RFC 7677 §3",
    ),
]


@pytest.mark.parametrize(
    ("mechanism", "salt", "nonce", "client_first", "server_first", "client_final", "server_final"), VECTORS
)
def test_vectors(
    mechanism: str,
    salt: str,
    nonce: str,
    client_first: str,
    server_first: str,
    client_final: str,
    server_final: str,
) -> None:
    exchange = create(mechanism, replace(UNBOUND, nonce=lambda: nonce))
    assert exchange.start(client_first.encode()) == NeedKeys("user", mechanism)
    keys = derive_keys(mechanism, "pencil", b64decode(salt), 4096)
    assert exchange.keys(keys) == Challenge(server_first.encode())
    assert exchange.respond(client_final.encode()) == Success("user", server_final.encode())


@pytest.mark.parametrize("mechanism", SCRAM_HASHES)
@pytest.mark.parametrize("plus", ["", "-PLUS"])
def test_every_hash_with_and_without_binding(mechanism: str, plus: str) -> None:
    client = Client(mechanism + plus)
    if plus:
        client = bound(mechanism=mechanism + plus)
    assert run(client, BOUND) == Success("juliet", client.signature.encode())


def test_without_an_initial_response_it_is_asked_for() -> None:
    client = Client()
    exchange = create("SCRAM-SHA-256", UNBOUND)
    assert exchange.start(None) == Challenge(b"")
    assert exchange.respond(client.first()) == NeedKeys("juliet", "SCRAM-SHA-256")


def test_the_keys_are_asked_for_by_the_name_of_their_storage() -> None:
    exchange = create("SCRAM-SHA-256-PLUS", BOUND)
    assert exchange.start(bound().first()) == NeedKeys("juliet", "SCRAM-SHA-256")


def test_wrong_password() -> None:
    step = run(Client(password="pencils"))
    assert condition(step) == "not-authorized"


def test_keys_of_another_hash_prove_nothing() -> None:
    client = Client("SCRAM-SHA-256")
    exchange = create("SCRAM-SHA-256", UNBOUND)
    exchange.start(client.first())
    step = exchange.keys(KEYS["SCRAM-SHA-1"])
    assert isinstance(step, Challenge)
    assert condition(exchange.respond(client.final(step.data))) == "not-authorized"


@pytest.mark.parametrize("username", ["a,b", "a=b", "=2C", "=3D,=2C", "Juliet", "jülïet", "ju\u00adliet"])
def test_user_names_are_told_as_the_client_meant_them(username: str) -> None:
    client = Client(username=username)
    assert run(client) == Success(username, client.signature.encode())


@pytest.mark.parametrize("extensions", [",x=1", ",x=a=b,y=2"])
def test_unknown_optional_extensions_are_passed_over_and_signed(extensions: str) -> None:
    client = Client(first_extensions=extensions, final_extensions=extensions)
    assert isinstance(run(client), Success)


# Channel binding (RFC 5802 §6)


@pytest.mark.parametrize("header", ["n,,", "y,,"])
def test_without_an_offer_of_plus_both_flags_are_well(header: str) -> None:
    assert isinstance(run(Client(header=header)), Success)


def test_a_client_without_binding_may_say_so() -> None:
    assert isinstance(run(Client(header="n,,"), BOUND), Success)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
def test_a_stripped_offer_is_noticed(mechanism: str) -> None:
    step = first("y,,n=juliet,r=clientNonce", BOUND, mechanism)
    assert condition(step) == "not-authorized"
    assert isinstance(step, Failure)
    assert step.text.startswith("server-does-support-channel-binding")


def test_a_rewritten_flag_is_noticed() -> None:
    """The client said y; somebody between made an n of it: c= tells (RFC 5802 §5.1)."""
    assert condition(run(Client(header="n,,", channel=b"y,,"), BOUND)) == "not-authorized"


def test_plus_needs_a_binding() -> None:
    assert condition(first("n,,n=juliet,r=clientNonce", BOUND, "SCRAM-SHA-256-PLUS")) == "malformed-request"


def test_a_binding_is_good_under_the_plain_name_too() -> None:
    assert isinstance(run(bound(mechanism="SCRAM-SHA-256"), BOUND), Success)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"])
@pytest.mark.parametrize(
    "channel",
    [
        b"p=tls-server-end-point,," + hashlib.sha256(b"another certificate").digest(),
        b"p=tls-server-end-point,," + END_POINT[:-1],
        b"p=tls-server-end-point,," + END_POINT + b"\0",
        b"p=tls-server-end-point,,",
        b"p=tls-exporter,," + END_POINT,
        b"n,," + END_POINT,
        b"n,,",
        b"y,,",
    ],
)
def test_wrong_binding(mechanism: str, channel: bytes) -> None:
    step = run(bound(mechanism=mechanism, channel=channel), BOUND)
    assert condition(step) == "not-authorized"
    assert isinstance(step, Failure)
    assert step.text.startswith("channel-bindings-dont-match")


@pytest.mark.parametrize("binding", ["tls-unique", "tls-exporter", "TLS-server-end-point", "x"])
def test_a_binding_that_does_not_work_here(binding: str) -> None:
    step = first(f"p={binding},,n=juliet,r=clientNonce", BOUND, "SCRAM-SHA-256-PLUS")
    assert condition(step) == "not-authorized"
    assert isinstance(step, Failure)
    assert step.text.startswith("unsupported-channel-binding-type")
    assert "tls-server-end-point" in step.text


@pytest.mark.parametrize("bindings", [{}, {"tls-server-end-point": b""}])
def test_a_binding_where_there_is_none(bindings: dict[str, bytes]) -> None:
    context = replace(UNBOUND, channel_bindings=bindings)
    step = first("p=tls-server-end-point,,n=juliet,r=clientNonce", context)
    assert condition(step) == "not-authorized"


def test_any_type_that_the_connection_has_is_bound() -> None:
    context = replace(BOUND, channel_bindings={"tls-exporter": b"exported"})
    assert isinstance(run(bound("p=tls-exporter,,", binding=b"exported"), context), Success)
    assert condition(run(bound("p=tls-exporter,,", binding=b"imported"), context)) == "not-authorized"


# The identity to act as (V-12)


@pytest.mark.parametrize("authzid", ["juliet@example.org", "Juliet@EXAMPLE.org", "ju\u00adliet@example.org"])
@pytest.mark.parametrize("client", [Client(), bound()], ids=["unbound", "bound"])
def test_ones_own_address(client: Client, authzid: str) -> None:
    client = replace(client, header=f"{client.header[:-1]}a={authzid},")
    assert run(client, BOUND) == Success("juliet", client.signature.encode())


def test_ones_own_address_with_escapes() -> None:
    client = Client(username="a=b,c", header="n,a=a=3Db=2Cc@example.org,")
    assert run(client) == Success("a=b,c", client.signature.encode())


def test_the_address_is_part_of_what_is_proved() -> None:
    client = Client(header="n,a=juliet@example.org,", channel=b"n,,")
    assert condition(run(client)) == "not-authorized"
    assert condition(run(Client(channel=b"n,a=juliet@example.org,"))) == "not-authorized"


@pytest.mark.parametrize(
    "authzid",
    [
        "romeo@example.org",
        "juliet@example.com",
        "juliet",
        "example.org",
        "juliet@example.org/balcony",
        "julıet@example.org",
        "jul\u0456et@example.org",
        "juliet@example.org@example.org",
        "@example.org",
        " juliet@example.org",
        "juliet=2Cexample.org",
    ],
)
def test_somebody_else(authzid: str) -> None:
    assert condition(first(f"n,a={authzid},n=juliet,r=clientNonce")) == "invalid-authzid"


# Order


def test_a_response_during_the_look_up_spoils_the_exchange() -> None:
    exchange = create("SCRAM-SHA-256", UNBOUND)
    exchange.start(Client().first())
    failure = exchange.respond(b"impatient")
    assert condition(failure) == "malformed-request"
    assert exchange.keys(KEYS["SCRAM-SHA-256"]) == failure


def test_a_failure_is_final() -> None:
    client = Client()
    exchange, challenge = waiting_for_final(client)
    failure = exchange.respond(b"nonsense")
    assert exchange.respond(client.final(challenge)) == failure


def test_after_success_there_is_nothing_more() -> None:
    client = Client()
    exchange, challenge = waiting_for_final(client)
    final = client.final(challenge)
    assert isinstance(exchange.respond(final), Success)
    assert condition(exchange.respond(final)) == "malformed-request"


def test_what_was_not_asked_for_is_the_callers_fault() -> None:
    exchange = create("SCRAM-SHA-256", UNBOUND)
    with pytest.raises(RuntimeError, match="waits for response, not for keys"):
        exchange.keys(KEYS["SCRAM-SHA-256"])
    exchange.start(Client().first())
    with pytest.raises(RuntimeError, match="waits for keys, not for password check"):
        exchange.password_checked(True)


@pytest.mark.parametrize(
    "keys",
    [
        ScramKeys(b"short", 4096, b"x" * 32, b"y" * 32),
        ScramKeys(SALT, 4095, b"x" * 32, b"y" * 32),
    ],
)
def test_keys_that_no_client_may_accept_are_our_fault_and_not_the_clients(keys: ScramKeys) -> None:
    exchange = create("SCRAM-SHA-256", UNBOUND)
    exchange.start(Client().first())
    assert condition(exchange.keys(keys)) == "temporary-auth-failure"
