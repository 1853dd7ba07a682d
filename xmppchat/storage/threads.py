"""Threads that own database connections: the event loop hands in calls and is told of their ends, and never waits.

One hop (to a thread and back) costs about 16 µs of CPU; a driver that hops for every statement, as aiosqlite does,
pays that several times for the smallest transaction. Figures: docs/adr/0005-commit-gate.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread, current_thread
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog
from sqlalchemy import Connection

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

#: Told on the event loop how a call ended: (result, None) or (None, error).
Done = Callable[[Any, BaseException | None], None]


class ConnectionThreads:
    """`count` threads, each with a connection of its own made by `connect`. Calls go to whichever thread is free.

    To be made, used and closed on one running event loop.
    """

    def __init__(self, connect: Callable[[], Connection], *, name: str, count: int = 1) -> None:
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._work: SimpleQueue[tuple[Callable[..., Any], tuple[Any, ...], Done] | None] = SimpleQueue()
        self._started = [self._loop.create_future() for _ in range(count)]
        self._ended = [self._loop.create_future() for _ in range(count)]
        # Daemons: a process that ends without close() does not hang; what was not committed was told to nobody.
        self._threads = [
            Thread(target=self._run, args=(started, ended), name=f"{name}-{number}", daemon=True)
            for number, (started, ended) in enumerate(zip(self._started, self._ended, strict=True))
        ]

    async def start(self) -> None:
        """Start the threads and open their connections. Raises what `connect` raises."""
        for thread in self._threads:
            thread.start()
        errors = [error for error in await asyncio.gather(*self._started, return_exceptions=True) if error]
        if errors:
            await self.close()
            raise errors[0]

    def post(self, function: Callable[..., Any], arguments: tuple[Any, ...], done: Done) -> None:
        """Run ``function(connection, *arguments)`` on a thread, then ``done(result, error)`` on the loop."""
        self._work.put((function, arguments, done))

    def call(
        self, function: Callable[Concatenate[Connection, P], T], *arguments: P.args, **_: P.kwargs
    ) -> asyncio.Future[T]:
        """Run ``function(connection, *arguments)`` on a thread; the future has what it returns or raises."""
        future: asyncio.Future[T] = self._loop.create_future()
        self._work.put((function, arguments, partial(_resolve, future)))
        return future

    async def close(self) -> None:
        """Finish what was handed in, close the connections, end the threads."""
        running = [(thread, ended) for thread, ended in zip(self._threads, self._ended, strict=True) if thread.ident]
        for _ in running:
            self._work.put(None)
        for thread, ended in running:
            await ended
            thread.join()

    def _run(self, started: asyncio.Future[None], ended: asyncio.Future[None]) -> None:
        try:
            connection = self._connect()
        except BaseException as error:
            self._tell(partial(_resolve, started), None, error)
        else:
            self._tell(partial(_resolve, started), None, None)
            try:
                while (work := self._work.get()) is not None and self._perform(connection, *work):
                    work = None  # an idle thread keeps no results alive
                connection.close()
            except Exception:
                log.exception("a database connection could not be closed", thread=current_thread().name)
        self._tell(partial(_resolve, ended), None, None)

    def _perform(
        self, connection: Connection, function: Callable[..., Any], arguments: tuple[Any, ...], done: Done
    ) -> bool:
        try:
            result = function(connection, *arguments)
        except BaseException as error:
            return self._tell(done, None, error)
        return self._tell(done, result, None)

    def _tell(self, done: Done, result: Any, error: BaseException | None) -> bool:
        try:
            self._loop.call_soon_threadsafe(done, result, error)
        except RuntimeError:
            if self._loop.is_closed():  # nobody is left to be told
                return False
            raise
        return True


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():  # its waiter was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
