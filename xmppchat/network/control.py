"""The control socket: how ``xmppchat user add`` reaches the server that is running.

A Unix socket in the data directory; one JSON line asks, one answers, then the connection ends. Who may use it
is decided by the directory (0700), the socket (0600) and the peer's uid: the server's own or root's.

Request: ``{"command": "user add", "arguments": {…}}``. Answer: ``{"result": …}`` or ``{"error": "…"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import cast

import structlog

from xmppchat.core.commands import CommandError

MAX_BYTES = 1_048_576
"""The size of a request; an answer may be as long as it takes, its reader trusts the server."""
READ_SECONDS = 10.0
MAX_CONNECTIONS = 16
_ROOT = 0
_MAX_PATH = 107  # sun_path of Linux holds 108 bytes, the last is NUL

Execute = Callable[[str, dict[str, object]], Awaitable[object]]

log = structlog.get_logger(__name__)


class ServerNotRunning(Exception):
    """Nobody listens at the socket."""


class ControlError(Exception):
    """The socket cannot be used; the text is for the operator."""


class ControlServer:
    """Runs the commands that come through the socket at `path`, with `execute`."""

    def __init__(self, path: Path, execute: Execute) -> None:
        self.path = path
        self._execute = execute
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. Raises :class:`ControlError` when another server does already, or where it may not."""
        try:
            listening = self._bind()
        except OSError as error:
            raise ControlError(f"{self.path}: cannot listen there: {error.strerror}") from error
        self._server = await asyncio.start_unix_server(self._accept, sock=listening, limit=MAX_BYTES)

    async def stop(self) -> None:
        """Stop listening, end what is under way, remove the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.path.unlink(missing_ok=True)

    def _bind(self) -> socket.socket:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._remove_stale()
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with reachable(self.path) as address:
                # The mode has to be right from the first moment, so it comes from the umask.
                mask = os.umask(0o177)
                try:
                    listening.bind(address)
                finally:
                    os.umask(mask)
            listening.setblocking(False)
            listening.listen(MAX_CONNECTIONS)
        except BaseException:
            listening.close()
            raise
        return listening

    def _remove_stale(self) -> None:
        """A killed server leaves its socket behind; one that answers is another server's."""
        try:
            mode = self.path.lstat().st_mode
        except FileNotFoundError:
            return
        if not stat.S_ISSOCK(mode):
            raise ControlError(f"{self.path}: exists and is no socket; move it away")
        if is_running(self.path):
            raise ControlError(f"{self.path}: a server is running with this data directory; stop it first")
        self.path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._tasks.add(task)
        try:
            if len(self._tasks) > MAX_CONNECTIONS:
                answer: dict[str, object] = {"error": "too many commands at once; try again"}
            elif not _is_allowed(writer.get_extra_info("socket")):
                answer = {"error": "only the server's own user and root may do this"}
            else:
                answer = await self._answer(reader)
            writer.write(json.dumps(answer, ensure_ascii=False, default=str).encode() + b"\n")
            await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass  # the client is gone, or the server stops: nobody is left to be told
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> dict[str, object]:
        try:
            async with asyncio.timeout(READ_SECONDS):
                line = await reader.readline()
        except (TimeoutError, ValueError):  # ValueError: longer than the limit
            return {"error": "the request is too long or came too slowly"}
        try:
            request = json.loads(line)
            command, arguments = request["command"], request["arguments"]
            if not isinstance(command, str) or not isinstance(arguments, dict):
                raise TypeError
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"error": 'a request is a line of JSON: {"command": "…", "arguments": {…}}'}
        try:
            return {"result": await self._execute(command, arguments)}
        except CommandError as error:
            return {"error": str(error)}
        except Exception:
            log.exception("command failed", command=command)
            return {"error": "the server failed at this command; its log says why"}


def call(path: Path, command: str, arguments: Mapping[str, object], timeout: float = 60.0) -> object:
    """Have the server at `path` run a command; blocks.

    Raises :class:`CommandError` with what the server says, :class:`ServerNotRunning` when nobody listens,
    :class:`ControlError` when the socket may not be used or the server goes away.
    """
    request = json.dumps({"command": command, "arguments": arguments}, ensure_ascii=False, default=str)
    connection = _connect(path, timeout)
    try:
        with connection, connection.makefile("rb") as answers:
            # A refusal comes before the request is read, and it is worth more than the error of sending.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request.encode() + b"\n")
            answer = json.loads(answers.readline() or b"null")
    except TimeoutError:
        raise ControlError(f"{path}: the server did not answer in {timeout:g} s") from None
    except (OSError, ValueError):
        answer = None
    if not isinstance(answer, dict):
        raise ControlError(f"{path}: the server went away without an answer; its log may say why")
    if "error" in answer:
        raise CommandError(str(answer["error"]))
    return answer.get("result")


def is_running(path: Path) -> bool:
    """Whether a server listens at `path`. Raises :class:`ControlError` when the socket may not be used."""
    try:
        _connect(path, timeout=5.0).close()
    except ServerNotRunning:
        return False
    return True


def _connect(path: Path, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        with reachable(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise ServerNotRunning(f"{path}: no server is running there") from None
    except OSError as error:
        connection.close()
        hint = "; run this as the server's own user or as root" if isinstance(error, PermissionError) else ""
        raise ControlError(f"{path}: cannot be used: {error.strerror or error}{hint}") from None
    return connection


@contextlib.contextmanager
def reachable(path: Path) -> Iterator[str]:
    """An address for the socket at `path` that fits into ``sun_path`` however long the path is.

    Linux opens sockets through ``/proc/self/fd`` too, which makes of any directory a short name.
    """
    if len(os.fsencode(path)) <= _MAX_PATH or sys.platform != "linux":
        yield str(path)
        return
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)


def _is_allowed(connection: socket.socket) -> bool:
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return True  # the modes of directory and socket stand alone
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, struct.calcsize("3i")))
    return uid in (_ROOT, os.geteuid())
