"""Messages that a client sends again, since it does not know whether they arrived (reliability.md C2).

A client that could not resume its session (XEP-0198 §5) sends what was not acknowledged once more. In the archive of
its account stands what did arrive; where it keeps none, in that of the recipient. So the first messages of a new
session are held against the newest ones there: same recipient, same id, same payload is the same message, and it is
taken for sent. Behind them nothing is compared: that is the hot path, and whoever sends again does it at once. Same id,
other payload: another message.

What has no origin-id (XEP-0359 §3.2) may come of a script that says "1" each time. It counts only if the first one is
a few minutes old, or is of a session that was managed and did not say good-bye.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from xmppchat.components.archive import store
from xmppchat.components.archive.policy import EVERYTHING
from xmppchat.components.archive.preferences import PREFERENCES
from xmppchat.core.account import Account, Unbegun
from xmppchat.core.kernel import Hibernation, Kernel
from xmppchat.core.runtime import TIME_SHIFT, time_of
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.xmlreader import parse_stored

log = structlog.get_logger(__name__)

#: How old a message may be that is sent again, ms.
SINCE: Final = 48 * 3_600_000
#: The same where only the 'id' tells that it is the same, ms.
SINCE_BY_ID: Final = 600_000
#: Sessions that ended without a good-bye and are remembered.
MAX_LOST: Final = 20_000
#: Messages of a session that are compared, and how long after it was bound, s.
MESSAGES: Final = 100
SECONDS: Final = 300.0
#: Characters of an id that is remembered; nobody makes longer ones.
MAX_MESSAGE_ID: Final = 500

GoOn = Callable[[bool], object]


def message_id(stanza: Stanza) -> str:
    """What others call a message: its id (XEP-0424 §4, XEP-0333 §4), or else the origin-id; "" for none."""
    found = stanza.id or _origin_id(stanza)
    return found if len(found) <= MAX_MESSAGE_ID else ""


def _origin_id(stanza: Stanza) -> str:
    origin = stanza.find("origin-id", NS.STANZA_IDS)
    return origin.get("id") if origin is not None else ""


class LostSessions:
    """Managed sessions that ended without a good-bye: what they sent may be sent again much later."""

    def __init__(self) -> None:
        self._lost: dict[str, None] = {}  # full addresses, the oldest first

    def ended(self, session: Session, *, is_good_bye: bool) -> None:
        """`session` is over."""
        if is_good_bye:
            self._lost.pop(session.jid.full, None)
        elif session.management is not None:
            self._lost[session.jid.full] = None
            if len(self._lost) > MAX_LOST:
                del self._lost[next(iter(self._lost))]

    def has(self, jid: JID | None, account: Account) -> bool:
        """Whether the session of `jid`, of `account`, ended so, or waits for its client."""
        if jid is None:
            return False
        session = account.sessions.get(jid.resource)
        is_waiting = session is not None and isinstance(session.output, Hibernation)
        return is_waiting or jid.full in self._lost


class Window:
    """Watches the first messages of a session (see :class:`~xmppchat.core.session.Intake`).

    Nothing is loaded before the first message with an id; then hashes of the newest ids are, at most
    :data:`~xmppchat.components.archive.store.MOST_SENT` (and `MOST_RECEIVED` of each recipient, where the account does
    not archive everything), and forgotten at the end of the window.
    """

    __slots__ = (
        "_asked", "_count", "_earlier", "_ends_at", "_is_busy", "_kernel", "_lost", "_queue", "_sent", "_session",
    )  # fmt: skip

    def __init__(self, kernel: Kernel, session: Session, lost: LostSessions) -> None:
        self._kernel = kernel
        self._session = session
        self._lost = lost
        self._ends_at = kernel.clock.monotonic() + SECONDS
        self._count = 0
        self._is_busy = False
        self._queue: deque[tuple[Stanza, GoOn]] = deque()
        self._sent: set[int] | None = None  # hashes of (bare recipient, id)
        self._asked: set[str] | None = None  # bare recipients whose archives were looked at
        self._earlier: Sequence[Unbegun] = ()

    def take(self, stanza: Stanza, go_on: GoOn) -> bool:
        """See :class:`~xmppchat.core.session.Intake`."""
        if not self._is_busy:
            if stanza.kind != "message":
                return False
            if self._count >= MESSAGES or self._kernel.clock.monotonic() >= self._ends_at:
                self.end()
                return False
            self._count += 1
            if not self._must_look(stanza):
                return False
            self._is_busy = True
            if self._sent is None:
                others = self._session.account.unbegun or ()
                self._earlier = [one for one in others if one.session is not self._session]
            self._kernel.tasks.spawn(self._examine(), name="messages sent again")
        else:
            self._count += stanza.kind == "message"
        # Behind one that is looked at all wait, so that they stay in order; the session bounds how many.
        self._queue.append((stanza, go_on))
        return True

    def end(self) -> None:
        """Compare nothing any more; what waits is still looked at."""
        if self._session.intake is self and not self._is_busy:
            self._session.intake = None
            self._sent = self._asked = None

    def _peer(self, stanza: Stanza) -> JID:
        return (stanza.to or self._session.jid).to_bare()

    def _must_look(self, stanza: Stanza) -> bool:
        if stanza.kind != "message":
            return False
        identifier = message_id(stanza)
        if not identifier:
            return False
        peer = self._peer(stanza).bare
        return self._sent is None or hash((peer, identifier)) in self._sent or self._must_ask(peer)

    def _must_ask(self, peer: str) -> bool:
        """Whether the recipient alone may have what was sent, and it is not known what."""
        account = self._session.account
        if account[PREFERENCES].now is EVERYTHING or peer == account.jid.bare:
            return False
        return self._asked is None or peer not in self._asked

    async def _examine(self) -> None:
        try:
            while self._queue:
                stanza, go_on = self._queue[0]
                is_new = await self._is_new(stanza)
                self._queue.popleft()
                try:
                    go_on(is_new)
                except Exception:  # a bug: it must not keep back those behind it
                    log.exception("a message could not be handled", session=self._session.jid.full)
        finally:
            self._is_busy = False

    async def _is_new(self, stanza: Stanza) -> bool:
        try:
            if self._must_look(stanza) and self._sent is None:
                await self._load()
            if self._must_look(stanza) and self._must_ask(self._peer(stanza).bare):
                await self._ask(self._peer(stanza))
            return not self._must_look(stanza) or not await self._was_sent(stanza)
        except Exception:
            log.exception("messages that are sent again cannot be told from new ones", session=self._session.jid.full)
            self._sent = set()
            return True

    def _since(self) -> int:
        return max(0, self._kernel.clock.now() - SINCE) << TIME_SHIFT

    async def _load(self) -> None:
        # What the old session sent is among it, also what was not begun when this one began to send. Each waits for
        # those before it only, so none waits for ever.
        for one in self._earlier:
            await one.over()
        self._earlier = ()
        await self._kernel.gate.committed(self._kernel.gate.last)
        account = self._session.account.id
        rows = await self._kernel.reader.fetch(store.SENT_SINCE, {"account": account, "low": self._since()})
        self._sent = {hash((row.peer, row.message_id)) for row in rows}
        self._kernel.clock.call_later(max(0.0, self._ends_at - self._kernel.clock.monotonic()), self.end)

    async def _ask(self, peer: JID) -> None:
        if self._asked is None:
            self._asked = set()
        self._asked.add(peer.bare)
        recipient = await self._recipient(peer)
        if recipient and self._sent is not None:
            rows = await self._kernel.reader.fetch(store.RECEIVED_SINCE, {
                "account": recipient, "peer": self._session.account.jid.bare, "low": self._since(),
            })  # fmt: skip
            self._sent.update(hash((peer.bare, row.message_id)) for row in rows)

    async def _recipient(self, peer: JID) -> int:
        """The id of the account of `peer`, 0 where it is none of ours."""
        is_local = bool(peer.local) and peer.domain in self._kernel.hosts
        return (await self._kernel.directory.get(peer)).id if is_local else 0

    async def _was_sent(self, stanza: Stanza) -> bool:
        await self._kernel.gate.committed(self._kernel.gate.last)
        account, peer = self._session.account, self._peer(stanza)
        if await self._is_among(stanza, account.id, peer, store.SENT):
            return True
        if account[PREFERENCES].now is EVERYTHING or peer == account.jid:
            return False
        recipient = await self._recipient(peer)
        return bool(recipient) and await self._is_among(stanza, recipient, account.jid, store.RECEIVED)

    async def _is_among(self, stanza: Stanza, owner: int, peer: JID, direction: int) -> bool:
        """Whether the archive of the account with the id `owner` has it, as sent or received, of `peer`."""
        reader, own = self._kernel.reader, self._session.account.jid
        found = await reader.fetch(store.BY_MESSAGE_ID, {
            "account": owner, "peer": peer.bare, "message": message_id(stanza),
        })  # fmt: skip
        since = self._since()
        ids = [row.id for row in found if row.flags & direction and row.id > since][: store.CHUNK]
        rows = await reader.fetch(store.STANZAS, {"ids": ids}) if ids else ()
        to = stanza.to or own
        essence = _essence(stanza, own, to)
        for row in rows:
            try:
                stored = Stanza.from_element(parse_stored(row.stanza))
            except (StreamError, MalformedAddress):
                continue  # damaged
            if stored.to != to or stored.type != stanza.type or _essence(stored, own, to) != essence:
                continue
            if self._may_be_the_same(stored, row.id):
                log.debug("message sent again", session=self._session.jid.full, archived=row.id)
                return True
        return False

    def _may_be_the_same(self, stored: Stanza, number: int) -> bool:
        if _origin_id(stored) or time_of(number) > self._kernel.clock.now() - SINCE_BY_ID:
            return True
        return self._lost.has(stored.from_, self._session.account)


def _essence(stanza: Stanza, own: JID, to: JID) -> Sequence[Element]:
    """What makes a message the same: its elements, but for what says when and where it was (XEP-0203, XEP-0359)."""
    archives = (own.bare, to.bare)
    left = stanza_ids.stripped(stanza, lambda by: by.bare in archives or not by.local)
    return [child for child in left.elements() if not child.is_named("delay", NS.DELAY)]
