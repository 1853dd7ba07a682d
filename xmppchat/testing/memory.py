"""A whole server in memory: no sockets, a clock that stands still, a way to know that nothing is going on."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from xmppchat.core.config import ServerConfig
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import AccountService
from xmppchat.jid import JID
from xmppchat.network.c2s import Connection
from xmppchat.network.component_port import ComponentConnection
from xmppchat.server import Server
from xmppchat.storage.database import Database
from xmppchat.storage.postgresql import is_postgresql
from xmppchat.storage.sqlite import database_path, make_private
from xmppchat.testing.clock import FakeClock
from xmppchat.testing.runner import ADMINS
from xmppchat.testing.wire_client import WireClient

#: Rounds of the event loop without anything happening, after which it is idle.
_IDLE_ROUNDS = 5


class Peer(Protocol):
    """The other end of a connection in memory."""

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""

    def closed(self) -> None:
        """The server ended the connection."""


class MemoryTransport:
    """The server's end of a connection in memory; see :class:`xmppchat.network.wire.Wire`."""

    is_secure = True

    def __init__(self, client: Peer, address: str = "192.0.2.1") -> None:
        self.address = address
        self._client = client
        self._paused: set[str] = set()
        self._waiting: list[bytes] = []
        self._is_closed = False
        self.connection: Connection | ComponentConnection

    def write(self, data: bytes) -> None:
        """To the client, at once."""
        if not self._is_closed:
            self._client.feed(data)

    def receive(self, data: bytes) -> None:
        """From the client: handled when the event loop comes to it, as what a socket brings."""
        self._waiting.append(data)
        asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        while self._waiting and not self._paused and not self._is_closed:
            self.connection.received(self._waiting.pop(0))

    def start_tls(self, source: Any) -> None:
        """Never asked for: the connection is secure from the first byte."""
        raise AssertionError("TLS is in place already")

    def authenticated(self) -> bool:
        """A real transport changes its limits here."""
        return True

    def pause_reading(self, reason: str) -> None:
        """Keep what the client sends until reading goes on."""
        self._paused.add(reason)

    def resume_reading(self, reason: str) -> None:
        """See :meth:`pause_reading`."""
        self._paused.discard(reason)
        asyncio.get_running_loop().call_soon(self._deliver)

    def close(self, reason: str = "") -> None:
        """The server ends the connection."""
        if not self._is_closed:
            self._is_closed = True
            self._client.closed()
            asyncio.get_running_loop().call_soon(self.connection.disconnected, reason)

    def abort(self, reason: str = "") -> None:
        """The server cuts the connection."""
        self.close(reason)

    def vanish(self) -> None:
        """The client's end is cut without a word."""
        self.close("connection lost")


class MemoryClient(WireClient):
    """A client of a server in memory."""

    def __init__(self, domain: str, connection: Connection) -> None:
        super().__init__(domain)
        self.transport = MemoryTransport(self)
        self.transport.connection = connection
        connection.connected(self.transport)

    def write(self, text: str) -> None:
        """See :class:`WireClient`."""
        self.transport.receive(text.encode())

    async def close(self) -> None:
        """See :class:`WireClient`."""
        if not self.is_closed:
            self.write("</stream:stream>")
            await self.until_closed()


    async def vanish(self) -> None:
        """See :class:`WireClient`."""
        self.transport.vanish()


@functools.cache
def _migrated() -> bytes:
    """An empty database of SQLite, which takes longer to make than to copy."""

    async def make(path: Path) -> None:
        await (await Database.open(f"sqlite:///{path}")).close()

    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "xmppchat.db")
        asyncio.run(make(path))
        return path.read_bytes()


class MemoryDriver:
    """Runs transcripts against a server in this process, without sockets."""

    name = "memory"
    habits = ()

    def __init__(self, directory: Path, domain: str = "chat.example", **components: Any) -> None:
        self.domain = domain
        self.admins = iter(ADMINS)
        self.clock = FakeClock()
        config = ServerConfig.for_tests([domain], data_dir=directory, **components)
        self.server = Server(config, clock=self.clock, listen=False)

    async def start(self) -> None:
        """Start the server, on a database that is there already or was migrated elsewhere."""
        url = self.server.config.storage.full_url
        if not is_postgresql(url) and not (path := database_path(url)).exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            make_private(path)
            path.write_bytes(await asyncio.to_thread(_migrated))
        await self.server.start()
        self.server.serving()

    async def stop(self) -> None:
        """Stop it."""
        await self.server.stop()

    async def create_account(self, localpart: str, password: str) -> None:
        """Make an account."""
        await create_account(self.server.kernel, JID.parse(f"{localpart}@{self.domain}"), password)

    async def connect(self) -> WireClient:
        """A client whose stream is open."""
        client = MemoryClient(self.domain, self.server.connections.new())
        await client.open()
        return client

    async def settle(self, clients: Sequence[WireClient]) -> None:
        """Return once everything sent was handled and everything caused by it was received."""
        await settle(self.server.kernel)

    async def advance(self, seconds: float) -> None:
        """Move the clock."""
        self.clock.advance(seconds)


async def create_account(kernel: Kernel, jid: JID, password: str) -> None:
    """Make an account and wait until it is stored. Raises :class:`StanzaError`."""
    turn = kernel.new_turn()
    await kernel.services.get(AccountService).create(jid, password, turn)
    await kernel.settled(turn)


async def settle(kernel: Kernel) -> None:
    """Return once the loop is idle, the gate drained and no work of the kernel's is under way."""
    rounds = 0
    while rounds < _IDLE_ROUNDS:
        await asyncio.sleep(0)
        # What runs at intervals never ends; it is idle between two runs, which only the clock begins.
        tasks = [task for task in tuple(kernel.tasks._tasks) if not task.get_name().startswith("every ")]
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            rounds = 0
        elif kernel.gate.last > kernel.gate.settled:
            await kernel.gate.drained()
            rounds = 0
        else:
            rounds += 1
