"""Runs every workload on every server, in interleaved rounds."""

from __future__ import annotations

import datetime
import json
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench import generator
from bench.generator import Figures, GeneratorError
from bench.machine import choose_cores, machine_facts
from bench.population import Population
from bench.servers import (
    ArchivingEjabberdServer,
    ArchivingProsodyServer,
    ArchivingXmppchatServer,
    DefaultLimitsXmppchatServer,
    EjabberdServer,
    PostgresqlXmppchatServer,
    ProsodyServer,
    Server,
    ServerError,
    SqliteEjabberdServer,
    SqliteProsodyServer,
    TunedProsodyServer,
    XmppchatServer,
    free_host,
    make_certificate,
)
from bench.workload import Workload
from bench.workloads import accounts_needed

SERVERS: dict[str, type[Server]] = {
    server.name: server
    for server in (
        XmppchatServer,
        DefaultLimitsXmppchatServer,
        ProsodyServer,
        TunedProsodyServer,
        EjabberdServer,
        ArchivingXmppchatServer,
        PostgresqlXmppchatServer,
        ArchivingProsodyServer,
        SqliteProsodyServer,
        ArchivingEjabberdServer,
        SqliteEjabberdServer,
    )
}

NOISE_LIMIT = 0.15
"""Share of a core that other processes may take before a measurement is repeated."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one server did with one workload in one round; `error` is "" when all went well."""

    server: str
    workload: str
    round: int
    figures: Figures
    error: str = ""

    @property
    def noise(self) -> float:
        """Share of a core that other processes took meanwhile."""
        share = self.figures.get("other_cpu_share")
        return share if isinstance(share, float) else 0.0


@dataclass(slots=True)
class Results:
    """All measurements of a run, with what the report tells about the servers."""

    rounds: int
    quick: bool
    measurements: list[Measurement] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """What kept a server from being measured at all, or a measurement from counting."""
    versions: dict[str, str] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).date().isoformat())
    facts: dict[str, str] = field(default_factory=machine_facts)

    def save(self, path: Path) -> None:
        """Writes all of it as JSON."""
        path.write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def load(cls, path: Path) -> Results:
        """What `save` wrote."""
        stored = json.loads(path.read_text())
        stored["measurements"] = [Measurement(**each) for each in stored["measurements"]]
        return cls(**stored)


    def joined(self, earlier: Results) -> Results:
        """These, and those of `earlier` that were not measured again. ValueError where the two do not go together."""
        shared = self.versions.keys() & earlier.versions.keys()
        if (self.rounds, self.quick, self.facts) != (earlier.rounds, earlier.quick, earlier.facts) or any(
            self.versions[name] != earlier.versions[name] for name in shared
        ):
            raise ValueError("the last run had other versions, rounds or another machine: measure all again")
        again = {(one.server, one.workload) for one in self.measurements}
        kept = [one for one in earlier.measurements if (one.server, one.workload) not in again]
        return replace(
            self, measurements=[*kept, *self.measurements], failures=[*earlier.failures, *self.failures],
            versions={**earlier.versions, **self.versions}, configs={**earlier.configs, **self.configs},
        )


class Runner:
    """Owns the folder of the run and the servers in it; one server runs at a time."""

    def __init__(self, directory: Path, *, rounds: int, quick: bool, retries: int) -> None:
        self.directory = directory
        self.quick = quick
        self.retries = retries
        self.results = Results(rounds, quick)
        self._server_cores, self._generator_core = choose_cores()
        self._certificate = make_certificate(directory / "tls", "bench.test")
        self._populated: set[str] = set()
        self._broken: set[str] = set()
        self._hosts: dict[str, str] = {}  # a server family keeps its address for the whole run

    def run(self, servers: Sequence[type[Server]], workloads: Sequence[Workload]) -> Results:
        """Each round does each workload on all servers in turn; each round begins with another server."""
        if self._generator_core is None:
            print("one core only: server and generator share it, rates per second mean little", flush=True)
        for kind in servers:
            self._describe(kind)
        for round_number in range(1, self.results.rounds + 1):
            shift = (round_number - 1) % len(servers)
            order = [*servers[shift:], *servers[:shift]]
            for workload in workloads:
                for kind in order:
                    if kind.name not in workload.servers or kind.name in self._broken:
                        continue
                    self._record(self._measure_quietly(kind, workload, round_number))
        return self.results

    def _server(self, kind: type[Server], workload: Workload) -> Server:
        population = workload.quick_population if self.quick else workload.population
        population = population or Population(accounts_needed(self.quick))
        folder = f"{_store(kind)}-{population.key}{'-fresh' if workload.is_fresh else ''}"
        if folder in self._populated and not workload.is_fresh:
            return self._new(kind, folder)
        shutil.rmtree(self.directory / folder, ignore_errors=True)
        server = self._new(kind, folder)
        if not workload.is_fresh:
            rows = f", {population.archived:,} archived messages each" if population.archived else ""
            print(f"{kind.title}: makes a database of {population.accounts:,} accounts{rows}", flush=True)
        server.prepare()
        server.populate(population)
        self._populated.add(folder)
        return server

    def _new(self, kind: type[Server], folder: str) -> Server:
        return kind(
            self.directory / folder,
            self._hosts.setdefault(kind.family, free_host()),
            domain="bench.test",
            certificate=self._certificate,
            cores=self._server_cores,
        )

    def _describe(self, kind: type[Server]) -> None:
        """Notes version and configuration of a server; one that is not there does nothing."""
        try:
            self.results.versions[kind.name] = kind.version() or "not installed"
            server = self._new(kind, _store(kind))
            server.prepare()
            self.results.configs[kind.name] = server.config_text().replace(str(self.directory), "/DIRECTORY")
        except (ServerError, OSError) as error:
            self._broken.add(kind.name)
            self._fail(f"{kind.title}: {error}")

    def _measure_quietly(self, kind: type[Server], workload: Workload, round_number: int) -> Measurement:
        """The least disturbed of up to 1 + `retries` tries; never chosen by the result."""
        best = self._measure(kind, workload, round_number)
        for _ in range(self.retries):
            if best.error or best.noise <= NOISE_LIMIT:
                break
            print(f"  other processes took {best.noise:.2f} cores: once more", flush=True)
            again = self._measure(kind, workload, round_number)
            if again.error or again.noise < best.noise:
                best = again
        return best

    def _measure(self, kind: type[Server], workload: Workload, round_number: int) -> Measurement:
        arguments = workload.quick_arguments if self.quick else workload.arguments
        figures: Figures = {}
        error = ""
        try:
            server = self._server(kind, workload)
            began = time.monotonic()
            with server:
                start_s = time.monotonic() - began
                figures = {**generator.run(server, arguments, core=self._generator_core), "start_s": start_s}
        except GeneratorError as failure:
            figures, error = failure.figures, str(failure)
        except (ServerError, OSError) as failure:
            error = str(failure)
        measurement = Measurement(kind.name, workload.name, round_number, figures, error)
        self._print(kind, workload, measurement)
        return measurement

    def _record(self, measurement: Measurement) -> None:
        self.results.measurements.append(measurement)
        if measurement.error:
            title = SERVERS[measurement.server].title
            self._fail(f"{title}, {measurement.workload}, round {measurement.round}: {measurement.error}")

    def _fail(self, text: str) -> None:
        self.results.failures.append(text.replace(str(self.directory), "/DIRECTORY"))
        print(f"FAILED {text}", flush=True)

    @staticmethod
    def _print(kind: type[Server], workload: Workload, measurement: Measurement) -> None:
        shown = [
            f"{figure.title} {value:,.{figure.digits}f}"
            for figure in (*workload.main, *workload.also)
            if isinstance(value := measurement.figures.get(figure.key), float | int)
        ]
        print(f"round {measurement.round}  {workload.name:16} {kind.title:25} {', '.join(shown)}", flush=True)


def _store(kind: type[Server]) -> str:
    """A name of what servers share that can use the same folder and accounts."""
    return f"{kind.family}-{kind.archives}" if kind.archives else kind.family


def run_in_temporary_folder(
    servers: Sequence[type[Server]], workloads: Sequence[Workload], *, rounds: int, quick: bool, retries: int
) -> Results:
    """Runs all, with every server's files in a folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="xmppchat-bench-") as folder:
        os.chmod(folder, 0o755)
        return Runner(Path(folder).resolve(), rounds=rounds, quick=quick, retries=retries).run(servers, workloads)
