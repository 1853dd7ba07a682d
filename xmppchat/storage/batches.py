"""Batches: the writes of many tickets, arranged so that few calls of the driver do them all.

Writes of the same statement go together where nothing else must happen in between: the order within each table is
kept, writes to different tables may change places. All of it is one transaction, so nobody sees the difference.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import BindParameter, Executable, Table, TextClause
from sqlalchemy.sql import visitors

from xmppchat.core.commit_gate import Write

#: A ticket's number and its writes.
Ticket = tuple[int, Sequence[Write]]

StatementT = TypeVar("StatementT", bound=Executable)

#: Statements whose nature is remembered; there are as many as there are kinds of writes in the program.
_MAX_KINDS = 2_000


class Group(NamedTuple):
    """Writes of one statement, in order. Where `is_many` is false there is only one, and it is executed as it is."""

    statement: Any
    rows: list[Mapping[str, Any]]
    is_many: bool


class _Kind(NamedTuple):
    """What a statement is about; `tables` is None where that cannot be known (SQL as text). `key`: see `last_wins`."""

    tables: tuple[Table, ...] | None
    may_be_many: bool
    key: str


def last_wins(statement: StatementT, key: str) -> StatementT:
    """Of the writes with this statement in one transaction, those with the same parameter `key` are one: the last."""
    return statement.execution_options(last_wins=key)


def arrange(tickets: Iterable[Ticket]) -> list[Group]:
    """The writes of `tickets` in groups to be executed one after the other."""
    groups: list[Group] = []
    last_of: dict[Table, int] = {}  # the newest group that concerns a table
    places: dict[tuple[int, Any], int] = {}  # where in which group the row with a key is, for `last_wins`
    barrier = -1  # the newest group that concerns all tables
    for _, writes in tickets:
        for statement, parameters in writes:
            kind = _kinds.get(statement) or _learn(statement)
            if kind.tables is None:
                earliest = len(groups) - 1
            else:
                earliest = max([last_of.get(table, barrier) for table in kind.tables])
            if earliest >= 0 and _fits(groups[earliest], statement, parameters):
                if not kind.key:
                    groups[earliest].rows.append(parameters)
                    continue
                rows, place = groups[earliest].rows, (earliest, parameters[kind.key])
                if place in places:
                    rows[places[place]] = parameters
                else:
                    places[place] = len(rows)
                    rows.append(parameters)
                continue
            if kind.key:
                places[len(groups), parameters[kind.key]] = 0
            groups.append(Group(statement, [parameters], kind.may_be_many and bool(parameters)))
            if kind.tables is None:
                barrier = len(groups) - 1
                last_of.clear()
            else:
                last_of.update(dict.fromkeys(kind.tables, len(groups) - 1))
    return groups


def _fits(group: Group, statement: Any, parameters: Mapping[str, Any]) -> bool:
    # The driver would silently ignore a key that the first row does not have.
    return group.statement is statement and group.is_many and group.rows[0].keys() == parameters.keys()


_kinds: dict[Any, _Kind] = {}


def _learn(statement: Any) -> _Kind:
    if len(_kinds) >= _MAX_KINDS:
        _kinds.clear()
    tables: dict[Table, None] = {}
    is_clear = may_be_many = True
    for element in visitors.iterate(statement):
        if isinstance(element, Table):
            tables[element] = None
            # A row and the one it refers to must keep their order, too.
            tables.update(dict.fromkeys(key.column.table for key in element.foreign_keys))
        elif isinstance(element, TextClause):
            is_clear = False
        elif isinstance(element, BindParameter) and element.expanding:
            may_be_many = False  # SQLAlchemy writes such a statement anew for each list
    key = statement.get_execution_options().get("last_wins", "")
    kind = _kinds[statement] = _Kind(tuple(tables) if tables and is_clear else None, may_be_many, key)
    return kind
