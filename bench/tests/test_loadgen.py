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


def _run(faults: Faults, *arguments: str, password: str = "bench-password") -> tuple[int, Figures]:
    with FakeServer(faults) as server:
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
