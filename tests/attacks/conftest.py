"""A live server with two hosts and a few accounts, shared by the hostile-input suite; its log is judged at the end."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attack_client import Attacker, Place
from live_server import Certificates, LiveServer, make_certificates, wait_for
from observation import Process

A, B = "a.test", "b.test"
PASSWORD = "correct horse battery staple"


class Target(LiveServer):
    """xmppchat with two hosts and the given limits profile, logging everything it ever logs."""

    def __init__(self, directory: Path, certificates: Certificates, other: Certificates, profile: str) -> None:
        super().__init__(directory, certificates, domain=A, environment={"PYTHONASYNCIODEBUG": ""})
        self._other = other
        self._profile = profile

    def prepare(self) -> None:
        """A second host, the profile, the log level."""
        super().prepare()
        with self.config_file.open("a") as file:
            file.write(
                f'\n[hosts."{B}"]\ncertificate = "{self._other.chain}"\nkey = "{self._other.key}"\n'
                f'[limits]\nprofile = "{self._profile}"\n[logging]\nlevel = "debug"\n'
            )

    def add(self, jid: str, password: str = PASSWORD) -> None:
        """Adds an account at either host."""
        self.run("user", "add", jid, "--password-stdin", "--config", str(self.config_file), given=f"{password}\n")

    @property
    def process(self) -> Process:
        """What the system says of the server."""
        return Process(self.pid)

    def connect(self, domain: str = A, *, port: int = 5222, source: str = "") -> Attacker:
        """A new connection, nothing sent yet."""
        ca = self.certificates.ca if domain == A else self._other.ca
        return Attacker(Place(self.address, ca, domain), port=port, source=source)

    def login(self, user: str, domain: str = A, *, resource: str = "", source: str = "") -> Attacker:
        """A client that is logged in."""
        return self.connect(domain, source=source).secure().login(user, PASSWORD, resource)

    def logs(self, text: str) -> None:
        """Returns once the log holds `text`."""
        wait_for(lambda: text in self.log(), 10, lambda: f"{text!r} in the log\n{self.log()[-3_000:]}")


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
    for name in ("target", "guarded"):
        if name in request.fixturenames:
            server: Target = request.getfixturevalue(name)
            assert Process(server.pid).is_alive
            server.check_log()


@pytest.fixture
def bystander(target: Target) -> Iterator[Callable[[], float]]:
    """Another client; each call is one ping of its, and returns the seconds until the answer."""
    from observation import stopwatch

    with target.login("juliet", resource="bystander") as client:

        def measure() -> float:
            client.restart()
            with stopwatch() as seconds:
                client.barrier()
            return seconds()

        yield measure


def scale(small: int, large: int) -> int:
    """How often something is repeated: `large` where XMPPCHAT_SOAK is set (minutes, not seconds)."""
    return large if os.environ.get("XMPPCHAT_SOAK") else small
