"""What `make faults` tells, and when it fails: a scenario that could not be run is no success."""

from __future__ import annotations

import sys
from pathlib import Path

import faults.__main__ as command
import pytest
from faults.reconcile import judge
from faults.report import LeftOut, Line, write_report
from faults.run import Report
from faults.test_reconcile import double, history


def line(name: str, database: str = "SQLite", *, is_broken: bool = False) -> Line:
    found = history()
    if is_broken:
        double(found)
    return Line(name, database, Report(judge(found), found, {"kills": 2}, 1.0, 7))


@pytest.mark.parametrize("name", sorted(command._NEEDS))
def test_what_is_left_out_fails_the_run_and_stands_in_the_report(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(command._NEEDS, name, (lambda: False, "there is none"))  # type: ignore[arg-type]
    report = tmp_path / "report.md"
    monkeypatch.setattr(sys, "argv", ["faults", "--only", name, "--database", "SQLite", "--report", str(report)])
    assert command.main() == 1
    assert f"| SQLite | {name} | **left out**: there is none |" in report.read_text()


def test_each_need_is_of_a_scenario() -> None:
    assert command._NEEDS.keys() <= command.SCENARIOS.keys()
    assert command.HUNTS.keys() <= command.PATCHES.keys()


def test_the_report_sums_up(tmp_path: Path) -> None:
    (tmp_path / "reliability.md").write_text("a\n<!-- written by `make faults` -->\nold\n<!-- end -->\nb\n")
    lines = [line("kill -9 under load"), line("kill -9 under load", is_broken=True), line("x", "PostgreSQL")]
    write_report(tmp_path / "report.md", lines, [LeftOut("a full disk", "SQLite", "no")], 7, 60.0)
    text = (tmp_path / "report.md").read_text()
    assert "| SQLite | kill -9 under load | 4 kills | 12 | 0 | 0 | 0 | 1 |" in text
    assert "| PostgreSQL | x | 2 kills | 6 | 0 | 0 | 0 | 0 | kept | 0 |" in text
    summary = (tmp_path / "reliability.md").read_text()
    assert summary.startswith("a\n<!--")
    assert summary.endswith("<!-- end -->\nb\n")
    assert "- PostgreSQL: 2 kills, 6 messages acknowledged, 0 lost, 0 duplicated, order kept\n" in summary
