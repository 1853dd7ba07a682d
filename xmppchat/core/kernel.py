"""Kernel: the parts of :mod:`xmppchat.core` put together, and the entry for what clients send."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import structlog

from xmppchat.core import domains, events, tables
from xmppchat.core.account import Unbegun
from xmppchat.core.arrivals import Arrivals
from xmppchat.core.commit_gate import CommitGate, Writer
from xmppchat.core.component import OUTBOUND, Component
from xmppchat.core.config import ServerConfig
from xmppchat.core.counts import Counts
from xmppchat.core.directory import Directory
from xmppchat.core.iq import IqDispatcher, check_request
from xmppchat.core.limits import LimitCounters, Limits
from xmppchat.core.links import Link, Links
from xmppchat.core.pipeline import Passage, Pipeline
from xmppchat.core.router import Router, Target
from xmppchat.core.runtime import Clock, Ids, Tasks
from xmppchat.core.services import Reader, Services
from xmppchat.core.session import Intake, Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadRequest,
    InternalServerError,
    InvalidFrom,
    JidMalformed,
    ResourceConstraint,
    StanzaError,
    StreamConflict,
    StreamError,
)
from xmppchat.protocol.stanza import PRESENCE_TYPES, MalformedAddress, Stanza

log = structlog.get_logger(__name__)

EventT = TypeVar("EventT")


class Kernel:
    """One worker: its accounts, sessions, tables. Everything outside is given (clock, database)."""

    def __init__(
        self,
        config: ServerConfig,
        component_classes: Sequence[type[Component[Any]]],
        *,
        reader: Reader,
        writer: Writer,
        clock: Clock,
        account_query: Any,
    ) -> None:
        self.config = config
        self.limits: Limits = config.limits
        self.limit_counters = LimitCounters()
        self.counts = Counts()
        self._received = self.counts.received
        self.clock = clock
        self.ids = Ids(clock)
        self.tasks = Tasks()
        self.reader = reader
        self.gate = CommitGate(writer)
        self.services = Services()
        self.hosts: tuple[str, ...] = tuple(config.hosts)
        self.components: list[Component[Any]] = []
        for cls in tables.in_order(component_classes):
            component = cls(self, config.component(cls))
            self.components.append(component)
            for service in cls.provides:
                self.services.provide(service, component)
        self.domains = domains.collect(self.components)
        self.tables = tables.build(self.components)
        self.pipeline = Pipeline(self.tables.stages, self.tables.hooks)
        parts = [part for component in self.components for part in component.account_parts]
        self.directory = Directory(reader, self.gate, self.tasks, account_query, parts, self.domains)
        self.links = Links(config.external_components)
        self.router = Router(
            self.hosts, self.domains, self.links, self.directory, self.pipeline, self.tables, self.new_turn
        )
        self.iq = IqDispatcher(
            self.tables, self.router, self.tasks, self.services, clock, self.ids.token, self.new_turn
        )
        self.router.iq = self.iq
        self._arrivals = Arrivals(self.router, self.directory, self.gate, (*self.hosts, *self.domains))
        for component in self.components:
            component.setup()

    async def start(self) -> None:
        """Start the components and what runs at intervals."""
        for component in self.components:
            await component.start()
        for seconds, method in self.tables.every:
            self.tasks.spawn(self._every(seconds, method), name=f"every {seconds} s {method.__qualname__}")

    async def stop(self) -> None:
        """Let open tickets settle, stop the components and all background work."""
        await self.gate.drained()
        for component in reversed(self.components):
            await component.stop()
        await self.tasks.stop()

    def reconfigure(self, config: ServerConfig) -> list[str]:
        """Go on with `config`, whose hosts, storage and components are those of the start; sessions stay.

        Returns the names of components that failed to follow: a bug of theirs, and logged.
        """
        has_new_limits = config.limits != self.limits
        self.config, self.limits = config, config.limits
        self.links.expect(config.external_components)
        if has_new_limits:
            for account in self.directory.accounts():
                account.rates = None  # made anew with the next session, or by those there are
        failed = []
        for component in self.components:
            component.config = config.component(type(component))
            try:
                component.reconfigured()
            except Exception:
                log.exception("component failed to take its options", component=component.name)
                failed.append(component.name)
        self.emit(events.Reconfigured())
        return failed

    async def _every(self, seconds: float, method: Callable[[], Any]) -> None:
        while True:
            due = asyncio.Event()
            self.clock.call_later(seconds, due.set)
            await due.wait()
            try:
                await method()
            except Exception:
                log.exception("interval job failed", job=method.__qualname__)

    def emit(self, event: object) -> None:
        """Tell the handlers of this kind of event; one that fails does not keep the others from hearing it."""
        for handler in self.tables.events.get(type(event), ()):
            try:
                handler(event)
            except Exception:
                log.exception("event handler failed", handler=handler.__qualname__, event_type=type(event).__name__)

    def new_turn(self, origin: Session | None = None) -> Turn:
        """A turn for what `origin` sent, or for what the server begins itself."""
        return Turn(self.gate, origin)

    async def settled(self, turn: Turn) -> None:
        """Commit `turn` and return when it is on disk. Raises the stanza error that says why it could not be stored."""
        failures: list[StanzaError] = []
        turn.on_failure = failures.append
        turn.commit()
        await self.gate.committed(self.gate.last)  # not until nothing is open: on a busy server something always is
        if failures:
            raise failures[0]

    # --- sessions --------------------------------------------------------------------------------------------------

    def add_session(self, session: Session) -> None:
        """Bind `session`. One with the same full JID is ended with ``<conflict/>`` (RFC 6120 §7.7.2.2)."""
        old = session.account.sessions.get(session.jid.resource)
        if old is not None:
            old.close(StreamConflict("the same resource was bound by a newer connection"))
            self.end_session(old)
        self.directory.attach(session)
        self.emit(events.ResourceBound(session))

    def enable_inline(self, session: Session, wishes: Iterable[Element]) -> list[Element]:
        """Give `session`, which was just bound, the features its client asked for (XEP-0386 §3.2); returns the answers.

        What nobody declared is left out, what is asked for twice is done once.
        """
        asked = {(wish.namespace, wish.name): wish for wish in wishes}
        answers = [self.tables.inline[key](session, wish) for key, wish in asked.items() if key in self.tables.inline]
        return [answer for answer in answers if answer is not None]

    def lose_session(self, session: Session) -> None:
        """The connection of `session` is gone without a good-bye: it may go on with another one (XEP-0198 §5)."""
        if session.is_closed or session.management is None or not session.management.may_resume:
            self.end_session(session)
            return
        session.move(Hibernation(self, session))
        self.emit(events.SessionHibernated(session))

    def end_session(self, session: Session, *, is_good_bye: bool = False) -> None:
        """Unbind `session`: its contacts learn that it is unavailable. Idempotent. `is_good_bye`: its client asked."""
        if session.is_closed:
            return
        session.is_closed = True
        session.takes_messages = False
        self.directory.detach(session)
        turn = self.new_turn(session)
        self.emit(events.SessionEnded(session, turn, is_good_bye))
        turn.commit()

    # --- what comes over links ---------------------------------------------------------------------------------------

    def receive_from(self, link: Link, element: Element) -> None:
        """A stanza from a domain that is not served here, which `link` has proved to be.

        Raises :class:`InvalidFrom` or :class:`ImproperAddressing` where the link may not send it (RFC 6120 §8.1).
        """
        self._arrivals.receive(link, element)

    def detach(self, link: Link) -> None:
        """The connection under `link` has ended: who waits for an answer from there is told. Idempotent."""
        if not link.is_closed:
            self.links.detach(link)
            self.iq.give_up(link.domain)
            self.emit(events.LinkDetached(link.domain))

    # --- what clients send ------------------------------------------------------------------------------------------

    def receive(self, session: Session, element: Element) -> None:
        """A stanza from a client. Raises :class:`InvalidFrom` where it claims another sender (RFC 6120 §8.1.2.1)."""
        self._received[element.name] += 1
        management = session.management
        try:
            stanza = Stanza.from_element(element)
        except MalformedAddress as error:
            turn = Turn(self.gate, session, 0 if management is None else management.received())
            self._refuse_malformed(session, element, error, turn)
            turn.commit()
            return
        sender = session.jid
        if stanza.from_ is not None and stanza.from_ != sender and stanza.from_.full != sender.bare:
            raise InvalidFrom("the 'from' of a stanza is your own address, or absent")
        stanza.from_ = sender
        if not stanza.lang:
            stanza.lang = session.lang  # RFC 6120 §4.7.4
        number = 0 if management is None else management.received()
        if session.intake is None or not self._is_kept(session.intake, session, stanza, number):
            self._admit(session, stanza, number)

    def _is_kept(self, intake: Intake, session: Session, stanza: Stanza, number: int) -> bool:
        unbegun: Unbegun | None = None

        def go_on(is_new: bool) -> None:
            assert unbegun is not None, "not before it is taken"
            session.unhold()
            if is_new and (not session.is_closed or stanza.kind == "message"):
                self._admit(session, stanza, number, unbegun)
            else:
                Turn(self.gate, session, number).commit()  # acknowledged as what it repeats
                unbegun.end()

        if not intake.take(stanza, go_on):
            return False
        session.hold()
        unbegun = Unbegun(session, stanza, number)
        return True

    def _admit(self, session: Session, stanza: Stanza, number: int, unbegun: Unbegun | None = None) -> None:
        to = stanza.to
        is_cold = to is not None and self.router.is_cold(to)
        if is_cold and to is not None:
            # Nothing is begun before the recipient is in memory, so no change waits half made. What is for others
            # goes on (ADR 4: only the lane is parked); what is for the same recipient comes behind, in order.
            session.hold()
            waiting = unbegun or Unbegun(session, stanza, number)
            if number:
                self._queue(session, waiting)
            self.directory.load(to, lambda account: self._loaded(session, waiting, is_found=account is not None))
        elif session.lane and stanza.kind == "message":
            # What is acknowledged is a number, so the messages of a managed stream are stored in its order.
            session.hold()
            waiting = unbegun or Unbegun(session, stanza, number)
            waiting.is_ready = True
            self._queue(session, waiting)
        else:
            self._begin(session, stanza, number)
            if unbegun is not None:
                unbegun.end()

    def receive_nonza(self, session: Session, element: Element) -> None:
        """An element from a client that is no stanza, declared by a component. Raises :class:`StreamError`."""
        self.tables.nonzas[element.namespace, element.name](session, element)

    @staticmethod
    def _queue(session: Session, waiting: Unbegun) -> None:
        if session.lane is None:
            session.lane = deque()
        session.lane.append(waiting)

    def _loaded(self, session: Session, waiting: Unbegun, *, is_found: bool) -> None:
        waiting.is_ready = True
        waiting.is_refused = not is_found
        lane = session.lane
        if not waiting.number or lane is None:
            self._go_on(session, waiting)
            return
        while lane and lane[0].is_ready:
            self._go_on(session, lane.popleft())

    def _go_on(self, session: Session, waiting: Unbegun) -> None:
        session.unhold()
        if waiting.is_refused:
            # Not begun either: archived for its sender, it would wait half made, and turn up before what was seen.
            turn = Turn(self.gate, session, waiting.number)
            error = ResourceConstraint("the recipient cannot be looked up at the moment")
            self._tell(session, waiting.stanza, error, turn)
            turn.commit()
        elif not session.is_closed or waiting.stanza.kind == "message":
            self._begin(session, waiting.stanza, waiting.number)
        waiting.end()

    def _begin(self, session: Session, stanza: Stanza, number: int) -> None:
        turn = Turn(self.gate, session, number)
        try:
            self._send(session, stanza, turn)
        except StanzaError as error:
            turn.drop()
            self._tell(session, stanza, error, turn)
        except Exception:
            log.exception("stanza could not be handled", stanza=repr(stanza))
            turn.drop()
            self._tell(session, stanza, InternalServerError("the server failed at this stanza; its log says why"), turn)
        turn.commit()

    def _send(self, session: Session, stanza: Stanza, turn: Turn) -> None:
        kind = stanza.kind
        if kind == "iq":
            problem = check_request(stanza)
            if problem is not None:
                raise problem
        elif stanza.kind == "presence" and stanza.type not in PRESENCE_TYPES:
            raise BadRequest("there is no such type of presence (RFC 6121 §4.7.1)")
        if self.pipeline.has_outbound(kind, session.account):
            passage = Passage(stanza, OUTBOUND, session.account, turn)
            if not self.pipeline.admit(passage, self.router):
                return
            stanza = passage.stanza
        turn.on_failure = lambda error: self._deliver_error(session, stanza, error)
        if kind == "presence":
            handler = self.tables.presence.get((OUTBOUND, stanza.type))
            if handler is not None:
                handler(session, stanza, turn)
                return
            if stanza.to is None:
                return
        elif stanza.to is None:
            # RFC 6120 §10.3.1, §10.3.3: on behalf of the account, as if to its bare JID.
            stanza = stanza.replace(to=session.account.jid)
        elif kind == "iq" and stanza.is_request and (
            stanza.to.local or self.router.resolve(stanza.to) is not Target.LOCAL_SERVICE
        ):
            session.request_sent(stanza.to.full, stanza.id)
        self.router.route(stanza, turn)

    def _refuse_malformed(self, session: Session, element: Element, error: MalformedAddress, turn: Turn) -> None:
        if error.attribute == "from":
            raise InvalidFrom(str(error))
        header = element.replace(attributes={"to": None, "from": None}, children=())
        self._tell(session, Stanza.from_element(header), JidMalformed(str(error)), turn)

    def _tell(self, session: Session, stanza: Stanza, error: StanzaError, turn: Turn) -> None:
        turn.effect(self._deliver_error, session, stanza, error)

    def _deliver_error(self, session: Session, stanza: Stanza, error: StanzaError) -> None:
        """The answer comes from whom it was sent to: without a 'to' that is the account (RFC 6120 §10.3)."""
        answer = stanza.replace(from_=session.jid, to=stanza.to or session.account.jid).error(error)
        if answer is not None:
            session.deliver(answer)


class Hibernation:
    """What a session writes to while it has no connection: nowhere (see :class:`~xmppchat.core.session.Output`)."""

    __slots__ = ("_kernel", "session")

    def __init__(self, kernel: Kernel, session: Session | None = None) -> None:
        self._kernel = kernel
        self.session = session

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Its management keeps it."""

    def send_nonza(self, element: Element) -> None:
        """There is nobody to be told."""

    def pause_reading(self, reason: str) -> None:
        """Nothing is read."""

    def resume_reading(self, reason: str) -> None:
        """Nothing is read."""

    def close(self, error: StreamError | None) -> None:
        """There is no stream: the session ends at once."""
        if self.session is not None:
            self._kernel.end_session(self.session)

    def replaced(self) -> None:
        """There is no stream."""
