"""The port of external components (XEP-0114): each connection joins a transport, a stream and a link.

Plain TCP, on the loopback address unless the configuration says otherwise; open while a component is configured.
"""

from __future__ import annotations

import structlog

from xmppchat.core.kernel import Kernel
from xmppchat.core.links import Link
from xmppchat.jid import JID
from xmppchat.network.admission import Admission
from xmppchat.network.deadline import Deadline
from xmppchat.network.listener import Listener
from xmppchat.network.open_connections import OpenConnections
from xmppchat.network.slow_peers import SlowPeers
from xmppchat.network.transport import CUT_BY
from xmppchat.network.wire import Wire
from xmppchat.protocol.component_stream import ComponentStream, ComponentStreamSettings
from xmppchat.protocol.errors import (
    HostGone,
    StreamConflict,
    StreamError,
    StreamNotAuthorized,
    StreamReset,
    StreamResourceConstraint,
)
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_events import Event, SecretProved, StanzaReceived, StreamEnded
from xmppchat.protocol.stream_phases import Phase

log = structlog.get_logger(__name__)

#: What a handshake is called among the mechanisms of logins (:class:`~xmppchat.core.counts.Counts`).
MECHANISM = "component handshake"


class ComponentConnection:
    """One external component. Its :class:`ComponentStream` says what happened, the kernel what follows."""

    __slots__ = ("_deadline", "_port", "_secret", "_stream", "_wire", "link")

    def __init__(self, port: ComponentPort) -> None:
        self._port = port
        self._wire: Wire
        self._stream = ComponentStream(port.settings)
        self._deadline: Deadline | None = None  # until it is attached
        self._secret: str | None = None  # the one it proved to have
        self.link: Link | None = None

    # --- from the transport -----------------------------------------------------------------------------

    def connected(self, transport: Wire) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        self._wire = transport
        self._port.open.add(self)
        self._deadline = Deadline(self._port.kernel, self.close)

    def tls_established(self) -> None:
        """See :class:`~xmppchat.network.handler.Handler`. There is none on this port."""

    def received(self, data: bytes) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        if not data:
            self.close(None)
            return
        self._handle(self._stream.receive(data))
        self._handle(self._stream.resume())  # what came behind the handshake
        self._flush()

    def writable(self, is_writable: bool) -> None:
        """See :class:`~xmppchat.network.handler.Handler`. A component that does not read is not read either."""
        if is_writable:
            self._wire.resume_reading("slow peer")
        else:
            self._wire.pause_reading("slow peer")

    def disconnected(self, reason: str) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        if (limit := CUT_BY.get(reason)) is not None:
            self._port.kernel.limit_counters.fired(limit)
        self._port.left(self)
        self._stop_deadline()
        self._stream.close(None)
        self._detach(reason)

    # --- LinkOutput: what a link writes -----------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """See :class:`~xmppchat.core.links.LinkOutput`."""
        self._wire.write(stanza.to_bytes(to))

    def pause_reading(self, reason: str) -> None:
        """See :class:`~xmppchat.core.links.LinkOutput`."""
        self._wire.pause_reading(reason)

    def resume_reading(self, reason: str) -> None:
        """See :class:`~xmppchat.core.links.LinkOutput`."""
        self._wire.resume_reading(reason)

    def close(self, error: StreamError | None) -> None:
        """End the stream; see :class:`~xmppchat.core.links.LinkOutput`."""
        self._handle(self._stream.close(error))

    # --- events -----------------------------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, StanzaReceived):
                if self.link is None:
                    return  # a stanza before it has ended the stream
                try:
                    self._port.kernel.receive_from(self.link, event.element)
                except StreamError as error:
                    self.close(error)
                    return
            elif isinstance(event, SecretProved):
                self._attach()
            elif isinstance(event, StreamEnded):
                self._ended(event.error)

    def _attach(self) -> None:
        kernel, domain = self._port.kernel, self._stream.domain
        if not self._wire.authenticated():
            self.close(StreamResourceConstraint("too many connections come from your address"))
            return
        link = Link(domain, self, peer=self._wire.address, attached_at=kernel.clock.now())
        if not kernel.links.attach(link):
            # The one that is there stays, as Prosody has it: two that take turns would lose more than one that waits.
            self.close(StreamConflict(f"{domain} is connected already; stop that one first"))
            return
        self.link = link
        self._secret = self._port.secret_of(domain)
        self._stop_deadline()
        kernel.counts.logins[MECHANISM, "success"] += 1
        log.info("component attached", component=domain, peer=self._wire.address)
        self._stream.accept()
        self._flush()

    def _ended(self, error: StreamError | None) -> None:
        self._flush()
        self._stop_deadline()
        if error is not None:
            kernel = self._port.kernel
            kernel.limit_counters.ended(error, is_bound=self.link is not None)
            if isinstance(error, StreamNotAuthorized):
                kernel.counts.logins[MECHANISM, error.condition] += 1
            # Strangers on the port are nobody's business; what goes wrong with a component its admin wants to know.
            level = log.warning if self._stream.domain else log.debug
            level(
                "component's stream ended", condition=error.condition, text=error.text, peer=self._wire.address,
                component=self._stream.domain,
            )
        self._detach(error.condition if error is not None else "stream closed")
        self._wire.close(error.condition if error is not None else "stream closed")

    def _detach(self, reason: str) -> None:
        link, self.link = self.link, None
        if link is not None:
            self._port.kernel.detach(link)
            log.info("component detached", component=link.domain, peer=link.peer, reason=reason)

    def _flush(self) -> None:
        data = self._stream.take_output()
        if data:
            self._wire.write(data)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline = None

    # --- reload -----------------------------------------------------------------------------------------

    def reconfigure(self) -> None:
        """The configuration is another: go on, unless the component is not expected any more, or not so."""
        self._stream.reconfigure(self._port.settings)
        if self._stream.phase is not Phase.BOUND:
            return
        secret = self._port.secret_of(self._stream.domain)
        if secret is None:
            self.close(HostGone("the server's configuration does not name this component any more"))
        elif secret != self._secret:
            self.close(StreamReset("the secret was changed; connect with the new one"))


class ComponentPort(OpenConnections[ComponentConnection]):
    """All connections of external components, and the sockets on which they come."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__()
        self.kernel = kernel
        self.settings = self._settings()
        self._listeners: list[Listener] = []

    def new(self) -> ComponentConnection:
        """A connection for a transport that was just accepted."""
        return ComponentConnection(self)

    def secret_of(self, domain: str) -> str | None:
        """The secret of a component, None where none of this domain is expected."""
        config = self.kernel.config.external_components.get(domain)
        return config.secret.reveal() if config is not None else None

    def _settings(self) -> ComponentStreamSettings:
        limits = self.kernel.limits
        return ComponentStreamSettings(
            secret_of=self.secret_of, new_id=self.kernel.ids.token, trusted_limits=limits.reader_trusted(),
            untrusted_limits=limits.reader_untrusted(), untrusted_total=limits.untrusted_total_bytes,
        )

    async def listen(self, admission: Admission, slow_peers: SlowPeers) -> None:
        """Listen if a component is configured, and only then. Raises OSError, with address and port in its text."""
        if not self.kernel.config.external_components:
            await self.stop()
            return
        if self._listeners:
            return
        listen = self.kernel.config.listen
        try:
            for address in listen.component_addresses:
                listener = Listener(
                    address, listen.component_port, factory=self.new, admission=admission, slow_peers=slow_peers
                )
                await listener.start()
                self._listeners.append(listener)
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Accept nothing more; connections that stand go on."""
        listeners, self._listeners = self._listeners, []
        for listener in listeners:
            await listener.stop()

    def reconfigure(self) -> None:
        """Go on with the kernel's configuration of now; who is not named in it any more is told so."""
        self.settings = self._settings()
        for connection in list(self.open):
            connection.reconfigure()
