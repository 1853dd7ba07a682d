"""systemd is told what goes on, and hears nothing from a loop that hangs."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from xmppchat.network.notify import Notifier


@pytest.fixture
def manager(short: Path) -> Iterator[socket.socket]:
    """The service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(short / "n"))
        listening.setblocking(False)
        yield listening


@pytest.fixture
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("n")


def heard(manager: socket.socket) -> list[str]:
    found = []
    try:
        while True:
            found.append(manager.recv(4096).decode())
    except BlockingIOError:
        return found


async def test_states(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname())
    notifier.ready()
    notifier.reloading()
    notifier.ready()
    notifier.stopping()
    ready, reloading, again, stopping = heard(manager)
    assert (ready, again, stopping) == ("READY=1", "READY=1", "STOPPING=1")
    first, _, second = reloading.partition("\n")
    assert first == "RELOADING=1"
    assert second.startswith("MONOTONIC_USEC=")
    assert second.partition("=")[2].isdigit()


async def test_the_watchdog_hears_from_the_loop(manager: socket.socket) -> None:
    notifier = Notifier(manager.getsockname(), watchdog=0.02)
    notifier.ready()
    loop = asyncio.get_running_loop()
    signs: list[str] = []
    enough = asyncio.Event()

    def read() -> None:
        signs.append(manager.recv(4096).decode())
        if signs.count("WATCHDOG=1") >= 3:
            enough.set()

    loop.add_reader(manager, read)
    await asyncio.wait_for(enough.wait(), 10)
    loop.remove_reader(manager)
    notifier.stopping()
    heard(manager)
    assert notifier._timer is None  # no sign of life after the end


def test_the_environment_is_read_and_cleared(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "30000000"}
    environment["WATCHDOG_PID"] = str(os.getpid())
    notifier = Notifier.from_environment(environment)
    assert environment == {}
    assert notifier._interval == 15.0
    notifier.reloading()
    assert heard(manager)[0].startswith("RELOADING=1")


def test_a_watchdog_of_another_process_is_not_ours() -> None:
    environment = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    assert Notifier.from_environment(environment)._interval == 0.0


def test_nobody_listens() -> None:
    Notifier.from_environment({}).reloading()
    Notifier("/nowhere/at/all").stopping()  # logged, and nothing more
