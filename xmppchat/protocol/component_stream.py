"""The stream of an external component (XEP-0114, ``jabber:component:accept``), without input and output.

A second engine beside :mod:`xmppchat.protocol.stream`, over the same reader (docs/adr/0002-sans-io-streams.md): bytes
in, events out, answers by calls. Negotiation is a header and a ``<handshake/>``; what is not in :data:`TABLE` ends the
stream. Nothing is believed for coming from a component: before the handshake the reader's limits are those for
strangers, after it those for clients that have logged in.
"""

from __future__ import annotations

import enum
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, escape_attribute
from xmppchat.protocol.errors import (
    HostUnknown,
    ImproperAddressing,
    InvalidNamespace,
    StreamError,
    StreamNotAuthorized,
    StreamPolicyViolation,
    UnsupportedStanzaType,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import KINDS
from xmppchat.protocol.stream_events import StanzaReceived, StreamEnded
from xmppchat.protocol.xmlreader import CLOSED, TRUSTED, UNTRUSTED, Item, ReaderLimits, StreamHeader, XmlReader


class ComponentPhase(enum.Enum):
    """Where the stream stands."""

    OPENING = "opening"
    CONNECTED = "connected"  # headers exchanged, the secret is to be proved
    PROVEN = "proven"  # it was; the owner decides whether it may attach
    ATTACHED = "attached"  # stanzas flow
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SecretProved:
    """The component of :attr:`ComponentStream.domain` is there: answer with `accept`, or `close` with an error."""


ComponentEvent = SecretProved | StanzaReceived | StreamEnded


@dataclass(frozen=True, slots=True)
class ComponentStreamSettings:
    """What a stream must know of the server. `secret_of` gives the secret by domain, None where nobody is expected."""

    secret_of: Callable[[str], str | None]
    new_id: Callable[[], str]
    trusted_limits: ReaderLimits = TRUSTED
    untrusted_limits: ReaderLimits = UNTRUSTED
    untrusted_total: int = 65_536  # bytes before authentication (reliability.md, limit 3)


class ComponentStream:
    """One stream in the receiving role. `domain` is the component's, "" until its header was accepted."""

    __slots__ = ("_id", "_output", "_received", "_settings", "domain", "phase", "reader")

    def __init__(self, settings: ComponentStreamSettings) -> None:
        self._settings = settings
        self._id = settings.new_id()
        self._output: list[str] = []
        self._received = 0
        self.domain = ""
        self.phase = ComponentPhase.OPENING
        self.reader = XmlReader(settings.untrusted_limits)

    # --- in --------------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> list[ComponentEvent]:
        """Bytes from the peer. Never raises for what a peer may send: errors become :class:`StreamEnded`."""
        if self.phase is ComponentPhase.CLOSED:
            return []
        if self.phase is not ComponentPhase.ATTACHED:
            self._received += len(data)
            if self._received > self._settings.untrusted_total:
                return self.close(StreamPolicyViolation("too many bytes before the handshake", limit="total"))
        return self._run(data)

    def resume(self) -> list[ComponentEvent]:
        """Go on with what came behind the handshake; call it once that is answered."""
        return self._run(b"") if self.phase is ComponentPhase.ATTACHED and self.reader.pending else []

    def _run(self, data: bytes) -> list[ComponentEvent]:
        events: list[ComponentEvent] = []
        try:
            if self.phase is ComponentPhase.PROVEN:
                self.reader.hold(data)
                return events
            items = self.reader.feed(data)
            while items:
                for item in items:
                    self._handle(item, events)
                items = self.reader.resume() if not events and self.reader.pending else []
        except StreamError as error:
            events.extend(self.close(error))
        return events

    def _handle(self, item: Item, events: list[ComponentEvent]) -> None:
        if self.phase is ComponentPhase.CLOSED:
            return
        if isinstance(item, Element):
            if item.namespace == NS.CLIENT and item.name in KINDS:
                # COMPAT(libraries of gateways): stanzas in the namespace of clients; others take them, too.
                namespace = NS.COMPONENT_ACCEPT
            else:
                namespace = item.namespace
            action = TABLE.get((self.phase, namespace, item.name))
            if action is None:
                raise UNEXPECTED[self.phase](f"<{item.name[:64]}/> is not expected here")
            events.append(action(self, item))
        elif item is CLOSED:
            events.extend(self.close())
        elif isinstance(item, StreamHeader):
            self._open(item)

    # --- header and handshake (XEP-0114 §3) ----------------------------------------------------------------------

    def _open(self, header: StreamHeader) -> None:
        wanted = header.attributes.get("to", "")
        problem: StreamError | None = None
        try:
            self.domain = self._judge(header, wanted)
        except StreamError as error:
            problem = error
        # §3: all errors of the header stand in a stream of ours, as RFC 6120 §4.9.1.2 has it.
        self._output.append(self._header(self.domain or wanted))
        if problem is not None:
            raise problem
        self.phase = ComponentPhase.CONNECTED

    def _judge(self, header: StreamHeader, wanted: str) -> str:
        if header.name != "stream" or header.namespace != NS.STREAM:
            raise InvalidNamespace("a stream header is <stream:stream/> in " + NS.STREAM)
        if header.content_namespace != NS.COMPONENT_ACCEPT:
            raise InvalidNamespace(f"components speak {NS.COMPONENT_ACCEPT} on this port")
        if not wanted:
            raise ImproperAddressing("the stream header must say in 'to' which component this is")
        try:
            to = JID.parse(wanted)
        except InvalidJID as error:
            raise ImproperAddressing(f"'to' of the stream header: {error}") from None
        if to.local or to.resource or self._settings.secret_of(to.domain) is None:
            raise HostUnknown(f"no component is expected as {wanted}; the server's [external_components] names them")
        return to.domain

    def _header(self, sender: str) -> str:
        return (
            f"<?xml version='1.0'?><stream:stream xmlns='{NS.COMPONENT_ACCEPT}' xmlns:stream='{NS.STREAM}'"
            f" from='{escape_attribute(sender)}' id='{self._id}'>"
        )

    def _handshake(self, element: Element) -> ComponentEvent:
        secret = self._settings.secret_of(self.domain)
        given = element.text.strip().lower().encode()
        # With no secret, too, something is compared: who was taken off the configuration learns nothing by the time.
        expected = handshake(self._id, secret or "").encode()
        if not hmac.compare_digest(given, expected) or secret is None:
            raise StreamNotAuthorized("the handshake is not made with the secret that this server has for the domain")
        self.phase = ComponentPhase.PROVEN
        return SecretProved()

    def accept(self) -> None:
        """The component is attached: stanzas may flow."""
        self._output.append("<handshake/>")
        self.phase = ComponentPhase.ATTACHED
        self.reader.limits = self._settings.trusted_limits
        self.reader.one_at_a_time = False

    def _stanza(self, element: Element) -> ComponentEvent:
        _rename(element)
        return StanzaReceived(element)

    def reconfigure(self, settings: ComponentStreamSettings) -> None:
        """The server's settings have changed: what is read from now on has other bounds."""
        self._settings = settings
        is_attached = self.phase is ComponentPhase.ATTACHED
        self.reader.limits = settings.trusted_limits if is_attached else settings.untrusted_limits

    # --- out -------------------------------------------------------------------------------------------------

    def take_output(self) -> bytes:
        """What is to be written, once."""
        data = "".join(self._output).encode()
        self._output.clear()
        return data

    def close(self, error: StreamError | None = None) -> list[ComponentEvent]:
        """End the stream, with `error` if it is one (RFC 6120 §4.4, §4.9). Idempotent."""
        if self.phase is ComponentPhase.CLOSED:
            return []
        if self.phase is ComponentPhase.OPENING and not self._output:
            self._output.append(self._header(""))  # an error needs a stream to stand in
        if error is not None:
            inner = "".join(child.to_xml(NS.COMPONENT_ACCEPT) for child in error.to_element().elements())
            self._output.append(f"<stream:error>{inner}</stream:error>")
        self._output.append("</stream:stream>")
        self.phase = ComponentPhase.CLOSED
        self.reader.close()
        return [StreamEnded(error)]


def handshake(stream_id: str, secret: str) -> str:
    """What proves the secret on the stream of that id (XEP-0114 §3)."""
    return hashlib.sha1((stream_id + secret).encode()).hexdigest()  # noqa: S324  the protocol has no other


def _rename(element: Element) -> None:
    """Give a tree that was just parsed, and is nobody else's yet, the namespace that stanzas have inside the server."""
    waiting = [element]
    while waiting:
        one = waiting.pop()
        if one.namespace == NS.COMPONENT_ACCEPT:
            one.namespace = NS.CLIENT
        waiting.extend(one.elements())


Action = Callable[[ComponentStream, Element], ComponentEvent]

#: What may come when, and what it does.
TABLE: Mapping[tuple[ComponentPhase, str, str], Action] = {
    (ComponentPhase.CONNECTED, NS.COMPONENT_ACCEPT, "handshake"): ComponentStream._handshake,
    **{(ComponentPhase.ATTACHED, NS.COMPONENT_ACCEPT, kind): ComponentStream._stanza for kind in sorted(KINDS)},
}
#: What anything else is.
UNEXPECTED: Mapping[ComponentPhase, type[StreamError]] = {
    ComponentPhase.CONNECTED: StreamNotAuthorized,
    ComponentPhase.PROVEN: StreamNotAuthorized,
    ComponentPhase.ATTACHED: UnsupportedStanzaType,
}
