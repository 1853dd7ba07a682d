"""A TCP proxy between a database and those who use it, which breaks in chosen ways."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Literal

#: What the protocol of PostgreSQL sends for COMMIT: a simple query.
_COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"

Cut = Literal["before", "during", "after", "stranded"]


class CuttingProxy:
    """Passes everything on to `port`, until it is told otherwise.

    `cut_at_commit`: the next COMMIT is lost on its way ("before"), or passed on and the connection cut at once
    ("during"), or when its answer comes, which is lost ("after"); or it is lost and neither end is told ("stranded").
    `is_down`: nobody is let in. `is_frozen`: nothing is passed on, as if packets got lost.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.cut_at_commit: Cut | None = None
        self.is_down = False
        self.cuts = 0
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        self._server.close()

    @property
    def is_frozen(self) -> bool:
        return not self._open.is_set()

    @is_frozen.setter
    def is_frozen(self, value: bool) -> None:
        self._open.clear() if value else self._open.set()

    def cut(self) -> None:
        """Cut all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._open.wait()
        if self.is_down:
            writer.transport.abort()
            return
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._to)
        pair = {writer, server_writer}
        self._writers |= pair
        is_last = asyncio.Event()  # the next answer is lost
        with suppress(OSError):
            ways = [self._up(reader, server_writer, is_last), self._down(server_reader, writer, is_last)]
            tasks = [asyncio.ensure_future(way) for way in ways]
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for one in pair:
            one.transport.abort()
        self._writers -= pair

    async def _up(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, is_last: asyncio.Event) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            if self.cut_at_commit is not None and _COMMIT in data:
                how, self.cut_at_commit = self.cut_at_commit, None
                self.cuts += 1
                if how == "before":
                    return
                if how == "stranded":
                    await asyncio.Event().wait()
                if how == "after":
                    is_last.set()
                to.write(data)
                await to.drain()
                if how == "during":
                    return
                continue
            to.write(data)
            await to.drain()

    async def _down(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter, is_last: asyncio.Event) -> None:
        while data := await reader.read(65_536):
            await self._open.wait()
            if is_last.is_set():
                return
            to.write(data)
            await to.drain()
