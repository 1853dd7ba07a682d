"""The component: what clients say, who waits for what, and what becomes of sessions without a connection."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict

import structlog

from xmppchat.components.stream_management import restart, store
from xmppchat.components.stream_management.managed import Managed, Sent
from xmppchat.components.stream_management.unsent import hand_back, stamped
from xmppchat.components.stream_management.waiting import Waiting
from xmppchat.core import events
from xmppchat.core.clock_guard import ClockGuard
from xmppchat.core.component import Component, ComponentConfig, Xep, every, nonza, on, with_bind
from xmppchat.core.crash_points import crash_point
from xmppchat.core.kernel import Hibernation
from xmppchat.core.runtime import TIME_SHIFT, time_of
from xmppchat.core.services import PushService, ResumptionService, Successor
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol import stream_management as protocol
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import (
    BadFormat,
    ConnectionTimeout,
    StanzaError,
    StreamPolicyViolation,
    StreamResourceConstraint,
    UnexpectedRequest,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_features import Fact, StreamFeature, announcement

log = structlog.get_logger(__name__)

#: How often it is looked at who was not asked, or not answered, s (reliability.md, limit 22).
LOOK_SECONDS = 2.0
#: How long an acknowledgement may be owed until the client is taken to be asleep, s (limit 22).
OVERDUE_SECONDS = 30.0
#: Ended streams whose count of handled stanzas is kept in memory.
MAX_ENDED = 10_000
#: How long the count of an ended stream is kept on disk, ms.
KEPT_MS = 7 * 86_400_000
#: How long a client that could not resume waits to hear how far its former stream was, s.
SETTLING_SECONDS = 5.0
#: A client gets so long to take what is sent in one go before its queue counts as too long, s.
GRACE_SECONDS = 10.0


class StreamManagement(Component[ComponentConfig]):
    """Acknowledgements (XEP-0198 §4) and resumption (§5)."""

    name = "stream_management"
    implements = (Xep(198, "1.6.3"),)
    stream_features = (
        StreamFeature(
            "sm", announcement("sm", NS.STREAM_MANAGEMENT), needs=Fact.AUTHENTICATED, forbids=Fact.MANAGED
        ),
    )
    inline_features = (StreamFeature("sm", announcement("sm", NS.STREAM_MANAGEMENT)),)
    provides = (ResumptionService,)
    requires = (PushService,)

    def setup(self) -> None:
        """Nobody is connected yet."""
        self._push = self.kernel.services.get(PushService)
        self._streams: dict[str, Managed] = {}  # those that can be resumed, by SM-ID
        # (account, handled; the stream itself while something is under way) by SM-ID
        self._ended: OrderedDict[str, tuple[str, int | Managed]] = OrderedDict()
        self._waiting = Waiting()
        self._guard = ClockGuard()
        self._unasked: dict[Managed, None] = {}
        self._asked: dict[Managed, None] = {}  # whoever has owed longest is first
        self._owing: dict[Managed, None] = {}

    # --- what clients say (§3, §4) -----------------------------------------------------------------------------------

    @nonza(NS.STREAM_MANAGEMENT, "enable")
    def enable(self, session: Session, element: Element) -> None:
        """§3: count from now on, and keep the session if that is wanted."""
        session.send_nonza(self.enable_from_the_start(session, element))

    @with_bind(NS.STREAM_MANAGEMENT, "enable")
    def enable_from_the_start(self, session: Session, element: Element) -> Element:
        """§9.1: the same while a resource is bound; what is answered stands in ``<bound/>``."""
        if session.management is not None:
            raise StreamPolicyViolation("stream management is enabled already (XEP-0198 §3: at most one attempt)")
        seconds = 0
        if protocol.is_true(element.get("resume")):
            wanted = element.get("max")
            most = int(self.kernel.limits.resumption_seconds)
            is_number = wanted.isascii() and wanted.isdigit() and len(wanted) < 10
            seconds = max(1, min(int(wanted), most)) if is_number else most
        managed = Managed(self, session, self.kernel.ids.sortable(), self.kernel.ids.token(), seconds)
        if managed.id:
            self._streams[managed.id] = managed
        session.management = managed
        return protocol.enabled(managed.id, seconds)

    @nonza(NS.STREAM_MANAGEMENT, "resume")
    def resume_too_late(self, session: Session, element: Element) -> None:
        """§5: instead of binding a resource, not after it."""
        session.send_nonza(protocol.failed(UnexpectedRequest()))

    @nonza(NS.STREAM_MANAGEMENT, "r")
    def requested(self, session: Session, element: Element) -> None:
        """§4: how many stanzas are handled?"""
        managed = session.management
        if not isinstance(managed, Managed):
            raise StreamPolicyViolation("enable stream management before you ask for acknowledgements")
        managed.answer()

    @nonza(NS.STREAM_MANAGEMENT, "a")
    def acknowledged_by_client(self, session: Session, element: Element) -> None:
        """§4: so many stanzas are handled."""
        managed = session.management
        if not isinstance(managed, Managed):
            raise StreamPolicyViolation("enable stream management before you acknowledge")
        h = protocol.read_count(element)
        if h is None:
            raise BadFormat("'h' of <a/> is a number from 0 to 4294967295 (XEP-0198 §4)")
        managed.acknowledge(h)

    # --- for the streams (see Manager) -------------------------------------------------------------------------------

    def moment(self) -> int:
        """See :class:`~xmppchat.components.stream_management.managed.Manager`."""
        return self.kernel.ids.moment()

    def unasked(self, managed: Managed) -> None:
        """See :class:`~xmppchat.components.stream_management.managed.Manager`."""
        self._unasked[managed] = None

    def asked(self, managed: Managed) -> None:
        """See :class:`~xmppchat.components.stream_management.managed.Manager`."""
        managed.asked_at = self.kernel.clock.monotonic()
        self._asked[managed] = None

    def acknowledged(self, managed: Managed) -> None:
        """See :class:`~xmppchat.components.stream_management.managed.Manager`."""
        self._asked.pop(managed, None)

    def owes(self, managed: Managed) -> None:
        """See :class:`~xmppchat.components.stream_management.managed.Manager`."""
        self._owing[managed] = None

    def kept(self, managed: Managed, stanza: Stanza) -> None:
        """See :class:`~xmppchat.components.stream_management.managed.Manager`."""
        self.kernel.emit(events.StanzaKept(managed.session, stanza))

    def grew(self, managed: Managed) -> None:
        """Limit 20: what is kept for one client is bounded, and what is for all that have no connection."""
        limits = self.kernel.limits
        stanzas, size = managed.size
        if managed in self._waiting:
            self._waiting.count(managed)
            self._end_excess()
        if stanzas <= limits.unacknowledged_stanzas and size <= limits.unacknowledged_bytes:
            return
        if not managed.is_hibernating:
            now = self.kernel.clock.monotonic()
            if not managed.is_asked or now - managed.asked_at < GRACE_SECONDS:
                managed.ask_if_needed()
                return
        if managed.may_resume or not managed.is_hibernating:
            is_long = stanzas > limits.unacknowledged_stanzas
            self._end(managed, "unacknowledged_stanzas" if is_long else "unacknowledged_bytes")

    def _end(self, managed: Managed, limit: str) -> None:
        managed.give_up()
        self.kernel.limit_counters.fired(limit)
        error = StreamResourceConstraint("acknowledge what you are sent; get what you missed from the archive")
        # Not in place: whoever delivers goes through the sessions of the account.
        asyncio.get_running_loop().call_soon(managed.session.close, error)

    def _end_excess(self) -> None:
        while self._waiting.bytes > self.kernel.limits.hibernated_bytes:
            self._end(self._waiting.pop_oldest(), "hibernated_bytes")

    @every(LOOK_SECONDS)
    async def look(self) -> None:
        """Ask who was sent little, answer who waits, give up who does not answer."""
        unasked, self._unasked = self._unasked, {}
        for managed in unasked:
            managed.ask_if_needed()
        owing, self._owing = self._owing, {}
        for managed in owing:
            managed.answer_now()
        self._tell_overdue()
        late = self.kernel.clock.monotonic() - self.kernel.limits.acknowledgement_seconds
        for managed in list(self._asked):
            if managed.asked_at > late:
                break
            self._asked.pop(managed, None)
            if managed.is_asked and not managed.session.is_closed and not managed.is_hibernating:
                self.kernel.limit_counters.fired("acknowledgement_seconds")
                managed.session.output.close(ConnectionTimeout("nothing was acknowledged for a long time"))

    def _tell_overdue(self) -> None:
        """Who does not answer for so long may have to be woken."""
        since = self.kernel.clock.monotonic() - OVERDUE_SECONDS
        for managed in list(self._asked):
            if managed.asked_at > since:
                break
            if managed.is_overdue_news() and not managed.session.is_closed:
                self.kernel.emit(events.AcknowledgementOverdue(managed.session))

    # --- without a connection ----------------------------------------------------------------------------------------

    @on(events.SessionHibernated)
    def hibernated(self, event: events.SessionHibernated) -> None:
        """§5: the session waits for its client; contacts see no change."""
        managed = event.session.management
        assert isinstance(managed, Managed), "only managed sessions hibernate"
        managed.hibernate()
        self._asked.pop(managed, None)
        self._wait(managed)
        waiting = [
            one for one in event.session.account.sessions.values()
            if isinstance(one.management, Managed) and one.management.is_hibernating
        ]
        if len(waiting) > self.kernel.limits.hibernated_sessions:
            self.kernel.limit_counters.fired("hibernated_sessions")
            self.kernel.end_session(waiting[0])
        self.grew(managed)

    def _wait(self, managed: Managed) -> None:
        """Limit 21. A client that asked for less than it could have had gets no more than that."""
        limits, seconds = self.kernel.limits, managed.seconds
        if seconds >= int(limits.resumption_seconds) and self._push.wakes(managed.session):
            seconds = max(seconds, limits.push_resumption_seconds)
        managed.timer = self.kernel.clock.call_later(seconds, self._expire, managed)
        self._waiting.count(managed)
        self._end_excess()

    def _expire(self, managed: Managed) -> None:
        self.kernel.end_session(managed.session)

    @on(events.SessionEnded)
    def ended(self, event: events.SessionEnded) -> None:
        """What its client may not have goes where it can; how far it was is kept (§5)."""
        managed = event.session.management
        if not isinstance(managed, Managed):
            return
        if managed.timer is not None:
            managed.timer.cancel()
        self._waiting.remove(managed)
        if managed.successor is not None:
            managed.successor.replaced()
        for waiters in (self._unasked, self._asked, self._owing):
            waiters.pop(managed, None)
        if self._streams.pop(managed.id, None) is not None:
            is_done = managed.is_settled
            self._ended[managed.id] = (event.session.account.jid.bare, managed.handled if is_done else managed)
            if len(self._ended) > MAX_ENDED:
                self._ended.popitem(last=False)
            managed.store_count(event.turn)
            if not is_done:
                self.kernel.tasks.spawn(self._note_count(managed), name="count of an ended stream")
        for stanza, to in event.session.take_behind():
            managed.sent_before(Sent(stanza, to, self.moment()))
        hand_back(self.kernel, event.session, managed.outstanding(), event.turn)

    async def _note_count(self, managed: Managed) -> None:
        """Keep how far an ended stream came in place of the stream."""
        await managed.until_settled()
        bare, ended = self._ended.get(managed.id, ("", 0))
        if ended is managed:
            self._ended[managed.id] = (bare, managed.handled)
        turn = self.kernel.new_turn()
        managed.store_count(turn)
        turn.commit()

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """Nothing is kept of a deleted account."""
        event.turn.write(None, *store.deleted(event.account.id))

    @every(3_600)
    async def clean(self) -> None:
        """Forget how far streams were that ended long ago."""
        now, newest = self.kernel.clock.now(), await store.newest(self.kernel.reader)
        if refusal := self._guard.refusal(now, self.kernel.clock.monotonic(), time_of(newest)):
            log.warning("counts of ended streams are all kept", reason=refusal)
            return
        limit = (now - KEPT_MS) << TIME_SHIFT
        live = {managed.number for managed in self._streams.values()}
        turn = self.kernel.new_turn()
        for number in await store.older(self.kernel.reader, limit):
            if number not in live:
                turn.write(None, *store.forgotten(number))
        turn.commit()

    # --- resumption (§5) ---------------------------------------------------------------------------------------------

    def resume(self, account: JID, previd: str, handled: int, successor: Successor) -> bool:
        """See :class:`ResumptionService`."""
        managed = self._streams.get(previd)
        if managed is None or managed.session.account.jid != account or not managed.may_resume:
            return False
        if managed.unacknowledged.is_behind(handled):
            return False  # what it asks for is not kept any more
        managed.unacknowledged.check(handled)
        session = managed.session
        if managed.successor is not None:
            managed.successor.replaced()  # two at once: the later one has it
        elif not managed.is_hibernating:
            old = session.output
            session.move(Hibernation(self.kernel, session))
            managed.hibernate()
            self._asked.pop(managed, None)
            self._wait(managed)
            old.replaced()
        managed.successor, managed.resumed_with = successor, handled
        self._when_settled(managed, successor)
        return True

    def _when_settled(self, managed: Managed, successor: Successor) -> None:
        """What came on the old connection is on disk before the client is told how much that was."""
        if managed.successor is not successor or managed.session.is_closed:
            return
        if managed.is_settled:
            self._move(managed, successor)
        else:
            self.kernel.tasks.spawn(self._settle(managed, successor), name="resumption")

    async def _settle(self, managed: Managed, successor: Successor) -> None:
        await managed.until_settled()
        self._when_settled(managed, successor)

    def _move(self, managed: Managed, successor: Successor) -> None:
        session = managed.session
        managed.successor = None
        if not successor.take_over(session, protocol.resumed(managed.id, managed.handled)):
            return  # gone before it could be served: the session waits on
        self.kernel.counts.resumptions["resumed"] += 1
        if managed.timer is not None:
            managed.timer.cancel()
            managed.timer = None
        self._waiting.remove(managed)
        managed.acknowledge(managed.resumed_with)
        session.move(successor)
        managed.wake()
        waiting = managed.take_waiting()
        for sent in managed.unacknowledged:
            successor.send(stamped(sent), sent.to)
        for sent in waiting:
            session.send(stamped(sent), sent.to)
        if len(managed.unacknowledged):
            managed.ask()
        self.kernel.emit(events.SessionResumed(session))
        successor.resume()

    async def last_handled(self, account: JID, previd: str) -> int | None:
        """See :class:`ResumptionService`."""
        self.kernel.counts.resumptions["failed"] += 1
        managed = self._streams.get(previd)
        living = (managed.session.account.jid.bare, managed) if managed is not None else None
        bare, stream = living or self._ended.get(previd, ("", 0))
        if bare != account.bare:
            return await store.last_handled(self.kernel.reader, account, previd)
        if not isinstance(stream, Managed):
            return stream
        with contextlib.suppress(TimeoutError):  # what is under way counts, too: it need not be sent again
            await asyncio.wait_for(stream.until_settled(), SETTLING_SECONDS)
        return stream.handled

    # --- planned restarts --------------------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Write down the sessions that wait for their clients."""
        waiting = [
            managed for managed in self._streams.values()
            if managed.is_hibernating and managed.may_resume and not managed.session.is_closed
        ]
        try:
            await restart.save_all(self.kernel, waiting)
        except StanzaError as error:
            log.error("sessions could not be saved; their clients log in anew", reason=error.text)
        crash_point("after-sessions-saved")

    async def start(self) -> None:
        """Sessions of before a planned restart wait for their clients again."""
        self.kernel.ids.not_below(await store.newest(self.kernel.reader))
        await restart.restore_all(self.kernel, self, self._restored)

    def _restored(self, managed: Managed) -> None:
        self._streams[managed.id] = managed
        self._wait(managed)
