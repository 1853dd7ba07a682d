"""Statements of SQLAlchemy Core as texts and arguments for asyncpg: compiled once, then only looked up.

SQLAlchemy's own way to asyncpg costs three times as much for a small query (docs/adr/0009-postgresql.md). Lists
(`expanding` parameters) become arrays, so that one text does for lists of any length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import ARRAY, BinaryExpression, BindParameter, Row, TupleType, all_, any_, bindparam
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.engine.result import result_tuple
from sqlalchemy.schema import ExecutableDDLElement
from sqlalchemy.sql import operators, visitors

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]

#: Statements whose texts are remembered; there are as many as there are kinds in the program.
_MAX_STATEMENTS = 2_000


class Prepared:
    """A statement for parameters with certain names."""

    __slots__ = ("_compiled", "_defaults", "_getter", "_names", "_processors", "sql")

    def __init__(self, statement: Any, names: Iterable[str]) -> None:
        self._compiled: Any = None
        self._getter: Callable[[Mapping[str, Any]], Any] | None = None
        self._names: tuple[str, ...] = ()
        self._defaults: dict[str, Any] = {}
        self._processors: dict[str, Callable[[Any], Any]] = {}
        if isinstance(statement, ExecutableDDLElement):
            self.sql = str(statement.compile(dialect=_DIALECT))
            return
        compiled = _lists_as_arrays(statement).compile(dialect=_DIALECT, column_keys=sorted(names))
        if getattr(compiled, "insert_prefetch", None) or getattr(compiled, "update_prefetch", None):
            raise TypeError("a column with default= or onupdate= in Python; use server_default=, or give its value")
        self.sql = compiled.string
        if compiled.post_compile_params:
            self._compiled = compiled  # what SQLAlchemy writes anew for each list
            return
        self._names = tuple(compiled.positiontup or ())
        required = {bind.key for bind in compiled.bind_names if bind.required}
        self._defaults = {name: value for name, value in compiled.params.items() if name not in required}
        self._processors = dict(compiled.construct_expanded_state(_any_values(compiled), escape_names=False).processors)
        if len(self._names) > 1 and not self._processors and required.issuperset(self._names):
            self._getter = itemgetter(*self._names)

    def arguments(self, parameters: Mapping[str, Any] | None) -> Sequence[Any]:
        """The arguments in the order of the text. Raises KeyError where one is missing."""
        if self._getter is not None:
            arguments: Sequence[Any] = self._getter(parameters or {})
            return arguments
        given = {**self._defaults, **(parameters or {})}
        processors = self._processors
        if not processors:
            return [given[name] for name in self._names]
        return [processors[name](given[name]) if name in processors else given[name] for name in self._names]

    def call(self, parameters: Mapping[str, Any] | None) -> tuple[str, Sequence[Any]]:
        """The text and its arguments."""
        if self._compiled is None:
            return self.sql, self.arguments(parameters)
        state = self._compiled.construct_expanded_state(dict(parameters or {}), escape_names=False)
        processed = [
            state.processors[name](value) if name in state.processors else value
            for name, value in zip(state.positiontup, state.positional_parameters, strict=True)
        ]
        return state.statement, processed


def prepare(statement: Any, parameters: Mapping[str, Any] | None) -> Prepared:
    """The text of `statement` for parameters like these. Raises what SQLAlchemy does for a wrong one."""
    names = frozenset(parameters or ())
    found = _prepared.get((statement, names))
    if found is None:
        if len(_prepared) >= _MAX_STATEMENTS:
            _prepared.clear()
        found = _prepared[statement, names] = Prepared(statement, names)
    return found


_prepared: dict[tuple[Any, frozenset[str]], Prepared] = {}


def rows(records: Sequence[Any]) -> list[Row[Any]]:
    """Records of asyncpg as what SQLAlchemy gives."""
    if not records:
        return []
    keys = tuple(records[0].keys())
    make = _makers.get(keys)
    if make is None:
        if len(_makers) >= _MAX_STATEMENTS:
            _makers.clear()
        make = _makers[keys] = result_tuple(keys)
    return [make(record) for record in records]


_makers: dict[tuple[str, ...], Callable[[Iterable[Any]], Row[Any]]] = {}


def _lists_as_arrays(statement: Any) -> Any:
    """`x IN (list)` as `x = ANY (array)`."""

    def replace(element: Any, **_: Any) -> Any:
        if not isinstance(element, BinaryExpression) or element.operator not in (operators.in_op, operators.not_in_op):
            return None
        left, right = element.left, element.right
        if not isinstance(right, BindParameter) or not right.expanding or isinstance(left.type, TupleType):
            return None
        value: dict[str, Any] = {} if right.required else {"value": right.value}
        array = bindparam(right.key, type_=ARRAY(left.type), unique=right.unique, **value)
        return left == any_(array) if element.operator is operators.in_op else left != all_(array)

    return visitors.replacement_traverse(statement, {}, replace)


def _any_values(compiled: Any) -> dict[str, Any]:
    return dict.fromkeys(compiled.positiontup or ())
