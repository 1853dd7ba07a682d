"""One managed stream: how far both sides are, and what its session waits for."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from xmppchat.components.stream_management import store
from xmppchat.core.commit_gate import Write
from xmppchat.core.crash_points import crash_point
from xmppchat.core.runtime import Timer
from xmppchat.core.services import Successor
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream_management import REQUEST, Prefix, Unacknowledged, answer

#: Stanzas after which an acknowledgement is asked for at once (reliability.md, limit 22).
ASK_AFTER = 10
#: What a stanza's header counts for in the size of the queue, bytes.
_HEADER_BYTES = 200
#: How much is sent between two looks at whether a client takes it, bytes: a hundred stanzas at most.
LOOK_BYTES = 100 * _HEADER_BYTES


class Sent(NamedTuple):
    """A stanza on its way to the client: `to` overrides its header's; `at` is when it was sent (`Ids.moment`)."""

    stanza: Stanza
    to: JID | None
    at: int


class Manager(Protocol):
    """Who looks after all managed streams."""

    def moment(self) -> int:
        """Now, see :meth:`~xmppchat.core.runtime.Ids.moment`."""

    def unasked(self, managed: Managed) -> None:
        """Something was sent for which no acknowledgement was asked yet."""

    def asked(self, managed: Managed) -> None:
        """An acknowledgement was asked for; it is owed from now on."""

    def acknowledged(self, managed: Managed) -> None:
        """Something was acknowledged."""

    def owes(self, managed: Managed) -> None:
        """The client asked for an acknowledgement that cannot be given yet."""

    def grew(self, managed: Managed) -> None:
        """What is kept for the client grew."""

    def kept(self, managed: Managed, stanza: Stanza) -> None:
        """A stanza came while there is no connection."""


class Managed:
    """A managed stream; see :class:`~xmppchat.core.session.Management`.

    `id` is its SM-ID, "" where it cannot be resumed; `number` its key in the database; `seconds` how long its session
    waits for a new connection. While `is_hibernating`, what the client would be sent is kept in `waiting`, in which
    presence is replaced by newer presence of the same sender. `successor` is the connection it is about to move to.
    """

    __slots__ = (
        "_idle", "_is_asked", "_is_stored", "_look_at", "_may_fail", "_owed", "_owed_last", "_presences", "_received",
        "_settled", "_stored_count", "_submitted", "_told", "_unasked", "asked_at", "id", "is_hibernating", "manager",
        "may_resume", "number", "resumed_with", "seconds", "session", "successor", "timer", "unacknowledged",
        "waiting", "waiting_bytes",
    )  # fmt: skip

    def __init__(
        self, manager: Manager, session: Session, number: int, token: str, seconds: int,
        *, received: int = 0, acknowledged: int = 0,
    ) -> None:
        self.manager = manager
        self.session = session
        self.number = number
        self.seconds = seconds
        self.id = f"{number}.{token}" if seconds else ""
        self.may_resume = bool(seconds)
        self.unacknowledged: Unacknowledged[Sent] = Unacknowledged(acknowledged)
        self.is_hibernating = False
        self.waiting: list[Sent | None] | None = None
        self.waiting_bytes = 0
        self.successor: Successor | None = None
        self.resumed_with = 0  # the successor's count of what it has
        self.timer: Timer | None = None
        self.asked_at = 0.0
        self._received = received
        self._submitted = Prefix(received)
        self._settled = Prefix(received)
        self._is_stored = False  # its row is on disk, or on its way there
        self._stored_count = received  # what the row says, once it is on disk
        self._may_fail = False  # some write failed: whether the row is there is not known
        self._owed = 0  # an acknowledgement is owed once this many are settled, 0: none is
        self._owed_last = 0  # the same for the last of several
        self._is_asked = False
        self._unasked = 0
        self._look_at = LOOK_BYTES
        self._told = -1  # how many stanzas were sent when it was last told that an acknowledgement is overdue
        self._idle: asyncio.Future[None] | None = None
        self._presences: dict[str, int] | None = None

    # --- what the client sends ------------------------------------------------------------------------------------

    def received(self) -> int:
        """See :class:`~xmppchat.core.session.Management`."""
        self._received = number = self._received + 1
        return number

    def submitted(self, number: int) -> None:
        """See :class:`~xmppchat.core.session.Management`."""
        self._submitted.add(number)

    def writes(self) -> Sequence[Write]:
        """See :class:`~xmppchat.core.session.Management`."""
        self._stored_count = self._submitted.value
        if self._is_stored:
            return (store.handled(self.number, self._submitted.value),)
        self._is_stored = True
        token = self.id.partition(".")[2]
        token_hash = hashlib.sha256(token.encode()).digest()
        row = store.row(self.number, self.session.account.id, token_hash, self._submitted.value)
        return (store.forgotten(self.number), row) if self._may_fail else (row,)

    def store_count(self, turn: Turn) -> None:
        """Have the row say what came since and wrote nothing: a count that was told never goes back (§5)."""
        if self.may_resume and self._is_stored and self._stored_count != self.handled:
            self._stored_count = self.handled
            turn.write(None, *store.handled(self.number, self.handled))

    def settled(self, number: int, *, is_written: bool) -> None:
        """See :class:`~xmppchat.core.session.Management`."""
        if not is_written:
            self._is_stored, self._may_fail = False, True
        self._settled.add(number)
        if self._owed and self._settled.value >= self._owed:
            self._owed = 0 if self._settled.value >= self._owed_last else self._owed_last
            self.say_handled()
        if self._idle is not None and self.is_settled:
            self._idle.set_result(None)
            self._idle = None

    async def until_settled(self) -> None:
        """Return once everything that came is on disk and done."""
        while not self.is_settled:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    def was_stored(self) -> None:
        """Its row is on disk."""
        self._is_stored = True

    @property
    def is_settled(self) -> bool:
        """Whether everything that came is on disk and done."""
        return self._settled.value == self._received

    @property
    def handled(self) -> int:
        """How many stanzas are on disk and done, with all before them."""
        return self._settled.value

    def answer(self) -> None:
        """The client asked how far we are: it is told once all it sent before is settled, or after a while (§4)."""
        if self.is_settled:
            self.say_handled()
            return
        self._owed_last = self._received
        if not self._owed:
            self._owed = self._received
        self.manager.owes(self)

    def answer_now(self) -> None:
        """Say what is owed, although not everything is settled."""
        if self._owed:
            self._owed = 0
            self.say_handled()

    def say_handled(self) -> None:
        """See :class:`~xmppchat.core.session.Management`."""
        self.session.send_nonza(answer(self._settled.value))
        crash_point("after-acknowledgement")

    def give_up(self) -> None:
        """See :class:`~xmppchat.core.session.Management`."""
        self.may_resume = False

    # --- what the client is sent ----------------------------------------------------------------------------------

    def sent(self, stanza: Stanza, to: JID | None) -> None:
        """See :class:`~xmppchat.core.session.Management`."""
        sent = Sent(stanza, to, self.manager.moment())
        if self.is_hibernating:
            self.keep(sent)
            self.manager.kept(self, stanza)
            return
        self.sent_before(sent)
        self._unasked += 1
        if self._unasked == 1:
            self.manager.unasked(self)
        elif self._unasked >= ASK_AFTER and not self._is_asked:
            self.ask()
        if self.unacknowledged.bytes >= self._look_at:
            self._look_at = self.unacknowledged.bytes + LOOK_BYTES
            self.manager.grew(self)

    def sent_before(self, sent: Sent) -> None:
        """It was sent, and nothing was heard of it."""
        self.unacknowledged.add(sent, _size(sent))

    def keep(self, sent: Sent) -> None:
        """It comes while there is no connection."""
        if self.waiting is None:
            self.waiting = []
        stanza = sent.stanza
        if stanza.kind == "presence" and stanza.type in ("", "unavailable") and stanza.from_ is not None:
            if self._presences is None:
                self._presences = {}
            older = self._presences.get(stanza.from_.full)
            if older is not None:
                forgotten, self.waiting[older] = self.waiting[older], None
                self.waiting_bytes -= _size(forgotten) if forgotten is not None else 0
            self._presences[stanza.from_.full] = len(self.waiting)
        self.waiting.append(sent)
        self.waiting_bytes += _size(sent)
        self.manager.grew(self)

    def ask(self) -> None:
        """Ask the client how far it is."""
        self._unasked = 0
        if not self._is_asked:
            self._is_asked = True
            self.manager.asked(self)
        self.session.send_nonza(REQUEST)

    def ask_if_needed(self) -> None:
        """Ask where something was sent since, and no answer is owed."""
        if self._unasked and not self._is_asked and not self.is_hibernating:
            self.ask()

    def acknowledge(self, h: int) -> None:
        """The client has `h` stanzas. Raises :class:`HandledCountTooHigh`."""
        self.unacknowledged.acknowledge(h)
        self._look_at = self.unacknowledged.bytes + LOOK_BYTES
        self._is_asked = False
        self.manager.acknowledged(self)
        if self._unasked:
            self.manager.unasked(self)

    @property
    def is_asked(self) -> bool:
        """Whether the client owes an acknowledgement."""
        return self._is_asked

    def is_overdue_news(self) -> bool:
        """Whether something was sent since the last time this was asked; for a client that does not acknowledge."""
        sent = self.unacknowledged.sent
        is_news, self._told = sent != self._told, sent
        return is_news

    # --- without a connection -------------------------------------------------------------------------------------

    def hibernate(self) -> None:
        """The connection is gone."""
        self.is_hibernating = True
        self._is_asked = False
        self._unasked = self._owed = 0

    def wake(self) -> None:
        """There is a connection again."""
        self.is_hibernating = False

    def take_waiting(self) -> list[Sent]:
        """What came while there was no connection; it is forgotten by this."""
        waiting = [sent for sent in self.waiting or () if sent is not None]
        self.waiting = self._presences = None
        self.waiting_bytes = 0
        return waiting

    def outstanding(self) -> Iterator[Sent]:
        """All that the client may not have, oldest first."""
        yield from self.unacknowledged
        for sent in self.waiting or ():
            if sent is not None:
                yield sent

    @property
    def size(self) -> tuple[int, int]:
        """Stanzas and bytes that are kept."""
        waiting = len(self.waiting) if self.waiting is not None else 0
        return len(self.unacknowledged) + waiting, self.unacknowledged.bytes + self.waiting_bytes


def _size(sent: Sent) -> int:
    return len(sent.stanza.inner_xml) + _HEADER_BYTES
