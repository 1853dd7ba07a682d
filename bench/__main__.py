"""`python -m bench`: the same work on xmppchat, Prosody and ejabberd, and the report on it."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import generator
from bench.machine import alone_on_the_machine, raise_file_limit
from bench.report import Report
from bench.runner import SERVERS, Results, run_in_temporary_folder
from bench.workloads import WORKLOADS

_HERE = Path(__file__).parent
_REPORT = _HERE.parent / "docs" / "benchmarks.md"
_PARTIAL_REPORT = _HERE / "build" / "benchmarks.md"
_RAW = _HERE / "build" / "results.json"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    names = [w.name for w in WORKLOADS]
    parser.add_argument("--only", metavar="SERVER,...", default=",".join(SERVERS), help=f"of {', '.join(SERVERS)}")
    parser.add_argument("--scenario", metavar="WORK,...", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3; quick 1)")
    parser.add_argument("--retries", type=int, help="repetitions of a measurement that was disturbed (2; quick 0)")
    parser.add_argument("--quick", action="store_true", help="small and short: tries the machinery, measures nothing")
    parser.add_argument("--output", type=Path, help="report file (docs/benchmarks.md; of a partial run bench/build/)")
    parser.add_argument("--report", action="store_true", help="write the report on the last run once more")
    parser.add_argument("--join", action="store_true", help="together with what the last run measured")
    parser.add_argument("--strict", action="store_true", help="exit with 3 when an aim is not reached")
    options = parser.parse_args(argv)
    for chosen, known in ((options.only, list(SERVERS)), (options.scenario, names)):
        for name in chosen.split(","):
            if name not in known:
                parser.error(f"{name!r} is none of {', '.join(known)}")
    return options


def _measure(options: argparse.Namespace) -> Results:
    generator.build()
    only, scenario = options.only.split(","), options.scenario.split(",")
    with alone_on_the_machine():
        results = run_in_temporary_folder(
            [server for name, server in SERVERS.items() if name in only],
            [workload for workload in WORKLOADS if workload.name in scenario],
            rounds=options.rounds or (1 if options.quick else 3),
            quick=options.quick,
            retries=(0 if options.quick else 2) if options.retries is None else options.retries,
        )
    if options.join:
        results = results.joined(Results.load(_RAW))
    results.save(_RAW)
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Runs what the command line asks for; 1 when anything failed."""
    options = _arguments(argv)
    # Servers are stopped by `finally` clauses, which a plain SIGTERM would pass by.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    raise_file_limit()
    try:
        results = Results.load(_RAW) if options.report else _measure(options)
    except (generator.GeneratorError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    report = Report(results)
    output: Path = options.output or (_REPORT if report.is_whole() else _PARTIAL_REPORT)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(report.text())
    print(f"\nreport: {output}")
    missed = report.missed_aims()
    for line in missed:
        print(f"aim not reached: {line}")
    for failure in results.failures:
        print(f"failed: {failure}", file=sys.stderr)
    if results.failures:
        return 1
    return 3 if missed and options.strict else 0


if __name__ == "__main__":
    sys.exit(main())
