"""How results are shown."""

from __future__ import annotations

import pytest

from xmppchat.cli.output import cell, show, table


def test_a_table_is_aligned() -> None:
    rows: list[dict[str, object]] = [{"name": "a", "size": 10}, {"name": "long", "note": None}]
    assert table(rows) == "NAME  SIZE  NOTE\na     10\nlong"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, ""), (True, "yes"), (3, "3"), ("a\x1b[2J\nb", "a\\x1b[2J\\nb"), ("é", "é"), (["a"], '["a"]')],
)
def test_what_others_chose_does_not_steer_the_terminal(value: object, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("result", "text"),
    [(None, ""), ({"added": "a"}, "added: a\n"), (["a", "b"], "a\nb\n"), ("done", "done\n"), ([{"x": 1}], "X\n1\n")],
)
def test_shapes(capsys: pytest.CaptureFixture[str], result: object, text: str) -> None:
    show(result, as_json=False)
    assert capsys.readouterr().out == text
