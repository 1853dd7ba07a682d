"""A small client that speaks raw XMPP: it negotiates a stream, then sends texts and keeps what it receives.

It checks no certificate and knows no stanza; :class:`WireClient` says what a client does, a subclass how
bytes come and go.
"""

from __future__ import annotations

import abc
import asyncio
import base64
import contextlib
import ssl
from collections.abc import Callable

from xmppchat.protocol.element import Element, escape_text
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import CLOSED, TRUSTED, StreamHeader, XmlReader

#: How long an answer may take on a real connection, s.
PATIENCE = 20.0


class ClientFailure(Exception):
    """The server did not do what it must for this client to go on; the text says what it did."""


class WireClient(abc.ABC):
    """One connection of a client. `inbox` are the elements that were received and not yet looked at."""

    def __init__(self, domain: str) -> None:
        self.domain = domain
        self.jid = ""
        self.lang = ""
        self.inbox: list[Element] = []
        self.features = Element("features", NS.STREAM)  # of its stream
        self.is_closed = False
        self.is_inactive = False  # it said so (XEP-0352), and sends nothing of itself
        self.handled = 0  # stanzas since its stream is managed (XEP-0198)
        self.answers_requests = False  # it acknowledges what it got whenever it is asked
        self._reader = XmlReader(TRUSTED)
        self._news = asyncio.Event()
        self._barriers = 0

    # --- bytes ---------------------------------------------------------------------------

    @abc.abstractmethod
    def write(self, text: str) -> None:
        """Send `text` to the server."""

    @abc.abstractmethod
    async def close(self) -> None:
        """End the stream in order, and wait until the server has done so too."""

    @abc.abstractmethod
    async def vanish(self) -> None:
        """Cut the connection without a word."""

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        items = self._reader.feed(data)
        while items:
            for item in items:
                if item is CLOSED:
                    self.closed()
                elif isinstance(item, Element):
                    self._received(item)
                elif isinstance(item, StreamHeader) and "error" in item.name:
                    raise ClientFailure(f"the server opened its stream with <{item.name}/>")
            items = self._reader.resume() if self._reader.pending else []
        self._news.set()

    def _received(self, element: Element) -> None:
        if element.namespace == NS.CLIENT:
            self.handled += 1
        elif element.is_named("enabled", NS.STREAM_MANAGEMENT):
            self.handled = 0
        elif element.is_named("success", NS.SASL_2):
            self._logged_in(element.child_text("authorization-identifier") or "")
        elif self.answers_requests and element.is_named("r", NS.STREAM_MANAGEMENT):
            self.write(f"<a xmlns='{NS.STREAM_MANAGEMENT}' h='{self.handled}'/>")
            return
        self.inbox.append(element)

    def _logged_in(self, identity: str) -> None:
        """By SASL2; `identity` is a full JID if a resource is bound or a session goes on (XEP-0388 §2.6.1)."""
        self.handled = 0
        self.answers_requests = True
        if "/" in identity:
            self.jid = identity
            self._reader.one_at_a_time = False

    def closed(self) -> None:
        """The server ended the stream or the connection."""
        self.is_closed = True
        self._news.set()

    # --- waiting -------------------------------------------------------------------------

    async def take(self, wanted: Callable[[Element], bool]) -> Element:
        """The first element that is `wanted`, taken out of the inbox."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for index, element in enumerate(self.inbox):
                    if wanted(element):
                        return self.inbox.pop(index)
                if self.is_closed:
                    raise ClientFailure(f"the stream was closed; before: {[e.to_xml() for e in self.inbox]}")
                self._news.clear()
                await self._news.wait()

    async def until_received(self, count: int) -> None:
        """Return once there are `count` elements in the inbox, or the stream has ended."""
        async with asyncio.timeout(PATIENCE):
            while len(self.inbox) < count and not self.is_closed:
                self._news.clear()
                await self._news.wait()

    async def until_closed(self) -> None:
        """Return once the stream has ended."""
        async with asyncio.timeout(PATIENCE):
            while not self.is_closed:
                self._news.clear()
                await self._news.wait()

    async def barrier(self) -> None:
        """Return once the server has read all that was sent, and its answer to the last of it is here."""
        if self.is_closed or not self.jid:
            return
        self._barriers += 1
        name = f"barrier-{self._barriers}"
        self.write(f"<iq type='get' id='{name}' to='{self.domain}'><ping xmlns='{NS.PING}'/></iq>")
        with contextlib.suppress(ClientFailure):  # a stream that ends is an answer too
            await self.take(lambda element: element.get("id") == name)

    # --- negotiation (RFC 6120 §4 to §7) -------------------------------------------------

    async def open(self) -> Element:
        """Open the stream (again); the server's features."""
        self._reader.reset()
        lang = f" xml:lang='{self.lang}'" if self.lang else ""
        self.write(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0'{lang} xmlns='{NS.CLIENT}' "
            f"xmlns:stream='{NS.STREAM}'>"
        )
        self.features = await self.take(lambda element: element.is_named("features", NS.STREAM))
        return self.features

    async def log_in(self, username: str, password: str, resource: str) -> None:
        """SASL PLAIN, then bind `resource`. The stream is open, and secure."""
        await self.authenticate(username, password)
        await self.bind(resource)

    async def authenticate(self, username: str, password: str) -> Element:
        """SASL PLAIN; the features of the stream that is opened then."""
        initial = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
        self.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
        answer = await self.take(lambda element: element.namespace == NS.SASL)
        if answer.name != "success":
            raise ClientFailure(f"login of {username} failed: {answer.to_xml()}")
        features = await self.open()
        self._reader.one_at_a_time = False
        return features

    async def bind(self, resource: str) -> None:
        """Bind `resource`."""
        bind = f"<bind xmlns='{NS.BIND}'><resource>{escape_text(resource)}</resource></bind>"
        answer = await self.request("set", bind)
        bound = answer.find("bind", NS.BIND)
        self.jid = (bound.child_text("jid") or "") if bound is not None else ""
        if not self.jid:
            raise ClientFailure(f"no resource was bound: {answer.to_xml()}")

    async def register(self, username: str, password: str) -> None:
        """Make an account on an open server (XEP-0077 §3.1)."""
        answer = await self.request("set", (
            f"<query xmlns='{NS.REGISTER}'><username>{escape_text(username)}</username>"
            f"<password>{escape_text(password)}</password></query>"
        ))  # fmt: skip
        if answer.get("type") != "result":
            raise ClientFailure(f"{username} could not be registered: {answer.to_xml()}")

    async def request(self, kind: str, payload: str) -> Element:
        """Send an IQ without an address; its answer."""
        self._barriers += 1
        name = f"request-{self._barriers}"
        self.write(f"<iq type='{kind}' id='{name}'>{payload}</iq>")
        return await self.take(lambda element: element.get("id") == name)


class TcpClient(WireClient):
    """A client on TCP with STARTTLS. Make it with :meth:`connect`."""

    def __init__(self, domain: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__(domain)
        self._input = reader
        self._output = writer
        self._reading: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, address: str, port: int, domain: str, *, is_direct: bool = False) -> TcpClient:
        """Connect, make it secure by STARTTLS or, `is_direct`, from the first byte (XEP-0368); open the stream."""
        if is_direct:
            secure = _any_certificate()
            secure.set_alpn_protocols(["xmpp-client"])
            streams = await asyncio.open_connection(address, port, ssl=secure, server_hostname=domain)
        else:
            streams = await asyncio.open_connection(address, port)
        client = cls(domain, *streams)
        client._start_reading()
        if is_direct:
            await client.open()
            return client
        await client.open()
        client.write(f"<starttls xmlns='{NS.TLS}'/>")
        await client.take(lambda element: element.is_named("proceed", NS.TLS))
        await client._secure()
        await client.open()
        return client

    async def _secure(self) -> None:
        await self._stop_reading()
        await self._output.start_tls(_any_certificate(), server_hostname=self.domain)
        self._start_reading()

    def _start_reading(self) -> None:
        self._reading = asyncio.get_running_loop().create_task(self._read(), name="client reads")

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await self._input.read(65_536):
                self.feed(data)
        self.closed()

    def write(self, text: str) -> None:
        """See :class:`WireClient`."""
        if not self._output.is_closing():
            self._output.write(text.encode())

    async def close(self) -> None:
        """See :class:`WireClient`."""
        if not self.is_closed:
            self.write("</stream:stream>")
            await self.until_closed()
        await self._stop_reading()
        self._output.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError):
            await self._output.wait_closed()

    async def vanish(self) -> None:
        """See :class:`WireClient`."""
        self._output.transport.abort()
        await self._stop_reading()
        self.closed()

    async def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


def _any_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loads no authorities: that takes 17 ms, and none is asked
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
