"""The stream engine (RFC 6120 §4 to §7), without input and output.

``receive(data) -> [events]``; calls in answer what an event asked (``sasl_challenge``, ``bound`` …); output gathers
until ``take_output() -> bytes``. Negotiation is :data:`TABLE`: (phase, element) -> what to do. Anything slow is an
event out and a call back in; meanwhile later bytes wait in the reader. Every order of negotiation, hostile ones
included, is thus a plain unit test, and each transport shares one engine (docs/adr/0002-sans-io-streams.md).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol import stream_management
from xmppchat.protocol.element import Element, escape_attribute, text_element
from xmppchat.protocol.errors import (
    HostUnknown,
    ImproperAddressing,
    InvalidNamespace,
    StanzaError,
    StreamError,
    StreamNotAuthorized,
    StreamPolicyViolation,
    UnexpectedRequest,
    UnsupportedVersion,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_events import (
    BindRequested,
    Event,
    NonzaReceived,
    RegistrationRequested,
    ResumeRequested,
    SaslAborted,
    SaslResponded,
    SaslStarted,
    StanzaReceived,
    StartTlsRequested,
    StreamEnded,
)
from xmppchat.protocol.stream_features import Fact, build_features
from xmppchat.protocol.stream_phases import UNEXPECTED, Phase
from xmppchat.protocol.stream_settings import StreamSettings
from xmppchat.protocol.xmlreader import CLOSED, Item, StreamHeader, XmlReader


class Stream:
    """One c2s stream in the receiving role. `secure` says that TLS is in place from the first byte."""

    __slots__ = (
        "_bind_id",
        "_output",
        "_received",
        "_settings",
        "_stanza_limits",
        "channel_bindings",
        "domain",
        "facts",
        "header_from",
        "is_waiting",
        "lang",
        "phase",
        "reader",
    )

    def __init__(
        self, settings: StreamSettings, *, secure: bool, channel_bindings: Mapping[str, bytes] | None = None
    ) -> None:
        self._settings = settings
        self._output: list[str] = []
        self._received = 0
        self._bind_id = ""
        self.is_waiting = False  # an event is out that must be answered; until then later bytes wait in the reader
        self.phase = Phase.OPENING
        self.facts = Fact.SECURE if secure else Fact.NONE
        self.reader = XmlReader(settings.untrusted_limits)
        self.channel_bindings: Mapping[str, bytes] = channel_bindings or {}
        self.domain = ""  # bound by the first header, for good (reliability.md V-06)
        self.lang = ""  # of the client's header
        self.header_from = ""  # `from` of the client's header; some offers need it (RFC 6120 §4.7.1)

    # --- in --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[Event]:
        """Bytes from the peer. Never raises for what a peer may send: errors become :class:`StreamEnded`."""
        if self.phase is Phase.CLOSED:
            return []
        if self.phase is Phase.BOUND:
            return self._run(self.reader.feed, data)
        self._received += len(data)
        if self._received > self._settings.untrusted_total:
            return self.close(StreamPolicyViolation("too many bytes before authentication", limit="total"))
        return self._run(self._hold if self.is_waiting else self.reader.feed, data)

    def _hold(self, data: bytes) -> list[Item]:
        self.reader.hold(data)
        return []

    def resume(self) -> list[Event]:
        """Go on with what came behind an event; call it once that is dealt with, until it returns nothing."""
        if self.phase is Phase.CLOSED or self.is_waiting or not self.reader.pending:
            return []
        return self._run(lambda _: self.reader.resume(), b"")

    def _run(self, read: Callable[[bytes], list[Item]], data: bytes) -> list[Event]:
        events: list[Event] = []
        try:
            items = read(data)
            while items:
                for item in items:
                    self._handle(item, events)
                # Negotiation goes element by element; what needs no answer from outside goes on at once.
                items = self.reader.resume() if not events and self.reader.pending else []
        except StreamError as error:
            events.extend(self.close(self._finish(events) or error))
        return events

    def _finish(self, events: list[Event]) -> StreamError | None:
        """Deal with what was complete before a fault in the same bytes: that they came together is chance.

        Returns the fault that is in there, if one is: it comes first.
        """
        completed, self.reader.completed = self.reader.completed, []
        try:
            for item in completed if self.phase is Phase.BOUND else ():
                self._handle(item, events)
        except StreamError as error:
            return error
        return None

    def _handle(self, item: Item, events: list[Event]) -> None:
        if self.phase is Phase.CLOSED:
            return
        if isinstance(item, Element):
            if self.phase is Phase.BOUND and item.namespace == NS.CLIENT and item.name in _STANZAS:
                events.append(StanzaReceived(item))  # the hot path: no table needed
                return
            if self.phase is Phase.BOUND and (item.namespace, item.name) in self._settings.nonzas:
                events.append(NonzaReceived(item))
                return
            handler = TABLE.get((self.phase, item.namespace, item.name))
            if handler is None:
                raise UNEXPECTED[self.phase](f"<{item.name[:64]}/> is not expected here")
            event = handler(self, item)
            if event is not None:
                self.is_waiting = isinstance(event, _ASKING)
                events.append(event)
        elif item is CLOSED:
            events.extend(self.close())
        elif isinstance(item, StreamHeader):
            self._open(item)

    # --- the stream header (RFC 6120 §4.7) -----------------------------------------------------------------------

    def _open(self, header: StreamHeader) -> None:
        attributes = header.attributes
        self.header_from = attributes.get("from", "")
        self.lang = attributes.get("xml:lang", "")
        domain = self.domain
        try:
            to = JID.parse(attributes["to"]) if "to" in attributes else None
        except InvalidJID as error:
            to = None
            problem: StreamError | None = ImproperAddressing(f"'to' of the stream header: {error}")
        else:
            problem = self._judge(header, to)
        if to is not None and not domain and self._settings.is_served(to.domain):
            self.domain = to.domain
        self._output.append(self._header(attributes.get("to", "")))
        if problem is not None:
            raise problem
        self._output.append(self._features())
        if Fact.AUTHENTICATED in self.facts:
            self.phase = Phase.AUTHENTICATED
        else:
            self.phase = Phase.SECURE if Fact.SECURE in self.facts else Phase.PLAIN

    def _features(self) -> str:
        key = (self.domain, self.facts, tuple(self.channel_bindings), bool(self.header_from))
        cache = self._settings.built_features
        xml = cache.get(key)
        if xml is None:
            xml = cache[key] = _stream_prefixed(build_features(self, self._settings.features, self.facts))
        return xml

    def _judge(self, header: StreamHeader, to: JID | None) -> StreamError | None:
        if header.name != "stream" or header.namespace != NS.STREAM:
            return InvalidNamespace("a stream header is <stream:stream/> in " + NS.STREAM)
        if header.content_namespace != NS.CLIENT:
            return InvalidNamespace(f"clients speak {NS.CLIENT} on this port")
        if to is None:
            return ImproperAddressing("the stream header must say in 'to' which domain is wanted")
        if self.domain and to.domain != self.domain:
            return StreamNotAuthorized("a stream keeps the domain it was opened for; open a new connection")
        if to.local or to.resource or not self._settings.is_served(to.domain):
            return HostUnknown(f"{to.domain} is not served here")
        major, _, _ = header.attributes.get("version", "").partition(".")
        if not major.isdigit() or int(major[:4]) < 1:
            return UnsupportedVersion("version='1.0' or higher is needed in the stream header (RFC 6120 §4.7.5)")
        return None

    def _header(self, wanted: str) -> str:
        sender = self.domain or wanted
        recipient = f" to='{escape_attribute(self.header_from)}'" if self.header_from else ""
        return (
            "<?xml version='1.0'?>"
            f"<stream:stream xmlns='{NS.CLIENT}' xmlns:stream='{NS.STREAM}' from='{escape_attribute(sender)}'"
            f"{recipient} id='{self._settings.new_id()}' version='1.0' xml:lang='en'>"
        )

    # --- table actions: StartTLS (RFC 6120 §5) ------------------------------------------------------------------

    def _starttls(self, element: Element) -> Event:
        if self.reader.pending:
            # Anything sent behind <starttls/> in plain text must not survive into the secure stream (V-10).
            raise StreamPolicyViolation("nothing may follow <starttls/> before the TLS handshake")
        self._output.append(Element("proceed", NS.TLS).to_xml(NS.CLIENT))
        self.phase = Phase.STARTTLS
        return StartTlsRequested()

    def tls_established(self, channel_bindings: Mapping[str, bytes]) -> None:
        """The transport is secure now; the peer opens a new stream (RFC 6120 §5.4.3.3)."""
        self.facts |= Fact.SECURE
        self.channel_bindings = channel_bindings
        self._restart()

    def _restart(self) -> None:
        self.reader.reset()
        self.phase = Phase.OPENING

    # --- table actions: SASL (RFC 6120 §6) -----------------------------------------------------------------------

    def mechanisms(self) -> Sequence[str]:
        """SASL mechanisms offered on this stream, in order of preference."""
        return self._settings.mechanisms(tuple(self.channel_bindings))

    def _auth(self, element: Element) -> Event | None:
        mechanism = element.get("mechanism")
        if mechanism not in self.mechanisms():
            self.sasl_failed("invalid-mechanism", "choose one of the mechanisms that the stream features list")
            return None
        text = element.text.strip()
        try:
            initial = None if not text else b"" if text == "=" else base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            self.sasl_failed("incorrect-encoding", "the initial response is not base64")
            return None
        self.phase = Phase.AUTHENTICATING
        return SaslStarted(mechanism, initial)

    def _response(self, element: Element) -> Event | None:
        text = element.text.strip()
        try:
            return SaslResponded(b"" if text == "=" else base64.b64decode(text, validate=True))
        except (binascii.Error, ValueError):
            self.sasl_failed("incorrect-encoding", "the response is not base64")
            return SaslAborted()

    def _abort(self, element: Element) -> Event:
        self.sasl_failed("aborted", "")
        return SaslAborted()

    def sasl_challenge(self, data: bytes) -> None:
        """Send a challenge of the open exchange."""
        self.is_waiting = False
        self._output.append(text_element("challenge", NS.SASL, _base64(data)).to_xml(NS.CLIENT))

    def sasl_failed(self, condition: str, text: str) -> None:
        """The exchange failed (RFC 6120 §6.5); the peer may begin another."""
        self.is_waiting = False
        children = [Element(condition, NS.SASL)]
        if text:
            children.append(text_element("text", NS.SASL, text, {"xml:lang": "en"}))
        self._output.append(Element("failure", NS.SASL, None, children).to_xml(NS.CLIENT))
        self.phase = Phase.SECURE

    def sasl_succeeded(self, data: bytes | None) -> None:
        """The exchange proved an identity; the peer opens a new stream (RFC 6120 §6.4.6)."""
        self.is_waiting = False
        children = () if data is None else (_base64(data),)
        self._output.append(Element("success", NS.SASL, None, children).to_xml(NS.CLIENT))
        self.facts |= Fact.AUTHENTICATED
        self._restart()

    # --- table actions: registration before authentication (XEP-0077 §3.1.1) ------------------------------------

    def _registration(self, element: Element) -> Event:
        payload = next(element.elements(), None)
        if element.get("type") not in ("get", "set") or payload is None or not (
            payload.is_named("query", NS.REGISTER) or payload.is_named("preauth", NS.PREAUTH)
        ):
            raise StreamNotAuthorized("log in before you send stanzas")
        return RegistrationRequested(element)

    def answer_registration(self, answer: Stanza) -> None:
        """Send the answer to :class:`RegistrationRequested`."""
        self.is_waiting = False
        self._output.append(answer.to_xml())

    # --- table actions: resource binding (RFC 6120 §7) ----------------------------------------------------------

    def _bind(self, element: Element) -> Event:
        payload = next(element.elements(), None)
        if element.get("type") != "set" or payload is None or not payload.is_named("bind", NS.BIND):
            raise StreamNotAuthorized("bind a resource before you send stanzas (RFC 6120 §7.1)")
        self._bind_id = element.get("id")
        self.phase = Phase.BINDING
        return BindRequested(payload.child_text("resource") or "")

    def bound(self, jid: JID) -> None:
        """The resource is bound; stanzas may flow."""
        bind = Element("bind", NS.BIND, None, [text_element("jid", NS.BIND, jid.full)])
        self._output.append(Stanza("iq", id=self._bind_id, type="result", children=(bind,)).to_xml())
        self._be_bound()

    def _be_bound(self) -> None:
        """Stanzas may flow."""
        self.is_waiting = False
        self.facts |= Fact.BOUND
        self.phase = Phase.BOUND
        self.reader.limits = self._settings.trusted_limits
        self.reader.one_at_a_time = False

    # --- table actions: resumption instead of binding (XEP-0198 §5) ----------------------------------------------

    def _resume(self, element: Element) -> Event:
        self.phase = Phase.BINDING
        return ResumeRequested(element.get("previd"), stream_management.read_count(element))

    def _enable_too_early(self, element: Element) -> None:
        # §3: only once a resource is bound.
        self.send_element(stream_management.failed(UnexpectedRequest()))

    def resumed(self, element: Element) -> None:
        """The former session goes on here, as `element` says."""
        self.send_element(element)
        self._be_bound()

    def resume_failed(self, element: Element) -> None:
        """It does not, as `element` says; the client may bind a resource."""
        self.is_waiting = False
        self.send_element(element)
        self.phase = Phase.AUTHENTICATED

    def reconfigure(self, settings: StreamSettings) -> None:
        """The server's settings have changed: what is read from now on has other bounds."""
        self._settings = settings
        is_bound = self.phase is Phase.BOUND
        self.reader.limits = settings.trusted_limits if is_bound else settings.untrusted_limits

    def bind_failed(self, error: StanzaError) -> None:
        """The resource cannot be had (RFC 6120 §7.7.2.1); the client may ask for another."""
        self.is_waiting = False
        answer = Stanza("iq", id=self._bind_id, type="error", children=(error.to_element(),))
        self._output.append(answer.to_xml())
        self.phase = Phase.AUTHENTICATED

    # --- out -------------------------------------------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Send a stanza on a bound stream; `to` overrides its header's."""
        self._output.append(stanza.to_xml(to))

    def send_element(self, element: Element) -> None:
        """Send an element that is no stanza."""
        self._output.append(element.to_xml(NS.CLIENT))

    def take_output(self) -> bytes:
        """What is to be written, once."""
        if not self._output:
            return b""
        data = "".join(self._output).encode()
        self._output.clear()
        return data

    def close(self, error: StreamError | None = None) -> list[Event]:
        """End the stream, with `error` if it is one (RFC 6120 §4.4, §4.9). Idempotent."""
        if self.phase is Phase.CLOSED:
            return []
        if self.phase is Phase.OPENING and not any("<stream:stream" in part for part in self._output):
            # An error needs a stream to stand in (RFC 6120 §4.9.1.2).
            self._output.append(self._header(""))
        if error is not None:
            self._output.append(_stream_prefixed(error.to_element()))
        self._output.append("</stream:stream>")
        self.phase = Phase.CLOSED
        self.reader.close()
        return [StreamEnded(error)]


Action = Callable[[Stream, Element], Event | None]

_STANZAS = frozenset({"message", "presence", "iq"})

#: Events that are answered by a call.
_ASKING = (SaslStarted, SaslResponded, BindRequested, ResumeRequested, RegistrationRequested)


#: Negotiation: what may come when, and what it does. (SASL2, Bind 2, s2s add rows: ADR 0002.)
TABLE: Mapping[tuple[Phase, str, str], Action] = {
    (Phase.PLAIN, NS.TLS, "starttls"): Stream._starttls,
    (Phase.SECURE, NS.SASL, "auth"): Stream._auth,
    (Phase.SECURE, NS.CLIENT, "iq"): Stream._registration,
    (Phase.AUTHENTICATING, NS.SASL, "response"): Stream._response,
    (Phase.AUTHENTICATING, NS.SASL, "abort"): Stream._abort,
    (Phase.AUTHENTICATED, NS.CLIENT, "iq"): Stream._bind,
    (Phase.AUTHENTICATED, NS.STREAM_MANAGEMENT, "resume"): Stream._resume,
    (Phase.AUTHENTICATED, NS.STREAM_MANAGEMENT, "enable"): Stream._enable_too_early,
}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode() or "="


def _stream_prefixed(element: Element) -> str:
    # Old clients look for the prefix, not the namespace (RFC 6120 §4.8.5 wants it too).
    inner = "".join(child.to_xml(NS.CLIENT) for child in element.elements())
    return f"<stream:{element.name}>{inner}</stream:{element.name}>"
