"""c2s: a client's connection. Joins a transport, a stream and a session; decides nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

import structlog

from xmppchat.core.services import Registration, RegistrationService
from xmppchat.core.session import Management, Session
from xmppchat.jid import JID
from xmppchat.network.deadline import Deadline
from xmppchat.network.login import Login, LoginEvent
from xmppchat.network.opening import Opening
from xmppchat.network.throttle import Throttle
from xmppchat.network.transport import CUT_BY
from xmppchat.network.wire import Wire
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    ConnectionTimeout,
    StreamConflict,
    StreamError,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl2 import LoginRequest
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.stream import Stream
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
    TaskAnswered,
    TaskBegun,
)
from xmppchat.protocol.stream_phases import Phase

if TYPE_CHECKING:
    from xmppchat.network.connections import Connections

log = structlog.get_logger(__name__)

#: How long a client that says good-bye waits until what it sent is on disk, s.
GOOD_BYE_SECONDS = 5.0


class Connection:
    """One client. Its :class:`Stream` says what happened, the kernel what follows."""

    __slots__ = (
        "_deadline", "_is_lost", "_login", "_opening", "_registration", "_shared", "_silence", "_stream", "_throttle",
        "_wire", "session",
    )

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._wire: Wire
        self._stream: Stream
        self._login: Login | None = None  # from the first attempt until a resource is bound
        self._opening: Opening | None = None  # from the login until there is a session
        self._registration: Registration | None = None  # from the first request until a resource is bound
        self._throttle: Throttle | None = None
        self._is_lost = False  # the client's side was closed without a good-bye
        self._silence = 0  # looks of the watch since anything came
        self._deadline: Deadline | None = None  # until a resource is bound
        self.session: Session | None = None

    @property
    def phase(self) -> Phase:
        """Where the stream stands."""
        return self._stream.phase

    # --- from the transport -----------------------------------------------------------------------------

    def connected(self, transport: Wire) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        self._wire = transport
        self._stream = Stream(self._shared.settings, secure=transport.is_secure)
        self._shared.open.add(self)
        self._deadline = Deadline(self._shared.kernel, self.close)

    def tls_established(self) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        channel = getattr(self._wire, "tls", None)
        bindings: Mapping[str, bytes] = channel.channel_bindings() if channel is not None else {}
        self._stream.tls_established(bindings)

    def received(self, data: bytes) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        if not data:
            self._is_lost = True
            self.close(None)
            return
        self._silence = 0
        events = self._stream.receive(data)
        if self._throttle is not None and (error := self._throttle.charge(data, events)) is not None:
            self.close(error)
            return
        if events:
            self._handle(events)
        if self._stream.phase is Phase.BOUND:
            self.flush()
        else:
            self.resume()  # what was answered in place may have more behind it

    def writable(self, is_writable: bool) -> None:
        """See :class:`~xmppchat.network.handler.Handler`. A client that does not read is not read either."""
        if is_writable:
            self._wire.resume_reading("slow peer")
        else:
            self._wire.pause_reading("slow peer")

    def disconnected(self, reason: str) -> None:
        """See :class:`~xmppchat.network.handler.Handler`."""
        if (limit := CUT_BY.get(reason)) is not None:
            self._shared.kernel.limit_counters.fired(limit)
        self._shared.left(self)
        self._login = self._opening = None  # they know each other: only the garbage collector would free them
        self._stop_deadline()
        self._stream.close(None)
        self._leave_session(is_end=False)

    # --- Output: what a session writes ------------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """See :class:`~xmppchat.core.session.Output`."""
        self._shared.sent[stanza.kind] += 1
        self._wire.write(stanza.to_bytes(to))

    def send_nonza(self, element: Element) -> None:
        """See :class:`~xmppchat.core.session.Output`."""
        self._wire.write(element.to_bytes(NS.CLIENT))

    def pause_reading(self, reason: str) -> None:
        """See :class:`~xmppchat.core.session.Output`."""
        self._wire.pause_reading(reason)

    def resume_reading(self, reason: str) -> None:
        """See :class:`~xmppchat.core.session.Output`."""
        self._wire.resume_reading(reason)

    def close(self, error: StreamError | None) -> None:
        """End the stream; see :class:`~xmppchat.core.session.Output`."""
        self._handle(self._stream.close(error))

    def flush(self) -> None:
        """Write what the stream has to say."""
        data = self._stream.take_output()
        if data:
            self._wire.write(data)

    # --- events -----------------------------------------------------------------------------------------

    def _handle(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, (StanzaReceived, NonzaReceived)):
                session = self.session
                if session is None or session.is_closed:
                    return
                try:
                    if isinstance(event, StanzaReceived):
                        self._shared.kernel.receive(session, event.element)
                    else:
                        self._shared.kernel.receive_nonza(session, event.element)
                except StreamError as error:
                    self.close(error)
                    return
            else:
                self._negotiate(event)

    def _negotiate(self, event: Event) -> None:
        if self._deadline is not None:
            self._deadline.progress()
        match event:
            case StartTlsRequested():
                self.flush()
                self._wire.start_tls(self._shared.contexts)
            case SaslStarted() | SaslResponded() | SaslAborted() | TaskBegun() | TaskAnswered():
                self._log_in(event)
            case RegistrationRequested():
                self._shared.kernel.tasks.spawn(self._register(event), name="registration")
            case BindRequested():
                self._open().bind(event.resource)
            case ResumeRequested():
                self._open().resume(event.previd, event.handled)
            case StreamEnded():
                self._ended(event.error)

    def _ended(self, error: StreamError | None) -> None:
        """The stream has ended: by `error`, or in order; then the session ends, too (XEP-0198 §10)."""
        session = self.session
        management = session.management if session is not None and error is None and not self._is_lost else None
        if management is None:
            self._close(error)
            return
        management.give_up()
        # What was sent before the good-bye is stored and acknowledged before the stream is closed (§4).
        if management.is_settled:
            self._close(None)
        else:
            self._shared.kernel.tasks.spawn(self._say_good_bye(management), name="good-bye")

    async def _say_good_bye(self, management: Management) -> None:
        with contextlib.suppress(TimeoutError):  # a database that stalls keeps nobody here
            await asyncio.wait_for(management.until_settled(), GOOD_BYE_SECONDS)
        self._close(None)

    def _close(self, error: StreamError | None) -> None:
        session = self.session
        if error is None and not self._is_lost and session is not None and session.management is not None:
            session.management.say_handled()
        self.flush()
        self._stop_deadline()
        if error is not None:
            level = log.info if self.session is not None else log.debug
            self._shared.kernel.limit_counters.ended(error, is_bound=self.session is not None)
            level("stream error", condition=error.condition, text=error.text, peer=self._wire.address)
        self._leave_session(is_end=error is None and not self._is_lost)
        self._wire.close(error.condition if error is not None else "stream closed")

    def _leave_session(self, *, is_end: bool) -> None:
        session, self.session = self.session, None
        if session is None:
            return
        if is_end:
            self._shared.kernel.end_session(session, is_good_bye=True)
        else:
            self._shared.kernel.lose_session(session)

    def resume(self) -> None:
        """An answer was given: write it, and look at what the client sent meanwhile."""
        self.flush()
        while events := self._stream.resume():
            self._handle(events)
        self.flush()

    # --- login ------------------------------------------------------------------------------------------

    def _log_in(self, event: LoginEvent) -> None:
        if self._login is None:
            shared = self._shared
            self._login = Login(shared.kernel, shared.authenticator, self._stream, self._wire.address, self)
        self._login.handle(event)

    def authenticated(self) -> bool:
        """See :class:`~xmppchat.network.login.Owner`."""
        return self._wire.authenticated()

    def logged_in(self, request: LoginRequest, token: bytes | None) -> None:
        """See :class:`~xmppchat.network.login.Owner`."""
        self._shared.kernel.tasks.spawn(self._open().open(request, token), name="session")

    def _open(self) -> Opening:
        assert self._login is not None, "who opens a session has logged in"
        if self._opening is None:
            account = JID.parse(f"{self._login.username}@{self._stream.domain}")
            self._opening = Opening(
                self._shared.kernel, self._stream, self, account, self._wire.address, self._login.access
            )
        return self._opening

    # --- registration -----------------------------------------------------------------------------------

    async def _register(self, event: RegistrationRequested) -> None:
        kernel = self._shared.kernel
        try:
            request = Stanza.from_element(event.element)
        except MalformedAddress as error:
            header = event.element.replace(attributes={"to": None, "from": None})
            answer = Stanza.from_element(header).error(BadRequest(str(error)))
        else:
            if self._registration is None:
                service = kernel.services.get(RegistrationService)
                self._registration = service.begin(self._stream.domain, self._wire.address)
            answer = await self._registration.answer(request)
        if self._stream.phase is not Phase.CLOSED and answer is not None:
            self._stream.answer_registration(answer)
            self.resume()

    # --- a session ------------------------------------------------------------------------------------

    def adopt(self, session: Session) -> None:
        """See :class:`~xmppchat.network.opening.Holder`."""
        self.session = session
        self._login = self._registration = self._opening = None
        self._stop_deadline()
        self._throttle = Throttle.of(self._shared.kernel, self._wire, session.account)

    def take_over(self, session: Session, answer: Element) -> bool:
        """See :class:`~xmppchat.core.services.Successor`."""
        opening = self._opening
        is_mine = opening is not None and opening.take_over(session, answer)
        self.flush()
        return is_mine

    def replaced(self) -> None:
        """See :class:`~xmppchat.core.session.Output`."""
        self.session = None
        self.close(StreamConflict("the session goes on on another connection"))

    # --- limits -----------------------------------------------------------------------------------------

    def reconfigure(self) -> None:
        """The limits are others: of the stream, and how fast it may send (with the whole burst at hand again)."""
        self._stream.reconfigure(self._shared.settings)
        if self.session is not None:
            self._throttle = Throttle.of(self._shared.kernel, self._wire, self.session.account)
            Throttle.release(self._wire)

    def watch(self, patience: int) -> None:
        """One look at who is silent (limit 23), every :data:`LOOK_SECONDS`; after `patience` it is asked for a sign."""
        self._silence += 1
        if self.session is None or self._silence < patience:
            return
        if self._silence > patience + 1:  # a whole interval to answer in
            self._shared.kernel.limit_counters.fired("idle_seconds")
            self.close(ConnectionTimeout("nothing came for a long time, not even an answer to a ping"))
        elif self._silence == patience:
            ping = Element("ping", NS.PING)
            kernel, jid = self._shared.kernel, self.session.jid
            kernel.iq.request(jid, ping, lambda _: None, domain=jid.domain)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.stop()
            self._deadline = None
