"""The generator counts what arrives, and notices every fault of a server."""

from __future__ import annotations

import json
import subprocess

import pytest

from bench import generator
from bench.generator import Figures
from bench.tests.fake_server import FakeServer, Faults


@pytest.fixture(scope="module", autouse=True)
def _built() -> None:
    generator.build()


def _run(
    faults: Faults, *arguments: str, password: str = "bench-password", rows: int = 0
) -> tuple[int, Figures]:
    with FakeServer(faults, rows=rows) as server:
        command = [
            str(generator.PROGRAM), *arguments, "--no-tls", "--port", str(server.port), "--password", password,
            "--timeout", "5",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    figures: Figures = json.loads(done.stdout)
    return done.returncode, figures


_THROUGHPUT = ("throughput", "--pairs", "2", "--window", "4", "--warmup", "0", "--seconds", "0.3")


@pytest.mark.parametrize("coalesce", [(), ("--no-coalesce",)])
def test_a_faultless_server_gives_figures_without_errors(coalesce: tuple[str, ...]) -> None:
    status, figures = _run(Faults(), *_THROUGHPUT, *coalesce)
    assert status == 0, figures
    assert isinstance(figures["msgs_per_s"], float)
    assert figures["msgs_per_s"] > 100
    assert (figures["lost"], figures["duplicates"], figures["reordered"]) == (0, 0, 0)


@pytest.mark.parametrize(
    ("faults", "counts"),
    [
        (Faults(lose=7), (2, 0, 0)),
        (Faults(repeat=7), (0, 2, 0)),
        (Faults(swap=7), (0, 0, 2)),
    ],
)
def test_lost_repeated_and_overtaken_messages_are_counted_once_a_pair(
    faults: Faults, counts: tuple[int, int, int]
) -> None:
    status, figures = _run(faults, *_THROUGHPUT)
    assert status == 1
    assert (figures["lost"], figures["duplicates"], figures["reordered"]) == counts


def test_an_altered_message_is_an_error() -> None:
    status, figures = _run(Faults(alter=7), *_THROUGHPUT)
    assert status == 1
    assert "not its" in str(figures["first_error"])


def test_latency_counts_every_message_of_the_rate() -> None:
    status, figures = _run(Faults(), "latency", "--pairs", "2", "--rate", "200", "--warmup", "0.1", "--seconds", "0.5")
    assert status == 0, figures
    assert figures["msgs_per_s"] == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("mechanism", [(), ("--plain",)])
def test_login_logs_in_and_out(mechanism: tuple[str, ...]) -> None:
    status, figures = _run(Faults(), "login", "--n", "20", "--conc", "2", "--seconds", "0.3", *mechanism)
    assert status == 0, figures
    assert isinstance(figures["logins_per_s"], float)
    assert figures["logins_per_s"] > 10


@pytest.mark.parametrize(
    ("faults", "password", "error"),
    [
        (Faults(bad_signature=True), "bench-password", "wrong server signature"),
        (Faults(bad_nonce=True), "bench-password", "nonce does not extend ours"),
        (Faults(), "another", "not-authorized"),
    ],
)
def test_a_server_that_fails_scram_is_not_trusted(faults: Faults, password: str, error: str) -> None:
    status, figures = _run(faults, "idle", "--n", "1", "--settle", "0", password=password)
    assert status == 1
    assert error in str(figures["first_error"])


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "128.0.0.1", "localhost", "::1"])
def test_only_loopback_addresses_are_accepted(host: str) -> None:
    done = subprocess.run([str(generator.PROGRAM), "idle", "--host", host], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""


_MANAGED = (*_THROUGHPUT, "--sm", "--sm-every", "3")


def test_stream_management_is_asked_for_and_checked() -> None:
    status, figures = _run(Faults(), *_MANAGED)
    assert status == 0, figures
    assert float(figures["acks"] or 0) > 10


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(acknowledged=1000), "more acknowledged than was sent"),
        (Faults(acknowledged=-1), "never acknowledged"),
        (Faults(forget_count=True), "the acknowledged count went back"),
        (Faults(refuse_management=True), "stream management refused"),
    ],
)
def test_a_server_that_counts_wrong_is_noticed(faults: Faults, error: str) -> None:
    status, figures = _run(faults, *_MANAGED)
    assert status == 1
    assert error in str(figures["first_error"])


def test_sessions_that_lost_their_connection_are_resumed() -> None:
    status, figures = _run(Faults(), "hibernate", "--n", "20", "--settle", "0")
    assert status == 0, figures
    assert figures["resumed"] == 20


def test_a_session_that_cannot_be_resumed_is_noticed() -> None:
    status, figures = _run(Faults(forget_session=True), "hibernate", "--n", "5", "--settle", "0")
    assert status == 1
    assert "not resumed" in str(figures["first_error"])


_LOGIN = ("login", "--n", "20", "--conc", "2", "--seconds", "0.3")
_WAYS: list[tuple[str, ...]] = [
    ("--sm",), ("--sasl2",), ("--fast",), ("--resume",), ("--sasl2", "--resume"), ("--fast", "--resume"),
]  # fmt: skip


@pytest.mark.parametrize("way", _WAYS)
def test_clients_log_in_by_every_way(way: tuple[str, ...]) -> None:
    status, figures = _run(Faults(), *_LOGIN, *way)
    assert status == 0, figures
    assert float(figures["logins_per_s"] or 0) > 10


@pytest.mark.parametrize("way", [("--sasl2",), ("--fast",)])
@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(offer=(b"urn:xmpp:sasl:2", b"urn:xmpp:sasl:1")), "SASL2 not offered"),
        (Faults(offer=(b"urn:xmpp:sm:3", b"urn:xmpp:sm:2")), "Bind 2 not offered"),
        (Faults(offer=(b"urn:xmpp:carbons:2", b"urn:xmpp:carbons:1")), "Bind 2 not offered"),
        (Faults(bad_signature=True), "wrong server signature"),
        (Faults(success=(b"<additional-data", b"<data")), "without the server's signature"),
        (Faults(success=(b"<success", b"<continue")), "login refused"),
        (Faults(success=(b"@localhost/bench", b"@localhost")), "success for another address"),
        (Faults(success=(b"@localhost/bench", b"0@localhost/bench")), "success for another address"),
        (Faults(success=(b"<bound", b"<found")), "success without a resource"),
        (Faults(success=(b"<enabled", b"<failed")), "success without stream management"),
    ],
)
def test_an_answer_of_sasl2_that_is_wrong_is_noticed(faults: Faults, error: str, way: tuple[str, ...]) -> None:
    status, figures = _run(faults, *_LOGIN, *way)
    assert status == 1
    assert error in str(figures["first_error"])


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(offer=(b">HT-SHA-256-NONE<", b">HT-SHA-256-ENDP<")), "tokens not offered"),
        (Faults(success=(b"<token", b"<broken")), "no token was given"),
        (Faults(success=(b"expiry=", b"end=")), "a token of no use"),
        (Faults(success=(b"token-of-", b"token-for-")), "login refused"),
        (Faults(wrong_token_proof=True), "does not prove that it knows the token"),
    ],
)
def test_a_token_that_is_no_good_is_noticed(faults: Faults, error: str) -> None:
    status, figures = _run(faults, *_LOGIN, "--fast")
    assert status == 1
    assert error in str(figures["first_error"])


@pytest.mark.parametrize("way", [("--resume",), ("--sasl2", "--resume"), ("--fast", "--resume")])
@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(forget_session=True), "not resumed"),
        (Faults(resume_another=True), "another session was resumed"),
        (Faults(lose_count=True), "the acknowledged count went back"),
    ],
)
def test_a_session_that_does_not_go_on_is_noticed(faults: Faults, error: str, way: tuple[str, ...]) -> None:
    status, figures = _run(faults, *_LOGIN, *way)
    assert status == 1
    assert error in str(figures["first_error"])


@pytest.mark.parametrize("way", ["--sasl2", "--fast"])
def test_who_goes_on_has_the_address_it_had(way: str) -> None:
    status, figures = _run(Faults(success=(b"/bench</", b"/other</"), in_resumed=True), *_LOGIN, way, "--resume")
    assert status == 1
    assert "success for another session" in str(figures["first_error"])


_ARCHIVED = (*_THROUGHPUT, "--archived")


def test_archived_messages_are_found_in_the_archive() -> None:
    status, figures = _run(Faults(), *_ARCHIVED)
    assert status == 0, figures


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(no_archive_id=5), "a message that is not archived"),
        (Faults(alter=5), "not its"),
    ],
)
def test_a_message_without_its_archive_id_is_noticed(faults: Faults, error: str) -> None:
    status, figures = _run(faults, *_ARCHIVED)
    assert status == 1
    assert error in str(figures["first_error"])


def test_the_last_message_must_be_in_the_archive() -> None:
    latency = ("latency", "--pairs", "1", "--rate", "100", "--warmup", "0", "--seconds", "0.1", "--archived")
    assert _run(Faults(), *latency)[0] == 0
    status, figures = _run(Faults(not_archived=9), *latency, "--timeout", "1")
    assert status == 1
    assert "do not find their last message" in str(figures["first_error"])


_READ = ("archive", "--n", "3", "--rows", "205", "--peers", "10", "--page", "20", "--warmup", "0", "--seconds", "0.3")


@pytest.mark.parametrize("clients", ["1", "3"])
@pytest.mark.parametrize("ask", ["last", "with", "all"])
def test_pages_of_an_archive_are_read_and_checked(ask: str, clients: str) -> None:
    status, figures = _run(Faults(), *_READ, "--ask", ask, "--clients", clients, rows=205)
    assert status == 0, figures
    assert isinstance(figures["pages_per_s"], float)
    assert isinstance(figures["rows_per_s"], float)
    assert figures["rows_per_s"] > figures["pages_per_s"] * 10
    assert (figures["lost"], figures["repeated"]) == (0, 0)


@pytest.mark.parametrize(
    ("faults", "lost", "repeated"),
    [
        (Faults(lose_row=190), True, False),
        (Faults(lose_row=204), True, False),
        (Faults(repeat_row=190), False, True),
        (Faults(swap_row=190), True, True),
    ],
)
@pytest.mark.parametrize("ask", ["last", "all"])
def test_rows_that_are_lost_repeated_or_out_of_order_are_noticed(
    faults: Faults, lost: bool, repeated: bool, ask: str
) -> None:
    status, figures = _run(faults, *_READ, "--ask", ask, rows=205)
    assert status == 1
    assert (bool(figures["lost"]), bool(figures["repeated"])) == (lost, repeated)


def test_a_lost_row_of_one_conversation_is_noticed() -> None:
    status, figures = _run(Faults(lose_row=41), *_READ, "--ask", "with", rows=205)
    assert (status, bool(figures["lost"])) == (1, True)


def test_a_page_that_begins_with_the_row_before_is_noticed() -> None:
    status, figures = _run(Faults(repeat_page=True), *_READ, "--ask", "all", rows=205)
    assert (status, bool(figures["repeated"])) == (1, True)


def test_a_last_page_that_comes_again_and_again_is_noticed() -> None:
    status, figures = _run(Faults(endless=True), *_READ, "--ask", "all", rows=200)
    assert (status, bool(figures["repeated"])) == (1, True)


@pytest.mark.parametrize(
    ("faults", "error"),
    [
        (Faults(complete_early=True), "said to be complete after row"),
        (Faults(wrong_ends=True), "ends are not its first and last row"),
        (Faults(alter_row=200), "a row that is not its"),
    ],
)
@pytest.mark.parametrize("ask", ["last", "all"])
def test_a_page_that_says_what_is_not_so_is_noticed(faults: Faults, error: str, ask: str) -> None:
    status, figures = _run(faults, *_READ, "--ask", ask, rows=205)
    assert status == 1
    assert error in str(figures["first_error"])


def test_a_row_of_another_conversation_is_noticed() -> None:
    status, figures = _run(Faults(foreign_row=101), *_READ, "--ask", "with", rows=205)
    assert status == 1
    assert "was not asked for" in str(figures["first_error"])


_AWAY = ("offline", "--messages", "60", "--page", "20", "--seconds", "0.2", "--sm")


@pytest.mark.parametrize("archived", [(), ("--archived",)])
def test_messages_to_somebody_who_is_away_come_when_it_is_back(archived: tuple[str, ...]) -> None:
    status, figures = _run(Faults(), *_AWAY, *archived)
    assert status == 0, figures
    assert float(figures["rounds"] or 0) >= 1


@pytest.mark.parametrize(
    ("faults", "lost", "repeated"),
    [(Faults(lose=7), True, False), (Faults(lose=59), True, False), (Faults(repeat=7), False, True),
     (Faults(swap=7), True, True)],
)  # fmt: skip
def test_offline_messages_that_are_lost_or_repeated_are_noticed(faults: Faults, lost: bool, repeated: bool) -> None:
    status, figures = _run(faults, *_AWAY, "--timeout", "1")
    assert status == 1
    assert (bool(figures["lost"]), bool(figures["repeated"])) == (lost, repeated)


@pytest.mark.parametrize(
    ("faults", "lost", "repeated"),
    [(Faults(lose_row=7), True, False), (Faults(not_archived=59), True, False), (Faults(repeat_row=7), False, True)],
)
def test_rows_missing_for_somebody_who_was_away_are_noticed(faults: Faults, lost: bool, repeated: bool) -> None:
    status, figures = _run(faults, *_AWAY, "--archived", "--timeout", "1")
    assert status == 1
    assert (bool(figures["lost"]), bool(figures["repeated"])) == (lost, repeated)
