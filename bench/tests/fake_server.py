"""The least an XMPP server can do, and the faults the load generator has to notice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
import socketserver
import threading
from dataclasses import dataclass
from typing import ClassVar

_SALT = b"0123456789abcdef"
_STREAM = re.compile(rb"<stream:stream[^>]*>")
_ELEMENT = re.compile(rb"<(\w+)(?:[^>]*/>|[^>]*>.*?</\1>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Faults:
    """What the server does wrong; numbers are those of the generator's messages."""

    lose: int | None = None
    repeat: int | None = None
    swap: int | None = None
    """This message is delivered after the next one."""
    alter: int | None = None
    bad_signature: bool = False
    bad_nonce: bool = False


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class FakeServer:
    """Serves one domain on a free port of 127.0.0.1 without TLS, with SCRAM-SHA-1 and PLAIN."""

    def __init__(self, faults: Faults, password: str = "bench-password") -> None:
        self.faults = faults
        self.password = password
        self.clients: dict[bytes, _Client] = {}
        self.lock = threading.Lock()
        owner = self

        class Handler(_Client):
            """Bound to this server."""

            server_state = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> FakeServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Client(socketserver.BaseRequestHandler):
    """One connection; `bytes` from the socket are cut by regular expressions, which the generator's allow."""

    server_state: ClassVar[FakeServer]

    def setup(self) -> None:
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.user = b""
        self.authenticated = False
        self.held: bytes | None = None
        self.auth_message = b""

    def handle(self) -> None:
        waiting = b""
        while data := self.request.recv(65536):
            waiting += data
            while found := _STREAM.search(waiting) or _ELEMENT.search(waiting):
                if found.re is _STREAM:
                    self._open_stream()
                else:
                    self._element(found[1], found[0])
                waiting = waiting[found.end() :]
            if b"</stream:stream>" in waiting:
                self._send(b"</stream:stream>")
                return

    def _send(self, data: bytes) -> None:
        self.request.sendall(data)

    def _open_stream(self) -> None:
        offered = (
            b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
            if self.authenticated
            else b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>"
            b"<mechanism>PLAIN</mechanism></mechanisms>"
        )
        self._send(
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            b"xmlns:stream='http://etherx.jabber.org/streams' id='a>b' version='1.0'>"
            b"<stream:features>" + offered + b"</stream:features>"
        )

    def _element(self, name: bytes, element: bytes) -> None:
        if name == b"auth":
            self._auth(element)
        elif name == b"response":
            self._response(element)
        elif name == b"iq":
            self._iq(element)
        elif name == b"presence":
            self._send(b"<presence from='" + self._jid() + b"'/>")
        elif name == b"message":
            self._message(element)

    def _jid(self) -> bytes:
        return self.user + b"@localhost/bench"

    def _auth(self, element: bytes) -> None:
        message = base64.b64decode(_text(element))
        if b"mechanism='PLAIN'" in element:
            self.user = message.split(b"\0")[1]
            self.authenticated = True
            self._send(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            return
        bare = message.removeprefix(b"n,,")
        self.user = bare.split(b",")[0].removeprefix(b"n=")
        nonce = bare.split(b"r=")[1]
        if self.server_state.faults.bad_nonce:
            nonce = nonce[::-1]
        first = b"r=" + nonce + b"SERVER,s=" + base64.b64encode(_SALT) + b",i=64"
        self.auth_message = bare + b"," + first + b","
        self._send(b"<challenge>" + base64.b64encode(first) + b"</challenge>")

    def _response(self, element: bytes) -> None:
        without_proof, _, proof = base64.b64decode(_text(element)).rpartition(b",p=")
        message = self.auth_message + without_proof
        salted = hashlib.pbkdf2_hmac("sha1", self.server_state.password.encode(), _SALT, 64)
        client_key = hmac.digest(salted, b"Client Key", "sha1")
        stored_key = hashlib.sha1(client_key).digest()
        signature = hmac.digest(stored_key, message, "sha1")
        if bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature, strict=True)) != client_key:
            self._send(b"<failure><not-authorized/></failure>")
            return
        answer = hmac.digest(hmac.digest(salted, b"Server Key", "sha1"), message, "sha1")
        if self.server_state.faults.bad_signature:
            answer = answer[::-1]
        self.authenticated = True
        self._send(b"<success>" + base64.b64encode(b"v=" + base64.b64encode(answer)) + b"</success>")

    def _iq(self, element: bytes) -> None:
        identifier = _attribute(element, b"id")
        payload = b""
        if identifier == b"bind":
            payload = b"<bind><jid>" + self._jid() + b"</jid></bind>"
            with self.server_state.lock:
                self.server_state.clients[self.user + b"@localhost"] = self
        self._send(b"<iq type='result' id='" + identifier + b"'>" + payload + b"</iq>")

    def _message(self, element: bytes) -> None:
        faults = self.server_state.faults
        number = int(_attribute(element, b"id").split(b"-")[1])
        to = self.server_state.clients[_attribute(element, b"to")]
        stanza = element.replace(b"<message ", b"<message from='" + self._jid() + b"' ", 1)
        if number == faults.alter:
            stanza = stanza.replace(b"quick", b"quiet")
        if number == faults.swap:
            self.held = stanza
            return
        if number != faults.lose:
            to._send(stanza * (2 if number == faults.repeat else 1))
        if self.held is not None:
            to._send(self.held)
            self.held = None


def _text(element: bytes) -> bytes:
    return element.partition(b">")[2].partition(b"<")[0]


def _attribute(element: bytes, name: bytes) -> bytes:
    found = re.search(rb"\s" + name + rb"='([^']*)'", element)
    return found[1] if found else b""
