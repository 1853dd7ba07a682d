"""Writes as text and tuples: the same rows as through SQLAlchemy, and only where that is sure."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Boolean, Column, Integer, MetaData, Table, Text, bindparam, delete, insert, select, text, update

from xmppchat.storage.batches import last_wins
from xmppchat.storage.plain import plain
from xmppchat.storage.schema import Blob
from xmppchat.storage.sqlite import writing_engine

METADATA = MetaData()
THINGS = Table(
    "things", METADATA, Column("id", Integer, primary_key=True), Column("name", Text), Column("data", Blob),
)
FLAGS = Table("flags", METADATA, Column("id", Integer, primary_key=True), Column("is_set", Boolean))
DEFAULTS = Table("defaults", METADATA, Column("id", Integer, primary_key=True), Column("name", Text, default="x"))


def test_rows_are_those_of_sqlalchemy(tmp_path: Path) -> None:
    rows = [{"id": number, "name": f"'\"%{number}", "data": bytes([number])} for number in range(5)]
    change = update(THINGS).where(THINGS.c.id == bindparam("of")).values(name=bindparam("new"))
    with writing_engine(tmp_path / "x.db", busy_timeout=1).connect() as connection, connection.begin():
        METADATA.create_all(connection)
        for statement, parameters in (
            (insert(THINGS), rows),
            (change, [{"new": "second", "of": 1}, {"of": 2, "new": "third"}]),
        ):
            for row in parameters:
                made = plain(statement, row)
                assert made is not None
                connection.exec_driver_sql(made.sql, [made.arguments(row)])
        found = connection.execute(select(THINGS).order_by(THINGS.c.id)).all()
    names = ["'\"%0", "second", "third", "'\"%3", "'\"%4"]
    assert [tuple(row) for row in found] == [(number, names[number], bytes([number])) for number in range(5)]


@pytest.mark.parametrize("number", [1, 2, 4, 5, 63, 64, 65, 150])
def test_many_rows_go_in_few_executions(tmp_path: Path, number: int) -> None:
    rows = [{"id": one, "name": f"n{one}", "data": b""} for one in range(number)]
    change = last_wins(update(THINGS).where(THINGS.c.id == bindparam("of")).values(name=bindparam("new")), "of")
    changes = [{"of": one, "new": f"changed {one}"} for one in range(0, number, 2)]
    calls = 0
    with writing_engine(tmp_path / "x.db", busy_timeout=1).connect() as connection, connection.begin():
        METADATA.create_all(connection)
        for statement, parameters in ((insert(THINGS), rows), (change, changes)):
            made = plain(statement, parameters[0])
            assert made is not None
            for sql, arguments in made.calls(parameters):
                connection.exec_driver_sql(sql, arguments)
                calls += 1
        found = connection.execute(select(THINGS.c.id, THINGS.c.name).order_by(THINGS.c.id)).all()
    assert [tuple(row) for row in found] == [
        (one, f"changed {one}" if one % 2 == 0 else f"n{one}") for one in range(number)
    ]
    assert calls <= 2 * (number // 64 + 9)


@pytest.mark.parametrize(
    ("statement", "names"),
    [
        (insert(FLAGS), ("id", "is_set")),  # a type with a conversion
        (insert(DEFAULTS), ("id",)),  # a default made in Python
        (delete(THINGS).where(THINGS.c.id.in_(bindparam("ids", expanding=True)), THINGS.c.name == bindparam("n")),
         ("ids", "n")),
        (update(THINGS).where(THINGS.c.id == bindparam("of")).values(name="always"), ("of", "other")),
    ],
)  # fmt: skip
def test_what_needs_more_is_left_to_sqlalchemy(statement: object, names: tuple[str, ...]) -> None:
    assert plain(statement, dict.fromkeys(names)) is None


def test_text_is_left_to_sqlalchemy() -> None:
    assert plain(text("PRAGMA user_version"), {}) is None
