"""V-12, V-13, V-25, hosts: nobody becomes another, by whatever name, spelling, host or stripped mechanism."""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from collections.abc import Callable

import pytest
from attack_client import (
    Attacker,
    Scram,
    auth,
    bind,
    failure,
    header,
    payload,
    ping,
    response,
    run_scram,
    sasl_step,
)
from attack_target import PASSWORD, A, B, Target
from cryptography import x509

#: Who one might want to be, or to be taken for: an identity to act as that is not one's own.
AUTHZIDS = {
    "other user": "juliet@a.test",
    "other host": "mallory@b.test",
    "same user at another host, case": "MALLORY@B.TEST",
    "host": "a.test",
    "name without host": "mallory",
    "look-alike": "m\u0430llory@a.test",
    "full address": "mallory@a.test/x",
    "other user's full address": "juliet@a.test/x",
    "empty resource": "mallory@a.test/",
    "NUL": "mallory@a.test\0juliet@a.test",
    "two": "mallory@a.test,juliet@a.test",
    "nothing before @": "@a.test",
    "white space": " mallory@a.test",
    "trailing dot": "mallory@a.test.",
    "escaped": "mallory\\40a.test",
    "anything": "\U0001f600",
}
#: The same account by another spelling (RFC 6120 §6.3.8 compares prepared addresses).
OWN_AUTHZIDS = ["mallory@a.test", "Mallory@A.test", "\uff4dallory@a.test"]


def escape(name: str) -> str:
    """As a saslname (RFC 5802 §5.1)."""
    return name.replace("=", "=3D").replace(",", "=2C")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("name", AUTHZIDS)
def test_nobody_acts_for_another(target: Target, name: str, mechanism: str) -> None:
    authzid = AUTHZIDS[name]
    with target.connect().secure() as client:
        if mechanism == "PLAIN":
            step = sasl_step(client, auth("PLAIN", f"{authzid}\0mallory\0{PASSWORD}".encode()))
        else:
            step = run_scram(client, mechanism, Scram("mallory", PASSWORD, gs2=f"n,a={escape(authzid)},"))
        assert failure(step) in {"invalid-authzid", "malformed-request", "not-authorized"}


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
@pytest.mark.parametrize("authzid", OWN_AUTHZIDS)
def test_one_may_act_for_oneself(target: Target, authzid: str, mechanism: str) -> None:
    with target.connect().secure() as client:
        if mechanism == "PLAIN":
            step = sasl_step(client, auth("PLAIN", f"{authzid}\0mallory\0{PASSWORD}".encode()))
        else:
            step = run_scram(client, mechanism, Scram("mallory", PASSWORD, gs2=f"n,a={escape(authzid)},"))
        assert failure(step) == ""
        assert bound_as(client) == "mallory@a.test"


#: What a name to log in with might smuggle.
NAMES = [
    "juliet@a.test",
    "mallory@b.test",
    "mallory/x",
    "mallory@a.test",
    "juliet/",
    "/juliet",
    "mallory,juliet",
    "mal=lory",
    "",
    " mallory",
    "mallory ",
    "m\u0430llory",
    "mallory@a.test/x",
    "romeo@b.test",
]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("name", NAMES)
def test_names_are_names_and_nothing_else(target: Target, name: str, mechanism: str) -> None:
    with target.connect().secure() as client:
        if mechanism == "PLAIN":
            step = sasl_step(client, auth("PLAIN", f"\0{name}\0{PASSWORD}".encode()))
        else:
            hash_name = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
            step = run_scram(client, mechanism, Scram(escape(name), PASSWORD, hash_name=hash_name))
        assert failure(step) in {"not-authorized", "malformed-request"}


NOT_PLAIN = [
    b"",
    b"\0",
    b"\0\0",
    b"mallory",
    b"\0mallory",
    b"\0mallory\0",
    b"a\0b\0c\0d",
    b"\0\xff\0x",
    b"\0mallory\0\xff",
    b"\0mallory\0" + PASSWORD.encode() + b"\0",
]


@pytest.mark.parametrize("data", NOT_PLAIN)
def test_malformed_plain(target: Target, data: bytes) -> None:
    with target.connect().secure() as client:
        assert failure(sasl_step(client, auth("PLAIN", data))) in {"malformed-request", "not-authorized"}


def bound_as(client: Attacker) -> str:
    """The bare address that a resource is bound under."""
    client.open().restart()
    client.send(bind()).until(b"</iq>")
    found = re.search(rb"<jid>(.*?)/", client.received)
    assert found is not None, client.received
    return found.group(1).decode()


@pytest.mark.parametrize("spelling", ["mallory", "MALLORY", "Mallory", "\uff4dallory", "mal\u00adlory"])
def test_spellings_of_a_name_are_one_account(target: Target, spelling: str) -> None:
    with target.connect().secure() as client:
        assert failure(sasl_step(client, auth("PLAIN", f"\0{spelling}\0{PASSWORD}".encode()))) == ""
        assert bound_as(client) == "mallory@a.test"


#: Letters that fold to letters of a name; the account must be juliet's or none, and never be bound as hers.
FOLDING = [
    "\u1d36uliet",
    "j\u1d41liet",
    "\u2110uliet",
    "JULIET",
    "\uff2auliet",
    "jul\u0130et",
    "\U0001d4a5uliet",
    "\u24bfuliet",
    "ju\u200dliet",
    "ju\ufe0fliet",
    "j\u1d58liet",
    "JU\u216c\u0130ET",
]


@pytest.mark.parametrize("name", FOLDING)
def test_a_name_that_folds_to_another_is_never_a_second_account(target: Target, name: str) -> None:
    """V-25: what an admin (or in-band registration) may add under such a name is not bound as juliet."""
    try:
        target.add(f"{name}@{A}", "password of mallory")
    except AssertionError:
        return  # refused: it is the same name, or none
    with target.connect().secure() as client:
        step = sasl_step(client, auth("PLAIN", f"\0{name}\0password of mallory".encode()))
        if failure(step) == "":
            jid = bound_as(client)
            assert jid != "juliet@a.test"
            assert jid.casefold() != "juliet@a.test"


@pytest.mark.parametrize("resource", ["&#9;", "a&#10;b", "x" * 1024, "\u2028", "\ue000"])
def test_bad_resources(target: Target, resource: str) -> None:
    with target.connect().secure() as client:
        assert failure(sasl_step(client, auth("PLAIN", f"\0mallory\0{PASSWORD}".encode()))) == ""
        client.open().restart()
        client.send(bind(resource)).until(b"</iq>")
        assert b"type='error'" in client.received
        assert b"<bad-request" in client.received


# --- V-13 -----------------------------------------


def certificate_hash(client: Attacker) -> bytes:
    """tls-server-end-point of this connection (RFC 5929 §4.1)."""
    assert isinstance(client.socket, ssl.SSLSocket)
    der = client.socket.getpeercert(binary_form=True)
    assert der is not None
    algorithm = x509.load_der_x509_certificate(der).signature_hash_algorithm
    assert algorithm is not None
    name = "sha256" if algorithm.name in {"md5", "sha1"} else algorithm.name
    return hashlib.new(name, der).digest()


PLUS: dict[str, tuple[str, str, Callable[[Attacker], bytes], str]] = {
    "right binding": ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", certificate_hash, ""),
    "wrong binding": (
        "SCRAM-SHA-256-PLUS",
        "p=tls-server-end-point,,",
        lambda _: b"x" * 32,
        "not-authorized",
    ),
    "no binding data": ("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,", lambda _: b"", "not-authorized"),
    "binding of another type": ("SCRAM-SHA-256-PLUS", "p=tls-unique,,", certificate_hash, "not-authorized"),
    "unknown type": ("SCRAM-SHA-256-PLUS", "p=tls-made-up,,", certificate_hash, "not-authorized"),
    "PLUS without binding": ("SCRAM-SHA-256-PLUS", "n,,", lambda _: b"", "malformed-request"),
    "PLUS that says there is none": ("SCRAM-SHA-256-PLUS", "y,,", lambda _: b"", "not-authorized"),
    "list was stripped": ("SCRAM-SHA-256", "y,,", lambda _: b"", "not-authorized"),
    "client knows no binding": ("SCRAM-SHA-256", "n,,", lambda _: b"", ""),
    "another header in the last message": ("SCRAM-SHA-256", "n,,", lambda _: b"x", "not-authorized"),
}


@pytest.mark.parametrize("port", [5222, 5223])
@pytest.mark.parametrize("name", PLUS)
def test_channel_binding(target: Target, name: str, port: int) -> None:
    mechanism, gs2, data, expected = PLUS[name]
    with target.connect(port=port) as client:
        _ = client.secure() if port == 5222 else client.wrap(alpn="xmpp-client").open()
        assert b"<mechanism>SCRAM-SHA-256-PLUS</mechanism>" in client.received
        assert b"type='tls-server-end-point'" in client.received
        assert b"tls-unique" not in client.received, "there is none in TLS 1.3"
        step = run_scram(client, mechanism, Scram("mallory", PASSWORD, gs2=gs2, binding=data(client)))
        assert failure(step) == expected


def test_proof_of_another_exchange_is_worth_nothing(target: Target) -> None:
    """Replay: the server's nonce is new each time."""
    scram = Scram("mallory", PASSWORD)
    with target.connect().secure() as first:
        final = scram.final(payload(sasl_step(first, auth("SCRAM-SHA-256", scram.first()))))
        assert failure(sasl_step(first, response(final))) == ""
    with target.connect().secure() as second:
        sasl_step(second, auth("SCRAM-SHA-256", scram.first()))
        assert failure(sasl_step(second, response(final))) in {"not-authorized", "malformed-request"}


# --- virtual hosts -----------------------------------------


def test_a_password_is_good_at_its_host_only(target: Target) -> None:
    with target.connect(A).secure() as client:
        step = sasl_step(client, auth("PLAIN", f"\0benvolio\0{PASSWORD}".encode()))
        assert failure(step) == "not-authorized"
        assert (
            failure(run_scram(client, "SCRAM-SHA-256", Scram("romeo", "another password")))
            == "not-authorized"
        )
    with target.connect(B).secure() as client:
        assert failure(sasl_step(client, auth("PLAIN", f"\0romeo\0{PASSWORD}".encode()))) == "not-authorized"
        assert failure(sasl_step(client, auth("PLAIN", b"\0romeo\0another password"))) == ""
        assert bound_as(client) == "romeo@b.test"


def test_the_certificate_is_the_hosts(target: Target) -> None:
    for domain in (A, B):
        with target.connect(domain, port=5223).wrap(alpn="xmpp-client") as client:
            client.open()
            assert f"from='{domain}'".encode() in client.received


@pytest.mark.parametrize(
    "domain", ["c.test", "sub.a.test", "a.test.evil.example", "A.TEST:5222", "127.0.0.1", "test"]
)
def test_unknown_hosts(target: Target, domain: str) -> None:
    with target.connect() as client:
        client.send(header(domain)).until_closed(2)
        assert client.condition in {"host-unknown", "improper-addressing"}
        assert b"<stream:features>" not in client.received


def test_rosters_and_services_are_per_host(target: Target) -> None:
    with target.login("romeo", A, resource="x") as here, target.connect(B).secure() as client:
        there = client.login("romeo", "another password", "x")
        here.send(
            b"<iq type='set' id='add'><query xmlns='jabber:iq:roster'><item jid='only-at-a@a.test'/></query></iq>"
        ).until(b"id='add'")
        there.restart()
        there.send(b"<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>").until(b"id='r'")
        assert b"only-at-a" not in there.barrier()
        there.restart()
        there.send(b"<iq type='get' id='s' to='romeo@a.test'><query xmlns='jabber:iq:roster'/></iq>").until(
            b"id='s'"
        )
        assert b"type='error'" in there.received
        assert b"only-at-a" not in there.barrier("b2")
        for domain in (A, B):
            there.restart()
            there.send(ping("p", to=domain)).until(f"<iq from='{domain}'".encode())


def test_base64_of_sasl_is_strict(target: Target) -> None:
    with target.connect().secure() as client:
        data = auth("PLAIN", f"\0mallory\0{PASSWORD}".encode())
        text = base64.b64encode(f"\0mallory\0{PASSWORD}".encode())
        assert failure(sasl_step(client, data.replace(text, text + b"===="))) == "incorrect-encoding"
