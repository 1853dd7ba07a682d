"""Login of one connection (RFC 6120 §6): runs SASL exchanges between its stream and the accounts."""

from __future__ import annotations

from typing import Protocol

import structlog

from xmppchat.core.account import Account
from xmppchat.core.authentication import Authenticator
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import AccountService, DeviceService
from xmppchat.jid import JID, InvalidJID
from xmppchat.network.upgrades import Upgrades
from xmppchat.protocol.errors import (
    ResourceConstraint,
    StanzaError,
    StreamError,
    StreamPolicyViolation,
    StreamResourceConstraint,
)
from xmppchat.protocol.sasl import Challenge, Exchange, Failure, NeedKeys, NeedPasswordCheck, NeedTokens, Step, Success
from xmppchat.protocol.sasl2 import InvalidRequest, LoginRequest
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_events import SaslAborted, SaslResponded, SaslStarted, TaskAnswered, TaskBegun
from xmppchat.protocol.stream_phases import Phase

log = structlog.get_logger(__name__)

#: Attempts to log in on one connection: clients go down the list of mechanisms with one password (RFC 6120 §6.4.5).
MAX_ATTEMPTS = 5


LoginEvent = SaslStarted | SaslResponded | SaslAborted | TaskBegun | TaskAnswered


class Owner(Protocol):
    """The connection that logs in."""

    def resume(self) -> None:
        """An answer was given, not in place: write it and go on."""

    def close(self, error: StreamError | None) -> None:
        """End the stream."""

    def authenticated(self) -> bool:
        """The peer has proved who it is; False where there is no room for it."""

    def logged_in(self, request: LoginRequest, token: bytes | None) -> None:
        """The client has logged in by SASL2, with `token` or (None) the password; see to the rest of its `request`."""


class Login:
    """The exchanges of one connection. `username` is who the last one was about, proven once it succeeded; `access` is
    that of its account at that moment."""

    __slots__ = (
        "_attempts", "_authenticator", "_exchange", "_guesses", "_kernel", "_owner", "_peer", "_request", "_stream",
        "_tasks", "access", "username",
    )

    def __init__(self, kernel: Kernel, authenticator: Authenticator, stream: Stream, peer: str, owner: Owner) -> None:
        self._kernel = kernel
        self._authenticator = authenticator
        self._stream = stream
        self._peer = peer
        self._owner = owner
        self._exchange: Exchange | None = None
        self._request: LoginRequest | None = None  # of the exchange, where that is one of SASL2
        self._tasks: Upgrades | None = None  # while the client has some
        self._attempts = 0
        self._guesses: set[tuple[str, str]] = set()
        self.username = ""
        self.access = 0

    def handle(self, event: LoginEvent) -> None:
        """What the client said."""
        if isinstance(event, SaslStarted):
            self._start(event)
        elif isinstance(event, SaslAborted):
            self._exchange = None
        elif isinstance(event, SaslResponded):
            if self._exchange is not None:
                self._step(self._exchange, self._exchange.respond(event.data))
        elif self._tasks is not None:
            self._task(self._tasks, event)

    def _start(self, event: SaslStarted) -> None:
        if not self._authenticator.may_try(self._peer):
            self._failed(Failure("temporary-auth-failure", "too many failed attempts; try again later"))
            return
        self.username = ""
        self._request = event.request
        bindings: dict[str, bytes] = dict(self._stream.channel_bindings)
        by_token = event.request is not None and event.request.token is not None
        exchange = self._authenticator.create(
            event.mechanism, self._stream.domain, bindings, offered=self._stream.mechanisms(),
            claimed=_address(self._stream.header_from) if event.request is not None else None, by_token=by_token,
        )
        self._exchange = exchange
        self._step(exchange, exchange.start(event.initial))

    def _step(self, exchange: Exchange, step: Step) -> None:
        if isinstance(step, (NeedKeys, NeedPasswordCheck, NeedTokens)):
            self.username = step.username
            step = self._authenticator.at_hand(exchange, step, self._stream.domain, self._peer, self._client_id)
        if isinstance(step, (Challenge, Failure, Success)):
            self._answer(exchange, step)
        else:
            self._kernel.tasks.spawn(self._look_up(exchange, step), name="login")

    async def _look_up(self, exchange: Exchange, step: Step) -> None:
        try:
            answer: Step = await self._authenticator.proceed(
                exchange, step, self._stream.domain, self._peer, self._client_id
            )
        except ResourceConstraint as error:
            self._kernel.limit_counters.fired("password_checks")
            answer = Failure("temporary-auth-failure", error.text)
        except Exception:
            log.exception("login could not be checked")
            answer = Failure("temporary-auth-failure", "the server cannot check this at the moment")
        if self._exchange is exchange:  # not aborted, not disconnected meanwhile
            self._answer(exchange, answer)
            self._owner.resume()

    def _answer(self, exchange: Exchange, answer: Step) -> None:
        if self._stream.phase not in (Phase.AUTHENTICATING, Phase.AUTHENTICATING_2):
            return
        if isinstance(answer, Success):
            answer = self._refusal(answer) or answer
        if isinstance(answer, Challenge):
            self._stream.sasl_challenge(answer.data)
        elif isinstance(answer, Success):
            self._succeeded(exchange, answer)
        elif isinstance(answer, Failure):
            self._failed(answer)

    def _refusal(self, success: Success) -> Failure | None:
        """Why who has proved something may not log in all the same."""
        refusal = self._authenticator.refusal(success, self._stream.domain)
        request = self._request
        if refusal is not None or success.token is None or request is None or request.token is None:
            return refusal
        account = self._account(success.username)
        if account is None:
            return Failure("temporary-auth-failure", "the account is being changed; try again")
        devices = self._kernel.services.get(DeviceService)
        condition = devices.refusal(account, self._client_id, success.token, request.token)
        return Failure(condition, "this token does not do any more; log in with the password") if condition else None

    def _account(self, username: str) -> Account | None:
        """The account of who has just logged in: it was looked up for that."""
        return self._kernel.directory.peek(JID.parse(f"{username}@{self._stream.domain}").bare)

    @property
    def _client_id(self) -> str:
        return self._request.user_agent.id if self._request is not None else ""

    def _succeeded(self, exchange: Exchange, success: Success) -> None:
        self._exchange = None
        self.username = success.username
        account = self._account(success.username)
        self.access = account.access if account is not None else 0
        self._kernel.counts.logins[exchange.name, "success"] += 1
        if not self._owner.authenticated():
            self._owner.close(StreamResourceConstraint("too many devices are connected from your network"))
        elif self._request is None:
            self._stream.sasl_succeeded(success.data)
        else:
            self._tasks = self._upgrades(self._request, success)
            if self._tasks is not None:
                self._tasks.ask(success.data)
            else:
                self._let_in(self._request, success.data, success.token)

    def _let_in(self, request: LoginRequest, data: bytes | None, token: bytes | None) -> None:
        self._stream.login_succeeded(JID.parse(f"{self.username}@{self._stream.domain}"), data)
        self._owner.logged_in(request, token)

    # --- tasks between proof and success (XEP-0480) ---------------------------------------------------------------

    def _upgrades(self, request: LoginRequest, success: Success) -> Upgrades | None:
        """What the client would give keys for, as far as its account has none; only who knows the password can."""
        wanted = [name for name in dict.fromkeys(request.upgrades) if name in self._stream.upgrades()]
        if not wanted or success.token is not None:
            return None
        account = self._account(success.username)
        if account is None:
            return None  # another time
        missing = self._kernel.services.get(AccountService).missing_keys(account)
        names = [name for name in wanted if name in missing]
        return Upgrades(self._kernel, self._stream, account, names) if names else None

    def _task(self, tasks: Upgrades, event: TaskBegun | TaskAnswered) -> None:
        if isinstance(event, TaskAnswered):
            self._kernel.tasks.spawn(self._finish_task(tasks, event), name="login")
            return
        try:
            tasks.begin(event.name)
        except InvalidRequest as fault:
            self._failed(Failure(fault.condition, fault.text))

    async def _finish_task(self, tasks: Upgrades, event: TaskAnswered) -> None:
        try:
            is_last = await tasks.finish(event.element)
        except InvalidRequest as fault:
            self._failed(Failure(fault.condition, fault.text))
        except StanzaError as error:
            self._failed(Failure("temporary-auth-failure", error.text))
        else:
            if self._stream.phase is not Phase.TASK:
                return  # gone meanwhile
            if not is_last:
                tasks.ask(None)
            elif self._request is not None:
                self._let_in(self._request, None, None)
        self._owner.resume()

    def _failed(self, failure: Failure) -> None:
        exchange, self._exchange = self._exchange, None
        mechanism = exchange.name if exchange is not None else ""
        self._attempts += 1
        self._kernel.counts.logins[mechanism or "none", failure.condition] += 1
        delay = 0.0
        if failure.condition == "not-authorized":
            self._count_guess(mechanism)
            delay = self._authenticator.failure_delay(self._peer)
        if delay > 0:  # nothing of the stream is read until it is told
            self._kernel.clock.call_later(delay, self._tell_late, failure)
        else:
            self._tell(failure)

    def _tell_late(self, failure: Failure) -> None:
        if self._stream.phase in (Phase.AUTHENTICATING, Phase.AUTHENTICATING_2):  # the client is still there
            self._tell(failure)
            self._owner.resume()

    def _tell(self, failure: Failure) -> None:
        self._stream.sasl_failed(failure.condition, failure.text)
        if self._attempts >= MAX_ATTEMPTS:
            self._owner.close(StreamPolicyViolation("too many failed attempts to log in", limit="attempts"))

    def _count_guess(self, mechanism: str) -> None:
        """One password by several mechanisms is one guess; another name, or a mechanism again, is another."""
        name = self.username.casefold()
        is_first = all(name != of for of, _ in self._guesses)
        if is_first or (name, mechanism) in self._guesses:
            self._authenticator.failed(self.username, self._stream.domain, self._peer)
        self._guesses.add((name, mechanism))
        log.info("login failed", domain=self._stream.domain, peer=self._peer)


def _address(text: str) -> JID | None:
    """The `from` of a stream's header, None where it is no address: then it says nothing."""
    try:
        return JID.parse(text) if text else None
    except InvalidJID:
        return None
