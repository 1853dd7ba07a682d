"""`xmppchat serve` as its user starts it, and commands through its control socket."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from live_server import LiveServer, make_certificates


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    directory = tmp_path_factory.mktemp("served")
    with LiveServer(directory / "server", make_certificates(directory / "tls")) as running:
        yield running


def test_one_line_tells_that_it_is_ready(server: LiveServer) -> None:
    expected = f"xmppchat is ready: chat.test on {server.address}, ports 5222 (STARTTLS) and 5223 (TLS)\n"
    assert server.stdout_file.read_text() == expected


def test_the_control_socket_is_private(server: LiveServer) -> None:
    path = server.directory / "data" / "control.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_commands_reach_the_running_server(server: LiveServer) -> None:
    server.run("user", "add", "romeo@chat.test", "--password-stdin", given="geheimes wort\n")
    accounts = json.loads(server.run("user", "list", "--json"))
    assert accounts == [{"account": "romeo@chat.test", "disabled": False, "password": "set", "sessions": 0}]
    assert "geheimes wort" not in server.log()


def test_check_knows_that_it_runs(server: LiveServer) -> None:
    assert "port 5222: in use, and the server is running" in server.run("check")


def test_a_second_server_is_refused_in_a_sentence(server: LiveServer) -> None:
    command = [server.program, "serve", "--config", str(server.config_file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert "in use by the process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told_in_a_sentence(server: LiveServer, tmp_path: Path) -> None:
    server.run("init", "chat.test", "--dir", str(tmp_path), "--listen", server.address)
    command = [server.program, "serve", "--config", str(tmp_path / "xmppchat.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot listen on {server.address}:5222" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_configuration_it_says_how_to_make_one(server: LiveServer, tmp_path: Path) -> None:
    done = subprocess.run([server.program, "serve"], capture_output=True, text=True, timeout=60, cwd=tmp_path)
    assert done.returncode == 1
    assert "xmppchat init DOMAIN" in done.stderr
