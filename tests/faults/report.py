"""What `make faults` found, as a page of the documentation."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .run import Report

_HEAD = """\
# Faults: what was done to the server, and what became of the messages

Written by `make faults`; every figure is of one run of it, that of commit {commit} on {machine} (seed {seed},
{minutes:.0f} minutes). Clients that share no code with the server send to one another while faults befall it. Then
every archive is read anew, forwards and backwards, in pages of 250, 50, 7 and 1 (two archives from end to end, of the
others 300 rows from either end), and is compared with what the clients were told.
[How it is judged](reliability.md#how-it-is-judged).

{totals}

| database | what happened | faults | acknowledged | sent again | refused | lost | duplicated | order | other |
|---|---|---|---:|---:|---:|---:|---:|---|---:|
{rows}

"Lost" is a message that was acknowledged and is missing in an archive of one of the two; "other" counts every other
breach: a page with a hole, a device that never saw a message, two ids for one message, something shown that was not
kept, something a device shows twice or in another order. Refused messages were answered with an error and are in no
archive.

## Planted defects

That all is well means something only if the judge can say no. These defects were planted into the server, one by one,
from outside the package (`tests/faults/mutants/`). Without any, the same runs are clean: those are rows of the table
above.

| defect | database | found | by |
|---|---|---|---|
{mutants}
"""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A scenario that could not be run here, and why."""

    name: str
    database: str
    reason: str


@dataclass(frozen=True, slots=True)
class Line:
    """One run; with `mutant` of a server with that defect."""

    name: str
    database: str
    report: Report
    mutant: str = ""

    @staticmethod
    def total(lines: Sequence[Line], database: str) -> str:
        """All runs on a database in one line."""
        reports = [line.report for line in lines if line.database == database]
        counts: Counter[str] = Counter()
        for report in reports:
            counts.update(report.counts)
        found: Counter[str] = Counter()
        for report in reports:
            found.update(report.verdict.counts)
        acknowledged = sum(report.verdict.acknowledged for report in reports)
        kills = counts["kills"] + counts["crash points"]
        others = found.total() - found["lost"] - found["duplicated"] - found["order"]
        text = (
            f"{kills} kills, {acknowledged:,} messages acknowledged, {found['lost']} lost, "
            f"{found['duplicated']} duplicated, order {'broken' if found['order'] else 'kept'}"
        )
        return f"{text}, {others} other violations" if others else text


def write_report(
    path: Path, lines: Sequence[Line], left_out: Sequence[LeftOut], seed: int, seconds: float
) -> None:
    """Write the page, and its totals into ``reliability.md`` beside it, where that has a place for them."""
    results = [line for line in lines if not line.mutant]
    databases = list(dict.fromkeys(line.database for line in results))
    summary = path.with_name("reliability.md")
    if summary.is_file():
        totals = "".join(f"- {database}: {Line.total(results, database)}\n" for database in databases)
        summary.write_text(_PLACE.sub(lambda found: f"{found[1]}{totals}{found[2]}", summary.read_text()))
    path.write_text(_HEAD.format(
        commit=_commit(), machine=_machine(), seed=seed, minutes=seconds / 60,
        totals="\n\n".join(f"**{database}: {Line.total(results, database)}.**" for database in databases),
        rows="\n".join([_row(line) for line in _merged(results)] + [_gap(one) for one in left_out]),
        mutants="\n".join(_mutant(line) for line in lines if line.mutant),
    ))  # fmt: skip


#: Where the totals stand in reliability.md.
_PLACE = re.compile(r"(<!-- written by `make faults` -->\n).*?(<!-- end -->)", re.DOTALL)


def _merged(lines: Sequence[Line]) -> list[list[Line]]:
    rows: dict[tuple[str, str], list[Line]] = {}
    for line in lines:
        rows.setdefault((line.database, line.name), []).append(line)
    return list(rows.values())


def _row(lines: Sequence[Line]) -> str:
    verdicts = [line.report.verdict for line in lines]
    faults: Counter[str] = Counter()
    found: Counter[str] = Counter()
    for line in lines:
        faults.update(line.report.counts)
        found.update(line.report.verdict.counts)
    others = found.total() - found["lost"] - found["duplicated"] - found["order"]
    cells = [
        lines[0].database,
        lines[0].name,
        ", ".join(f"{count} {name}" for name, count in faults.items()),
        f"{sum(verdict.acknowledged for verdict in verdicts):,}",
        f"{sum(verdict.resent for verdict in verdicts):,}",
        f"{sum(verdict.bounced for verdict in verdicts):,}",
        str(found["lost"]),
        str(found["duplicated"]),
        "broken" if found["order"] else "kept",
        str(others),
    ]
    return f"| {' | '.join(cells)} |"


def _gap(one: LeftOut) -> str:
    return f"| {one.database} | {one.name} | **left out**: {one.reason} | | | | | | | |"


def _mutant(line: Line) -> str:
    counts = line.report.verdict.counts
    found = ", ".join(f"{count} × {rule}" for rule, count in counts.most_common())
    return f"| {line.mutant} | {line.database} | {'yes' if counts else '**no**'} | {found} |"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()} {platform.machine()}"
