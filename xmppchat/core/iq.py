"""IQ dispatch (RFC 6120 §8.2.3, RFC 6121 §8.5): a request to the server or to an account is one look-up.

The key is (at, type, namespace, name); at a domain of a component's own its name goes before "at". What nobody declared
is ``service-unavailable``, said here once. Every request gets exactly one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from xmppchat.core.account import Account
from xmppchat.core.component import ACCOUNT, DOMAIN, SERVER, At, IqRequest, Later, Who
from xmppchat.core.mailbox import MailboxFull
from xmppchat.core.router import Router
from xmppchat.core.runtime import Clock, Tasks, Timer
from xmppchat.core.services import RosterService, Services
from xmppchat.core.tables import IqHandler, Tables
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    InternalServerError,
    ResourceConstraint,
    ServiceUnavailable,
    StanzaError,
)
from xmppchat.protocol.stanza import Stanza

log = structlog.get_logger(__name__)

#: How long an answer to a request of the server's is waited for, s (reliability.md, limit 44).
ANSWER_SECONDS = 30.0
#: Requests of the server's that may be open.
MAX_OPEN = 10_000

OnAnswer = Callable[[Stanza | None], object]


class IqDispatcher:
    """Finds the handler of a request, runs it, sends the answer."""

    def __init__(
        self, tables: Tables, router: Router, tasks: Tasks, services: Services, clock: Clock,
        new_id: Callable[[], str], new_turn: Callable[[], Turn],
    ) -> None:
        self._table = tables.iq
        self._router = router
        self._tasks = tasks
        self._services = services
        self._clock = clock
        self._new_id = new_id
        self._new_turn = new_turn
        self._open: dict[tuple[str, str], tuple[OnAnswer, Timer]] = {}

    # --- requests of the server's own -----------------------------------------------------------------------------

    def request(self, to: JID, payload: Element, on_answer: OnAnswer, *, domain: str, type: str = "get") -> None:
        """Ask `to` on behalf of the host `domain`; `on_answer` gets the result or error, or None if none comes in time.

        An answer counts only from whom was asked (reliability.md V-28). At most :data:`MAX_OPEN` are open.
        """
        if len(self._open) >= MAX_OPEN:
            on_answer(None)
            return
        request_id = self._new_id()
        timer = self._clock.call_later(ANSWER_SECONDS, self._answered, (to.full, request_id), None)
        self._open[to.full, request_id] = (on_answer, timer)
        turn = self._new_turn()
        sender = JID.parse(domain)
        self._router.route(Stanza("iq", to=to, from_=sender, id=request_id, type=type, children=(payload,)), turn)
        turn.commit()

    def give_up(self, domain: str) -> None:
        """Nobody in `domain` will answer what is open there."""
        for key in [key for key in self._open if JID.parse(key[0]).domain == domain]:
            self._answered(key, None)

    def _answered(self, key: tuple[str, str], answer: Stanza | None) -> None:
        waiting = self._open.pop(key, None)
        if waiting is not None:
            on_answer, timer = waiting
            timer.cancel()
            on_answer(answer)

    # --- requests of others -----------------------------------------------------------------------------------------

    def to_server(self, stanza: Stanza, turn: Turn) -> None:
        """An IQ to one of our domains."""
        if not stanza.is_request:
            if stanza.from_ is not None:
                self._answered((stanza.from_.full, stanza.id), stanza)  # a stray one is dropped (RFC 6120 §8.2.3)
            return
        self._dispatch(SERVER, None, stanza, turn)

    def to_account(self, account: Account, stanza: Stanza, turn: Turn) -> None:
        """An IQ to a bare JID, answered on behalf of the account (RFC 6121 §8.5.2.1.3)."""
        if stanza.is_request:
            self._dispatch(ACCOUNT, account, stanza, turn)

    def to_domain(self, owner: str, address: Account, stanza: Stanza, turn: Turn) -> None:
        """An IQ to an address in a domain of the component `owner`."""
        if not stanza.is_request:
            return
        if address.exists:
            self._dispatch(DOMAIN, address, stanza, turn, owner)
        else:
            self._router.bounce(stanza, ServiceUnavailable(""), turn)

    def _dispatch(self, at: At, account: Account | None, stanza: Stanza, turn: Turn, owner: str = "") -> None:
        payload = stanza.payload
        assert payload is not None, "requests were checked on entry"
        what = (stanza.type, payload.namespace, payload.name)
        handler = self._table.get((at, *what))
        if owner:
            handler = self._table.get((owner, *what), handler)
        if handler is None:
            self._router.bounce(stanza, ServiceUnavailable(""), turn)
            return
        request = self._request(account, stanza, payload, turn)
        if at is ACCOUNT and account is not None and not self._may(handler.who, account, request):
            self._router.bounce(stanza, ServiceUnavailable(""), turn)
        elif handler.is_async:
            self._run_later(handler, request)
        else:
            self._run(handler, request)

    def _request(self, account: Account | None, stanza: Stanza, payload: Element, turn: Turn) -> IqRequest:
        sender = stanza.from_
        assert sender is not None
        assert stanza.to is not None
        is_owner = account is not None and sender.bare == account.jid.bare
        if account is not None:
            turn.behind(account)
        return IqRequest(stanza, payload, sender, turn.origin, account, stanza.to.domain, turn, is_owner)

    def _may(self, who: Who, account: Account, request: IqRequest) -> bool:
        if request.is_owner or who is Who.ANYONE:
            return True
        if who is Who.OWNER:
            return False
        item = self._services.get(RosterService).item(account, JID.parse(request.sender.bare))
        return item is not None and item.sends_presence

    def _run(self, handler: IqHandler, request: IqRequest) -> None:
        try:
            payload = handler.method(request)
        except Exception as error:
            self._failed(handler, request, error)
        else:
            if payload.__class__ is Later:
                self._begin(handler, request, payload)
            else:
                self._succeeded(request, payload)

    def _begin(self, handler: IqHandler, request: IqRequest, later: Later) -> None:
        request.turn.park()
        if request.stanza.type == "get":
            request.turn.submitted()  # it changes nothing, so no later message need be counted behind it
        account = request.account
        if not later.is_in_order or account is None:
            self._tasks.spawn(self._finish(handler, request, later.work), name=f"iq {handler.component}")
            return

        async def run() -> None:
            await self._finish(handler, request, later.work)

        if not self._post(account, handler, request, run):
            later.work.close()

    def _post(
        self, owner: Account, handler: IqHandler, request: IqRequest, run: Callable[[], Coroutine[Any, Any, None]]
    ) -> bool:
        try:
            owner.mailbox.post(self._tasks, run)
        except MailboxFull:
            self._failed(handler, request, ResourceConstraint("too many requests wait for this account"))
            request.turn.unpark()
            return False
        return True

    async def _finish(
        self, handler: IqHandler, request: IqRequest, work: Coroutine[Any, Any, Element | None]
    ) -> None:
        try:
            payload = await work
        except Exception as error:
            self._failed(handler, request, error)
        else:
            self._succeeded(request, payload)
        finally:
            if request.account is not None and request.stanza.type == "set":
                request.turn.behind(request.account)  # also of a refusal: what it looked at may be under way
            request.turn.unpark()

    def _run_later(self, handler: IqHandler, request: IqRequest) -> None:
        request.turn.park()
        if request.stanza.type == "get":
            request.turn.submitted()  # it changes nothing, so no later message need be counted behind it

        async def run() -> None:
            await self._finish(handler, request, handler.method(request))

        # A change is the asker's, also where it is asked of the server (a new password): one at a time.
        owner = request.account or (request.session.account if request.session is not None else None)
        if request.stanza.type == "set" and owner is not None:
            self._post(owner, handler, request, run)
        else:
            self._tasks.spawn(run(), name=f"iq {handler.component}")

    def _succeeded(self, request: IqRequest, payload: Element | None) -> None:
        request.turn.on_failure = lambda error: self._answer(request.stanza.error(error), request)
        self._answer(request.stanza.result(payload), request, request.turn)
        for stanza in request.followed_by:
            self._answer(stanza, request, request.turn)

    def _failed(self, handler: IqHandler, request: IqRequest, error: Exception) -> None:
        request.turn.drop()
        if not isinstance(error, StanzaError):
            stanza = repr(request.stanza)
            log.error("request handler failed", component=handler.component, stanza=stanza, exc_info=error)
            error = InternalServerError("the server failed at this request; its log says why")
        self._answer(request.stanza.error(error), request, request.turn)

    def _answer(self, answer: Stanza | None, request: IqRequest, turn: Turn | None = None) -> None:
        if answer is None:
            return
        if turn is not None:
            self._router.reply(answer, turn)
        elif request.session is not None:
            request.session.deliver(answer)
        else:  # from a domain that is not served here
            turn = self._new_turn()
            self._router.reply(answer, turn)
            turn.commit()


def check_request(stanza: Stanza) -> StanzaError | None:
    """What is wrong with an IQ as such (RFC 6120 §8.2.3), None if nothing."""
    if stanza.type not in _IQ_TYPES:
        return BadRequest("an IQ is of type get, set, result or error")
    if not stanza.id:
        return BadRequest("an IQ needs an 'id'")
    if stanza.is_request:
        payloads: list[Any] = list(stanza.elements())
        if len(payloads) != 1:
            return BadRequest("a request has exactly one child element")
    return None


_IQ_TYPES = frozenset({"get", "set", "result", "error"})
