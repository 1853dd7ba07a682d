"""Messages that a client sends again, since it does not know whether they arrived (reliability.md C2).

A client that could not resume its session (XEP-0198 §5) sends what was not acknowledged once more. In the archive of
its account stands what did arrive. So the first messages of a new session are held against the newest ones there: same
recipient, same id, same payload is the same message, and it is taken for sent. Behind them nothing is compared: that is
the hot path, and whoever sends again does it at once. Same id, other payload: another message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from xmppchat.components.archive import store
from xmppchat.components.archive.query import TIME_SHIFT
from xmppchat.core.kernel import Kernel
from xmppchat.core.session import Session
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import StreamError
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import MalformedAddress, Stanza
from xmppchat.protocol.xmlreader import parse_stored

log = structlog.get_logger(__name__)

#: How old a message may be that is sent again, ms.
SINCE: Final = 48 * 3_600_000
#: Messages of a session that are compared, and how long after it was bound, s.
MESSAGES: Final = 100
SECONDS: Final = 300.0
#: Characters of an id that is remembered; nobody makes longer ones.
MAX_MESSAGE_ID: Final = 500

GoOn = Callable[[bool], object]


def message_id(stanza: Stanza) -> str:
    """What its sender calls a message: origin-id (XEP-0359 §3.2), or else the id; "" for none."""
    origin = stanza.find("origin-id", NS.STANZA_IDS)
    found = (origin.get("id") if origin is not None else "") or stanza.id
    return found if len(found) <= MAX_MESSAGE_ID else ""


class Window:
    """Watches the first messages of a session (see :class:`~xmppchat.core.session.Intake`).

    Nothing is loaded before the first message with an id; then hashes of the newest ids are, at most
    :data:`~xmppchat.components.archive.store.MOST_SENT`, and forgotten at the end of the window.
    """

    __slots__ = ("_count", "_ends_at", "_is_busy", "_kernel", "_queue", "_sent", "_session")

    def __init__(self, kernel: Kernel, session: Session) -> None:
        self._kernel = kernel
        self._session = session
        self._ends_at = kernel.clock.monotonic() + SECONDS
        self._count = 0
        self._is_busy = False
        self._queue: deque[tuple[Stanza, GoOn]] = deque()
        self._sent: frozenset[int] | None = None  # hashes of (bare recipient, id)

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
            self._sent = None

    def _peer(self, stanza: Stanza) -> str:
        return (stanza.to or self._session.jid).bare

    def _must_look(self, stanza: Stanza) -> bool:
        if stanza.kind != "message":
            return False
        identifier = message_id(stanza)
        return bool(identifier) and (self._sent is None or hash((self._peer(stanza), identifier)) in self._sent)

    async def _examine(self) -> None:
        try:
            while self._queue:
                stanza, go_on = self._queue[0]
                is_new = await self._is_new(stanza)
                self._queue.popleft()
                go_on(is_new)
        finally:
            self._is_busy = False

    async def _is_new(self, stanza: Stanza) -> bool:
        try:
            if self._must_look(stanza) and self._sent is None:
                await self._load()
            return not self._must_look(stanza) or not await self._was_sent(stanza)
        except Exception:
            log.exception("messages that are sent again cannot be told from new ones", session=self._session.jid.full)
            self._sent = frozenset()
            return True

    def _since(self) -> int:
        return max(0, self._kernel.clock.now() - SINCE) << TIME_SHIFT

    async def _load(self) -> None:
        await self._kernel.gate.committed(self._kernel.gate.last)  # what the old session sent is among it
        account = self._session.account.id
        rows = await self._kernel.reader.fetch(store.SENT_SINCE, {"account": account, "low": self._since()})
        self._sent = frozenset(hash((row.peer, row.message_id)) for row in rows)
        self._kernel.clock.call_later(max(0.0, self._ends_at - self._kernel.clock.monotonic()), self.end)

    async def _was_sent(self, stanza: Stanza) -> bool:
        await self._kernel.gate.committed(self._kernel.gate.last)
        reader, account = self._kernel.reader, self._session.account
        found = await reader.fetch(store.BY_MESSAGE_ID, {
            "account": account.id, "peer": self._peer(stanza), "message": message_id(stanza),
        })  # fmt: skip
        since = self._since()
        ids = [row.id for row in found if row.flags & store.SENT and row.id > since][: store.CHUNK]
        rows = await reader.fetch(store.STANZAS, {"ids": ids}) if ids else ()
        to = stanza.to or account.jid
        essence = _essence(stanza, account.jid.bare)
        for row in rows:
            try:
                stored = Stanza.from_element(parse_stored(row.stanza))
            except (StreamError, MalformedAddress):
                continue  # damaged
            if stored.to == to and stored.type == stanza.type and _essence(stored, account.jid.bare) == essence:
                log.debug("message sent again", session=self._session.jid.full, archived=row.id)
                return True
        return False


def _essence(stanza: Stanza, own: str) -> Sequence[Element]:
    """What makes a message the same: its elements, but for what says when and where it was (XEP-0203, XEP-0359)."""
    left = stanza_ids.stripped(stanza, lambda by: by.bare == own or not by.local)
    return [child for child in left.elements() if not child.is_named("delay", NS.DELAY)]
