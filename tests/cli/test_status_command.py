"""`xmppchat status`, and what systemd hears while a server starts, reloads and stops."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from live_server import LiveServer, make_certificates, wait_for


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """The service manager's socket."""
    with (
        tempfile.TemporaryDirectory(prefix="xc") as folder,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening,
    ):
        listening.bind(f"{folder}/notify")
        listening.settimeout(20)
        yield listening


def test_from_start_to_stop(tmp_path: Path, manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "400000"}
    server = LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls"), environment=environment)
    heard: list[str] = []

    def hears(wanted: str) -> None:
        while True:
            heard.append(manager.recv(4096).decode().partition("\n")[0])
            if heard[-1] == wanted:
                return

    # In threads: the kernel keeps ten datagrams, so on a busy machine signs of life would fill it meanwhile.
    with server, ThreadPoolExecutor(1) as thread:
        hears("READY=1")
        assert heard == ["READY=1"]
        hears("WATCHDOG=1")
        reloaded = thread.submit(server.run, "reload")
        hears("RELOADING=1")
        hears("READY=1")
        reloaded.result()
        stopped = thread.submit(server.stop)
        hears("STOPPING=1")
        stopped.result()
        server.start()


def test_status_of_a_running_server_and_of_none(tmp_path: Path) -> None:
    with LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls")) as server:
        said = json.loads(server.run("status", "--json"))
        assert (said["hosts"], said["sessions"]) == (["chat.test"], 0)
        assert "hosts: chat.test\n" in server.run("status")
        server.stop()
        command = [server.program, "status", "--config", str(server.config_file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout) == (1, "")
        assert "no server is running there; start it by `xmppchat serve`" in done.stderr
        server.start()


def test_figures_of_a_running_server(tmp_path: Path) -> None:
    with LiveServer(tmp_path / "server", make_certificates(tmp_path / "tls")) as server:
        server.stop()
        with server.config_file.open("a") as file:
            file.write(f'[metrics]\nport = 9100\naddress = "{server.address}"\n')
        server.start()
        server.add_user("romeo", "secret")

        def figures() -> bytes:
            with socket.create_connection((server.address, 9100), timeout=10) as connection:
                connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                return b"".join(iter(lambda: connection.recv(65_536), b""))

        wait_for(lambda: b'xmppchat_accounts{host="chat.test"} 1.0\n' in figures(), 10, lambda: figures().decode())
