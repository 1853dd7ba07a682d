"""A listening socket that decides before anything is built for a connection, and outlives "too many files".

The accept loop is our own: a refused peer costs two system calls and no transport, and when file descriptors
run out, accepting rests for a moment (asyncio would log a traceback per client, uvloop drop those that wait).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Literal

import structlog

from xmppchat.network.admission import Admission, Place, plain_address
from xmppchat.network.handler import Handler
from xmppchat.network.slow_peers import SlowPeers
from xmppchat.network.tls import TlsSource
from xmppchat.network.transport import Timers, Transport

KEEPALIVE_SECONDS = 180
"""Silence after which the kernel asks a peer whether it is there; thrice without an answer, and it is gone."""
REST_SECONDS = 1.0
ACCEPTS_PER_TURN = 64

log = structlog.get_logger(__name__)


class Listener:
    """Accepts connections on one address and port; each gets a handler from `factory`.

    `mode` "direct" starts TLS from `contexts` at once, "starttls" leaves that to the handler. `port` 0 takes
    a free one (see `port` after `start`). Address ``::`` takes IPv4 as well where the system can.
    """

    def __init__(
        self,
        address: str,
        port: int,
        *,
        mode: Literal["starttls", "direct"] = "starttls",
        factory: Callable[[], Handler],
        contexts: TlsSource | None = None,
        admission: Admission | None = None,
        slow_peers: SlowPeers | None = None,
        timers: Timers | None = None,
        backlog: int = 1024,
        reuse_port: bool = False,
    ) -> None:
        if mode == "direct" and contexts is None:
            raise ValueError("a listener for direct TLS needs its contexts")
        self.address = address
        self.mode = mode
        self.admission = admission or Admission()
        self.rests = 0
        """How often accepting had to rest because file descriptors or memory ran out."""
        self._slow_peers = slow_peers
        self._port = port
        self._factory = factory
        self._contexts = contexts if mode == "direct" else None
        self._timers = timers
        self._backlog = backlog
        self._reuse_port = reuse_port
        self._socket: socket.socket | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._adopting: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """The bound port; the configured one before `start`."""
        return self._port

    @property
    def is_listening(self) -> bool:
        """Between `start` and `stop`."""
        return self._socket is not None

    async def start(self) -> None:
        """Bind and accept on the running loop. Raises `OSError`, with address and port in its text."""
        if self._socket is not None:
            raise RuntimeError("the listener runs already")
        self._socket = self._bind()
        self._port = self._socket.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._socket, self._accept)

    async def stop(self) -> None:
        """Accept nothing more and free the port; connections that stand go on."""
        listening, self._socket = self._socket, None
        if listening is None:
            return
        if self._rest is not None:
            self._rest.cancel()
            self._rest = None
        else:
            asyncio.get_running_loop().remove_reader(listening)
        listening.close()
        if self._adopting:
            await asyncio.wait(self._adopting)

    def _bind(self) -> socket.socket:
        is_v6 = ":" in self.address
        family = socket.AF_INET6 if is_v6 else socket.AF_INET
        try:
            listening = socket.create_server(
                (self.address, self._port),
                family=family,
                backlog=self._backlog,
                reuse_port=self._reuse_port,
                dualstack_ipv6=self.address == "::" and socket.has_dualstack_ipv6(),
            )
        except OSError as error:
            where = f"[{self.address}]:{self._port}" if is_v6 else f"{self.address}:{self._port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        listening.setblocking(False)
        _set_options(listening)
        return listening

    def _accept(self) -> None:
        """Take what waits in the backlog, but leave the loop to the others after a while."""
        for _ in range(ACCEPTS_PER_TURN):
            if self._socket is None:
                return
            try:
                connection, peer = self._socket.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue  # this one gave up while it waited
            except OSError as error:  # out of descriptors or memory; whatever it is, never spin on it
                self._take_rest(error)
                return
            self._receive(connection, plain_address(peer))

    def _receive(self, connection: socket.socket, address: str) -> None:
        place = self.admission.enter(address)
        if place is None:
            connection.close()
            return
        connection.setblocking(False)
        task = asyncio.get_running_loop().create_task(self._adopt(connection, address, place))
        self._adopting.add(task)
        task.add_done_callback(self._adopting.discard)

    async def _adopt(self, connection: socket.socket, address: str, place: Place) -> None:
        try:
            handler = self._factory()
            transport = Transport(
                handler, address, tls=self._contexts, place=place, slow_peers=self._slow_peers, timers=self._timers
            )
            await asyncio.get_running_loop().connect_accepted_socket(lambda: transport, connection)
        except BaseException as error:
            place.leave()
            connection.close()
            if not isinstance(error, OSError):  # that is a peer which is gone already
                raise

    def _take_rest(self, error: OSError) -> None:
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._socket)
        self._rest = loop.call_later(REST_SECONDS, self._wake)
        self.rests += 1
        log.warning("accepting rests", port=self._port, seconds=REST_SECONDS, error=error.strerror)

    def _wake(self) -> None:
        self._rest = None
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._accept)


def _set_options(listening: socket.socket) -> None:
    """What accepted sockets inherit (tcp(7)): six system calls at the start, and not for each connection.

    The kernel finds out who vanished without a word: no timer of ours for each idle connection.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS // 6)
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
