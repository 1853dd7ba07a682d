"""The stream of an external component (XEP-0114, ``jabber:component:accept``), without input and output.

A header and a ``<handshake/>``, over the engine of the streams of clients (docs/adr/0002-sans-io-streams.md). Its
phases are theirs: SECURE is what comes before the handshake, BINDING while its owner decides whether it may attach,
BOUND when stanzas flow. Nothing is believed for coming from a component: before the handshake the reader's limits are
those for strangers, after it those for clients that have logged in.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, escape_attribute
from xmppchat.protocol.errors import (
    HostUnknown,
    ImproperAddressing,
    InvalidNamespace,
    StreamError,
    StreamNotAuthorized,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import KINDS
from xmppchat.protocol.stream_engine import Action, StreamEngine
from xmppchat.protocol.stream_events import Event, SecretProved, StanzaReceived
from xmppchat.protocol.stream_phases import Phase
from xmppchat.protocol.xmlreader import TRUSTED, UNTRUSTED, ReaderLimits, StreamHeader


@dataclass(frozen=True, slots=True)
class ComponentStreamSettings:
    """What a stream must know of the server. `secret_of` gives the secret by domain, None where nobody is expected."""

    secret_of: Callable[[str], str | None]
    new_id: Callable[[], str]
    trusted_limits: ReaderLimits = TRUSTED
    untrusted_limits: ReaderLimits = UNTRUSTED
    untrusted_total: int = 65_536  # bytes before authentication (reliability.md, limit 3)
    nonzas: Collection[tuple[str, str]] = ()


class ComponentStream(StreamEngine):
    """One stream in the receiving role. `domain` is the component's, "" until its header was accepted."""

    __slots__ = ("_id", "domain")

    content_namespace = NS.COMPONENT_ACCEPT
    stanza_namespace = ""  # the table sees them, too: inside the server they have another namespace
    _settings: ComponentStreamSettings

    def __init__(self, settings: ComponentStreamSettings) -> None:
        super().__init__(settings)
        self._id = settings.new_id()
        self.domain = ""

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
        self.phase = Phase.SECURE

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

    def _handshake(self, element: Element) -> Event:
        secret = self._settings.secret_of(self.domain)
        given = element.text.strip().lower().encode()
        # With no secret, too, something is compared: who was taken off the configuration learns nothing by the time.
        expected = handshake(self._id, secret or "").encode()
        if not hmac.compare_digest(given, expected) or secret is None:
            raise StreamNotAuthorized("the handshake is not made with the secret that this server has for the domain")
        self.phase = Phase.BINDING
        return SecretProved()

    def accept(self) -> None:
        """The component is attached: stanzas may flow."""
        self._output.append("<handshake/>")
        self._trust()

    def _stanza(self, element: Element) -> Event:
        _rename(element)
        return StanzaReceived(element)

    table: ClassVar[Mapping[tuple[Phase, str, str], Action]] = {
        (Phase.SECURE, NS.COMPONENT_ACCEPT, "handshake"): _handshake,
        # COMPAT(libraries of gateways): stanzas in the namespace of clients; others take them, too.
        **dict.fromkeys(((Phase.BOUND, NS.COMPONENT_ACCEPT, kind) for kind in KINDS), _stanza),
        **dict.fromkeys(((Phase.BOUND, NS.CLIENT, kind) for kind in KINDS), _stanza),
    }


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
