"""When notifications go out, and what becomes of them: coalescing, budgets, retries, endings.

Nothing here is waited for by who sends a message (reliability.md F-27). One notification is due for a registration at a
time, one is on its way (two with a call): whatever comes meanwhile shares the next.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from secrets import SystemRandom
from typing import Final

import structlog

from xmppchat.components.push import payload, registrations
from xmppchat.components.push.registrations import REGISTRATIONS, Ending, Registration, is_live
from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.rates import TokenBucket
from xmppchat.core.runtime import Timer
from xmppchat.jid import JID
from xmppchat.protocol.errors import StanzaError
from xmppchat.protocol.stanza import Stanza

log = structlog.get_logger(__name__)

#: What comes within this shares one notification, s.
COALESCE_SECONDS: Final = 1.0
#: The pause after a failure: twice as long after each further one, up to the second; a fifth more or less, s.
BACKOFF_SECONDS: Final = 60.0
LONGEST_BACKOFF_SECONDS: Final = 3_600.0
#: Where too much is on its way, it is tried again after this, s.
CROWDED_SECONDS: Final = 10.0
#: Notifications of all accounts that are due, and on their way.
MAX_DUE: Final = 50_000
MAX_UNDER_WAY: Final = 5_000
#: The part of a device's notifications that is kept for calls.
_FOR_CALLS: Final = 1 / 6

_random = SystemRandom()
Done = Callable[[str, float], object]


class _Due:
    """A notification that is due: for the registration `id` of `account`. `trace` names it in the log."""

    __slots__ = ("account", "even_if_live", "id", "is_urgent", "timer", "trace")

    def __init__(self, account: JID, id: int, trace: str) -> None:
        self.account = account
        self.id = id
        self.trace = trace
        self.is_urgent = False
        self.even_if_live = False
        self.timer: Timer | None = None


class _UnderWay:
    """One that was sent at `started` (ms) and is not answered. `done` is told the failure, "" for none, and seconds."""

    __slots__ = ("account", "done", "id", "is_asking", "started", "trace")

    def __init__(self, account: JID, id: int, trace: str, started: int, done: Done | None) -> None:
        self.account = account
        self.id = id
        self.trace = trace
        self.started = started
        self.done = done
        self.is_asking = True


class Publisher:
    """Sends notifications to push services."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._clock = kernel.clock
        self._due: dict[int, _Due] = {}
        self._under_way: Counter[int] = Counter()
        self._open = 0  # the sum of them
        self._again: dict[int, _Due] = {}  # due, behind one that is under way

    # --- over a planned restart ------------------------------------------------------------------------------------

    async def start(self) -> None:
        """What was due when the server stopped is due again."""
        rows = await self._kernel.reader.fetch(registrations.OWED, {"most": MAX_DUE})
        for row in rows:
            due = self._new(JID.parse(f"{row.localpart}@{row.domain}"), row.id)
            self._put(due, max(COALESCE_SECONDS, (row.retry_at - self._clock.now()) / 1000))
        if rows:
            turn = self._kernel.new_turn()
            registrations.owe_nothing(turn)
            await self._kernel.settled(turn)

    async def stop(self) -> None:
        """Write down what is due."""
        turn = self._kernel.new_turn()
        for id, due in (self._due | self._again).items():
            if due.timer is not None:
                due.timer.cancel()
            registrations.owe(id, turn)
        try:
            await self._kernel.settled(turn)
        except StanzaError as error:
            log.error("notifications that are due could not be saved; devices are not woken", reason=error.text)

    # --- what is due -----------------------------------------------------------------------------------------------

    def wake(
        self, account: Account, registration: Registration, *, is_urgent: bool = False, even_if_live: bool = False
    ) -> None:
        """Something came that `registration` is to be notified of; at once if it `is_urgent`.

        A device that has a connection when the time comes needs none, unless it is urgent or `even_if_live`.
        """
        now = self._clock.now()
        if not registration.may_be_tried(now):
            return
        if is_urgent and now < registration.called_at + COALESCE_SECONDS * 1000:
            return  # it rings
        is_urgent = is_urgent and self._has_call(registration)
        due = self._due.get(registration.id) or self._again.get(registration.id)
        if due is None:
            due = self._new(account.jid, registration.id)
            self._put(due, 0.0 if is_urgent else self._delay(registration))
        due.even_if_live = due.even_if_live or even_if_live or is_urgent
        if is_urgent and not due.is_urgent:
            due.is_urgent = True
            registration.called_at = now
            if due.timer is not None:
                due.timer.cancel()
            self._again.pop(due.id, None)
            self._fire(due)

    def forget(self, registration: Registration) -> None:
        """Nothing is due for `registration`: its device is here, and begins anew."""
        due = self._due.pop(registration.id, None) or self._again.pop(registration.id, None)
        if due is not None and due.timer is not None:
            due.timer.cancel()

    def _new(self, account: JID, id: int) -> _Due:
        return _Due(account, id, self._kernel.ids.token()[:8])

    def _put(self, due: _Due, seconds: float) -> None:
        if len(self._due) >= MAX_DUE and due.id not in self._due:
            self._kernel.counts.pushes["dropped"] += 1
            return
        self._due[due.id] = due
        due.timer = self._clock.call_later(seconds, self._fire, due)

    def _delay(self, registration: Registration) -> float:
        debt = self._budgets(registration)[1].take(self._clock.monotonic(), 1)
        if debt:
            self._kernel.limit_counters.fired("pushes_per_hour")
        return max(COALESCE_SECONDS, debt, (registration.retry_at - self._clock.now()) / 1000)

    def _has_call(self, registration: Registration) -> bool:
        bucket, now = self._budgets(registration)[0], self._clock.monotonic()
        if bucket.take(now, 1):
            bucket.take(now, -1)  # it goes with the others
            self._kernel.limit_counters.fired("pushes_per_hour")
            return False
        return True

    def _budgets(self, registration: Registration) -> tuple[TokenBucket, TokenBucket]:
        """For calls, for the rest. A full bucket and what flows in together are no more than an hour's (limit 51)."""
        if registration.budgets is None:
            hourly, now = self._kernel.limits.pushes_per_hour, self._clock.monotonic()
            calls, rest = hourly * _FOR_CALLS / 2, hourly * (1 - _FOR_CALLS) / 2
            registration.budgets = TokenBucket(calls / 3600, calls, now), TokenBucket(rest / 3600, rest, now)
        return registration.budgets

    def _fire(self, due: _Due) -> None:
        self._due.pop(due.id, None)
        if self._under_way.get(due.id, 0) > due.is_urgent:
            self._again[due.id] = due
            return
        if self._open >= MAX_UNDER_WAY:
            self._put(due, CROWDED_SECONDS)
            return
        self._kernel.directory.load(due.account, lambda account: self._loaded(due, account))

    def _loaded(self, due: _Due, account: Account | None) -> None:
        if account is None:
            if due.id not in self._due:
                self._put(due, CROWDED_SECONDS)
            return
        registration = account[REGISTRATIONS].get(due.id) if account.exists and not account.is_disabled else None
        if registration is None or not registration.may_be_tried(self._clock.now()):
            return
        if not due.even_if_live and is_live(account, registration):
            log.debug("push not needed: the device came by itself", push=due.trace)
            return
        self.publish(account, registration, due.trace)

    # --- what is under way -----------------------------------------------------------------------------------------

    def publish(self, account: Account, registration: Registration, trace: str, done: Done | None = None) -> None:
        """Send a notification now, in the name of the account's domain: services know servers, not users."""
        now = self._clock.now()
        log.debug("push sent", push=trace, account=account.jid.bare, app_server=registration.app_server.full)
        registration.published_at = now
        under_way = _UnderWay(account.jid, registration.id, trace, now, done)
        self._under_way[registration.id] += 1
        self._open += 1
        self._kernel.iq.request(
            registration.app_server, payload.notification(registration),
            lambda answer: self._answered(under_way, answer), domain=account.jid.domain, type="set",
        )
        under_way.is_asking = False

    def _answered(self, under_way: _UnderWay, answer: Stanza | None) -> None:
        id = under_way.id
        self._open -= 1
        self._under_way[id] -= 1
        if self._under_way[id] <= 0:
            del self._under_way[id]
        again = self._again.pop(id, None)
        if again is not None and id not in self._due:
            self._put(again, COALESCE_SECONDS)
        if answer is None and under_way.is_asking:  # the server has too many requests open: not the service's fault
            self._kernel.counts.pushes["postponed"] += 1
            if under_way.done is not None:
                under_way.done("postponed", 0.0)
            elif id not in self._due:
                self._put(_Due(under_way.account, id, under_way.trace), CROWDED_SECONDS)
            return
        self._kernel.directory.load(under_way.account, lambda account: self._settle(under_way, account, answer))

    def _settle(self, under_way: _UnderWay, account: Account | None, answer: Stanza | None) -> None:
        failure, is_permanent = payload.failure_of(answer)
        seconds = (self._clock.now() - under_way.started) / 1000
        self._kernel.counts.pushes[failure or "published"] += 1
        registration = account[REGISTRATIONS].get(under_way.id) if account is not None and account.exists else None
        # What was enabled anew meanwhile is not judged by what was before.
        if account is not None and registration is not None and registration.enabled_at <= under_way.started:
            if failure:
                self._failed(account, registration, failure, under_way.trace, is_permanent=is_permanent)
            else:
                self._succeeded(registration)
                log.debug("push accepted", push=under_way.trace, seconds=seconds)
            turn = self._kernel.new_turn()
            registrations.save(account, registration, turn)
            turn.commit()
        if under_way.done is not None:
            under_way.done(failure, seconds)

    def _succeeded(self, registration: Registration) -> None:
        registration.clear()
        registration.succeeded_at = self._clock.now()
        due = self._due.get(registration.id)
        if due is not None and due.timer is not None:  # it need not wait as long as after an error
            due.timer.cancel()
            self._put(due, self._delay(registration))

    def _failed(
        self, account: Account, registration: Registration, failure: str, trace: str, *, is_permanent: bool
    ) -> None:
        now = self._clock.now()
        registration.errors += 1
        registration.error, registration.failed_at = failure, now
        is_over = is_permanent or registration.errors >= self._kernel.limits.push_errors
        log.info(
            "push failed", push=trace, account=account.jid.bare, app_server=registration.app_server.full,
            reason=failure, errors=registration.errors, disabled=is_over,
        )
        if is_over:
            if not is_permanent:
                self._kernel.limit_counters.fired("push_errors")
            registration.disable(Ending.REFUSED if is_permanent else Ending.ERRORS, now)
            return
        pause = min(BACKOFF_SECONDS * 2 ** min(registration.errors - 1, 16), LONGEST_BACKOFF_SECONDS)
        pause *= _random.uniform(0.8, 1.2)
        registration.retry_at = now + round(pause * 1000)
        due = self._due.get(registration.id)
        if due is not None and due.timer is not None:
            due.timer.cancel()
        self._put(due or self._new(account.jid, registration.id), pause)
