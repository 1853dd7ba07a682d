"""The control socket, with the blocking client in a thread."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from xmppchat.core.commands import CommandError
from xmppchat.network import control
from xmppchat.network.control import ControlError, ControlServer, ServerNotRunning, call


async def echo(name: str, arguments: dict[str, object]) -> object:
    if name == "refuse":
        raise CommandError("no such account; try another")
    if name == "break":
        raise RuntimeError("a bug")
    return {"name": name, **arguments}


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[ControlServer]:
    server = ControlServer(path, echo)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_a_command_and_its_result(tmp_path: Path) -> None:
    path = tmp_path / "data" / "control.sock"
    async with running(path):
        assert await asyncio.to_thread(call, path, "user add", {"jid": "é@b"}) == {"name": "user add", "jid": "é@b"}
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_what_the_command_refuses_reaches_the_caller(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with running(path):
        with pytest.raises(CommandError, match="no such account; try another"):
            await asyncio.to_thread(call, path, "refuse", {})
        with pytest.raises(CommandError, match="its log says why"):
            await asyncio.to_thread(call, path, "break", {})


async def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(ServerNotRunning):
        call(tmp_path / "control.sock", "x", {})


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    with pytest.raises(ServerNotRunning):
        call(path, "x", {})
    async with running(path):
        assert await asyncio.to_thread(call, path, "x", {}) == {"name": "x"}


async def test_a_second_server_is_refused_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with running(path):
        with pytest.raises(ControlError, match="a server is running with this data directory"):
            await ControlServer(path, echo).start()
        assert await asyncio.to_thread(call, path, "x", {}) == {"name": "x"}


async def test_a_file_in_the_way_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.write_text("mine")
    with pytest.raises(ControlError, match="is no socket"):
        await ControlServer(path, echo).start()
    assert path.read_text() == "mine"


async def test_a_path_too_long_for_the_system(tmp_path: Path) -> None:
    directory = tmp_path / ("d" * 120)
    path = directory / "control.sock"
    async with running(path):
        assert await asyncio.to_thread(call, path, "x", {}) == {"name": "x"}
    assert not path.exists()


@pytest.mark.parametrize(
    "request_line", [b"\n", b"[]\n", b"{}\n", b'{"command": 1, "arguments": {}}\n', b"[" * 5_000 + b"\n"]
)
async def test_nonsense_gets_an_answer(tmp_path: Path, request_line: bytes) -> None:
    path = tmp_path / "control.sock"
    async with running(path):
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(request_line)
        answer = json.loads(await reader.readline())
        assert "a request is a line of JSON" in answer["error"]
        writer.close()
        await writer.wait_closed()


async def test_a_request_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    async with running(path):
        with pytest.raises(CommandError, match="too long"):
            await asyncio.to_thread(call, path, "x", {"a": "b" * (2 * control.MAX_BYTES)})
        assert await asyncio.to_thread(call, path, "x", {}) == {"name": "x"}


async def test_stopping_ends_what_is_under_way(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    started = asyncio.Event()

    async def hang(name: str, arguments: dict[str, object]) -> object:
        started.set()
        await asyncio.Event().wait()
        return None

    server = ControlServer(path, hang)
    await server.start()
    pending = asyncio.create_task(asyncio.to_thread(call, path, "x", {}))
    await started.wait()
    await server.stop()
    with pytest.raises(ControlError, match="went away"):
        await pending


async def test_other_users_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "control.sock"
    async with running(path):
        monkeypatch.setattr(control.os, "geteuid", lambda: os.getuid() + 1)
        monkeypatch.setattr(control, "_ROOT", -1)
        with pytest.raises(CommandError, match="only the server's own user and root"):
            await asyncio.to_thread(call, path, "x", {})
