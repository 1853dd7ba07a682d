"""A stream with somebody who answers it at once: what a transport and the accounts do, without either."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence

from xmppchat.jid import JID
from xmppchat.protocol import stream_management
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, ItemNotFound, StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl2 import LoginRequest
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_events import (
    BindRequested,
    Event,
    RegistrationRequested,
    ResumeRequested,
    SaslResponded,
    SaslStarted,
    StartTlsRequested,
    StreamEnded,
    TaskAnswered,
    TaskBegun,
)
from xmppchat.protocol.stream_features import StreamFeature, announcement, bind_2
from xmppchat.protocol.stream_settings import StreamSettings
from xmppchat.protocol.xmlreader import TRUSTED, Item, ReaderLimits, XmlReader

HOST = "chat.example"
OTHER_HOST = "other.example"
#: Whose session "known" is.
FORMER = JID.parse(f"romeo@{HOST}/former")
BINDINGS = {"tls-server-end-point": b"hash of the certificate"}


def header(to: str = HOST, *, version: str | None = "1.0", more: str = "", content: str = NS.CLIENT) -> bytes:
    """A client's stream header."""
    attributes = f" to='{to}'" if to else ""
    if version is not None:
        attributes += f" version='{version}'"
    return (
        f"<?xml version='1.0'?><stream:stream xmlns='{content}' xmlns:stream='{NS.STREAM}'{attributes}{more}>"
    ).encode()


STARTTLS = f"<starttls xmlns='{NS.TLS}'/>".encode()
#: The driver takes PLAIN as proved, and answers everything else with one challenge.
AUTH = f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>b2s=</auth>".encode()
AUTH_CHALLENGED = f"<auth xmlns='{NS.SASL}' mechanism='SCRAM-SHA-256'>b2s=</auth>".encode()
RESPONSE = f"<response xmlns='{NS.SASL}'>b2s=</response>".encode()
WRONG_RESPONSE = f"<response xmlns='{NS.SASL}'>d3Jvbmc=</response>".encode()
ABORT = f"<abort xmlns='{NS.SASL}'/>".encode()
BIND = f"<iq type='set' id='b1'><bind xmlns='{NS.BIND}'><resource>phone</resource></bind></iq>".encode()
REFUSED_BIND = (
    f"<iq type='set' id='b0'><bind xmlns='{NS.BIND}'><resource>taken</resource></bind></iq>".encode()
)
def authenticate(mechanism: str = "PLAIN", more: str = "", initial: str = "b2s=") -> bytes:
    """A login by SASL2 (XEP-0388 §2.3) that asks for `more`."""
    return (
        f"<authenticate xmlns='{NS.SASL_2}' mechanism='{mechanism}'>"
        f"<initial-response>{initial}</initial-response>{more}</authenticate>"
    ).encode()


BIND_2 = f"<bind xmlns='{NS.BIND_2}'><tag>Client</tag></bind>"
RESUME_KNOWN = f"<resume xmlns='{NS.STREAM_MANAGEMENT}' previd='known' h='3'/>"
RESUME_UNKNOWN = f"<resume xmlns='{NS.STREAM_MANAGEMENT}' previd='nothing' h='0'/>"
#: The driver has a task for who offers this upgrade.
UPGRADE = f"<upgrade xmlns='{NS.SASL_UPGRADE}'>UPGR-SCRAM-SHA-512</upgrade>"
RESPONSE_2 = f"<response xmlns='{NS.SASL_2}'>b2s=</response>".encode()
ABORT_2 = f"<abort xmlns='{NS.SASL_2}'/>".encode()
NEXT = f"<next xmlns='{NS.SASL_2}' task='UPGR-SCRAM-SHA-512'/>".encode()
TASK_DATA = (
    f"<task-data xmlns='{NS.SASL_2}'><hash xmlns='{NS.SCRAM_UPGRADE}'>b2s=</hash></task-data>".encode()
)
REGISTER = f"<iq type='get' id='r1'><query xmlns='{NS.REGISTER}'/></iq>".encode()
MESSAGE = b"<message to='juliet@chat.example' id='m1'><body>Hi</body></message>"
IQ = f"<iq type='get' id='p1'><ping xmlns='{NS.PING}'/></iq>".encode()
PRESENCE = b"<presence/>"
CLOSE = b"</stream:stream>"


def settings() -> StreamSettings:
    """Two hosts, ids that count."""
    numbers = itertools.count(1)

    def mechanisms(bindings: Collection[str]) -> Sequence[str]:
        return ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN") if bindings else ("SCRAM-SHA-256", "PLAIN")

    return StreamSettings(
        is_served={HOST, OTHER_HOST}.__contains__, new_id=lambda: f"id{next(numbers)}", mechanisms=mechanisms,
        nonzas={(NS.STREAM_MANAGEMENT, "enable")},
        token_mechanisms=lambda bindings: ("HT-SHA-256-ENDP", "HT-SHA-256-NONE") if bindings else ("HT-SHA-256-NONE",),
        upgrades=lambda: ("SCRAM-SHA-512",),
        inline=(bind_2(["urn:xmpp:carbons:2"]), StreamFeature("sm", announcement("sm", NS.STREAM_MANAGEMENT))),
    )


class Driver:
    """Feeds a stream and answers its events; :attr:`events` and :attr:`output` hold all there was."""

    def __init__(self, *, secure: bool = True) -> None:
        self.stream = Stream(settings(), secure=secure, channel_bindings=BINDINGS if secure else None)
        self.events: list[Event] = []
        self.output = b""
        self._wanted: LoginRequest | None = None

    def feed(self, *pieces: bytes) -> Driver:
        """Give `pieces` one after the other."""
        for piece in pieces:
            events = self.stream.receive(piece)
            while events:
                for event in events:
                    self.events.append(event)
                    self._answer(event)
                events = self.stream.resume()
            self.output += self.stream.take_output()
        return self

    @property
    def error(self) -> str:
        """Condition of the error that ended the stream, "" for an orderly end, "open" while it is open."""
        ended = [event for event in self.events if isinstance(event, StreamEnded)]
        if not ended:
            return "open"
        assert len(ended) == 1, "a stream ends once"
        assert self.events[-1] is ended[0], "nothing happens after the end"
        return ended[0].error.condition if ended[0].error is not None else ""

    def kinds(self) -> list[str]:
        """Names of the events so far."""
        return [type(event).__name__ for event in self.events]

    def _answer(self, event: Event) -> None:
        stream = self.stream
        match event:
            case StartTlsRequested():
                stream.tls_established(BINDINGS)
            case SaslStarted(mechanism="PLAIN" | "HT-SHA-256-NONE", request=request):
                self._wanted = request
                self._succeed(None)
            case SaslStarted(request=request):
                self._wanted = request
                stream.sasl_challenge(b"prove it")
            case SaslResponded(data=b"ok"):
                self._succeed(b"v=proof")
            case TaskBegun() | TaskAnswered():
                self._go_on_with_the_task(event)
            case SaslResponded():
                stream.sasl_failed("not-authorized", "wrong")
            case BindRequested(resource="taken"):
                stream.bind_failed(BadRequest("not this one"))
            case BindRequested(resource=resource):
                stream.bound(JID.parse(f"romeo@{HOST}/{resource or 'made-up'}"))
            case ResumeRequested(previd="known", handled=handled):
                stream.resumed(stream_management.resumed("known", handled or 0), FORMER)
            case ResumeRequested():
                stream.resume_failed(stream_management.failed(ItemNotFound()))
            case RegistrationRequested(element=element):
                stream.answer_registration(Stanza.from_element(element).result())

    def _go_on_with_the_task(self, event: TaskBegun | TaskAnswered) -> None:
        if isinstance(event, TaskBegun):
            self.stream.task_data(Element("salt", NS.SCRAM_UPGRADE, {"iterations": "4096"}, ("c2FsdA==",)))
        else:
            self._let_in(None)

    def _succeed(self, data: bytes | None) -> None:
        wanted = self._wanted
        if wanted is None:
            self.stream.sasl_succeeded(data)
        elif wanted.upgrades:
            self.stream.ask_task(data, f"UPGR-{wanted.upgrades[0]}")
        else:
            self._let_in(data)

    def _let_in(self, data: bytes | None) -> None:
        """Do what was asked for with the login, in its order (XEP-0386 §3.2)."""
        stream, wanted = self.stream, self._wanted
        assert wanted is not None
        stream.login_succeeded(JID.parse(f"romeo@{HOST}"), data)
        if wanted.resume is not None and wanted.resume.previd == "known":
            stream.resumed(stream_management.resumed("known", wanted.resume.handled or 0), FORMER)
            return
        if wanted.resume is not None:
            stream.resume_failed(stream_management.failed(ItemNotFound()))
        if wanted.bind is None:
            stream.opened()
        else:
            stream.bound(JID.parse(f"romeo@{HOST}/{wanted.bind.tag}/x"), [Element("metadata", NS.ARCHIVE)])


def secure() -> Driver:
    """TLS is there, the header exchanged."""
    return Driver().feed(header())


def authenticated() -> Driver:
    """Logged in, no resource yet."""
    return secure().feed(AUTH, header())


def bound() -> Driver:
    """Stanzas may flow."""
    return authenticated().feed(BIND)


def byte_by_byte(data: bytes) -> Iterator[bytes]:
    """`data` in the smallest pieces."""
    return (data[i : i + 1] for i in range(len(data)))


def cut(data: bytes, positions: Iterable[int]) -> list[bytes]:
    """`data` cut at `positions` (taken modulo its length), empty pieces left out."""
    edges = sorted({0, len(data), *(position % (len(data) + 1) for position in positions)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


#: A stanza for readers.
HELLO = b"<message><body>Hi</body></message>"


def reader(limits: ReaderLimits = TRUSTED, *, one_at_a_time: bool = False) -> XmlReader:
    """A reader behind its stream header."""
    made = XmlReader(limits)
    made.one_at_a_time = one_at_a_time
    made.feed(header())
    return made


def read(*pieces: bytes, limits: ReaderLimits = TRUSTED, one_at_a_time: bool = False) -> list[Item] | str:
    """All items, or the condition of the error."""
    items: list[Item] = []
    try:
        made = reader(limits, one_at_a_time=one_at_a_time)
        for piece in pieces:
            items += made.feed(piece)
            while made.pending:
                items += made.resume()
    except StreamError as error:
        return error.condition
    return items
