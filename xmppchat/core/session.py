"""Session: a bound resource (RFC 6120 §7). With stream management it outlives its connection (XEP-0198)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from xmppchat.jid import JID
from xmppchat.protocol.stanza import Stanza

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.commit_gate import Write
    from xmppchat.protocol.element import Element
    from xmppchat.protocol.errors import StreamError

#: A session with this many stanzas that are not yet on disk is not read until half of them are.
MAX_HELD = 100
#: Stanzas that wait in a session for what is older, and characters of them: with more they are sent (limit 59).
MAX_BEHIND = 256
MAX_BEHIND_SIZE = 262_144
#: IQ requests to other entities a session may have open; the oldest is forgotten (reliability.md, limit 44).
MAX_REQUESTS = 1_000


class Output(Protocol):
    """The connection under a session."""

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Write a stanza; `to` overrides its header's."""

    def send_nonza(self, element: Element) -> None:
        """Write an element that is no stanza."""

    def pause_reading(self, reason: str) -> None:
        """Stop reading from the peer until :meth:`resume_reading` with the same reason."""

    def resume_reading(self, reason: str) -> None:
        """See :meth:`pause_reading`."""

    def close(self, error: StreamError | None) -> None:
        """End the stream, with `error` if it is one."""

    def replaced(self) -> None:
        """The session goes on elsewhere: end the stream without ending the session."""


class Management(Protocol):
    """Stream management of a session (XEP-0198): numbers what its client sends, keeps what it is sent.

    Stanzas from the client are numbered from 1. One is *submitted* when what it writes was handed to the database,
    and *settled* when that is on disk and its effects are done.
    """

    @property
    def may_resume(self) -> bool:
        """Whether the session may outlive its connection."""

    def received(self) -> int:
        """The number of the stanza that the client sent now."""

    def submitted(self, number: int) -> None:
        """See above; every stanza is, once, before it is settled."""

    def writes(self) -> Sequence[Write]:
        """What writes down how many were submitted; belongs to the ticket of one that is being submitted."""

    def settled(self, number: int, *, is_written: bool) -> None:
        """See above. `is_written`: its ticket, if it had one, is on disk."""

    @property
    def is_settled(self) -> bool:
        """Whether everything that came is settled."""

    async def until_settled(self) -> None:
        """Return once everything that came is settled."""

    def give_up(self) -> None:
        """The session will not outlive its connection."""

    def say_handled(self) -> None:
        """Tell the client how many of its stanzas are settled."""

    def sent(self, stanza: Stanza, to: JID | None) -> None:
        """A stanza was written to the client, or would have been if there were a connection."""

    def outstanding(self) -> Iterator[tuple[Stanza, JID | None, int]]:
        """All that the client may not have, oldest first: stanza, `to` as in :meth:`sent`, when (`Ids.moment`)."""


class Intake(Protocol):
    """What looks at the first stanzas of a session before anything else does."""

    def take(self, stanza: Stanza, go_on: Callable[[bool], object]) -> bool:
        """Keep a stanza for a while. False: it has nothing against it, and nothing before it is kept.

        `go_on` is called later, for all in their order: with False where the stanza need not be handled at all, since
        it was before.
        """


class Shaper(Protocol):
    """What holds stanzas back from a session, as its client wishes (XEP-0352); it gives them to `Session.send`."""

    def deliver(self, session: Session, stanza: Stanza, to: JID | None) -> None:
        """Send the stanza now, keep it for later, or let it be."""

    def flush(self, session: Session) -> None:
        """Send what is held, and hold nothing back any more: the client is active (XEP-0352 §4.2, §5.2)."""


class Behind:
    """Messages that wait for older ones, which are handed out first."""

    __slots__ = ("messages", "size")

    def __init__(self) -> None:
        self.messages: list[tuple[Stanza, JID | None]] = []
        self.size = 0

    def add(self, stanza: Stanza, to: JID | None) -> bool:
        """One more; False where that is too much."""
        self.messages.append((stanza, to))
        self.size += len(stanza.inner_xml)
        return len(self.messages) < MAX_BEHIND and self.size < MAX_BEHIND_SIZE


class Session:
    """One bound resource of an account.

    `presence` is the last broadcast presence (None before initial presence and after unavailable), `priority` its
    priority; `takes_messages` says that messages to the bare JID come here, `takes_since` from which id on (see
    :meth:`~xmppchat.core.runtime.Ids.sortable`). `is_interested` is set by the first
    roster request (RFC 6121 §2.2). `directed` are addresses that got directed presence and no unavailable since
    (RFC 6121 §4.6). `wants_carbons`: copies of its account's other messages come here, too (XEP-0280),
    `copies_since` from which id on, 0 if they do not.
    `fetches_up_to`: its client asks the archive itself for what it missed (XEP-0313); what is stored under ids up to
    this, the newest when it first asked, it fetches; 0: it did not ask. `behind` are messages that wait while stored
    ones are handed out, None where none are: by the last message it has a client knows from where to read in the
    archive, so that one which overtakes others may hide them from it for ever. `shaper` holds stanzas back;
    None: nothing does. `intake` looks at its first stanzas; None: nothing does. `management` is that of its stream,
    None where the client did not ask for it. `lane` are stanzas of such a session that wait for an earlier one, whose
    recipient is being loaded (see `Kernel.receive`). `lang` is the language of its stream, "" if it has none.
    `last_ticket` is the newest ticket that something from this session waits for. `device_id` is the client's in the
    list of its account's devices (see :class:`~xmppchat.core.services.DeviceService`), 0 where it is in none.
    """

    __slots__ = (
        "_held", "_output", "_requests", "account", "behind", "connected_at", "copies_since", "device_id", "directed",
        "fetches_up_to", "intake", "is_closed", "is_interested", "jid", "lane", "lang", "last_ticket", "management",
        "peer", "presence", "priority", "shaper", "takes_messages", "takes_since", "wants_carbons",
    )

    def __init__(
        self, jid: JID, account: Account, output: Output, *, peer: str, connected_at: int, lang: str = "",
        device_id: int = 0,
    ) -> None:
        self.jid = jid
        self.account = account
        self.peer = peer
        self.connected_at = connected_at
        self.lang = lang
        self.device_id = device_id
        self.presence: Stanza | None = None
        self.priority = 0
        self.takes_messages = False
        self.takes_since = 0
        self.is_interested = False
        self.is_closed = False
        self.directed: dict[str, JID] | None = None
        self.wants_carbons = False
        self.copies_since = 0
        self.fetches_up_to = 0
        self.behind: Behind | None = None
        self.intake: Intake | None = None
        self.shaper: Shaper | None = None
        self.management: Management | None = None
        self.lane: deque[Any] | None = None
        self.last_ticket = 0
        self._output = output
        self._held = 0
        self._requests: dict[tuple[str, str], None] | None = None

    def deliver(self, stanza: Stanza, to: JID | None = None) -> None:
        """Send a stanza to the client, when its shaper lets it; dropped when the session is closed."""
        if self.is_closed:
            return
        if self.behind is not None and stanza.kind == "message":
            if not self.behind.add(stanza, to):
                self.release()
            return
        if self.shaper is not None:
            self.shaper.deliver(self, stanza, to)
            return
        self._output.send(stanza, to)
        if self.management is not None:
            self.management.sent(stanza, to)

    def deliver_first(self, stanza: Stanza) -> None:
        """Deliver a message that is older than those that wait."""
        behind, self.behind = self.behind, None
        self.deliver(stanza)
        self.behind = behind

    def release(self) -> None:
        """Deliver what waits; from now on nothing does."""
        for stanza, to in self.take_behind():
            self.deliver(stanza, to)

    def take_behind(self) -> list[tuple[Stanza, JID | None]]:
        """What waits, and as what (see :meth:`deliver`); it is forgotten by this, and nothing waits from now on."""
        behind, self.behind = self.behind, None
        return [] if behind is None else behind.messages

    def send(self, stanza: Stanza, to: JID | None = None) -> None:
        """Send a stanza past the shaper."""
        if not self.is_closed:
            self._output.send(stanza, to)
            if self.management is not None:
                self.management.sent(stanza, to)

    def send_nonza(self, element: Element) -> None:
        """Send an element that is no stanza."""
        if not self.is_closed:
            self._output.send_nonza(element)

    def close(self, error: StreamError | None) -> None:
        """End the stream of this session, and the session."""
        if self.management is not None:
            self.management.give_up()
        self._output.close(error)

    # --- connections come and go (XEP-0198 §5) -------------------------------------------------------------------

    @property
    def output(self) -> Output:
        """Where it writes to now."""
        return self._output

    def move(self, output: Output) -> None:
        """Write to `output` from now on."""
        self._output = output
        if self._held >= MAX_HELD:
            output.pause_reading("uncommitted")

    # --- back-pressure -------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """One more stanza from here waits for the disk."""
        self._held += 1
        if self._held == MAX_HELD:
            self._output.pause_reading("uncommitted")

    def unhold(self) -> None:
        """One fewer waits."""
        self._held -= 1
        if self._held == MAX_HELD // 2:
            self._output.resume_reading("uncommitted")

    # --- open requests: a result must match one (reliability.md V-28) ---------------------------------------------

    def request_sent(self, to: str, request_id: str) -> None:
        """An IQ request went to another entity."""
        if self._requests is None:
            self._requests = {}
        elif len(self._requests) >= MAX_REQUESTS:
            del self._requests[next(iter(self._requests))]
        self._requests[to, request_id] = None

    def take_request(self, from_: JID | None, request_id: str) -> bool:
        """Whether such a request is open; it is closed by this."""
        if self._requests is None or from_ is None or (from_.full, request_id) not in self._requests:
            return False
        del self._requests[from_.full, request_id]
        return True

    def give_up(self, is_meant: Callable[[JID], bool]) -> list[tuple[JID, str]]:
        """Forget the open requests to those who are meant; returns whom they went to, and their ids."""
        open_requests = [(JID.parse(to), request_id) for to, request_id in self._requests or ()]
        meant = [(to, request_id) for to, request_id in open_requests if is_meant(to)]
        for to, request_id in meant:
            self.take_request(to, request_id)
        return meant

    def __repr__(self) -> str:
        return f"<Session {self.jid}>"
