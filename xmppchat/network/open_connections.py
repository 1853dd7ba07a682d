"""Connections that are open: who is there, the end of all, and the wait until they are gone."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Generic, Protocol, TypeVar

from xmppchat.protocol.errors import StreamError


class Closable(Protocol):
    """A connection."""

    def close(self, error: StreamError | None) -> None:
        """End its stream."""


ConnectionT = TypeVar("ConnectionT", bound=Closable)


class OpenConnections(Generic[ConnectionT]):
    """Those of one kind. Each adds itself to `open` when it is connected, and calls :meth:`left` at its end."""

    def __init__(self) -> None:
        self.open: set[ConnectionT] = set()
        self._gone: asyncio.Event | None = None

    def close_all(self, error: StreamError) -> None:
        """End every stream."""
        for connection in list(self.open):
            connection.close(error)

    async def gone(self, seconds: float) -> None:
        """Return once no connection is open, after `seconds` at most."""
        if self.open:
            self._gone = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)

    def left(self, connection: ConnectionT) -> None:
        """A connection is gone."""
        self.open.discard(connection)
        if not self.open and self._gone is not None:
            self._gone.set()
