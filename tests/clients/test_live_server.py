"""The harness itself: it must fail where a server fails."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from live_server import Certificates, LoopbackAddress, ServerProcess


@pytest.fixture
def own_server(server: ServerProcess, tmp_path: Path, certificates: Certificates) -> ServerProcess:
    """One that may be broken, of the kind under test."""
    return type(server)(tmp_path, certificates)


def test_the_log_gate(own_server: ServerProcess) -> None:
    with own_server:
        own_server.check_log()
        with own_server.stderr_file.open("a") as log:
            log.write("Traceback (most recent call last):\n")
        with pytest.raises(AssertionError, match="Traceback"):
            own_server.stop()


def test_a_server_that_ended_by_itself_is_no_stopped_server(own_server: ServerProcess) -> None:
    own_server.start()
    os.kill(own_server.pid, signal.SIGKILL)
    os.waitid(os.P_PID, own_server.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(AssertionError, match="ended before"):
        own_server.__exit__()


def test_two_servers_share_the_machine(server: ServerProcess, own_server: ServerProcess) -> None:
    with own_server:
        assert own_server.address != server.address


def test_addresses_are_taken_once() -> None:
    addresses = [LoopbackAddress() for _ in range(20)]
    assert len({address.text for address in addresses}) == 20
    for address in addresses:
        address.release()
