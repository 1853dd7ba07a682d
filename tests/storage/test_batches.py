"""Arranging writes: few groups, and the same outcome as one by one."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, ForeignKey, MetaData, Table, bindparam, delete, insert, select, text
from storage_support import DELETE, INSERT, MARKS, NOTES, TABLES, UPDATE, note

from xmppchat.core.commit_gate import Write
from xmppchat.storage.batches import Group, arrange


def shape(groups: list[Group]) -> list[tuple[str, int]]:
    """What is done to which table, and with how many rows."""
    return [(f"{group.statement.__visit_name__} {group.statement.table.name}", len(group.rows)) for group in groups]


def test_the_same_statement_goes_together_across_tickets_and_tables() -> None:
    tickets = [(number, [note(number), note(number, table=MARKS)]) for number in range(1, 51)]
    groups = arrange(tickets)
    assert shape(groups) == [("insert notes", 50), ("insert marks", 50)]
    assert [row["id"] for row in groups[0].rows] == list(range(1, 51))


def test_the_order_within_a_table_is_kept() -> None:
    remove = Write(DELETE[NOTES], {"of": 1})
    groups = arrange([(1, [note(1)]), (2, [remove, note(1, table=MARKS)]), (3, [note(1)]), (4, [note(2)])])
    assert shape(groups) == [("insert notes", 1), ("delete notes", 1), ("insert marks", 1), ("insert notes", 2)]


def test_rows_with_other_keys_are_apart() -> None:
    """The driver would take the first row's keys for all, and lose what is more in others."""
    short = Write(INSERT[NOTES], {"id": 2})
    assert shape(arrange([(1, [short]), (2, [note(1)]), (3, [note(3)])])) == [("insert notes", 1), ("insert notes", 2)]


def test_a_statement_that_reads_another_table_keeps_its_place_there() -> None:
    forget = delete(MARKS).where(MARKS.c.id.in_(select(NOTES.c.id).where(NOTES.c.value == bindparam("v"))))
    groups = arrange([(1, [note(1)]), (2, [Write(forget, {"v": "value 1"})]), (3, [note(2)])])
    assert shape(groups) == [("insert notes", 1), ("delete marks", 1), ("insert notes", 1)]


def test_foreign_keys_keep_their_order() -> None:
    metadata = MetaData()
    parent = Table("parent", metadata, Column("id", BigInteger, primary_key=True))
    child = Table("child", metadata, Column("parent", ForeignKey(parent.c.id)))
    add, add_child = insert(parent), insert(child)
    tickets = [(number, [Write(add, {"id": number}), Write(add_child, {"parent": number})]) for number in (1, 2)]
    assert [group.statement for group in arrange(tickets)] == [add, add_child, add, add_child]


def test_sql_as_text_keeps_its_place_everywhere() -> None:
    anything = text("DELETE FROM notes WHERE id = :of")
    groups = arrange([(1, [note(1)]), (2, [Write(anything, {"of": 1})]), (3, [note(1), note(2, table=MARKS)])])
    assert [group.statement for group in groups] == [INSERT[NOTES], anything, INSERT[NOTES], INSERT[MARKS]]


def test_a_statement_with_a_list_is_executed_alone() -> None:
    some = delete(NOTES).where(NOTES.c.id.in_(bindparam("of", expanding=True)))
    groups = arrange([(1, [Write(some, {"of": [1, 2]})]), (2, [Write(some, {"of": [3]})])])
    assert [(group.rows, group.is_many) for group in groups] == [([{"of": [1, 2]}], False), ([{"of": [3]}], False)]


def test_a_statement_without_parameters_is_executed_alone() -> None:
    everything = Write(delete(NOTES), {})
    assert [group.is_many for group in arrange([(1, [everything]), (2, [everything])])] == [False, False]


WRITES = st.builds(
    lambda kind, table, number: Write(kind[table], {"id": number, "value": str(number)})
    if kind is INSERT else Write(kind[table], {"of": number, "new": "new"} if kind is UPDATE else {"of": number}),
    st.sampled_from([INSERT, UPDATE, DELETE]), st.sampled_from(TABLES), st.integers(1, 4),
)  # fmt: skip


@given(st.lists(st.lists(WRITES, max_size=4), max_size=12))
def test_every_write_is_there_once_and_in_order_of_its_table(tickets: list[list[Write]]) -> None:
    groups = arrange(list(enumerate(tickets)))
    for table in TABLES:
        wanted = [write for writes in tickets for write in writes if write.statement.table is table]
        got = [Write(group.statement, row) for group in groups for row in group.rows if group.statement.table is table]
        assert got == wanted
        # Neighbours of the same statement share a group.
        statements = [group.statement for group in groups if group.statement.table is table]
        assert all(one is not other for one, other in pairwise(statements))
