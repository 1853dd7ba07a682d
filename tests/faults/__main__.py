"""``make faults``: kills, faults and planted defects on both databases; writes docs/faults-report.md.

    python -m faults                                  everything, ten to fifteen minutes
    python -m faults --only "a full disk" --seed 7    one kind of fault; also "kills"
    python -m faults --mutant lost-carbon             plant a defect: success is that it is found

The exit status is 1 where the contract was broken, a defect was not found, or a scenario was left out since something
is missing on this machine. A failed run leaves its folder.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path

from live_server import Certificates, make_certificates
from peers import postgresql
from peers.postgresql import Postgresql

from .environment import FakeTime, may_unshare
from .mutants.planted import PATCHES
from .power import may_build
from .report import LeftOut, Line, write_report
from .run import Report
from .scenarios import HUNTS, SCENARIOS, SQLITE_ONLY, Scenario, Setting, hunt, kills

DATABASES = ("SQLite", "PostgreSQL")
#: What a scenario cannot do without: whether it is there, and what to do where it is not.
_NEEDS: Mapping[str, tuple[Callable[[], object], str]] = {
    "a full disk": (may_unshare, "there are no mount namespaces here (unshare -rm)"),
    "a jumping clock": (FakeTime.library, "libfaketime is not installed (Debian: apt-get install faketime)"),
    "power losses": (may_build, "there is no C compiler (Debian: apt-get install gcc libc6-dev)"),
}
#: Share of the kills for each database: SQLite is what most servers run on.
_SHARES = {"SQLite": 0.6, "PostgreSQL": 0.4}
#: Defects of what the other database does not have.
_NO_DEFECTS = {("no-sync", "PostgreSQL")}
#: Hunts for one planted defect, at the most.
_MAX_HUNTS = 3
#: Kills of one run: after so many, archives are read and judged, so that a failure is found in a small history.
_KILLS_OF_A_RUN = 40


class Harness:
    """Runs scenarios one by one, and remembers what they showed."""

    def __init__(self, folder: Path, certificates: Certificates, seed: int, postgresql: Postgresql | None) -> None:
        self.lines: list[Line] = []
        self.left_out: list[LeftOut] = []
        self._folder = folder
        self._certificates = certificates
        self._seed = seed
        self._postgresql = postgresql
        self._number = 0

    def kills(self, database: str, number: int) -> None:
        """``kill -9``, in runs of a bearable length."""
        while number > 0:
            share = min(number, _KILLS_OF_A_RUN)
            self._run("kill -9 under load", database, partial(kills, number=share))
            number -= share

    def scenario(self, name: str, database: str) -> None:
        """One of :data:`SCENARIOS`, if it is about that database; where it cannot be run, that is remembered."""
        if database != "SQLite" and name in SQLITE_ONLY:
            return
        is_there, complaint = _NEEDS.get(name, (lambda: True, ""))
        if is_there():
            self._run(name, database, SCENARIOS[name])
        else:
            self.left_out.append(LeftOut(name, database, complaint))
            print(f"{database}, {name}: LEFT OUT, {complaint}", flush=True)

    def mutant(self, name: str, database: str) -> bool:
        """Whether a planted defect was found, by some hunts with other seeds: a kill must fall where it shows."""
        for number in range(_MAX_HUNTS):
            if number:
                self.lines.pop()  # the report has the last one
            if self._run(f"planted: {name}", database, HUNTS.get(name, hunt), mutant=name).verdict.violations:
                return True
        return False

    def _run(self, name: str, database: str, scenario: Scenario, mutant: str = "") -> Report:
        self._number += 1
        directory = self._folder / f"{self._number:02}"
        directory.mkdir()
        used = self._postgresql if database == "PostgreSQL" else None
        setting = Setting(directory, self._certificates, self._seed + self._number, used, mutant)
        report = asyncio.run(_awaited(scenario, setting))
        self.lines.append(Line(name, database, report, mutant))
        print(f"{database}, {name}: {report.line() if mutant else report.text()}", flush=True)
        if not report.verdict.violations or mutant:
            shutil.rmtree(directory)
        else:
            print(f"    kept in {directory}")
        return report


async def _awaited(scenario: Scenario, setting: Setting) -> Report:
    return await scenario(setting)


@contextmanager
def _postgresql(is_wanted: bool) -> Iterator[Postgresql | None]:
    with postgresql.private_postgresql() if is_wanted else nullcontext() as server:
        yield server


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m faults", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="default: the time")
    parser.add_argument("--kills", type=int, default=200, help="in all (default: 200)")
    parser.add_argument("--database", choices=DATABASES, action="append", help="default: both")
    parser.add_argument("--only", choices=["kills", "mutants", *SCENARIOS], help="one part")
    parser.add_argument("--mutant", choices=sorted(PATCHES), help="plant one defect (in the first --database)")
    parser.add_argument("--report", type=Path, help="write the report here")
    return parser.parse_args()


def _all(harness: Harness, databases: list[str], number: int, only: str) -> list[str]:
    """Run what is wanted; the mutants that were not found."""
    whole = sum(_SHARES[database] for database in databases)
    for database in databases:
        if only in ("", "kills"):
            harness.kills(database, round(number * _SHARES[database] / whole))
        for name in SCENARIOS:
            if only in ("", name):
                harness.scenario(name, database)
    if only not in ("", "mutants"):
        return []
    planted = [(name, database) for database in databases for name in PATCHES if (name, database) not in _NO_DEFECTS]
    return [f"{name} ({database})" for name, database in planted if not harness.mutant(name, database)]


def main() -> int:
    """Run; the exit status."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server is stopped on the way out
    databases = arguments.database or list(DATABASES)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    certificates = make_certificates(folder / "tls")
    begin = time.monotonic()
    print(f"seed {arguments.seed}, in {folder}", flush=True)
    with _postgresql("PostgreSQL" in databases) as server:
        harness = Harness(folder, certificates, arguments.seed, server)
        if arguments.mutant:
            missed = [] if harness.mutant(arguments.mutant, databases[0]) else [arguments.mutant]
        else:
            missed = _all(harness, databases, arguments.kills, arguments.only or "")
    for name in missed:
        print(f"NOT FOUND: {name}")
    results = [line for line in harness.lines if not line.mutant]
    for database in databases:
        if any(line.database == database for line in results):
            print(f"{database}: {Line.total(results, database)}")
    if arguments.report is not None:
        write_report(arguments.report, harness.lines, harness.left_out, arguments.seed, time.monotonic() - begin)
    is_kept = not any(line.report.verdict.violations for line in results)
    if is_kept:
        shutil.rmtree(folder)
    return 0 if is_kept and not missed and not harness.left_out else 1


if __name__ == "__main__":
    sys.exit(main())
