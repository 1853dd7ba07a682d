"""A TCP proxy that misbehaves on command: stands still, resets, delays, cuts what passes into small pieces."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
from typing import Self

#: Once a proxy stands still, each connection keeps so much of what it has read, bytes.
_PIECE = 16 * 1024


class FaultProxy:
    """Forwards a port of 127.0.0.1 to `target`. The faults hold for all connections until `heal`."""

    def __init__(self, target: tuple[str, int], seed: int) -> None:
        self.port = 0
        self.delay = 0.0
        self.is_splitting = False
        self._target = target
        self._random = random.Random(seed)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.reset()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def stall(self) -> None:
        """Forward nothing more, in either direction, and keep all sockets open: a half-open connection."""
        self._flowing.clear()

    def reset(self) -> None:
        """Break all connections with a RST on both sides."""
        for writer in list(self._writers):
            plain = writer.get_extra_info("socket")
            if plain is not None and plain.fileno() >= 0:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def heal(self) -> None:
        """Forward as if nothing had been; what was held back passes."""
        self.delay = 0.0
        self.is_splitting = False
        self._flowing.set()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        other: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            far, other = await asyncio.open_connection(*self._target)
            self._writers.add(other)
            pipes = [asyncio.ensure_future(self._pipe(reader, other)), asyncio.ensure_future(self._pipe(far, writer))]
            await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
            for pipe in pipes:
                pipe.cancel()
            await asyncio.gather(*pipes, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass  # nobody is there, or we are to stop: the client sees its connection end
        finally:
            for end in (writer, other):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(_PIECE):
                if self.delay:
                    await asyncio.sleep(self.delay)
                await self._flowing.wait()
                for piece in self._pieces(data):
                    writer.write(piece)
                    await writer.drain()
                    if self.is_splitting:
                        await asyncio.sleep(0)
        except OSError:
            pass  # one end is gone; the caller closes the other

    def _pieces(self, data: bytes) -> list[bytes]:
        if not self.is_splitting:
            return [data]
        cuts = sorted(self._random.sample(range(1, len(data)), min(8, len(data) - 1))) if len(data) > 1 else []
        return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
