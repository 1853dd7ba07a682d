"""An external component (XEP-0114) for tests, in memory: it attaches to a server in this process, keeps what it gets.

Example::

    driver = MemoryDriver(tmp_path, external_components={"echo.chat.example": SECRET})
    echo = MemoryComponent(driver.server, "echo.chat.example")
    echo.attach(SECRET)
    await driver.settle(())
    echo.write("<message from='a@echo.chat.example' to='romeo@chat.example'><body>Hi</body></message>")
"""

from __future__ import annotations

from xmppchat.protocol.component_stream import handshake
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import CLOSED, TRUSTED, StreamHeader, XmlReader
from xmppchat.server import Server
from xmppchat.testing.memory import MemoryTransport


class MemoryComponent:
    """One connection. `inbox` has the elements received; `has_ended` once the server closed it."""

    def __init__(self, server: Server, domain: str, address: str = "127.0.0.1") -> None:
        self.domain = domain
        self.inbox: list[Element] = []
        self.has_ended = False
        self._secret = ""
        self._reader = XmlReader(TRUSTED)
        self.connection = server.component_port.new()
        self.transport = MemoryTransport(self, address)
        self.transport.connection = self.connection
        self.connection.connected(self.transport)

    def write(self, text: str) -> None:
        """Send `text` to the server."""
        self.transport.receive(text.encode())

    def open(self, content: str = NS.COMPONENT_ACCEPT) -> None:
        """Send the stream header."""
        self.write(f"<stream:stream xmlns='{content}' xmlns:stream='{NS.STREAM}' to='{self.domain}'>")

    def attach(self, secret: str) -> None:
        """Send the header, and the handshake once the server's id is here."""
        self._secret = secret
        self.open()

    def feed(self, data: bytes) -> None:
        """Bytes from the server."""
        items = self._reader.feed(data)
        while items:
            for item in items:
                if item is CLOSED:
                    self.closed()
                elif isinstance(item, Element):
                    self.inbox.append(item)
                elif isinstance(item, StreamHeader) and self._secret:
                    proof = handshake(item.attributes["id"], self._secret)
                    self.write(f"<handshake>{proof}</handshake>")
            items = self._reader.resume() if self._reader.pending else []

    def closed(self) -> None:
        """The server ended the stream or the connection."""
        self.has_ended = True

    @property
    def is_attached(self) -> bool:
        """Whether the server took the handshake, and has not ended the stream since."""
        return not self.has_ended and self.connection.link is not None

    @property
    def error(self) -> str:
        """The condition of the stream error that ended it, "" where there is none."""
        errors = [e for e in self.inbox if e.is_named("error", NS.STREAM)]
        return next(errors[-1].elements()).name if errors else ""

    def stanzas(self) -> list[Element]:
        """The stanzas received so far; the inbox is empty afterwards."""
        received, self.inbox = self.inbox, []
        return [e for e in received if e.namespace == NS.COMPONENT_ACCEPT and e.name != "handshake"]
