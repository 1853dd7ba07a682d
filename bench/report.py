"""Turns results into docs/benchmarks.md."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import median

from bench.runner import NOISE_LIMIT, SERVERS, Measurement, Results
from bench.servers import Server
from bench.workload import Figure, Workload
from bench.workloads import WORKLOADS

_FINDINGS = Path(__file__).with_name("findings.md")

_ARCHIVES = """\
xmppchat has a message on the disk before it acknowledges or delivers it, with
  SQLite and with PostgreSQL, whose CPU time counts as its own. Prosody and ejabberd write each row to SQLite by itself;
  Prosody's internal storage and ejabberd's Mnesia leave it to the system when the disk gets it."""

_HOW = f"""\
- Each server runs alone, pinned to one core; the generator has another. A fresh start for every measurement.
- Server CPU is the time on CPU of all threads of the server and its child processes (user and system), so
  "per server CPU second" does not depend on how busy the core was.
- All clients use TLS 1.3 with full handshakes and no stream compression; all servers have the same ECDSA P-256
  certificate. Stream management and archives are used only where the work says so.
- Archives keep every message of everybody. {_ARCHIVES}
- With stream management every `<a/>` is checked: a server must never acknowledge more than was sent, and must have
  acknowledged all of it at the end.
- Limits (rates, registration, sessions) are off on all servers, except where a line says "default limits".
- "Prosody" and "ejabberd" have the modules Debian enables, less those that throttle or administer.
  "Prosody, tuned" has two settings more, see its configuration.
- A measurement during which other processes took more than {NOISE_LIMIT} of a core is repeated, and the least
  disturbed one counts, whatever its result; "others" is the share of a core they took in the worst round.
- Every message is checked: lost, repeated, overtaken or altered ones fail the run, and so does a wrong SCRAM
  signature."""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: bool = True) -> str:
    lines = [" | ".join(head), " | ".join(["---"] + ["---:" if numbers else "---"] * (len(head) - 1))]
    lines += [" | ".join(row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


class Report:
    """The text of the report on one run."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.workloads = [w for w in WORKLOADS if any(m.workload == w.name for m in results.measurements)]

    def text(self) -> str:
        """The whole report in Markdown."""
        parts = [self._head(), self._failures(), self._summary(), *map(self._details, self.workloads)]
        if _FINDINGS.exists():
            parts.append(_FINDINGS.read_text().strip())
        parts += ["## How it is measured\n\n" + _HOW, self._machine(), self._again(), self._configs()]
        return "\n\n".join(part for part in parts if part) + "\n"

    def is_whole(self) -> bool:
        """Whether all servers did all workloads in full size, also where some failed."""
        return (
            not self.results.quick
            and set(self.results.versions) == set(SERVERS)
            and len(self.workloads) == len(WORKLOADS)
        )

    def missed_aims(self) -> list[str]:
        """Aims that xmppchat does not reach, one line each."""
        return [
            f"{workload.title}: {figure.title} {missed}"
            for workload in self.workloads
            for figure in workload.main
            for missed in self._missed(workload, figure)
        ]

    def _missed(self, workload: Workload, figure: Figure) -> Iterator[str]:
        ours = self._median(workload, workload.ours, figure.key)
        if ours is not None and figure.limit is not None and not _is_reached(figure, ours, figure.limit):
            yield f"{_number(ours, figure.digits)}, aim {_limit(figure)}"
        for rival, aim in figure.aims.items():
            ratio = self._ratio(workload, figure, rival)
            if ratio is not None and not _is_reached(figure, ratio, aim):
                yield f"{ratio:.2f} × {SERVERS[rival].title}, aim {_aim(figure, aim)}"

    def _values(self, workload: Workload, server: str, key: str) -> list[float]:
        return [
            float(value)
            for m in self._of(workload, server)
            if not m.error and isinstance(value := m.figures.get(key), float | int)
        ]

    def _of(self, workload: Workload, server: str) -> list[Measurement]:
        name = workload.name if server in workload.servers else workload.rivals_do
        return [m for m in self.results.measurements if m.workload == name and m.server == server]

    def _median(self, workload: Workload, server: str, key: str) -> float | None:
        values = self._values(workload, server, key)
        return median(values) if values else None

    def _ratio(self, workload: Workload, figure: Figure, rival: str) -> float | None:
        ours, theirs = (self._median(workload, server, figure.key) for server in (workload.ours, rival))
        return ours / theirs if ours is not None and theirs else None

    def _servers(self) -> list[type[Server]]:
        measured = {m.server for m in self.results.measurements}
        return [server for name, server in SERVERS.items() if name in measured]

    def _head(self) -> str:
        kind = "A quick run, good only for trying the machinery. " if self.results.quick else ""
        return (
            "# Benchmarks\n\n"
            "<!-- Written by `make bench`; text of its own goes into bench/findings.md. -->\n\n"
            f"xmppchat against other servers on the same work: {self.results.date}, medians of {self.results.rounds} "
            f"interleaved {'rounds' if self.results.rounds > 1 else 'round'}. {kind}Ratios are xmppchat / rival."
        )

    def _failures(self) -> str:
        if not self.results.failures:
            return ""
        lines = [f"- {_one_line(failure)}" for failure in self.results.failures]
        return "## What failed\n\nThese measurements do not count below.\n\n" + "\n".join(lines)

    def _summary(self) -> str:
        parts = ["## Summary"]
        for ours in dict.fromkeys(workload.ours for workload in self.workloads):
            together = [workload for workload in self.workloads if workload.ours == ours]
            taking_part = {name for workload in together for name in workload.servers}
            rivals = [s for s in self._servers() if s.name in taking_part and s.family != SERVERS[ours].family]
            head = ["work", SERVERS[ours].title]
            for rival in rivals:
                head += [rival.title, "ratio"]
            parts.append(_table([*head, "aim"], [self._summary_row(w, f, rivals) for w in together for f in w.main]))
        if missed := self.missed_aims():
            parts += ["Not reached yet:", "\n".join(f"- {line}" for line in missed)]
        return "\n\n".join(parts)

    def _summary_row(self, workload: Workload, figure: Figure, rivals: Sequence[type[Server]]) -> list[str]:
        row = [
            f"{workload.title}: {figure.title}",
            _number(self._median(workload, workload.ours, figure.key), figure.digits),
        ]
        for rival in rivals:
            row.append(_number(self._median(workload, rival.name, figure.key), figure.digits))
            row.append(_number(self._ratio(workload, figure, rival.name), 2))
        return [*row, ", ".join(_aims(workload, figure)) or "–"]

    def _details(self, workload: Workload) -> str:
        figures = (*workload.main, *workload.also)
        head = ["server", *(f.title for f in figures)]
        head += [f"{workload.main[0].title}: lowest – highest", "server CPU", "generator CPU", "others"]
        rows = [
            self._detail_row(workload, server, figures) for server in self._servers() if self._of(workload, server.name)
        ]
        return f"## {workload.title}\n\n{workload.text}\n\n{_table(head, rows)}"

    def _detail_row(self, workload: Workload, server: type[Server], figures: Sequence[Figure]) -> list[str]:
        name, first = server.name, figures[0]
        spread = self._values(workload, name, first.key)
        span = f"{_number(min(spread), first.digits)} – {_number(max(spread), first.digits)}" if spread else "–"
        noise = self._values(workload, name, "other_cpu_share")
        return [
            server.title,
            *(_number(self._median(workload, name, f.key), f.digits) for f in figures),
            span,
            _number(self._median(workload, name, "server_cpu_share"), 2),
            _number(self._median(workload, name, "gen_cpu_share"), 2),
            _number(max(noise, default=None), 2),
        ]

    def _machine(self) -> str:
        rows = [[name, value] for name, value in self.results.facts.items()]
        rows += [[SERVERS[name].title, version] for name, version in self.results.versions.items()]
        return "## Machine and versions\n\n" + _table(["what", "which"], rows, numbers=False)

    def _again(self) -> str:
        return (
            "## Run it again\n\n"
            "```\nmake packages  # Debian: Prosody, ejabberd, PostgreSQL, gcc\nmake bench\n```\n\n"
            "Needs a machine with two quiet cores. `.venv/bin/python -m bench --help` lists what can be left "
            "out; bench/README.md says what each file is."
        )

    def _configs(self) -> str:
        parts = ["## Configurations"]
        shown: dict[str, str] = {}
        for name, text in self.results.configs.items():
            server = SERVERS[name]
            base = shown.setdefault(server.family, text)
            language = "diff"
            if base is not text:
                changes = difflib.unified_diff(base.splitlines(), text.splitlines(), lineterm="", n=0)
                text = "\n".join(list(changes)[2:])
            else:
                language = {"xmppchat": "toml", "prosody": "lua", "ejabberd": "yaml"}[server.family]
            parts.append(
                f"<details><summary>{server.title}</summary>\n\n```{language}\n{text.strip()}\n```\n\n</details>"
            )
        return "\n\n".join(parts)


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _aims(workload: Workload, figure: Figure) -> Iterator[str]:
    if figure.limit is not None:
        yield _limit(figure)
    for aim in dict.fromkeys(figure.aims.values()):
        of = [rival for rival, each in figure.aims.items() if each == aim]
        everybody = len(of) > 2 and set(of) >= {s for s in workload.servers if SERVERS[s].family != "xmppchat"}
        names = "each" if everybody else " and ".join(SERVERS[rival].title for rival in of)
        yield f"{_aim(figure, aim)} {names}"


def _aim(figure: Figure, aim: float) -> str:
    return f"{'≥' if figure.more_is_better else '≤'} {aim:g} ×"


def _limit(figure: Figure) -> str:
    return f"{'≥' if figure.more_is_better else '≤'} {figure.limit:g}"


def _is_reached(figure: Figure, value: float, aim: float) -> bool:
    return value >= aim if figure.more_is_better else value <= aim


def _one_line(text: str, limit: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else f"{line[:60]} … {line[62 - limit :]}"
