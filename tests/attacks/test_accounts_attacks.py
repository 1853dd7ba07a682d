"""V-15, V-16, V-17, V-24, V-55, slow readers: guessing, telling accounts apart, tokens, logs, memory."""

from __future__ import annotations

import ast
import base64
import re
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import pytest
from attack_client import (
    SASL,
    Attacker,
    Scram,
    auth,
    bind,
    failure,
    header,
    payload,
    ping,
    run_scram,
    sasl_step,
)
from attack_target import PASSWORD, A, Target, scale
from observation import MIB

import xmppchat
from xmppchat.core.runtime import Ids, SystemClock
from xmppchat.network.login import MAX_ATTEMPTS

# --- V-16 -----------------------------------------


def guess_until_closed(client: Attacker, guess: Callable[[int], bytes]) -> list[str]:
    """Fail until the server ends the stream, which it does soon; returns the conditions."""
    conditions: list[str] = []
    while not client.condition:
        assert len(conditions) < MAX_ATTEMPTS, "one stream is for few attempts"
        conditions.append(failure(sasl_step(client, guess(len(conditions)))))
        if len(conditions) == MAX_ATTEMPTS:
            client.until_closed(2)
    assert client.condition == "policy-violation"
    return conditions


def test_who_guesses_waits_and_the_owner_does_not(guarded: Target) -> None:
    """20 failures from one address: that address waits, the right password included; the owner logs in from another."""
    guesser, owner = "127.200.1.7", "127.201.1.7"
    conditions: list[str] = []
    while len(conditions) < 20:
        with guarded.connect(source=guesser).secure() as client:
            conditions += guess_until_closed(client, lambda i: auth("PLAIN", f"\0romeo\0guess {i}".encode()))
    assert conditions[0] == "not-authorized"
    assert "temporary-auth-failure" in conditions
    assert conditions.count("not-authorized") <= 10
    with guarded.connect(source=guesser).secure() as client:
        assert (
            failure(sasl_step(client, auth("PLAIN", f"\0romeo\0{PASSWORD}".encode())))
            == "temporary-auth-failure"
        )
    with guarded.login("romeo", source=owner) as client:
        assert client.jid.startswith("romeo@a.test/")


def test_guessing_many_accounts_is_one_guesser(guarded: Target) -> None:
    conditions: list[str] = []
    for i in range(8):
        with guarded.connect(source="127.202.1.7").secure() as client:
            for j in range(2):
                scram = Scram(f"user{i}{j}", "guess")
                conditions.append(failure(run_scram(client, "SCRAM-SHA-256", scram)))
    assert conditions[0] == "not-authorized"
    assert conditions[-1] == "temporary-auth-failure"


#: Attempts of one connection: each row is something to do first that is no guess, and then guesses.
EVASIONS: dict[str, list[Callable[[Attacker, str], str]]] = {
    "malformed first, then another mechanism each": [
        lambda c, _: failure(sasl_step(c, auth("SCRAM-SHA-512", b"nonsense"))),
        lambda c, guess: failure(sasl_step(c, auth("PLAIN", f"\0romeo\0{guess}1".encode()))),
        lambda c, guess: failure(run_scram(c, "SCRAM-SHA-256", Scram("romeo", f"{guess}2"))),
        lambda c, guess: failure(run_scram(c, "SCRAM-SHA-1", Scram("romeo", f"{guess}3", hash_name="sha1"))),
    ],
    "another account by another mechanism": [
        lambda c, guess: failure(sasl_step(c, auth("PLAIN", f"\0a{guess}\0password".encode()))),
        lambda c, guess: failure(run_scram(c, "SCRAM-SHA-256", Scram(f"b{guess}", "password"))),
        lambda c, guess: failure(
            run_scram(c, "SCRAM-SHA-1", Scram(f"c{guess}", "password", hash_name="sha1"))
        ),
        lambda c, guess: failure(
            run_scram(c, "SCRAM-SHA-512", Scram(f"d{guess}", "password", hash_name="sha512"))
        ),
    ],
}


@pytest.mark.parametrize("name", EVASIONS)
def test_mechanisms_do_not_hide_guesses(guarded: Target, name: str) -> None:
    """Whatever is done first, and by whatever mechanism: an address has a number of guesses, not a number of each."""
    source = f"127.20{3 + list(EVASIONS).index(name)}.1.7"
    conditions: list[str] = []
    for i in range(10):
        with guarded.connect(source=source).secure() as client:
            conditions += [attempt(client, f"guess{i}") for attempt in EVASIONS[name]]
    assert conditions.count("not-authorized") <= 20  # one password by several mechanisms may be one guess
    assert conditions[-1] == "temporary-auth-failure"


# --- V-15, V-17 -----------------------------------------

HASHES = {"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32, "SCRAM-SHA-512": 64}


def challenge(target: Target, user: str, mechanism: str) -> dict[str, str]:
    """Salt and iterations that are told for a name."""
    with target.connect().secure() as client:
        step = sasl_step(client, auth(mechanism, Scram(user, "x").first()))
        return dict(part.split("=", 1) for part in payload(step).decode().split(","))


@pytest.mark.parametrize("mechanism", HASHES)
def test_a_challenge_does_not_tell_who_exists(target: Target, mechanism: str) -> None:
    known, unknown = challenge(target, "romeo", mechanism), challenge(target, "nobody", mechanism)
    assert known["i"] == unknown["i"]
    assert len(base64.b64decode(known["s"])) == len(base64.b64decode(unknown["s"]))
    assert len(known["r"]) == len(unknown["r"])
    assert challenge(target, "nobody", mechanism)["s"] == unknown["s"], "the same each time, as a real one"
    assert challenge(target, "NoBody", mechanism)["s"] == unknown["s"], "and for each spelling of the name"
    others = {challenge(target, name, mechanism)["s"] for name in ("nobody2", "romeo", "juliet")}
    assert len(others | {unknown["s"]}) == 4


def test_a_salt_is_another_for_each_hash(target: Target) -> None:
    for user in ("romeo", "nobody"):
        assert len({challenge(target, user, mechanism)["s"] for mechanism in HASHES}) == len(HASHES)


@pytest.mark.parametrize("mechanism", [*HASHES, "PLAIN"])
def test_failures_do_not_tell_who_exists(target: Target, mechanism: str) -> None:
    answers = set()
    for user in ("romeo", "nobody"):
        with target.connect().secure() as client:
            if mechanism == "PLAIN":
                sasl_step(client, auth("PLAIN", f"\0{user}\0wrong".encode()))
            else:
                name = mechanism.removeprefix("SCRAM-").replace("-", "").lower()
                run_scram(client, mechanism, Scram(user, "wrong", hash_name=name))
            answers.add(client.received)
    assert len(answers) == 1


@pytest.mark.parametrize("kind", ["PLAIN", "SCRAM-SHA-256"])
def test_time_does_not_tell_who_exists(target: Target, kind: str) -> None:
    """Medians of interleaved attempts; what a look-up or a hash more would cost is far beyond the tolerance."""
    times: dict[str, list[float]] = {"romeo": [], "nobody": []}
    for i in range(scale(25, 1_000) * 2):
        user = ("romeo", "nobody")[(i + i // 2) % 2]  # neither is always the first of a pair
        with target.connect().secure() as client:
            data = f"\0{user}\0wrong".encode() if kind == "PLAIN" else Scram(user, "x").first()
            begin = perf_counter()
            sasl_step(client, auth(kind, data))
            times[user].append(perf_counter() - begin)
    known, unknown = statistics.median(times["romeo"]), statistics.median(times["nobody"])
    assert abs(known - unknown) < max(0.25 * max(known, unknown), 0.0015), (known, unknown)


def test_what_is_asked_of_an_account_does_not_tell_whether_it_exists(target: Target) -> None:
    payloads = [
        "<query xmlns='jabber:iq:roster'/>",
        "<ping xmlns='urn:xmpp:ping'/>",
        "<q xmlns='urn:unknown'/>",
        "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        "<vCard xmlns='vcard-temp'/>",
        "<query xmlns='http://jabber.org/protocol/disco#items'/>",
    ]
    with target.login("mallory") as client:
        for index, inner in enumerate(payloads):
            answers = set()
            for name in ("romeo", "nobody"):
                for resource in ("", "/made-up"):
                    client.restart()
                    client.send(f"<iq type='get' id='q' to='{name}@{A}{resource}'>{inner}</iq>".encode())
                    answers.add(
                        client.until(b"</iq>").replace(name.encode(), b"NAME").replace(b"/made-up", b"")
                    )
            assert len(answers) == 1, (index, answers)
            assert b"<service-unavailable" in answers.pop()


# --- V-24 -----------------------------------------


def test_tokens() -> None:
    """At least 128 bits, from the system's generator, never the same twice."""
    ids = Ids(SystemClock())
    made = {ids.token() for _ in range(scale(10_000, 100_000))}
    assert len(made) == scale(10_000, 100_000)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22,}", token) for token in made)
    for position in range(20):  # each character uniform over 64: chi-square far below what a bad one has
        counts: dict[str, int] = {}
        for token in made:
            counts[token[position]] = counts.get(token[position], 0) + 1
        expected = len(made) / 64
        assert sum((n - expected) ** 2 / expected for n in counts.values()) < 150


def test_stream_ids_and_resources_on_the_wire(target: Target) -> None:
    ids, resources = set(), set()
    for _ in range(30):
        with target.connect().secure() as client:
            ids |= {
                found.decode() for found in re.findall(rb"<stream:stream [^>]* id='([^']*)'", client.received)
            }
            client.login("mallory", PASSWORD)
            resources.add(client.jid.partition("/")[2])
    assert len(ids) == len(resources) == 30
    assert all(len(token) >= 22 for token in ids | resources)


def test_no_weak_generator_is_imported() -> None:
    """Not even where it would do: nobody has to judge each use."""
    root = Path(xmppchat.__file__).parent
    for file in root.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & {"random"}, file


# --- V-55 -----------------------------------------

CANARY = "canary-6d1f"


def test_logs_hold_no_secrets_and_no_forged_lines(target: Target) -> None:
    """At debug level, after passwords, bodies and names that want to be lines of their own."""
    forged = "\r\n2026-01-01T00:00:00Z [error] forged {event} %s \x1b[31m"
    escaped = "".join(f"&#{ord(c)};" if c in "\r\n" else c for c in forged if c != "\x1b")
    with target.connect().secure() as client:
        sasl_step(client, auth("PLAIN", f"\0romeo\0{CANARY}-password".encode()))
        sasl_step(client, auth("PLAIN", f"\0{forged}\0{CANARY}-password".encode()))
    with target.login("mallory", resource="{event} %s [error] forged") as client:
        client.send(f"<message to='juliet@a.test'><body>{CANARY}-body</body></message>".encode())
        client.send(
            f"<message to='{escaped}@a.test' id='{escaped}' type='{escaped}'><body>x</body></message>".encode()
        )
        client.send(
            f"<iq type='{escaped}' id='{escaped}'><x xmlns='urn:x'>{CANARY}-payload</x></iq>".encode()
        )
        client.send(f"<presence><status>{CANARY}-status</status></presence>".encode())
        client.barrier()
        client.send(f"<message from='{escaped}@x' to='a@b'><body>{CANARY}-body</body></message>".encode())
        client.until_closed(2)
    for data in (
        header(f"x{escaped}"),
        b"<" + b"x" * 600 + b"/>",
        header(A) + f"<x a='{CANARY}'>\x01</x>".encode(),
    ):
        with target.connect() as client:
            client.send(data).until_closed(2)
    with target.connect().secure() as client:
        client.send(bind(escaped)).until_closed(2)
    log = target.log()
    assert CANARY not in log
    assert PASSWORD not in log
    assert base64.b64encode(f"\0romeo\0{CANARY}-password".encode()).decode() not in log
    assert "\x1b[31m" not in log
    for line in log.splitlines():
        assert not line.startswith("2026-01-01T00:00:00Z"), "a forged record"
        assert len(line.encode()) <= 8_192


# --- slow readers -----------------------------------------


def _flood(sender: Attacker, data: bytes, times: int) -> None:
    for i in range(times):
        sender.send(data)
        if i % 16 == 15:
            sender.restart()
            sender.barrier(f"f{i}")


def test_a_client_that_never_reads_what_others_send(target: Target, bystander: Callable[[], float]) -> None:
    """48 MiB for one that reads nothing: memory stays bounded, the connection is cut, the sender is served on."""
    process = target.process
    with target.login("juliet", resource="slow") as slow, target.login("mallory") as mallory:
        slow.available()
        before = process.rss
        # Not for the archive: what the database's cache holds is no buffer for a client.
        body = b"<body>" + b"x" * 250_000 + b"</body><no-store xmlns='urn:xmpp:hints'/>"
        message = b"<message to='juliet@a.test/slow'>" + body + b"</message>"
        _flood(mallory, message, 200)
        assert process.rss - before < 24 * MIB
        assert bystander() < 1
        mallory.restart()
        mallory.send(ping("gone", to="juliet@a.test/slow")).until(b"id='gone'")
        assert b"<service-unavailable" in mallory.received


def test_a_client_that_never_reads_what_it_asks_for(target: Target, bystander: Callable[[], float]) -> None:
    """It is not read any more either: what waits for it is its own answers, no more than the soft limit."""
    process = target.process
    with target.login("mallory") as greedy:
        before = process.rss
        greedy.socket.setblocking(False)
        request = b"".join(ping(f"g{i}") for i in range(1_000))
        sent = 0
        try:
            for _ in range(2_000):  # 120 MB, were it taken
                sent += greedy.socket.send(request)
        except (BlockingIOError, OSError):
            pass
        delay = bystander()
        assert process.rss - before < 24 * MIB
        assert delay < 2


# --- what an error of ours must not do -----------------------------------------


def test_attempts_on_one_stream_are_few(target: Target) -> None:
    with target.connect().secure() as client:
        guess_until_closed(client, lambda _: auth("PLAIN", b"\0romeo\0wrong"))


def test_aborted_exchanges_are_bounded(target: Target) -> None:
    """Whoever begins and aborts for ever reaches the bytes that are allowed before login."""
    with target.connect().secure() as client:
        client.restart()
        for _ in range(2_000):
            client.send(auth("SCRAM-SHA-256", b"n,,n=romeo,r=x") + f"<abort xmlns='{SASL}'/>".encode())
        client.until_closed()
        assert client.condition in {"policy-violation", ""}
