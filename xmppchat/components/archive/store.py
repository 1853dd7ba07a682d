"""Storage of archives: their rows, and the pages that are read of them. Pages are seeks in an index (ADR 11)."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Final

from sqlalchemy import CTE, Integer, Select, bindparam, delete, exists, func, insert, select, update

from xmppchat.core.services import Reader
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.storage import schema

#: What a row is. A message to oneself is both sent and received.
SENT, RECEIVED, READABLE, RETRACTED = 1, 2, 4, 8

#: Ids are between these.
LOWEST, HIGHEST = 0, (1 << 63) - 1

#: Rows fetched at once, and bytes of stanzas in a page: more is another page (limit 25). They bound what one query
#: holds in memory.
CHUNK = 64
PAGE_BYTES = 1 << 20

_rows = schema.archive.c

INSERT = insert(schema.archive)
REPLACE = (
    update(schema.archive)
    .where(_rows.id == bindparam("row"))
    .values(stanza=bindparam("new_stanza"), flags=bindparam("new_flags"))
)
NEWEST = select(func.max(_rows.id))

_of_account = _rows.account_id == bindparam("account")
_FIRST = select(_rows.id).where(_of_account).order_by(_rows.id).limit(1)
_LAST = select(_rows.id).where(_of_account).order_by(_rows.id.desc()).limit(1)
_PRESENT = select(_rows.id).where(_rows.id.in_(bindparam("ids", expanding=True)), _of_account)
_STATISTICS = select(
    func.count(), func.min(_rows.id), func.max(_rows.id), func.sum(func.length(_rows.stanza))
).where(_of_account)

#: How far back a message is looked for by the id that its sender gave it: rows of one conversation.
LOOK_BACK = 10_000
_recent_of_peer = (
    select(_rows.id, _rows.flags, _rows.message_id)
    .where(_of_account, _rows.peer == bindparam("peer"))
    .order_by(_rows.id.desc())
    .limit(LOOK_BACK)
    .subquery()
)
BY_MESSAGE_ID = (
    select(_recent_of_peer.c.id, _recent_of_peer.c.flags)
    .where(_recent_of_peer.c.message_id == bindparam("message"))
    .order_by(_recent_of_peer.c.id.desc())
)
#: Sent messages that are remembered of one account, and rows among which they are looked for.
MOST_SENT: Final = 500
_recent = (
    select(_rows.flags, _rows.peer, _rows.message_id)
    .where(_of_account, _rows.id > bindparam("low"))
    .order_by(_rows.id.desc())
    .limit(2 * LOOK_BACK)
    .subquery()
)
SENT_SINCE = (
    select(_recent.c.peer, _recent.c.message_id)
    .where(_recent.c.flags.bitwise_and(SENT) != 0, _recent.c.message_id != "")
    .limit(MOST_SENT)
)
#: Of one conversation, what came and is remembered where its sender keeps no archive.
MOST_RECEIVED: Final = 100
RECEIVED_SINCE = (
    select(_rows.message_id)
    .where(
        _of_account, _rows.peer == bindparam("peer"), _rows.id > bindparam("low"),
        _rows.flags.bitwise_and(RECEIVED) != 0, _rows.message_id != "",
    )
    .order_by(_rows.id.desc())
    .limit(MOST_RECEIVED)
)
STANZAS = select(_rows.id, _rows.flags, _rows.stanza).where(_rows.id.in_(bindparam("ids", expanding=True)))

#: Rows that are deleted in one ticket: a few ms of the writer's time.
DELETE_CHUNK: Final = 200
OLDEST = select(_rows.id).where(_rows.id < bindparam("before")).order_by(_rows.id).limit(DELETE_CHUNK)
OLDEST_OF_ACCOUNT = OLDEST.where(_of_account)
DELETE_OLDEST = delete(schema.archive).where(_rows.id <= bindparam("up_to"))
DELETE_OF_ACCOUNT = DELETE_OLDEST.where(_of_account)
#: The newest row of an account that is one too many.
BEYOND = (
    select(_rows.id).where(_of_account).order_by(_rows.id.desc()).limit(1)
    .offset(bindparam("messages", type_=Integer))
)


def _owners() -> CTE:
    """Whose archives there are: a step in the index for each, whatever they hold."""
    owners = select(func.min(_rows.account_id).label("id")).cte("owners", recursive=True)
    following = select(func.min(_rows.account_id)).where(_rows.account_id > owners.c.id).scalar_subquery()
    return owners.union_all(select(following).where(owners.c.id.is_not(None)))


_found = _owners().c.id
OWNERS = select(_found).where(_found.is_not(None))
ORPHANS = OWNERS.where(~exists().where(schema.accounts.c.id == _found))


@dataclass(frozen=True, slots=True)
class Selection:
    """Which rows are meant: of all, or of one `peer` (a bare JID) and perhaps one `resource` of it, or of some `ids`;
    between `low` and `high`, both exclusive."""

    peer: str = ""
    resource: str = ""
    ids: tuple[int, ...] | None = None
    low: int = LOWEST
    high: int = HIGHEST

    def between(self, low: int, high: int) -> Selection:
        """The part of it between two more ids, exclusive."""
        return replace(self, low=max(self.low, low), high=min(self.high, high))


@dataclass(frozen=True, slots=True)
class Page:
    """Rows (`id`, `stanza`) in chronological order. `is_complete`: there are no more in the direction of reading."""

    rows: Sequence[Any]
    is_complete: bool


class Archives:
    """Reads archives. Each method names the account by its id in the database."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    async def require(self, account: int, ids: Collection[int]) -> None:
        """Raise :class:`ItemNotFound` unless all `ids` are in the archive (XEP-0313 §4.1.3)."""
        if ids:
            found = await self._reader.fetch(_PRESENT, {"account": account, "ids": list(ids)})
            if len(found) < len(set(ids)):
                raise ItemNotFound("there is no such message in this archive")

    async def page(
        self, account: int, selection: Selection, size: int, *, after: int | None = None, before: int | None = None
    ) -> Page:
        """The first `size` rows of `selection`, or those behind `after`; with `before` the last ones before it
        (:data:`HIGHEST` for the very last). Fewer where they are large. Raises :class:`ItemNotFound` where the row
        `after` or `before` does not exist.
        """
        is_backwards = before is not None
        anchor = before if before is not None and before < HIGHEST else after
        rows = await self._from_anchor(account, selection, min(size + 1, CHUNK), anchor, is_backwards)
        found: list[Any] = []
        total = 0
        while True:
            for row in rows:
                if len(found) == size or (total > PAGE_BYTES and found):
                    return Page(found[::-1] if is_backwards else found, is_complete=False)
                found.append(row)
                total += len(row.stanza)
            if len(rows) < min(size + 1, CHUNK):
                return Page(found[::-1] if is_backwards else found, is_complete=True)
            last = found[-1].id
            rest = selection.between(LOWEST, last) if is_backwards else selection.between(last, HIGHEST)
            rows = await self._fetch(account, rest, min(size + 1, CHUNK), is_backwards)

    async def _from_anchor(
        self, account: int, selection: Selection, count: int, anchor: int | None, is_backwards: bool
    ) -> Sequence[Any]:
        """The rows behind `anchor`. That it exists is seen in passing where it is of the selection: one query less."""
        if anchor is None:
            return await self._fetch(account, selection, count, is_backwards)
        part = selection.between(LOWEST, anchor + 1) if is_backwards else selection.between(anchor - 1, HIGHEST)
        rows = await self._fetch(account, part, count + 1, is_backwards)
        if rows and rows[0].id == anchor:
            return rows[1:]
        await self.require(account, (anchor,))
        return rows[:count]

    async def _fetch(self, account: int, selection: Selection, count: int, is_backwards: bool) -> Sequence[Any]:
        statement = page_statement(
            of_peer=bool(selection.peer), of_resource=bool(selection.resource), of_ids=selection.ids is not None,
            is_backwards=is_backwards,
        )  # fmt: skip
        return await self._reader.fetch(statement, {"count": count, **_parameters(account, selection)})

    async def count(self, account: int, selection: Selection) -> int:
        """How many rows `selection` has. Reads the index, 20 to 50 ms for a million."""
        statement = count_statement(
            of_peer=bool(selection.peer), of_resource=bool(selection.resource), of_ids=selection.ids is not None
        )
        return int((await self._reader.fetch(statement, _parameters(account, selection)))[0][0])

    async def ends(self, account: int) -> tuple[int, int] | None:
        """The ids of the first and the last row, None where there is none."""
        parameters = {"account": account}
        first, last = await self._reader.fetch_many([(_FIRST, parameters), (_LAST, parameters)])
        return (int(first[0][0]), int(last[0][0])) if first and last else None

    async def statistics(self, account: int) -> tuple[int, int, int, int]:
        """Rows, ids of the first and last (0 where there is none), bytes of all stanzas. Reads them all."""
        row = (await self._reader.fetch(_STATISTICS, {"account": account}))[0]
        return int(row[0]), int(row[1] or 0), int(row[2] or 0), int(row[3] or 0)


def _parameters(account: int, selection: Selection) -> dict[str, Any]:
    parameters: dict[str, Any] = {"account": account, "low": selection.low, "high": selection.high}
    if selection.peer:
        parameters["peer"] = selection.peer
        if selection.resource:
            parameters["resource"] = selection.resource
    if selection.ids is not None:
        parameters["ids"] = list(selection.ids)
    return parameters


@cache
def page_statement(*, of_peer: bool, of_resource: bool, of_ids: bool, is_backwards: bool) -> Select[Any]:
    """The query for one page of a selection of that kind."""
    statement = _where(select(_rows.id, _rows.stanza), of_peer, of_resource, of_ids)
    order = _rows.id.desc() if is_backwards else _rows.id
    return statement.order_by(order).limit(bindparam("count", type_=Integer))


@cache
def count_statement(*, of_peer: bool, of_resource: bool, of_ids: bool) -> Select[Any]:
    """The query that counts a selection of that kind."""
    return _where(select(func.count()).select_from(schema.archive), of_peer, of_resource, of_ids)


def _where(statement: Select[Any], of_peer: bool, of_resource: bool, of_ids: bool) -> Select[Any]:
    statement = statement.where(_of_account, _rows.id > bindparam("low"), _rows.id < bindparam("high"))
    if of_peer:
        statement = statement.where(_rows.peer == bindparam("peer"))
    if of_resource:
        statement = statement.where(_rows.resource == bindparam("resource"))
    if of_ids:
        statement = statement.where(_rows.id.in_(bindparam("ids", expanding=True)))
    return statement
