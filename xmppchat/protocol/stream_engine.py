"""The engine under every kind of XML stream (RFC 6120 §4), without input and output.

``receive(data) -> [events]``; calls in answer what an event asked; output gathers until ``take_output() -> bytes``.
Negotiation is a table: (phase, namespace, element) -> what to do. Anything slow is an event out and a call back in;
meanwhile later bytes wait in the reader (docs/adr/0002-sans-io-streams.md). A kind of stream gives the table, judges
headers, and says what its stanzas are: :class:`~xmppchat.protocol.stream.Stream` is that of clients.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar, Protocol

from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError, StreamPolicyViolation
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_events import ASKING, Event, NonzaReceived, StanzaReceived, StreamEnded
from xmppchat.protocol.stream_phases import UNEXPECTED, Phase
from xmppchat.protocol.xmlreader import CLOSED, Item, ReaderLimits, StreamHeader, XmlReader

#: What an element does where the table has it: an event for the owner, or None.
Action = Callable[[Any, Element], Event | None]

_STANZAS = frozenset({"message", "presence", "iq"})


class EngineSettings(Protocol):
    """What every stream must know of the server it belongs to."""

    @property
    def trusted_limits(self) -> ReaderLimits:
        """Limits of the reader once the peer has proved who it is."""

    @property
    def untrusted_limits(self) -> ReaderLimits:
        """Limits before that."""

    @property
    def untrusted_total(self) -> int:
        """How many bytes may come before that (reliability.md, limit 3)."""

    @property
    def nonzas(self) -> Collection[tuple[str, str]]:
        """(namespace, name) of what may come between stanzas."""


class StreamEngine(ABC):
    """One stream in the receiving role."""

    __slots__ = ("_output", "_received", "_settings", "is_waiting", "phase", "reader")

    #: Namespace of what is sent.
    content_namespace: ClassVar[str] = NS.CLIENT
    #: Namespace of stanzas that are handed out as they come.
    stanza_namespace: ClassVar[str] = NS.CLIENT
    #: Negotiation: what may come when, and what it does.
    table: ClassVar[Mapping[tuple[Phase, str, str], Action]] = {}

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._output: list[str] = []
        self._received = 0
        self.is_waiting = False  # an event is out that must be answered; until then later bytes wait in the reader
        self.phase = Phase.OPENING
        self.reader = XmlReader(settings.untrusted_limits)

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
            if self.phase is Phase.BOUND and item.namespace == self.stanza_namespace and item.name in _STANZAS:
                events.append(StanzaReceived(item))  # the hot path: no table needed
                return
            if self.phase is Phase.BOUND and (item.namespace, item.name) in self._settings.nonzas:
                events.append(NonzaReceived(item))
                return
            handler = self.table.get((self.phase, item.namespace, item.name))
            if handler is None:
                raise UNEXPECTED[self.phase](f"<{item.name[:64]}/> is not expected here")
            event = handler(self, item)
            if event is not None:
                self.is_waiting = isinstance(event, ASKING)
                events.append(event)
        elif item is CLOSED:
            events.extend(self.close())
        elif isinstance(item, StreamHeader):
            self._open(item)

    @abstractmethod
    def _open(self, header: StreamHeader) -> None:
        """The peer's header; raises a :class:`StreamError` where the stream cannot be."""

    @abstractmethod
    def _header(self, wanted: str) -> str:
        """Our header; `wanted` is the domain that the peer asked for, "" where it asked for none."""

    def reconfigure(self, settings: EngineSettings) -> None:
        """The server's settings have changed: what is read from now on has other bounds."""
        self._settings = settings
        is_bound = self.phase is Phase.BOUND
        self.reader.limits = settings.trusted_limits if is_bound else settings.untrusted_limits

    def _trust(self) -> None:
        """Stanzas may flow."""
        self.is_waiting = False
        self.phase = Phase.BOUND
        self.reader.limits = self._settings.trusted_limits
        self.reader.one_at_a_time = False

    # --- out -------------------------------------------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Send a stanza on a bound stream; `to` overrides its header's."""
        self._output.append(stanza.to_xml(to))

    def send_element(self, element: Element) -> None:
        """Send an element that is no stanza."""
        self._output.append(element.to_xml(self.content_namespace))

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
            self._output.append(stream_prefixed(error.to_element()))
        self._output.append("</stream:stream>")
        self.phase = Phase.CLOSED
        self.reader.close()
        return [StreamEnded(error)]


def stream_prefixed(element: Element) -> str:
    """An element of the streams' namespace, as text with its usual prefix."""
    # Old clients look for the prefix, not the namespace (RFC 6120 §4.8.5 wants it too).
    inner = "".join(child.to_xml(NS.CLIENT) for child in element.elements())
    return f"<stream:{element.name}>{inner}</stream:{element.name}>"
