"""A client that sends exactly the bytes it is told, over real sockets and TLS, and shows exactly what comes back."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import select
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

#: Enough for a busy machine; a test that passes never waits so long.
PATIENCE = 20.0
STREAMS = "http://etherx.jabber.org/streams"
STARTTLS = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens and whom clients trust."""

    address: str
    ca: Path
    domain: str


def header(domain: str) -> bytes:
    """A stream header."""
    return (
        f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
        f"xmlns:stream='{STREAMS}'>"
    ).encode()


def auth(mechanism: str, data: bytes | None = None) -> bytes:
    """An <auth/>."""
    text = "" if data is None else base64.b64encode(data).decode() or "="
    return f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{text}</auth>".encode()


def response(data: bytes) -> bytes:
    """A <response/>."""
    return f"<response xmlns='{SASL}'>{base64.b64encode(data).decode()}</response>".encode()


def bind(resource: str = "") -> bytes:
    """A request for a resource; `resource` is XML already."""
    inner = f"<resource>{resource}</resource>" if resource else ""
    return f"<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'>{inner}</bind></iq>".encode()


def ping(id_: str, to: str = "") -> bytes:
    """A ping, to the server unless `to` is given."""
    address = f" to='{to}'" if to else ""
    return f"<iq type='get' id='{id_}'{address}><ping xmlns='urn:xmpp:ping'/></iq>".encode()


class Attacker:
    """One connection. :attr:`received` holds the plaintext of the stream since the last restart."""

    def __init__(self, place: Place, *, port: int = 5222, source: str = "") -> None:
        self.place = place
        self.received = b""
        self.is_closed = False
        self.jid = ""
        self.socket: socket.socket = socket.create_connection(
            (place.address, port), PATIENCE, (source, 0) if source else None
        )
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Attacker:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    # --- sending and looking -----------------------------------------

    def send(self, *pieces: bytes) -> Attacker:
        """Write each piece by itself; a server that has closed meanwhile is not an error."""
        for piece in pieces:
            try:
                self.socket.sendall(piece)
            except (ConnectionError, ssl.SSLError):
                break
        return self

    def until(self, wanted: bytes | Callable[[bytes], object], seconds: float = PATIENCE) -> bytes:
        """Read until `wanted` was received; returns all of the stream so far."""
        found = (lambda data: wanted in data) if isinstance(wanted, bytes) else wanted
        deadline = time.monotonic() + seconds
        while not found(self.received):
            assert self._read(deadline), f"closed without {wanted!r}; there was {self.received[-2_000:]!r}"
        return self.received

    def until_closed(self, seconds: float = PATIENCE) -> bytes:
        """Read until the server closes the connection; AssertionError if it does not in time."""
        deadline = time.monotonic() + seconds
        while self._read(deadline):
            pass
        return self.received

    def _read(self, deadline: float) -> bool:
        if self.is_closed:
            return False
        pending = isinstance(self.socket, ssl.SSLSocket) and self.socket.pending()
        if not pending:
            rest = deadline - time.monotonic()
            ready, _, _ = select.select([self.socket], [], [], max(0.0, rest))
            assert ready, f"nothing more in time; there was {self.received[-2_000:]!r}"
        try:
            data = self.socket.recv(65_536)
        except ssl.SSLWantReadError:
            return True
        except (ConnectionError, ssl.SSLError):
            data = b""
        self.received += data
        self.is_closed = not data
        return bool(data)

    def restart(self) -> None:
        """A new stream begins: what was received so far is done with."""
        self.received = b""

    @property
    def condition(self) -> str:
        """Condition of the stream error that was received, "" if there was none."""
        found = re.search(rb"<stream:error><([a-z-]+) ", self.received)
        return found.group(1).decode() if found else ""

    # --- ordinary steps, to get to where the attack begins -----------------------------------------

    def open(self) -> Attacker:
        """Send a stream header and await the features."""
        self.restart()
        self.send(header(self.place.domain)).until(b"</stream:features>")
        return self

    def wrap(self, *, alpn: str = "") -> Attacker:
        """Do the TLS handshake."""
        context = ssl.create_default_context(cafile=str(self.place.ca))
        if alpn:
            context.set_alpn_protocols([alpn])
        self.socket = context.wrap_socket(self.socket, server_hostname=self.place.domain)
        return self

    def secure(self) -> Attacker:
        """Header, STARTTLS, header."""
        self.open().send(STARTTLS).until(b"<proceed ")
        return self.wrap().open()

    def login(self, user: str, password: str, resource: str = "") -> Attacker:
        """From a secure stream to a bound one, by PLAIN."""
        self.restart()
        step = sasl_step(self, auth("PLAIN", f"\0{user}\0{password}".encode()))
        assert failure(step) == "", self.received
        self.open()
        self.restart()
        self.send(bind(resource)).until(b"</iq>")
        found = re.search(rb"<jid>(.*?)</jid>", self.received)
        assert found is not None, self.received
        self.jid = found.group(1).decode()
        return self

    def available(self) -> Attacker:
        """Send initial presence and await its echo."""
        self.send(b"<presence/>").until(b"<presence ")
        self.restart()
        return self

    def barrier(self, id_: str = "barrier") -> bytes:
        """Everything the server did for what was sent before, as received by now."""
        return self.send(ping(id_)).until(
            lambda data: re.search(rb"<iq [^>]*id='%s'[^>]*/>" % id_.encode(), data)
        )


class Scram:
    """A SCRAM client that can be told to lie."""

    def __init__(
        self, user: str, password: str, *, hash_name: str = "sha256", gs2: str = "n,,", binding: bytes = b""
    ) -> None:
        self._password = password.encode()
        self._hash = hash_name
        self._gs2 = gs2
        self._binding = binding
        self._bare = f"n={user},r=0123456789abcdef"

    def first(self) -> bytes:
        """client-first-message."""
        return (self._gs2 + self._bare).encode()

    def final(self, challenge: bytes) -> bytes:
        """client-final-message."""
        server = challenge.decode()
        values = dict(part.split("=", 1) for part in server.split(","))
        salted = hashlib.pbkdf2_hmac(
            self._hash, self._password, base64.b64decode(values["s"]), int(values["i"])
        )
        key = hmac.digest(salted, b"Client Key", self._hash)
        bound = base64.b64encode(self._gs2.encode() + self._binding).decode()
        without_proof = f"c={bound},r={values['r']}"
        message = f"{self._bare},{server},{without_proof}".encode()
        signature = hmac.digest(hashlib.new(self._hash, key).digest(), message, self._hash)
        proof = bytes(a ^ b for a, b in zip(key, signature, strict=True))
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()


_DONE = re.compile(rb"<(success|failure|challenge) [^>]*(?:/>|>.*?</\1>)", re.DOTALL)


def sasl_step(client: Attacker, data: bytes) -> ElementTree.Element:
    """Send one step of SASL and return the server's."""
    client.restart()
    client.send(data).until(lambda received: _DONE.search(received))
    found = _DONE.search(client.received)
    assert found is not None
    return ElementTree.fromstring(found.group())


def payload(step: ElementTree.Element) -> bytes:
    """The decoded data of a challenge or success."""
    return base64.b64decode(step.text or "")


def run_scram(client: Attacker, mechanism: str, scram: Scram) -> ElementTree.Element:
    """A whole SCRAM exchange; returns the last step: success or failure."""
    step = sasl_step(client, auth(mechanism, scram.first()))
    return sasl_step(client, response(scram.final(payload(step)))) if step.tag.endswith("challenge") else step


def failure(step: ElementTree.Element) -> str:
    """Condition of a failure, "" for success."""
    return "" if step.tag.endswith("success") else step[0].tag.rpartition("}")[2]


class Canary:
    """A port on loopback to which nobody must connect."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def __enter__(self) -> Canary:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    @property
    def was_touched(self) -> bool:
        """Whether anybody connected."""
        with contextlib.suppress(BlockingIOError):
            self._socket.accept()[0].close()
            return True
        return False
