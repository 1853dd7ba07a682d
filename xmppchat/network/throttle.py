"""How fast a client is read (reliability.md, limits 10, 16, 17): who sends too much waits, and loses nothing.

Rates count for the session, and for all sessions of its account together. A debt stops reading until it is paid. Who
sends whole seconds of stanzas more than allowed each time that reading goes on, for half a minute, does not listen:
its stream ends.
"""

from __future__ import annotations

from collections.abc import Sequence

from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.rates import Rates
from xmppchat.network.wire import Wire
from xmppchat.protocol.errors import StreamError, StreamResourceConstraint
from xmppchat.protocol.stream_events import Event, StanzaReceived

#: What a byte costs of the byte rate where nothing but whitespace comes: 1 KiB a second instead of 16.
WHITESPACE_PRICE = 16
#: A debt of so many seconds is excess, not the end of a burst, s.
EXCESS_DEBT = 5.0
#: How long excess may last, s.
EXCESS_SECONDS = 30.0
_SESSION, _ACCOUNT = "session_rate", "account_rate"


class Throttle:
    """Counts what one client sends. Make it with :meth:`of`."""

    __slots__ = ("_account", "_excess_since", "_kernel", "_of_session", "_wire")

    def __init__(self, kernel: Kernel, wire: Wire, account: Account, of_session: Rates | None) -> None:
        self._kernel = kernel
        self._wire = wire
        self._account = account
        self._of_session = of_session
        self._excess_since = -1.0

    @classmethod
    def of(cls, kernel: Kernel, wire: Wire, account: Account) -> Throttle | None:
        """The throttle of a session; None where no rate is limited."""
        now = kernel.clock.monotonic()
        if account.rates is None:
            account.rates = kernel.limits.account_rates(now)
        of_session = kernel.limits.session_rates(now)
        limited = of_session is not None or account.rates is not None
        return cls(kernel, wire, account, of_session) if limited else None

    @staticmethod
    def release(wire: Wire) -> None:
        """Reading goes on: a debt under former limits is none."""
        wire.resume_reading(_SESSION)
        wire.resume_reading(_ACCOUNT)

    def charge(self, data: bytes, events: Sequence[Event]) -> StreamError | None:
        """Count what came; returns why the stream has to end, None where it goes on."""
        kernel = self._kernel
        now = kernel.clock.monotonic()
        kinds = [event.element.name for event in events if isinstance(event, StanzaReceived)]
        # Whitespace keeps a connection alive; more than a byte now and then is no use to anybody (limit 10).
        size = len(data) if kinds or not data.isspace() else len(data) * WHITESPACE_PRICE
        exceeded = ""
        for name, rates in ((_SESSION, self._of_session), (_ACCOUNT, self._account.rates)):
            wait = rates.take(now, size, kinds) if rates is not None else 0.0
            if rates is not None and wait > 0:
                kernel.limit_counters.fired(rates.exceeded)
                self._wire.pause_reading(name)
                kernel.clock.call_later(wait, self._wire.resume_reading, name)
                if wait > EXCESS_DEBT and not rates.exceeded.endswith("byte_rate"):  # bytes are only slowed down
                    exceeded = rates.exceeded
        return self._judge(now, exceeded)

    def _judge(self, now: float, exceeded: str) -> StreamError | None:
        if not exceeded:
            self._excess_since = -1.0
        elif self._excess_since < 0:
            self._excess_since = now
        elif now - self._excess_since >= EXCESS_SECONDS:
            self._kernel.limit_counters.fired("sustained_excess")
            return StreamResourceConstraint("too many stanzas for half a minute; send fewer at a time")
        return None
