"""Turn: one stanza's time on the stage. It collects what the stanza writes and what it causes, and lets both go.

Nothing a turn causes is visible before its writes are committed; a turn without writes leaves behind the last open
ticket of its session and of the accounts it looked at, so nothing overtakes (RFC 6120 §10.1) and nothing uncommitted
is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from xmppchat.core.commit_gate import CommitGate, StorageUnavailable, Write, WriteConflict
from xmppchat.core.crash_points import crash_point
from xmppchat.protocol.errors import Conflict, InternalServerError, ResourceConstraint, StanzaError

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.links import Link
    from xmppchat.core.session import Management, Session


log = structlog.get_logger(__name__)


class Turn:
    """Effects and writes of one stanza. Its beginner ends it, once, with :meth:`commit`.

    `origin` is the session the stanza came from, None for what the server begins itself, or what came over a `link`;
    `number` is the stanza's in the stream, 0 where the stream is not managed (XEP-0198). `on_failure` is told in
    place of the effects when the writes fail. Work that must wait for something (an account that is being loaded)
    parks the turn; it ends when all parked work is done.
    """

    __slots__ = (
        "_effects", "_gate", "_is_ended", "_is_held", "_parked", "_source", "_wait", "_writes", "accounts", "number",
        "on_failure", "origin",
    )

    def __init__(
        self, gate: CommitGate, origin: Session | None = None, number: int = 0, *, link: Link | None = None
    ) -> None:
        self._gate = gate
        self._effects: list[tuple[Callable[..., object], tuple[Any, ...]]] = []
        self._writes: list[Write] | None = None
        self._source: Session | Link | None = origin if link is None else link  # whose order is kept, and who waits
        self._wait = self._source.last_ticket if self._source is not None else 0
        self._parked = 0
        self._is_ended = False
        self._is_held = False
        self.origin = origin
        self.number = number
        self.accounts: list[Account] | None = None  # whose state the writes change
        self.on_failure: Callable[[StanzaError], object] | None = None

    # --- collecting ----------------------------------------------------------------------------------------------

    def effect(self, function: Callable[..., object], *arguments: Any) -> None:
        """Call ``function(*arguments)`` once everything this turn rests on is on disk."""
        self._effects.append((function, arguments))

    def write(self, account: Account | None, statement: Any, parameters: Mapping[str, Any]) -> None:
        """Add a write. `account` is whose state in memory it mirrors: loaded afresh should the write fail."""
        if self._writes is None:
            self._writes = []
        self._writes.append(Write(statement, parameters))
        if account is not None:
            if self.accounts is None:
                self.accounts = [account]
            elif account not in self.accounts:
                self.accounts.append(account)

    @property
    def has_writes(self) -> bool:
        """Whether there is anything to put on disk."""
        return self._writes is not None

    def behind(self, account: Account) -> None:
        """This turn shows state of `account`: it leaves behind that account's last open ticket."""
        if account.last_ticket > self._wait:
            self._wait = account.last_ticket

    def drop(self) -> None:
        """Forget effects and writes so far: the stanza is answered with an error instead."""
        self._effects = []
        self._writes = None

    def park(self) -> None:
        """Something must be waited for before the turn can end; see :meth:`unpark`."""
        self._parked += 1
        self._hold()

    def unpark(self) -> None:
        """What :meth:`park` was for is done."""
        self._parked -= 1
        if self._is_ended and not self._parked:
            self._finish()

    # --- ending --------------------------------------------------------------------------------------------------

    def commit(self) -> None:
        """End the turn: hand in the writes, let the effects go as soon as they may."""
        self._is_ended = True
        if not self._parked:
            self._finish()

    def submitted(self) -> None:
        """The stanza counts as taken: with this turn's writes, or since a question alone changes nothing."""
        if self.number:
            self.management.submitted(self.number)

    @property
    def management(self) -> Management:
        """That of the stream, where the stanza has a number."""
        assert self.origin is not None
        assert self.origin.management is not None
        return self.origin.management

    def _finish(self) -> None:
        gate = self._gate
        if self.number:
            self.management.submitted(self.number)
            if self._writes is not None:
                self._writes.extend(self.management.writes())
        if self._writes is not None:
            self._hold()
            ticket = gate.submit(self._writes, self)
            for account in self.accounts or ():
                account.last_ticket = ticket
            if self._source is not None:
                self._source.last_ticket = ticket
        elif self._wait > gate.settled:
            self._hold()
            gate.wait(self._wait, self)
            if self._source is not None and self._wait > self._source.last_ticket:
                self._source.last_ticket = self._wait
        else:
            self.settle(None)

    def settle(self, error: BaseException | None) -> None:
        """The gate's answer (see :class:`~xmppchat.core.commit_gate.Waiting`)."""
        if error is None:
            for function, arguments in self._effects:
                try:
                    function(*arguments)
                    crash_point("mid-fan-out")
                except Exception:  # a bug: it must not keep others, who wait for the same ticket, from going on
                    log.exception("an effect failed", effect=getattr(function, "__qualname__", repr(function)))
        else:
            for account in self.accounts or ():
                account.invalidate()
            if self.on_failure is not None:
                self.on_failure(_stanza_error(error))
        self._effects = []
        self.on_failure = None  # it often knows this turn: only the garbage collector would free both
        if self.number:
            self.management.settled(self.number, is_written=error is None)
        if self._is_held and self._source is not None:
            self._source.unhold()

    def _hold(self) -> None:
        if not self._is_held and self._source is not None:
            self._is_held = True
            self._source.hold()


def _stanza_error(error: BaseException) -> StanzaError:
    if isinstance(error, WriteConflict):
        return Conflict("another change was there first; look again and retry")
    if isinstance(error, StorageUnavailable):
        return ResourceConstraint("the server cannot store anything at the moment; try again later")
    return InternalServerError("the server could not store this; its log says why")
