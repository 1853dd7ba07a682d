"""Archives in the database: pages are seeks in an index, on both databases; filters are what a list would give."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql, sqlite
from storage_support import Gate

from xmppchat.components.archive import conversations, store
from xmppchat.core.commit_gate import Write
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.storage.database import Database, SqliteDatabase

SHAPES = [
    {"of_peer": peer, "of_resource": peer and resource, "of_ids": ids, "is_backwards": backwards}
    for peer in (False, True) for resource in (False, True) for ids in (False, True) for backwards in (False, True)
]
VALUES: dict[str, Any] = {
    "account": 7, "peer": "a@x.example", "resource": "r", "low": 0, "high": store.HIGHEST, "ids": [1, 2], "count": 51,
    "message": "m", "before": 10, "up_to": 10, "messages": 10, "most": 10, "row": 1, "new_stanza": b"", "new_flags": 0,
}  # fmt: skip


def explained(statement: Any, dialect: Any) -> str:
    """A statement with values in it, as text."""
    names = statement.compile(dialect=dialect).params
    filled = statement.params(**{name: value for name, value in VALUES.items() if name in names})
    return str(filled.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))


async def plan(database: SqliteDatabase, statement: Any) -> str:
    """What SQLite does for a statement."""
    found = await database.fetch(text(f"EXPLAIN QUERY PLAN {explained(statement, sqlite.dialect())}"))
    return " | ".join(str(row[-1]) for row in found)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_sqlite_every_page_is_a_seek(sqlite_database: SqliteDatabase, shape: dict[str, bool]) -> None:
    found = await plan(sqlite_database, store.page_statement(**shape))
    assert "SCAN" not in found
    assert "TEMP B-TREE" not in found
    if shape["of_peer"] and not shape["of_ids"]:
        assert "USING INDEX ix_archive_peer (account_id=? AND peer=? AND rowid>? AND rowid<?)" in found
    elif not shape["of_ids"]:
        assert "USING INDEX ix_archive_account (account_id=? AND rowid>? AND rowid<?)" in found


@pytest.mark.parametrize(("statement", "index"), [
    (store._FIRST, "ix_archive_account (account_id=?)"), (store._LAST, "ix_archive_account (account_id=?)"),
    (store.BY_MESSAGE_ID, "ix_archive_peer (account_id=? AND peer=?)"),
    (store.SENT_SINCE, "ix_archive_account (account_id=? AND rowid>?)"),
    (store.OLDEST, "INTEGER PRIMARY KEY (rowid<?)"), (store.OLDEST_OF_ACCOUNT, "ix_archive_account"),
    (store.BEYOND, "ix_archive_account (account_id=?)"), (store.OWNERS, "ix_archive_"),
    (conversations.CONVERSATIONS, "ix_archive_peer (account_id=? AND peer>?)"),
    (conversations._NEWER, "ix_archive_peer (account_id=? AND peer=? AND rowid>?)"),
])  # fmt: skip
async def test_sqlite_the_other_queries_use_an_index(
    sqlite_database: SqliteDatabase, statement: Any, index: str
) -> None:
    found = await plan(sqlite_database, statement)
    assert index in found
    assert "SCAN archive" not in found.replace("SCAN archive USING COVERING INDEX", "")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
async def test_postgresql_every_page_is_a_seek(database: Database, shape: dict[str, bool]) -> None:
    if isinstance(database, SqliteDatabase):
        return
    sql = explained(store.page_statement(**shape), postgresql.dialect())
    found = " | ".join(str(row[0]) for row in await database.fetch(text(f"EXPLAIN {sql}")))
    assert "Index" in found
    assert "Seq Scan on archive" not in found


@pytest.fixture
async def filled(database: Database, gate: Gate) -> list[tuple[int, int, str, str]]:
    """Rows (id, account, peer, resource) of two accounts."""
    rng = random.Random(3)
    rows = []
    number = 1 << 40
    for _ in range(300):
        number += rng.randrange(1, 1 << 23)
        rows.append((number, rng.choice((7, 8)), rng.choice(("a@x.example", "b@x.example")), rng.choice(("", "r"))))
    for number, account, peer, resource in rows:
        gate.submit(Write(store.INSERT, {
            "id": number, "account_id": account, "flags": 1 + number % 3, "peer": peer, "resource": resource,
            "message_id": f"m{number % 50}", "stanza": b"<message xmlns='jabber:client'/>",
        }))  # fmt: skip
    await gate.settled()
    return rows


async def test_selections_are_what_a_list_would_give(
    database: Database, filled: Sequence[tuple[int, int, str, str]]
) -> None:
    archives = store.Archives(database)
    rng = random.Random(4)
    numbers = [row[0] for row in filled]
    for _ in range(150):
        peer = rng.choice(("", "a@x.example", "b@x.example", "c@x.example"))
        resource = rng.choice(("", "r", "s")) if peer else ""
        low, high = rng.choice((0, rng.choice(numbers))), rng.choice((store.HIGHEST, rng.choice(numbers)))
        ids = rng.choice((None, tuple(rng.sample(numbers, 20))))
        size = rng.choice((1, 5, 63, 64, 65, 250))
        selection = store.Selection(peer, resource, ids, low, high)
        wanted = [
            number for number, account, of, at in filled
            if account == 7 and low < number < high and (not peer or of == peer) and (not resource or at == resource)
            and (ids is None or number in ids)
        ]
        first = await archives.page(7, selection, size)
        assert [row.id for row in first.rows] == wanted[:size]
        assert first.is_complete == (len(wanted) <= size)
        last = await archives.page(7, selection, size, before=store.HIGHEST)
        assert [row.id for row in last.rows] == wanted[-size:]
        anchor = rng.choice([number for number, account, _, _ in filled if account == 7])
        behind = await archives.page(7, selection, size, after=anchor)
        assert [row.id for row in behind.rows] == [number for number in wanted if number > anchor][:size]
        ahead = await archives.page(7, selection, size, before=anchor)
        assert [row.id for row in ahead.rows] == [number for number in wanted if number < anchor][-size:]
        assert await archives.count(7, selection) == len(wanted)
    of_another = next(number for number, account, _, _ in filled if account == 8)
    for number in (of_another, 1, store.HIGHEST - 1):
        with pytest.raises(ItemNotFound):
            await archives.page(7, store.Selection(), 10, after=number)
        with pytest.raises(ItemNotFound):
            await archives.page(7, store.Selection(peer="a@x.example"), 10, before=number)
        with pytest.raises(ItemNotFound):
            await archives.require(7, (numbers[0], number))


async def test_deletion_takes_the_oldest_of_one_account(
    database: Database, gate: Gate, filled: Sequence[tuple[int, int, str, str]]
) -> None:
    assert [row[0] for row in await database.fetch(store.OWNERS)] == [7, 8]
    assert [row[0] for row in await database.fetch(store.ORPHANS)] == [7, 8]
    own = [number for number, account, _, _ in filled if account == 7]
    found = await database.fetch(store.OLDEST_OF_ACCOUNT, {"account": 7, "before": own[20]})
    assert [row[0] for row in found] == own[:20]
    gate.submit(Write(store.DELETE_OF_ACCOUNT, {"account": 7, "up_to": own[19]}))
    await gate.settled()
    assert await store.Archives(database).ends(7) == (own[20], own[-1])
    assert await store.Archives(database).count(8, store.Selection()) == len(filled) - len(own)
    beyond = await database.fetch(store.BEYOND, {"account": 7, "messages": 5})
    assert beyond[0][0] == own[-6]


async def test_sent_since_and_by_message_id(database: Database, filled: Sequence[tuple[int, int, str, str]]) -> None:
    low = filled[100][0]
    found = await database.fetch(store.SENT_SINCE, {"account": 7, "low": low})
    wanted = [(peer, f"m{n % 50}") for n, account, peer, _ in filled if account == 7 and n > low and (1 + n % 3) & 1]
    assert sorted((row.peer, row.message_id) for row in found) == sorted(wanted)
    by_id = await database.fetch(store.BY_MESSAGE_ID, {"account": 7, "peer": "a@x.example", "message": "m3"})
    assert [row.id for row in by_id] == [
        n for n, account, peer, _ in reversed(filled) if account == 7 and peer == "a@x.example" and n % 50 == 3
    ]
