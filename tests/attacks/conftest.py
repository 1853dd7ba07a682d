"""A live server with two hosts and a few accounts, shared by the hostile-input suite; its log is judged at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from attack_target import A, B, Target, edit
from live_server import Certificates, make_certificates
from observation import Process, stopwatch
from peers.postgresql import Postgresql


@pytest.fixture(scope="session")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Certificates, Certificates]:
    """Certificates of both hosts."""
    return (
        make_certificates(tmp_path_factory.mktemp("a"), A),
        make_certificates(tmp_path_factory.mktemp("b"), B),
    )


@pytest.fixture(scope="session")
def target(
    tmp_path_factory: pytest.TempPathFactory, hosts: tuple[Certificates, Certificates]
) -> Iterator[Target]:
    """The server most tests attack: no rates, so that only the limits on XML are in the way."""
    with Target(tmp_path_factory.mktemp("target"), *hosts, "test") as server:
        for user in ("romeo", "juliet", "mallory"):
            server.add(f"{user}@{A}")
        server.add(f"romeo@{B}", "another password")
        server.add(f"benvolio@{B}")
        yield server


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def stored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, hosts: tuple[Certificates, Certificates]
) -> Iterator[Target]:
    """A server for each kind of database, on which an invitation makes an account."""
    url = ""
    if request.param == "postgresql":
        server: Postgresql = request.getfixturevalue("postgresql")
        url = server.url(server.new_database(), port=server.port)
    with Target(tmp_path_factory.mktemp(request.param), *hosts, "test", url) as made:
        edit(made.config_file, 'mode = "closed"', 'mode = "invite"')
        made.restart()
        for user in ("romeo", "juliet"):
            made.add(f"{user}@{A}")
        yield made


@pytest.fixture(scope="session")
def guarded(
    tmp_path_factory: pytest.TempPathFactory, hosts: tuple[Certificates, Certificates]
) -> Iterator[Target]:
    """A server with the default limits."""
    with Target(tmp_path_factory.mktemp("guarded"), *hosts, "default") as server:
        server.add(f"romeo@{A}")
        yield server


@pytest.fixture(autouse=True)
def _clean_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """Whatever a test does, the server lives on and its log holds no exception that nobody meant."""
    yield
    for name in ("target", "guarded", "stored"):
        if name in request.fixturenames:
            server: Target = request.getfixturevalue(name)
            assert Process(server.pid).is_alive
            server.check_log()


@pytest.fixture
def bystander(target: Target) -> Iterator[Callable[[], float]]:
    """Another client; each call is one ping of its, and returns the seconds until the answer."""
    with target.login("juliet", resource="bystander") as client:

        def measure() -> float:
            client.restart()
            with stopwatch() as seconds:
                client.barrier()
            return seconds()

        yield measure
