"""The launchers run their servers privately and leave nothing behind."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import generator
from bench.population import Population
from bench.servers import (
    ArchivingEjabberdServer,
    ArchivingProsodyServer,
    ArchivingXmppchatServer,
    EjabberdServer,
    PostgresqlXmppchatServer,
    ProsodyServer,
    Server,
    SqliteEjabberdServer,
    SqliteProsodyServer,
    XmppchatServer,
    free_host,
)
from bench.servers.xmppchat import with_limits_profile


@pytest.fixture
def open_path() -> Iterator[Path]:
    """A folder that PostgreSQL's user can get into: pytest's own are for one user only."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.foreign
@pytest.mark.parametrize("kind", [ProsodyServer, EjabberdServer])
@pytest.mark.parametrize("security", [(), ("--direct-tls",)])
def test_a_server_starts_serves_and_stops(kind: type[Server], security: tuple[str, ...], tmp_path: Path) -> None:
    if not shutil.which("prosody" if kind is ProsodyServer else "ejabberdctl"):
        pytest.skip("not installed")
    generator.build()
    server = kind(tmp_path, free_host(), domain="example.org")
    for _ in range(2):  # accounts stay, and so does the possibility to start again
        with server:
            pid = server.pid
            generator.run(server, ["register", "--n", "3"], core=None)
            port = str(server.direct_tls_port if security else server.port)
            arguments = ["idle", "--n", "3", "--settle", "0", *security]
            generator.run(server, [*arguments, "--port", port], core=None)
        assert not Path(f"/proc/{pid}").exists()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((server.host, server.port), timeout=1)


@pytest.mark.foreign
@pytest.mark.parametrize("kind", [XmppchatServer, ProsodyServer, EjabberdServer])
def test_who_is_in_the_database_can_log_in(kind: type[Server], tmp_path: Path) -> None:
    if not kind.version():
        pytest.skip("not installed")
    generator.build()
    server = kind(tmp_path, free_host(), domain="example.org")
    server.prepare()
    server.populate(Population(5, contacts=4))
    with server:
        for what in ([], ["--publish"]):
            arguments = ["presence", *what, "--first", "0", "--contacts", "4", "--seconds", "0.2"]
            figures = generator.run(server, arguments, core=None)
            assert figures["errors"] == 0
            assert figures["deliveries_per_s"]


@pytest.mark.foreign
@pytest.mark.parametrize(
    "kind",
    [
        ArchivingXmppchatServer,
        PostgresqlXmppchatServer,
        ArchivingProsodyServer,
        SqliteProsodyServer,
        ArchivingEjabberdServer,
        SqliteEjabberdServer,
    ],
)
def test_an_archive_that_is_filled_can_be_read_and_grows(kind: type[Server], open_path: Path) -> None:
    if not kind.version():
        pytest.skip("not installed")
    generator.build()
    server = kind(open_path, free_host(), domain="example.org")
    server.prepare()
    server.populate(Population(4, archived=25))
    with server:
        read = ["archive", "--n", "4", "--rows", "25", "--page", "10", "--warmup", "0", "--seconds", "0.2"]
        for ask in ("last", "with", "all"):
            figures = generator.run(server, [*read, "--ask", ask], core=None)
            assert (figures["errors"], figures["lost"], figures["repeated"]) == (0, 0, 0)
        chat = ["throughput", "--pairs", "2", "--window", "2", "--warmup", "0", "--seconds", "0.2"]
        assert generator.run(server, [*chat, "--sm", "--archived"], core=None)["errors"] == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a = 1\n", 'a = 1\n\n[limits]\nprofile = "benchmark"\n'),
        ("[limits]\nx = 1\n", '[limits]\nprofile = "benchmark"\nx = 1\n'),
        ('[limits]\nx = 1\nprofile = "default"\n\n[b]\n', '[limits]\nprofile = "benchmark"\nx = 1\n\n[b]\n'),
    ],
)
def test_the_limits_profile_is_set_in_one_place(before: str, after: str) -> None:
    assert with_limits_profile(before, "benchmark") == after
    assert with_limits_profile(after, "benchmark") == after
    assert "profile" not in with_limits_profile(after, None)
