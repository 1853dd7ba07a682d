"""Writes to SQLite as text and tuples: what SQLAlchemy would do again for each row is done once for each statement.

A row costs a third less CPU than through SQLAlchemy's execution (docs/adr/0005-commit-gate.md). Statements that need
more than their parameters in order (types with a conversion, defaults) are left to SQLAlchemy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Insert
from sqlalchemy.dialects.sqlite import pysqlite

_DIALECT = pysqlite.dialect()
#: Statements whose texts are remembered; there are as many as there are kinds in the program.
_MAX_STATEMENTS = 2_000


#: Rows that one execution may have: those of a batch are taken in the largest pieces that fit.
_PIECES = (64, 16, 4, 1)


class Plain(NamedTuple):
    """A statement as text; `arguments` picks the values of a row in the order of the text.

    `many` is the text for several rows at once, in which ``{values}`` stands for their placeholders, and `values` the
    placeholders of one; both are "" where there is no such text.
    """

    sql: str
    arguments: Callable[[Mapping[str, Any]], tuple[Any, ...]]
    many: str = ""
    values: str = ""

    def calls(self, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
        """Texts and lists of arguments that do it for all `rows`, in order.

        Each row executed by itself would give up the interpreter's lock and wait for it again: dearer than the row.
        """
        arguments = [self.arguments(row) for row in rows]
        if not self.many:
            yield self.sql, arguments
            return
        done = 0
        for piece in _PIECES:
            while len(arguments) - done >= piece:
                part = arguments[done : done + piece]
                done += piece
                sql = self.many.replace("{values}", ", ".join([self.values] * piece))
                yield sql, [tuple(chain.from_iterable(part))]


def plain(statement: Any, parameters: Mapping[str, Any]) -> Plain | None:
    """The text of `statement` for parameters with such names, None where only SQLAlchemy can execute it."""
    names = tuple(parameters)
    key = (statement, names)
    if key not in _known:
        if len(_known) >= _MAX_STATEMENTS:
            _known.clear()
        _known[key] = _compile(statement, names)
    return _known[key]


_known: dict[tuple[Any, tuple[str, ...]], Plain | None] = {}


def _compile(statement: Any, names: tuple[str, ...]) -> Plain | None:
    if not hasattr(statement, "compile") or len(names) < 2:
        return None
    compiled = statement.compile(dialect=_DIALECT, column_keys=sorted(names))
    order = tuple(getattr(compiled, "positiontup", None) or ())
    has_defaults = getattr(compiled, "insert_prefetch", None) or getattr(compiled, "update_prefetch", None)
    if has_defaults or getattr(compiled, "post_compile_params", None) or not set(order) <= set(names) or len(order) < 2:
        return None
    if any(bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT) for bind in compiled.bind_names):
        return None
    sql = str(compiled.string)
    arguments = itemgetter(*order)
    if isinstance(statement, Insert) and (found := _INSERT.fullmatch(sql)):
        return Plain(sql, arguments, found["head"] + "{values}", found["values"])
    # Rows of one key are one row (see last_wins), so the order does not matter.
    if statement.get_execution_options().get("last_wins") and (found := _UPDATE.fullmatch(sql)):
        return Plain(sql, arguments, _UPDATES.format_map(found.groupdict()), "(?, ?)")
    return Plain(sql, arguments)


_INSERT = re.compile(r"(?P<head>INSERT INTO \w+ \([\w, ]+\) VALUES )(?P<values>\([?, ]+\))")
#: SQLite names the columns of VALUES so.
_UPDATES = (
    "UPDATE {table} SET {column} = new.column1 FROM (VALUES {{values}}) AS new WHERE {table}.{key} = new.column2"
)
_UPDATE = re.compile(r"UPDATE (?P<table>\w+) SET (?P<column>\w+)=\? WHERE (?P=table)\.(?P<key>\w+) = \?")
