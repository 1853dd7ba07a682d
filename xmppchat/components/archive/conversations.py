"""Conversations: with whom an account talks, what came last, and how much is unread. Derived when somebody asks.

Nothing is written for a message. Unread is what came and can be read since the account last sent something there, or
said that it had read (a ``<displayed/>`` marker, XEP-0333 §4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import CTE, Integer, bindparam, delete, func, insert, select

from xmppchat.components.archive import store
from xmppchat.core.kernel import Kernel
from xmppchat.core.runtime import time_of
from xmppchat.core.services import Conversation
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stanza_ids import text_of
from xmppchat.storage import schema

#: Rows of a conversation that are looked at to count what is unread: it is that many "or more".
MOST_UNREAD: Final = 200
#: Markers that wait to be written; with more of them the writing begins at once.
MOST_PENDING: Final = 1_000

_rows = schema.archive.c
_marks = schema.read_marks.c
_of_account = _rows.account_id == bindparam("account")


def _peers() -> CTE:
    """The peers of an account: a step in the index for each."""
    peers = select(func.min(_rows.peer).label("peer")).where(_of_account).cte("peers", recursive=True)
    following = select(func.min(_rows.peer)).where(_of_account, _rows.peer > peers.c.peer).scalar_subquery()
    return peers.union_all(select(following).where(peers.c.peer.is_not(None)))


_peer = _peers().c.peer
_last = (
    select(func.max(_rows.id)).where(_of_account, _rows.peer == _peer).scalar_subquery().label("last_id")
)
CONVERSATIONS = (
    select(_peer.label("peer"), _last)
    .where(_peer.is_not(None))
    .order_by(_last.desc())
    .limit(bindparam("most", type_=Integer))
)
_MARKS = select(_marks.peer, _marks.read_id).where(_marks.account_id == bindparam("account"))
_NEWER = (
    select(_rows.flags)
    .where(_of_account, _rows.peer == bindparam("peer"), _rows.id > bindparam("low"))
    .order_by(_rows.id.desc())
    .limit(MOST_UNREAD)
)
_MARK = select(_marks.read_id).where(_marks.account_id == bindparam("account"), _marks.peer == bindparam("peer"))
_INSERT_MARK = insert(schema.read_marks)
_DELETE_MARK = delete(schema.read_marks).where(
    _marks.account_id == bindparam("account"), _marks.peer == bindparam("peer")
)
DELETE_MARKS = delete(schema.read_marks).where(_marks.account_id == bindparam("account"))


async def conversations(kernel: Kernel, account: int, most: int) -> list[Conversation]:
    """The `most` conversations of an account (its id) in which something happened last, the newest first."""
    found, marks = await kernel.reader.fetch_many([
        (CONVERSATIONS, {"account": account, "most": most}), (_MARKS, {"account": account}),
    ])  # fmt: skip
    read = {row.peer: row.read_id for row in marks}
    newer = await kernel.reader.fetch_many([
        (_NEWER, {"account": account, "peer": row.peer, "low": read.get(row.peer, 0)}) for row in found
    ])  # fmt: skip
    return [
        Conversation(row.peer, text_of(row.last_id), time_of(row.last_id), _unread(flags))
        for row, flags in zip(found, newer, strict=True)
    ]


def _unread(newest_first: Sequence[Any]) -> int:
    count = 0
    for (flags,) in newest_first:
        if flags & store.SENT:
            break
        count += flags & (store.READABLE | store.RETRACTED) == store.READABLE
    return count


class ReadMarks:
    """What accounts have read. A marker is looked up and written later, with others, and only if it is news."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._pending: dict[tuple[int, str], str] = {}

    def note(self, account: int, peer: str, marker: Stanza) -> None:
        """`marker` was sent to `peer` (a bare JID)."""
        displayed = marker.find("displayed", NS.CHAT_MARKERS)
        message = displayed.get("id") if displayed is not None else ""
        if message:
            self._pending[account, peer] = message
            if len(self._pending) == MOST_PENDING:
                self._kernel.tasks.spawn(self.flush(), name="read marks")

    async def flush(self) -> None:
        """Write what waits. Raises StanzaError if it cannot be written: then it is lost, and the archive has it."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        keys = list(pending)
        queries = [
            query for (account, peer), message in pending.items() for query in (
                (store.BY_MESSAGE_ID, {"account": account, "peer": peer, "message": message}),
                (_MARK, {"account": account, "peer": peer}),
            )
        ]  # fmt: skip
        await self._kernel.gate.committed(self._kernel.gate.last)
        answers = await self._kernel.reader.fetch_many(queries)
        turn = self._kernel.new_turn()
        for (account, peer), found, marked in zip(keys, answers[::2], answers[1::2], strict=True):
            read = next((row.id for row in found if row.flags & store.RECEIVED), 0)
            if read > (marked[0].read_id if marked else 0):
                turn.write(None, _DELETE_MARK, {"account": account, "peer": peer})
                turn.write(None, _INSERT_MARK, {"account_id": account, "peer": peer, "read_id": read})
        await self._kernel.settled(turn)

    def forget(self, account: int) -> None:
        """The account is deleted."""
        for key in [key for key in self._pending if key[0] == account]:
            del self._pending[key]
