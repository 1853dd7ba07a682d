"""V-14, V-15, V-16, V-17, V-24: tokens (XEP-0484) that are guessed, repeated, borrowed, or ended."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from dataclasses import dataclass, field

import pytest
from attack_client import Attacker
from attack_target import PASSWORD, A, Target

NONE, ENDP = "HT-SHA-256-NONE", "HT-SHA-256-ENDP"
SASL_2, FAST = "urn:xmpp:sasl:2", "urn:xmpp:fast:0"


def authenticate(client: Attacker, mechanism: str, initial: bytes, agent: str, inner: str = "") -> bytes:
    """One login by SASL2; the answer."""
    client.restart()
    client.send(request(mechanism, initial, agent, inner))
    return client.until(lambda data: re.search(rb"</(success|failure)>", data))


def request(mechanism: str, initial: bytes, agent: str, inner: str = "") -> bytes:
    """The bytes of it."""
    data = base64.b64encode(initial).decode()
    return (
        f"<authenticate xmlns='{SASL_2}' mechanism='{mechanism}'><initial-response>{data}</initial-response>"
        f"<user-agent id='{agent}'><software>Chat</software></user-agent>{inner}</authenticate>"
    ).encode()


def condition(answer: bytes) -> str:
    """Why it failed, "" where it did not."""
    found = re.search(rb"<failure[^>]*><([a-z-]+)", answer)
    return found.group(1).decode() if found else ""


@dataclass
class Phone:
    """A client that has a token."""

    target: Target
    user: str = "romeo"
    mechanism: str = NONE
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: bytes = b""

    def __post_init__(self) -> None:
        with self.target.connect().secure() as client:
            ask = f"<request-token xmlns='{FAST}' mechanism='{self.mechanism}'/>"
            answer = authenticate(client, "PLAIN", f"\0{self.user}\0{PASSWORD}".encode(), self.id, ask)
        found = re.search(rb"<token [^>]*token='([A-Za-z0-9_-]+)'", answer)
        assert found, answer
        self.token = found.group(1)

    def proof(self, client: Attacker | None = None, *, user: str = "", token: bytes = b"") -> bytes:
        """The first message; bound to the certificate of `client`'s connection, if that is given."""
        binding = b""
        if client is not None:
            certificate = client.socket.getpeercert(binary_form=True)  # type: ignore[attr-defined]
            binding = hashlib.sha256(certificate).digest()
        hashed = hmac.new(token or self.token, b"Initiator" + binding, hashlib.sha256).digest()
        return (user or self.user).encode() + b"\0" + hashed

    def try_it(self, *, mechanism: str = "", agent: str = "", fast: str = "", user: str = "", source: str = "") -> str:
        """One login with the token on a connection of its own; the condition of the failure, "" for none."""
        mechanism = mechanism or self.mechanism
        with self.target.connect(source=source).secure() as client:
            proof = self.proof(client if mechanism == ENDP else None, user=user)
            return condition(authenticate(client, mechanism, proof, agent or self.id, f"<fast xmlns='{FAST}'{fast}/>"))


@pytest.mark.parametrize("mechanism", [NONE, ENDP])
def test_its_owner_gets_in(target: Target, mechanism: str) -> None:
    phone = Phone(target, mechanism=mechanism)
    assert phone.try_it() == ""
    other = {NONE: ENDP, ENDP: NONE}[mechanism]
    assert phone.try_it(mechanism=other) == "not-authorized", "a token is for one mechanism (§3.4)"
    assert phone.try_it() == ""


def test_a_bound_token_is_of_no_use_where_the_certificate_is_another(target: Target) -> None:
    """What somebody in between gets from a client of his, he cannot use here."""
    phone = Phone(target, mechanism=ENDP)
    elsewhere = hmac.new(phone.token, b"Initiator" + hashlib.sha256(b"another").digest(), hashlib.sha256).digest()
    with target.connect().secure() as client:
        answer = authenticate(client, ENDP, b"romeo\0" + elsewhere, phone.id, f"<fast xmlns='{FAST}'/>")
    assert condition(answer) == "not-authorized"


def test_bytes_with_a_count_come_once(target: Target) -> None:
    phone = Phone(target)
    captured = request(NONE, phone.proof(), phone.id, f"<fast xmlns='{FAST}' count='1'/>")
    outcomes = []
    for _ in range(3):
        with target.connect().secure() as client:
            client.restart()
            client.send(captured)
            outcomes.append(condition(client.until(lambda data: re.search(rb"</(success|failure)>", data))))
    assert outcomes == ["", "not-authorized", "not-authorized"]
    assert phone.try_it(fast=" count='2'") == ""


@pytest.mark.parametrize("count", ["0", "-1", "1e3", "x", "99999999999999999999", "٣"])
def test_a_count_is_a_number(target: Target, count: str) -> None:
    phone = Phone(target)
    assert phone.try_it(fast=f" count='{count}'") == "malformed-request"
    assert phone.try_it() == ""


def test_a_token_is_for_its_client_and_account(target: Target) -> None:
    phone, tablet, juliets = Phone(target), Phone(target), Phone(target, "juliet")
    assert phone.try_it(agent=tablet.id) == "not-authorized"
    assert phone.try_it(user="juliet") == "not-authorized"
    assert phone.try_it(user="juliet", agent=juliets.id) == "not-authorized"
    assert phone.try_it(user="nobody") == "not-authorized"
    assert phone.try_it() == ""


def test_failures_do_not_tell_what_is_there(target: Target) -> None:
    """An unknown name, an unknown client, another mechanism, a wrong token: one answer."""
    phone, bound = Phone(target), Phone(target, mechanism=ENDP)
    wrong = phone.proof(token=b"guess")
    attempts = [
        (wrong, phone.id), (phone.proof(user="nobody"), phone.id), (phone.proof(), str(uuid.uuid4())),
        (bound.proof(), bound.id), (phone.proof(user="juliet"), phone.id),
    ]  # fmt: skip
    answers = set()
    for proof, agent in attempts:
        with target.connect().secure() as client:
            answers.add(authenticate(client, NONE, proof, agent, f"<fast xmlns='{FAST}'/>"))
    assert len(answers) == 1, answers
    assert condition(answers.pop()) == "not-authorized"


def test_who_guesses_tokens_waits(guarded: Target) -> None:
    """As with passwords (limit 12), and the owner does not wait elsewhere."""
    phone = Phone(guarded)
    guesser = "127.210.1.7"
    real, phone.token = phone.token, b"guess"
    outcomes = [phone.try_it(source=guesser) for _ in range(12)]
    assert outcomes[0] == "not-authorized"
    assert outcomes[-1] == "temporary-auth-failure"
    assert outcomes.count("not-authorized") <= 10
    phone.token = real
    assert phone.try_it(source=guesser) == "temporary-auth-failure", "not even with the right one"
    assert phone.try_it(source="127.211.1.7") == ""


def test_what_ends_tokens_ends_them_at_once(target: Target) -> None:
    target.add(f"paris@{A}")
    phone, tablet = Phone(target, "paris"), Phone(target, "paris")
    config = ("--config", str(target.config_file))
    shown = json.loads(target.run("devices", f"paris@{A}", "--json", *config))
    assert len(shown) == 2
    target.run("device", "revoke", f"paris@{A}", shown[0]["id"], *config)
    assert phone.try_it() == "not-authorized"
    assert tablet.try_it() == ""
    target.run("user", "passwd", f"paris@{A}", "--password-stdin", *config, given=f"{PASSWORD}\n")
    assert tablet.try_it() == "not-authorized"


def test_logs_and_commands_tell_no_token(target: Target) -> None:
    phone = Phone(target)
    assert phone.try_it() == ""
    with target.connect().secure() as client:
        authenticate(client, NONE, phone.proof(token=b"guess"), phone.id, f"<fast xmlns='{FAST}'/>")
    told = target.log() + target.run("devices", f"romeo@{A}", "--config", str(target.config_file))
    assert phone.token.decode() not in told
    assert phone.id not in told
    assert base64.b64encode(phone.proof()).decode() not in told


def test_tokens_are_of_256_random_bits(target: Target) -> None:
    made = {Phone(target, "mallory").token for _ in range(20)}
    assert len(made) == 20
    assert all(re.fullmatch(rb"[A-Za-z0-9_-]{43}", token) for token in made)
