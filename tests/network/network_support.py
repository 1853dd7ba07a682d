"""Real sockets and real TLS clients for the tests of the network edges."""

from __future__ import annotations

import asyncio
import socket
import ssl
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path

from xmppchat.network.certificates import CertificateFiles, write_self_signed
from xmppchat.network.listener import Listener
from xmppchat.network.tls import TlsSource
from xmppchat.network.transport import Transport

DEADLINE = 20.0

Listen = Callable[..., Awaitable[Listener]]
"""The fixture `listen`: starts a listener with this factory on a free port."""


class FakeTimers:
    """A clock that only `advance` moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._waiting: list[FakeTimer] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> FakeTimer:
        timer = FakeTimer(self, self.now + delay, callback)
        self._waiting.append(timer)
        return timer

    @property
    def count(self) -> int:
        return len(self._waiting)

    def drop(self, timer: FakeTimer) -> None:
        if timer in self._waiting:
            self._waiting.remove(timer)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for timer in [x for x in self._waiting if x.due <= self.now]:
            self.drop(timer)
            timer.callback()


class FakeTimer:
    def __init__(self, timers: FakeTimers, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self.callback = callback
        self._timers = timers

    def cancel(self) -> None:
        self._timers.drop(self)


class Recorder:
    """A handler that notes what it is told; with `tls` it follows ``<starttls/>``, with `echo` it answers."""

    def __init__(self, tls: TlsSource | None = None, *, echo: bool = False) -> None:
        self.transport: Transport
        self.data = bytearray()
        self.events: list[str] = []
        self.chunks: list[bytes] = []
        self.reason: str | None = None
        self._tls = tls
        self._echo = echo
        self._changed = asyncio.Event()

    def connected(self, transport: Transport) -> None:
        self.transport = transport
        self._note("connected")

    def received(self, data: bytes) -> None:
        self.data += data
        self.chunks.append(data)
        self._note("received" if data else "ended")
        if self._tls is not None and b"<starttls/>" in self.data:
            tls, self._tls = self._tls, None
            after = bytes(self.data).partition(b"<starttls/>")[2]
            self.data.clear()
            if after:
                self.transport.close("plaintext after <starttls/>")
                return
            self.transport.write(b"<proceed/>")
            self.transport.start_tls(tls)
        elif self._echo and data:
            self.transport.write(data)

    def tls_established(self) -> None:
        self._note("tls")

    def writable(self, is_writable: bool) -> None:
        self._note(f"writable {is_writable}")

    def disconnected(self, reason: str) -> None:
        self.reason = reason
        self._note("disconnected")

    def _note(self, event: str) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition that changes only with a call to this handler."""
        async with asyncio.timeout(DEADLINE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_event(self, event: str) -> None:
        await self.until(lambda: event in self.events)


class Handlers:
    """A factory that remembers the handlers it made."""

    def __init__(self, tls: TlsSource | None = None, *, echo: bool = False) -> None:
        self.made: list[Recorder] = []
        self._tls = tls
        self._echo = echo
        self._changed = asyncio.Event()

    def __call__(self) -> Recorder:
        handler = Recorder(self._tls, echo=self._echo)
        self.made.append(handler)
        self._changed.set()
        return handler

    async def next(self, index: int = 0) -> Recorder:
        """The handler of the connection with this number, when it has connected."""
        async with asyncio.timeout(DEADLINE):
            while len(self.made) <= index:
                self._changed.clear()
                await self._changed.wait()
        await self.made[index].until_event("connected")
        return self.made[index]


def make_host(folder: Path, host: str, *names: str) -> CertificateFiles:
    files = CertificateFiles(host, folder / f"{host}.crt", folder / f"{host}.key", names)
    write_self_signed(files, overwrite=True)
    return files


def client_context(*trusted: CertificateFiles, alpn: list[str] | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for files in trusted:
        context.load_verify_locations(files.certificate)
    if not trusted:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if alpn is not None:
        context.set_alpn_protocols(alpn)
    return context


def only_version(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = version
        context.maximum_version = version
    return context


def plain_client(port: int) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), DEADLINE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def tls_client(
    connection: socket.socket, context: ssl.SSLContext, server_name: str = "one.example"
) -> ssl.SSLSocket:
    """Blocking handshake; call it in a thread."""
    return context.wrap_socket(connection, server_hostname=server_name)


def direct_client(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Direct TLS; call it in a thread."""
    return tls_client(plain_client(port), context)


def starttls_client(
    port: int, context: ssl.SSLContext, server_name: str = "one.example"
) -> ssl.SSLSocket:
    """Blocking STARTTLS dialogue in short; call it in a thread."""
    connection = plain_client(port)
    connection.sendall(b"<starttls/>")
    assert read_exactly(connection, len(b"<proceed/>")) == b"<proceed/>"
    return tls_client(connection, context, server_name)


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = connection.recv(min(65536, size - len(data)))
        if not part:
            break
        data += part
    return bytes(data)


def read_to_end(connection: socket.socket) -> bytes:
    data = bytearray()
    while part := connection.recv(65536):
        data += part
    return bytes(data)


class MemoryClient:
    """A TLS client without a socket, to be joined to a `TlsLayer`."""

    def __init__(self, context: ssl.SSLContext, server_name: str | None = "one.example") -> None:
        if server_name is None:
            context.check_hostname = False
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.object = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_name)

    def shake(self) -> bytes:
        """One step of the handshake; what it wants to send."""
        try:
            self.object.do_handshake()
        except ssl.SSLWantReadError:
            pass
        return self.outgoing.read()

    def send(self, data: bytes) -> bytes:
        view = memoryview(data)
        for start in range(0, len(data), 16384):
            self.object.write(view[start : start + 16384])
        return self.outgoing.read()

    def receive(self, data: bytes) -> bytes:
        self.incoming.write(data)
        plaintext = bytearray()
        while self.incoming.pending:
            try:
                part = self.object.read(65536)
            except ssl.SSLWantReadError:
                break
            if not part:
                break
            plaintext += part
        return bytes(plaintext)
