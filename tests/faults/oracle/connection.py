"""One connection: TLS, login, elements in and out. Every way it can end is one exception, `Lost`."""

from __future__ import annotations

import asyncio
import base64
import socket
import ssl
from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from xml.parsers import expat

from . import namespaces as ns
from .scram import HASHES, Scram
from .xml import Node, StreamParser, attribute

#: How long one step of a login may take, s.
STEP_SECONDS = 30.0


class Lost(Exception):
    """The connection is gone; the text says how."""


class Refused(Exception):
    """The server said no where it should not."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server's port for direct TLS (XEP-0368)."""

    address: str
    port: int
    domain: str
    ca: str


@lru_cache(maxsize=16)
def _tls(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["xmpp-client"])
    return context


class Connection:
    """A stream to the server, from the client's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, domain: str) -> None:
        self._reader = reader
        self._writer = writer
        self._domain = domain
        self._parser = StreamParser()
        self._ready: deque[Node] = deque()
        self.features: Node | None = None

    @classmethod
    async def open(cls, endpoint: Endpoint, receive_buffer: int = 0) -> Connection:
        """Connects, as far as the first features; `receive_buffer` (bytes) makes the kernel's small."""
        try:
            async with asyncio.timeout(STEP_SECONDS):
                plain = socket.socket()
                plain.setblocking(False)
                if receive_buffer:
                    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                try:
                    await asyncio.get_running_loop().sock_connect(plain, (endpoint.address, endpoint.port))
                    reader, writer = await asyncio.open_connection(
                        sock=plain, ssl=_tls(endpoint.ca), server_hostname=endpoint.domain, limit=1 << 20
                    )
                except BaseException:
                    plain.close()
                    raise
                connection = cls(reader, writer, endpoint.domain)
                await connection._open_stream()
                return connection
        except (OSError, TimeoutError) as error:
            raise Lost(f"connect: {error!r}") from None

    async def log_in(self, user: str, password: str) -> None:
        """SCRAM; leaves the stream at the features behind it."""
        assert self.features is not None
        mechanisms = self.features.find("mechanisms", ns.SASL)
        offered = {node.text for node in mechanisms.children} if mechanisms is not None else set()
        mechanism = next((name for name in HASHES if name in offered), None)
        if mechanism is None:
            raise Refused(f"no mechanism in common: {sorted(offered)}")
        scram = Scram(mechanism, user, password)
        self.write(f"<auth xmlns='{ns.SASL}' mechanism='{mechanism}'>{_base64(scram.first())}</auth>")
        challenge = await self._step("challenge")
        self.write(f"<response xmlns='{ns.SASL}'>{_base64(scram.final(base64.b64decode(challenge.text)))}</response>")
        scram.verify(base64.b64decode((await self._step("success")).text))
        self._parser = StreamParser()
        await self._open_stream()

    def write(self, text: str) -> None:
        """Hand `text` to the kernel as soon as it takes it; never fails: a loss shows when reading."""
        if not self._writer.is_closing():
            self._writer.write(text.encode())

    async def drain(self) -> None:
        """Wait until the kernel took what was written; raises Lost."""
        try:
            await self._writer.drain()
        except OSError as error:
            raise Lost(f"write: {error!r}") from None

    async def element(self) -> Node:
        """The next top-level element; raises Lost. A stream error is an element, too."""
        while not self._ready:
            try:
                data = await self._reader.read(65536)
            except OSError as error:
                raise Lost(f"read: {error!r}") from None
            if not data:
                raise Lost("closed")
            try:
                self._ready.extend(self._parser.feed(data))
            except expat.ExpatError as error:
                raise Lost(f"not well-formed: {error}") from None
            if self._parser.has_ended and not self._ready:
                raise Lost("stream ended")
        return self._ready.popleft()

    def abort(self) -> None:
        """Gone without a word."""
        self._writer.transport.abort()

    async def close(self) -> None:
        """Says goodbye."""
        self.write("</stream:stream>")
        self._writer.close()
        try:
            async with asyncio.timeout(2):
                await self._writer.wait_closed()
        except (OSError, TimeoutError):
            self.abort()

    async def _open_stream(self) -> None:
        self.write(
            f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAM}' to={attribute(self._domain)} version='1.0'>"
        )
        self.features = await self._step("features")

    async def _step(self, expected: str) -> Node:
        try:
            async with asyncio.timeout(STEP_SECONDS):
                node = await self.element()
        except TimeoutError:
            raise Lost(f"no {expected} in time") from None
        if node.name == "error" and node.namespace == ns.STREAM:
            raise Lost(f"stream error instead of {expected}: {node!r}")
        if node.name != expected:
            raise Refused(f"{node!r} instead of {expected}")
        return node


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
