"""A client that says what it is told, byte for byte and all at once, and notes when each answer came."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import socket
import ssl
import time
import uuid
from collections.abc import Callable
from xml.etree import ElementTree as ET

from faults.oracle.scram import Scram
from live_server import DIRECT_TLS_PORT, ServerProcess, User
from waiting import PATIENCE

SASL_2 = "{urn:xmpp:sasl:2}"


def header(server: ServerProcess, user: User) -> str:
    """The header of a stream of `user`."""
    return (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"
        f" to='{server.domain}' from='{user.jid}' version='1.0'>"
    )


class RawClient:
    """One connection to `server`, by direct TLS with a checked certificate. `elements` are what came, with the time."""

    def __init__(self, server: ServerProcess, user: User) -> None:
        self.elements: list[tuple[float, ET.Element]] = []
        self.is_closed = False
        self._server = server
        self._user = user
        self._parser = ET.XMLPullParser(("start", "end"))
        self._depth = 0
        self._news = asyncio.Event()
        self._reading: asyncio.Task[None] | None = None
        self._output: asyncio.StreamWriter

    async def connect(self, first: str = "") -> RawClient:
        """Connect; `first` goes out as soon as there is TLS, behind the stream header."""
        context = ssl.create_default_context(cafile=str(self._server.certificates.ca))
        context.set_alpn_protocols(["xmpp-client"])
        reader, self._output = await asyncio.open_connection(
            self._server.address, DIRECT_TLS_PORT, ssl=context, server_hostname=self._server.domain
        )
        self._reading = asyncio.get_running_loop().create_task(self._read(reader))
        self.send(header(self._server, self._user) + first)
        return self

    def send(self, text: str) -> None:
        """Write `text` in one piece."""
        self._output.write(text.encode())

    async def first(self, wanted: Callable[[ET.Element], object]) -> ET.Element:
        """The first element so far that is `wanted`, waited for if need be."""
        async with asyncio.timeout(PATIENCE):
            while True:
                for _, element in self.elements:
                    if wanted(element):
                        return element
                assert not self.is_closed, [ET.tostring(element) for _, element in self.elements]
                self._news.clear()
                await self._news.wait()

    async def answer(self, name: str) -> ET.Element:
        """The first element of SASL2 with this name."""
        return await self.first(lambda element: element.tag == SASL_2 + name)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(65_536):
            self._parser.feed(data)
            for event, element in self._parser.read_events():
                assert isinstance(element, ET.Element)
                self._depth += 1 if event == "start" else -1
                if event == "end" and self._depth == 1:
                    self.elements.append((time.perf_counter(), element))
            self._news.set()
        self.is_closed = True
        self._news.set()

    async def close(self) -> None:
        """Cut the connection."""
        self._output.transport.abort()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)


class Installation:
    """What a client remembers between logins: who it is, its token, its session."""

    def __init__(self, user: User, software: str) -> None:
        self.id = str(uuid.uuid4())
        self.token = ""
        self.session = ""
        self._user = user
        self._software = software

    async def log_in(self, client: RawClient, wishes: str) -> ET.Element:
        """By SCRAM (the stream is open); returns ``<success/>``, judged."""
        scram = Scram("SCRAM-SHA-256", self._user.jid.partition("@")[0], self._user.password)
        client.send(self._authenticate("SCRAM-SHA-256", scram.first(), wishes))
        challenge = await client.answer("challenge")
        reply = base64.b64encode(scram.final(base64.b64decode(challenge.text or ""))).decode()
        client.send(f"<response xmlns='urn:xmpp:sasl:2'>{reply}</response>")
        success = await client.answer("success")
        scram.verify(base64.b64decode(success.findtext(f"{SASL_2}additional-data", "")))
        return self.remember(success)

    def by_token(self, wishes: str) -> str:
        """A login with the token (XEP-0484 §3.4)."""
        proof = hmac.digest(self.token.encode(), b"Initiator", hashlib.sha256)
        name = self._user.jid.partition("@")[0].encode()
        return self._authenticate("HT-SHA-256-NONE", name + b"\0" + proof, f"<fast xmlns='urn:xmpp:fast:0'/>{wishes}")

    def remember(self, success: ET.Element) -> ET.Element:
        """Keep token and session that `success` tells of."""
        token = success.find("{urn:xmpp:fast:0}token")
        enabled = success.find(".//{urn:xmpp:sm:3}enabled")
        self.token = token.get("token", "") if token is not None else self.token
        self.session = enabled.get("id", "") if enabled is not None else self.session
        return success

    def _authenticate(self, mechanism: str, initial: bytes, wishes: str) -> str:
        data = base64.b64encode(initial).decode()
        return (
            f"<authenticate xmlns='urn:xmpp:sasl:2' mechanism='{mechanism}'><initial-response>{data}</initial-response>"
            f"<user-agent id='{self.id}'><software>{self._software}</software><device>Phone</device></user-agent>"
            f"{wishes}</authenticate>"
        )


def in_one_flight(server: ServerProcess, text: str, cut: int | None, until: bytes) -> tuple[bytes, int]:
    """A TLS connection whose client sends the end of its handshake and `text` in one go, in two pieces at `cut`.

    Returns what it was answered up to `until`, and how many bytes that one go has.
    """
    context = ssl.create_default_context(cafile=str(server.certificates.ca))
    context.set_alpn_protocols(["xmpp-client"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname=server.domain)
    with socket.create_connection((server.address, DIRECT_TLS_PORT), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                connection.sendall(outgoing.read())
                incoming.write(connection.recv(65_536))
        tls.write(text.encode())
        flight = outgoing.read()
        for piece in (flight[:cut], flight[cut:]) if cut is not None else (flight,):
            connection.sendall(piece)
        answer = b""
        while until not in answer:
            try:
                answer += tls.read(65_536)
            except ssl.SSLWantReadError:
                data = connection.recv(65_536)
                assert data, answer
                incoming.write(data)
        return answer, len(flight)
