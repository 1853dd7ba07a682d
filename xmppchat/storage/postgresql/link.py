"""A connection that is made anew when it was lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import asyncpg
import structlog

from xmppchat.core.commit_gate import StorageUnavailable
from xmppchat.storage.postgresql.address import CONNECT_SECONDS, Address
from xmppchat.storage.postgresql.faults import reason

log = structlog.get_logger(__name__)

#: Pauses between attempts to connect: the first, the longest, s.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0
#: How long an orderly end of a connection may take, s.
_CLOSE_SECONDS = 5.0

#: How connecting can fail.
FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_IDENTITY = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid = $1 AND backend_start = $2"
# One that waits for more than the own disk stays as it is.
_SYNCHRONOUS = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')
"""


class Link:
    """One connection to `address`, with its `settings` always in force. For one user at a time."""

    def __init__(self, address: Address, **settings: str) -> None:
        self._address = address
        self._settings = settings
        self._connection: asyncpg.Connection | None = None
        self._lost_at: float | None = None
        #: The server's process behind the connection, or behind the last there was: (pid, start).
        self.identity: tuple[Any, ...] | None = None
        #: Set while there is no connection.
        self.lost = asyncio.Event()
        self.lost.set()

    async def open(self) -> asyncpg.Connection:
        """Connect for the first time. Raises :class:`~xmppchat.storage.faults.DatabaseError`."""
        try:
            return await self._connect()
        except FAILURES as error:
            raise self._address.refused(error) from None

    async def use(self, patience: float | None) -> asyncpg.Connection:
        """The connection; if it was lost, a new one.

        Raises :class:`StorageUnavailable` when it has been lost for longer than `patience`, in seconds; None: never.
        """
        if self._connection is not None and not self._connection.is_closed():
            return self._connection
        loop = asyncio.get_running_loop()
        if self._lost_at is None:
            self._lost_at = loop.time()
        pause = FIRST_PAUSE
        while True:
            try:
                connection = await self._connect()
            except FAILURES as error:
                if patience is not None and loop.time() + pause > self._lost_at + patience:
                    raise StorageUnavailable(f"the database cannot be reached ({reason(error)})") from None
            else:
                self._lost_at = None
                return connection
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def drop(self) -> None:
        """Cut the connection; what is under way in it fails."""
        if self._connection is not None and not self._connection.is_closed():
            self._connection.terminate()

    async def close(self) -> None:
        """End the connection."""
        if self._connection is not None and not self._connection.is_closed():
            with contextlib.suppress(Exception):  # then it has ended otherwise
                await self._connection.close(timeout=_CLOSE_SECONDS)
            self.drop()

    async def _connect(self) -> asyncpg.Connection:
        self.drop()
        connection = await self._address.connect(**self._settings)
        try:
            await make_synchronous(connection)
            if self.identity is not None:
                # The server may not have noticed yet: what it holds would be in our way.
                await connection.execute(_END, *self.identity, timeout=CONNECT_SECONDS)
            identity = await connection.fetchrow(_IDENTITY, timeout=CONNECT_SECONDS)
        except BaseException:
            connection.terminate()
            raise
        self.identity = tuple(identity or ())
        self._connection = connection
        self.lost.clear()
        connection.add_termination_listener(self._on_end)
        return connection

    def _on_end(self, connection: Any) -> None:
        if connection is self._connection:
            self.lost.set()


async def make_synchronous(connection: asyncpg.Connection) -> None:
    """Let no COMMIT of this connection return before it is on the server's disk, whatever the server is set to."""
    await connection.execute(_SYNCHRONOUS, timeout=CONNECT_SECONDS)


async def roll_back(connection: asyncpg.Connection) -> None:
    """Leave no transaction open, or no connection."""
    try:
        if connection.is_in_transaction():
            await connection.execute("ROLLBACK")
    except Exception:
        connection.terminate()  # then the server does it
