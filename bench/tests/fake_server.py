"""The least an XMPP server can do, and the faults the load generator has to notice."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import socket
import socketserver
import threading
from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar

from bench.population import ArchivedMessage
from bench.tests import fake_sasl2

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
    no_archive_id: int | None = None
    """This message is delivered without the id it has in the archive."""
    not_archived: int | None = None
    acknowledged: int = 0
    """This much is added to each count of stanzas that is acknowledged (XEP-0198)."""
    forget_count: bool = False
    """After some stanzas it acknowledges none of them."""
    refuse_management: bool = False
    forget_session: bool = False
    """A session whose connection is cut cannot be resumed."""
    lose_row: int | None = None
    """This row is left out of pages of the archive; counted from 0, as the next ones."""
    repeat_row: int | None = None
    swap_row: int | None = None
    alter_row: int | None = None
    foreign_row: int | None = None
    """This row comes out as one of another conversation."""
    repeat_page: bool = False
    """A page after some row begins with that row."""
    endless: bool = False
    """The page after the last one is the last one, again and again."""
    complete_early: bool = False
    wrong_ends: bool = False
    bad_signature: bool = False
    bad_nonce: bool = False
    resume_another: bool = False
    """What is resumed is called otherwise than what was asked for."""
    lose_count: bool = False
    """A resumed session has handled less than was acknowledged before."""
    offer: tuple[bytes, bytes] = (b"", b"")
    """The first of these in the stream features is the second one."""
    success: tuple[bytes, bytes] = (b"", b"")
    """The same in the success of SASL2 that tells of a new session, or (`in_resumed`) of one that goes on."""
    in_resumed: bool = False
    wrong_token_proof: bool = False


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class FakeServer:
    """Serves one domain on a free port of 127.0.0.1 without TLS, with SCRAM-SHA-1, PLAIN, and SASL2 with Bind 2.

    Everybody's archive begins with `rows` messages, as `bench.population` makes them.
    """

    def __init__(self, faults: Faults, password: str = "bench-password", rows: int = 0) -> None:
        self.faults = faults
        self.password = password
        self.rows = rows
        self.clients: dict[bytes, _Client] = {}
        self.sessions: dict[bytes, _Client] = {}
        self.tokens: dict[bytes, bytes] = {}
        self.waiting: dict[bytes, list[bytes]] = defaultdict(list)
        self.archives: dict[bytes, list[bytes]] = {}
        self.lock = threading.Lock()
        owner = self

        class Handler(_Client):
            """Bound to this server."""

            server_state = owner

        self._server = _Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def archive(self, address: bytes) -> list[bytes]:
        """The messages that are in the archive of a bare JID."""
        if address not in self.archives:
            owner = int(address.partition(b"@")[0].removeprefix(b"u"))
            self.archives[address] = [
                ArchivedMessage(owner, number, 0).xml("localhost").replace('"', "'").encode()
                for number in range(self.rows)
            ]
        return self.archives[address]

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
        self.wanted: bytes | None = None  # <authenticate/>
        self.is_available = False
        self.handled: int | None = None  # stanzas since <enable/>

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
                self._leave()
                self._send(b"</stream:stream>")
                return

    def _send(self, data: bytes) -> None:
        self.request.sendall(data)

    def _open_stream(self) -> None:
        offered = (
            b"<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>"
            if self.authenticated
            else b"<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>SCRAM-SHA-1</mechanism>"
            b"<mechanism>PLAIN</mechanism></mechanisms>" + fake_sasl2.OFFER.replace(*self.server_state.faults.offer)
        )
        self._send(
            b"<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            b"xmlns:stream='http://etherx.jabber.org/streams' id='a>b' version='1.0'>"
            b"<stream:features>" + offered + b"</stream:features>"
        )

    def _element(self, name: bytes, element: bytes) -> None:
        if name == b"auth":
            self._auth(element)
        elif name == b"authenticate":
            self.wanted = element
            initial = base64.b64decode(_text(element[element.index(b"<initial-response>") :]))
            if b"<fast " in element:
                self.user, _, proof = initial.partition(b"\0")
                answer = fake_sasl2.answer(self.server_state.tokens[self.user], proof)
                self._let_in(answer[::-1] if answer and self.server_state.faults.wrong_token_proof else answer)
            else:
                self._challenge(initial)
        elif name == b"response":
            self._response(element)
        elif name in (b"enable", b"r", b"resume"):
            self._manage(name, element)
        elif name in (b"iq", b"presence", b"message"):
            if self.handled is not None:
                self.handled += 1
            self._stanza(name, element)

    def _manage(self, name: bytes, element: bytes) -> None:
        state = self.server_state
        if state.faults.refuse_management:
            self._send(b"<failed xmlns='urn:xmpp:sm:3'/>")
        elif name == b"enable":
            self.handled = 0
            state.sessions[self.user] = self
            self._send(b"<enabled xmlns='urn:xmpp:sm:3' resume='true' id='" + self.user + b"'/>")
        elif name == b"r":
            count = max(0, (self.handled or 0) + state.faults.acknowledged)
            if state.faults.forget_count and count > 10:
                count = 0
            self._send(b"<a xmlns='urn:xmpp:sm:3' h='%d'/>" % count)
        else:
            self._send(self._resumed(_attribute(element, b"previd")))

    def _resumed(self, previd: bytes) -> bytes:
        """What is said to <resume/>."""
        state = self.server_state
        former = state.sessions.get(previd)
        if state.faults.forget_session or former is None or former.handled is None:
            return b"<failed xmlns='urn:xmpp:sm:3'><item-not-found/></failed>"
        state.sessions[previd] = self
        self.handled = former.handled
        shown = self.handled - state.faults.lose_count
        previd += b"0" * state.faults.resume_another
        return b"<resumed xmlns='urn:xmpp:sm:3' h='%d' previd='%s'/>" % (shown, previd)

    def _let_in(self, proof: bytes | None) -> None:
        """The end of a login by SASL2, with what was asked for."""
        wanted, state = self.wanted or b"", self.server_state
        if proof is None:
            self._send(b"<failure xmlns='urn:xmpp:sasl:2'><not-authorized/></failure>")
            return
        self.authenticated = True
        results = b""
        if b"<resume" in wanted:
            results = self._resumed(_attribute(wanted[wanted.index(b"<resume") :], b"previd"))
        if is_new := not results.startswith(b"<resumed"):
            results += fake_sasl2.bound(self.user)
            self.handled = 0
            state.sessions[self.user] = self
        if b"<request-token" in wanted:
            state.tokens[self.user] = b"token-of-" + self.user
            results += fake_sasl2.token(state.tokens[self.user])
        answer = fake_sasl2.success(self._jid(), proof, results)
        self._send(answer if is_new == state.faults.in_resumed else answer.replace(*state.faults.success))

    def _stanza(self, name: bytes, element: bytes) -> None:
        if name == b"iq":
            self._iq(element)
        elif name == b"message":
            self._message(element)
        else:
            self._send(b"<presence from='" + self._jid() + b"'/>")
            with self.server_state.lock:
                self.is_available = True
                waiting = self.server_state.waiting.pop(self._jid().partition(b"/")[0], [])
            self._send(b"".join(waiting))

    def _jid(self) -> bytes:
        return self.user + b"@localhost/bench"

    def _auth(self, element: bytes) -> None:
        message = base64.b64decode(_text(element))
        if b"mechanism='PLAIN'" in element:
            self.user = message.split(b"\0")[1]
            self.authenticated = True
            self._send(b"<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>")
            return
        self._challenge(message)

    def _challenge(self, message: bytes) -> None:
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
        signature = b"v=" + base64.b64encode(answer)
        if self.wanted is not None:
            self._let_in(signature)
            return
        self.authenticated = True
        self._send(b"<success>" + base64.b64encode(signature) + b"</success>")

    def _iq(self, element: bytes) -> None:
        identifier = _attribute(element, b"id")
        payload = b""
        if identifier == b"bind":
            payload = b"<bind><jid>" + self._jid() + b"</jid></bind>"
            with self.server_state.lock:
                self.server_state.clients[self.user + b"@localhost"] = self
        elif b"urn:xmpp:mam:2" in element:
            payload = self._page(element)
        self._send(b"<iq type='result' id='" + identifier + b"'>" + payload + b"</iq>")

    def _message(self, element: bytes) -> None:
        faults = self.server_state.faults
        number = int(_attribute(element, b"id").split(b"-")[1])
        to = _attribute(element, b"to")
        stanza = element.replace(b"<message ", b"<message from='" + self._jid() + b"' ", 1)
        if number != faults.not_archived:
            self.server_state.archive(to).append(stanza)
        if number != faults.no_archive_id:
            mark = b"<stanza-id xmlns='urn:xmpp:sid:0' by='" + to + b"' id='%d'/></message>" % number
            stanza = stanza.replace(b"</message>", mark)
        if number == faults.alter:
            stanza = stanza.replace(b"quick", b"quiet")
        if number == faults.swap:
            self.held = stanza
            return
        if number != faults.lose:
            self._deliver(to, stanza * (2 if number == faults.repeat else 1))
        if self.held is not None:
            self._deliver(to, self.held)
            self.held = None

    def _deliver(self, to: bytes, stanza: bytes) -> None:
        with self.server_state.lock:
            client = self.server_state.clients.get(to)
            if client is None or not client.is_available:
                self.server_state.waiting[to].append(stanza)
                return
        client._send(stanza)

    def finish(self) -> None:
        """Nobody can be reached any more by a connection that has ended."""
        self._leave()

    def _leave(self) -> None:
        with self.server_state.lock:
            if self.server_state.clients.get(self.user + b"@localhost") is self:
                del self.server_state.clients[self.user + b"@localhost"]

    def _page(self, element: bytes) -> bytes:
        """Sends the results of a query; its answer (XEP-0313 §4.3)."""
        faults = self.server_state.faults
        rows = list(enumerate(self.server_state.archive(self._jid().partition(b"/")[0])))
        with_peer = re.search(rb"<field var='with'><value>(.*?)<", element)
        if with_peer:
            rows = [(n, row) for n, row in rows if with_peer[1] in row]
        after = re.search(rb"<after>(\d+)</after>", element)
        if after and not (faults.endless and int(after[1]) == rows[-1][0]):
            rows = [(n, row) for n, row in rows if n + faults.repeat_page > int(after[1])]
        size = int(_text(element[element.index(b"<max>") :]))
        is_newest = b"<before/>" in element
        page = rows[-size:] if is_newest else rows[:size]
        query = _attribute(element[element.index(b"<query") :], b"queryid")
        self._send(b"".join(self._row(n, row, query) for n, row in _disturbed(page, faults)))
        is_complete = (len(page) == len(rows) and not faults.endless) or faults.complete_early
        fin = b"<fin xmlns='urn:xmpp:mam:2' complete='true'>" if is_complete else b"<fin xmlns='urn:xmpp:mam:2'>"
        if page:
            first, last = page[0][0], page[-1][0] - faults.wrong_ends
            fin += b"<set><first>%d</first><last>%d</last></set>" % (first, last)
        return fin + b"</fin>"

    def _row(self, number: int, message: bytes, query: bytes) -> bytes:
        if number == self.server_state.faults.alter_row:
            message = message.replace(b"quick", b"quiet")
        if number == self.server_state.faults.foreign_row:
            message = re.sub(rb"id='a(\d+)-\d+'", rb"id='a\1-%d'" % (number + 1), message)
        return (
            b"<message from='" + self._jid().partition(b"/")[0] + b"'><result xmlns='urn:xmpp:mam:2' queryid='" + query
            + b"' id='%d'><forwarded xmlns='urn:xmpp:forward:0'><delay/>" % number + message
            + b"</forwarded></result></message>"
        )  # fmt: skip


def _disturbed(page: list[tuple[int, bytes]], faults: Faults) -> list[tuple[int, bytes]]:
    rows = [row for row in page if row[0] != faults.lose_row for _ in range(1 + (row[0] == faults.repeat_row))]
    at = next((index for index, row in enumerate(rows[:-1]) if row[0] == faults.swap_row), None)
    if at is not None:
        rows[at], rows[at + 1] = rows[at + 1], rows[at]
    return rows


def _text(element: bytes) -> bytes:
    return element.partition(b">")[2].partition(b"<")[0]


def _attribute(element: bytes, name: bytes) -> bytes:
    found = re.search(rb"\s" + name + rb"='([^']*)'", element)
    return found[1] if found else b""
