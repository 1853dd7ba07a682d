"""c2s: a client's connection. Joins a transport, a stream and a session; decides nothing itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Protocol

import structlog

from xmppchat.core.account import Account
from xmppchat.core.authentication import Authenticator
from xmppchat.core.kernel import Kernel
from xmppchat.core.limits import TokenBucket
from xmppchat.core.runtime import Timer
from xmppchat.core.services import RegistrationService
from xmppchat.core.session import Session
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.errors import (
    BadRequest,
    ConnectionTimeout,
    ResourceConstraint,
    StreamError,
    StreamInternalServerError,
    StreamPolicyViolation,
)
from xmppchat.protocol.sasl import Challenge, Exchange, Failure, NeedKeys, NeedPasswordCheck, Step, Success
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.stream import Phase, Stream, StreamSettings
from xmppchat.protocol.stream_events import (
    BindRequested,
    Event,
    RegistrationRequested,
    SaslAborted,
    SaslResponded,
    SaslStarted,
    StanzaReceived,
    StartTlsRequested,
    StreamEnded,
)

log = structlog.get_logger(__name__)

#: Attempts to log in on one connection: clients go down the list of mechanisms with one password (RFC 6120 §6.4.5).
MAX_ATTEMPTS = 5


class Wire(Protocol):
    """What a connection needs of its transport; :class:`~xmppchat.network.transport.Transport`, or one in memory."""

    address: str

    @property
    def is_secure(self) -> bool: ...
    def write(self, data: bytes) -> None: ...
    def start_tls(self, source: Any) -> None: ...
    def authenticated(self) -> None: ...
    def pause_reading(self, reason: str) -> None: ...
    def resume_reading(self, reason: str) -> None: ...
    def close(self, reason: str = ...) -> None: ...
    def abort(self, reason: str = ...) -> None: ...


class Connections:
    """What all c2s connections share: settings, the books on logins, who is connected."""

    def __init__(
        self, kernel: Kernel, settings: StreamSettings, authenticator: Authenticator, contexts: Any
    ) -> None:
        self.kernel = kernel
        self.settings = settings
        self.authenticator = authenticator
        self.contexts = contexts
        self.open: set[Connection] = set()
        self._gone: asyncio.Event | None = None

    def new(self) -> Connection:
        """A connection for a transport that was just accepted."""
        return Connection(self)

    def close_all(self, error: StreamError) -> None:
        """End every stream."""
        for connection in list(self.open):
            connection.close(error)

    async def gone(self, seconds: float) -> None:
        """Return once no connection is open, after `seconds` at most."""
        if self.open:
            self._gone = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)

    def left(self, connection: Connection) -> None:
        """A connection is gone."""
        self.open.discard(connection)
        if not self.open and self._gone is not None:
            self._gone.set()


class Connection:
    """One client. Its :class:`Stream` says what happened, the kernel what follows."""

    __slots__ = (
        "_attempts", "_buckets", "_deadline", "_exchange", "_guesses", "_progress_at", "_shared", "_started_at",
        "_stream", "_username", "_wire", "session",
    )

    def __init__(self, shared: Connections) -> None:
        self._shared = shared
        self._wire: Wire
        self._stream: Stream
        self._exchange: Exchange | None = None
        self._username = ""
        self._attempts = 0
        self._guesses: set[tuple[str, str]] = set()
        self._buckets: tuple[TokenBucket, TokenBucket] | None = None
        self._deadline: Timer | None = None
        self.session: Session | None = None

    # --- from the transport -----------------------------------------------------------------------------

    def connected(self, transport: Wire) -> None:
        """See :class:`~xmppchat.network.transport.Handler`."""
        self._wire = transport
        self._stream = Stream(self._shared.settings, secure=transport.is_secure)
        self._shared.open.add(self)
        kernel = self._shared.kernel
        self._started_at = self._progress_at = kernel.clock.monotonic()
        self._deadline = kernel.clock.call_later(kernel.limits.negotiation_stall_seconds, self._check_deadline)

    def tls_established(self) -> None:
        """See :class:`~xmppchat.network.transport.Handler`."""
        channel = getattr(self._wire, "tls", None)
        bindings: Mapping[str, bytes] = channel.channel_bindings() if channel is not None else {}
        self._stream.tls_established(bindings)

    def received(self, data: bytes) -> None:
        """See :class:`~xmppchat.network.transport.Handler`."""
        if not data:
            self.close(None)
            return
        events = self._stream.receive(data)
        if self._buckets is not None:
            self._account(len(data), len(events))
        if events:
            self._handle(events)
        if self._stream.phase is Phase.BOUND:
            self.flush()
        else:
            self._resume()  # what was answered in place may have more behind it

    def writable(self, is_writable: bool) -> None:
        """See :class:`~xmppchat.network.transport.Handler`. A client that does not read is not read either."""
        if is_writable:
            self._wire.resume_reading("slow peer")
        else:
            self._wire.pause_reading("slow peer")

    def disconnected(self, reason: str) -> None:
        """See :class:`~xmppchat.network.transport.Handler`."""
        self._shared.left(self)
        self._stop_deadline()
        self._stream.close(None)
        self._end_session()

    # --- Output: what a session writes ------------------------------------------------------------------

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """See :class:`~xmppchat.core.session.Output`."""
        self._wire.write(stanza.to_bytes(to))

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
            if isinstance(event, StanzaReceived):
                session = self.session
                if session is None or session.is_closed:
                    return
                try:
                    self._shared.kernel.receive(session, event.element)
                except StreamError as error:
                    self.close(error)
                    return
            else:
                self._negotiate(event)

    def _negotiate(self, event: Event) -> None:
        self._progress()
        match event:
            case StartTlsRequested():
                self.flush()
                self._wire.start_tls(self._shared.contexts)
            case SaslStarted():
                self._sasl_started(event)
            case SaslResponded():
                if self._exchange is not None:
                    self._sasl_step(self._exchange, self._exchange.respond(event.data))
            case SaslAborted():
                self._exchange = None
            case RegistrationRequested():
                self._shared.kernel.tasks.spawn(self._register(event), name="registration")
            case BindRequested():
                self._bind(event.resource)
            case StreamEnded():
                self._ended(event.error)

    def _ended(self, error: StreamError | None) -> None:
        self.flush()
        self._stop_deadline()
        if error is not None:
            level = log.info if self.session is not None else log.debug
            level("stream error", condition=error.condition, text=error.text, peer=self._wire.address)
        self._end_session()
        self._wire.close(error.condition if error is not None else "stream closed")

    def _end_session(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            self._shared.kernel.end_session(session)

    def _resume(self) -> None:
        """An answer was given: write it, and look at what the client sent meanwhile."""
        self.flush()
        while events := self._stream.resume():
            self._handle(events)
        self.flush()

    # --- SASL -------------------------------------------------------------------------------------------

    def _sasl_started(self, event: SaslStarted) -> None:
        shared = self._shared
        if not shared.authenticator.may_try(self._wire.address):
            shared.kernel.limit_counters.fired("auth_failures")
            self._sasl_failed(Failure("temporary-auth-failure", "too many failed attempts; try again later"))
            return
        self._username = ""
        exchange = shared.authenticator.create(
            event.mechanism, self._stream.domain, dict(self._stream.channel_bindings)
        )
        self._exchange = exchange
        self._sasl_step(exchange, exchange.start(event.initial))

    def _sasl_step(self, exchange: Exchange, step: Step) -> None:
        if isinstance(step, (NeedKeys, NeedPasswordCheck)):
            self._username = step.username
            step = self._shared.authenticator.at_hand(exchange, step, self._stream.domain, self._wire.address)
        if isinstance(step, (Challenge, Failure, Success)):
            self._sasl_answer(exchange, step)
        else:
            self._shared.kernel.tasks.spawn(self._sasl_look_up(exchange, step), name="login")

    async def _sasl_look_up(self, exchange: Exchange, step: Step) -> None:
        try:
            answer: Step = await self._shared.authenticator.proceed(
                exchange, step, self._stream.domain, self._wire.address
            )
        except ResourceConstraint as error:
            answer = Failure("temporary-auth-failure", error.text)
        except Exception:
            log.exception("login could not be checked")
            answer = Failure("temporary-auth-failure", "the server cannot check this at the moment")
        if self._exchange is exchange:  # not aborted, not disconnected meanwhile
            self._sasl_answer(exchange, answer)
            self._resume()

    def _sasl_answer(self, exchange: Exchange, answer: Step) -> None:
        if self._stream.phase is not Phase.AUTHENTICATING:
            return
        if isinstance(answer, Challenge):
            self._stream.sasl_challenge(answer.data)
        elif isinstance(answer, Success):
            self._exchange = None
            self._username = answer.username
            self._stream.sasl_succeeded(answer.data)
            self._wire.authenticated()
        elif isinstance(answer, Failure):
            self._sasl_failed(answer)

    def _sasl_failed(self, failure: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        mechanism = exchange.name if exchange is not None else ""
        self._attempts += 1
        if failure.condition == "not-authorized":
            self._count_guess(mechanism)
        self._stream.sasl_failed(failure.condition, failure.text)
        if self._attempts >= MAX_ATTEMPTS:
            self.close(StreamPolicyViolation("too many failed attempts to log in"))

    def _count_guess(self, mechanism: str) -> None:
        """One password by several mechanisms is one guess; another name, or a mechanism again, is another."""
        name = self._username.casefold()
        is_first = all(name != of for of, _ in self._guesses)
        if is_first or (name, mechanism) in self._guesses:
            self._shared.authenticator.failed(self._username, self._stream.domain, self._wire.address)
        self._guesses.add((name, mechanism))
        log.info("login failed", domain=self._stream.domain, peer=self._wire.address)

    # --- registration, binding --------------------------------------------------------------------------

    async def _register(self, event: RegistrationRequested) -> None:
        kernel = self._shared.kernel
        try:
            request = Stanza.from_element(event.element)
        except MalformedAddress as error:
            header = event.element.replace(attributes={"to": None, "from": None})
            answer = Stanza.from_element(header).error(BadRequest(str(error)))
        else:
            service = kernel.services.get(RegistrationService)
            answer = await service.register(self._stream.domain, request, self._wire.address)
        if self._stream.phase is not Phase.CLOSED and answer is not None:
            self._stream.answer_registration(answer)
            self._resume()

    def _bind(self, resource: str) -> None:
        kernel = self._shared.kernel
        try:
            account_jid = JID.parse(f"{self._username}@{self._stream.domain}")
            jid = account_jid.with_resource(resource or kernel.ids.token())
        except InvalidJID:
            self._stream.bind_failed(BadRequest("this resource is not a valid one; leave it out to get one"))
            return
        kernel.directory.load(account_jid, lambda account: self._bound(jid, account))

    def _bound(self, jid: JID, account: Account | None) -> None:
        kernel = self._shared.kernel
        if self._stream.phase is not Phase.BINDING:
            return
        if account is None or not account.exists or account.is_disabled:
            self.close(StreamInternalServerError("the account cannot be opened at the moment"))
            return
        if len(account.sessions) >= kernel.limits.sessions_per_account and jid.resource not in account.sessions:
            kernel.limit_counters.fired("sessions_per_account")
            self._stream.bind_failed(ResourceConstraint("too many devices are connected; disconnect one first"))
            self._resume()
            return
        session = Session(jid, account, self, peer=self._wire.address, connected_at=kernel.clock.now(),
                          lang=self._stream.lang)
        self.session = session
        self._stop_deadline()
        self._buckets = kernel.limits.session_buckets(kernel.clock.monotonic())
        kernel.add_session(session)
        self._stream.bound(jid)
        self._resume()

    # --- limits -----------------------------------------------------------------------------------------

    def _account(self, size: int, stanzas: int) -> None:
        """Limits 16 and 17: who sends faster than allowed is read more slowly, and loses nothing."""
        assert self._buckets is not None
        now = self._shared.kernel.clock.monotonic()
        by_bytes, by_stanzas = self._buckets
        wait = max(by_bytes.take(now, size), by_stanzas.take(now, stanzas))
        if wait > 0:
            self._shared.kernel.limit_counters.fired("session_rate")
            self._wire.pause_reading("rate")
            self._shared.kernel.clock.call_later(wait, self._wire.resume_reading, "rate")

    def _progress(self) -> None:
        self._progress_at = self._shared.kernel.clock.monotonic()

    def _check_deadline(self) -> None:
        """Limit 2: negotiation has an end, and so has silence in it."""
        kernel = self._shared.kernel
        now = kernel.clock.monotonic()
        rest = min(
            self._started_at + kernel.limits.negotiation_seconds - now,
            self._progress_at + kernel.limits.negotiation_stall_seconds - now,
        )
        if rest > 0:
            self._deadline = kernel.clock.call_later(rest, self._check_deadline)
            return
        self._deadline = None
        kernel.limit_counters.fired("negotiation")
        self.close(ConnectionTimeout("log in faster"))

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
