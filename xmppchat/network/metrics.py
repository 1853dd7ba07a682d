"""Metrics for Prometheus: what the running server counts, as text, on a port of its own.

Plain HTTP, ``GET /metrics`` and nothing else, on the loopback address unless the configuration says otherwise. Values
are read when somebody asks, so that nothing is paid meanwhile. Labels come from fixed sets only (hosts and components
of the configuration, kinds, names of limits, mechanisms): no client can make a series (reliability.md V-57).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from importlib.metadata import version
from itertools import accumulate
from platform import python_version
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from xmppchat.core.counts import Histogram
from xmppchat.core.kernel import Hibernation, Kernel
from xmppchat.network.connections import Connections

MAX_BYTES = 8_192
"""The size of a request; what Prometheus sends has some 300 bytes."""
DEADLINE_SECONDS = 10.0
MAX_CONNECTIONS = 8
LAG_SECONDS = 1.0
"""How often the event loop's lag is measured."""
_LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)

log = structlog.get_logger(__name__)


class Figures:
    """Everything that is shown, as a collector of prometheus_client. `accounts` are numbers by host."""

    def __init__(self, kernel: Kernel, connections: Connections, writer: Any) -> None:
        self._kernel = kernel
        self._connections = connections
        self._writer = writer
        self._loop_name = type(asyncio.get_running_loop()).__module__.partition(".")[0]
        self.accounts: dict[str, int] = {}
        self.lag = Histogram(_LAG_BOUNDS)

    def collect(self) -> Iterator[Metric]:
        """All series, as they are now."""
        build = {"version": version("xmppchat"), "python": python_version(), "event_loop": self._loop_name}
        yield InfoMetricFamily("xmppchat_build", "what runs here", value=build)
        yield from self._people()
        yield from self._traffic()
        yield from self._components()
        yield from self._storage()
        yield _histogram("xmppchat_loop_lag_seconds", "how late the event loop comes to a timer", self.lag)

    def _people(self) -> Iterator[Metric]:
        yield _gauges("xmppchat_accounts", "accounts", "host", self.accounts)
        sessions = Counter(session.jid.domain for session in self._kernel.directory.sessions())
        by_host = {host: sessions[host] for host in self._kernel.hosts}
        yield _gauges("xmppchat_sessions", "devices that are logged in", "host", by_host)
        waiting = sum(
            isinstance(session.output, Hibernation) for session in self._kernel.directory.sessions()
        )
        text = "devices without a connection that may resume"
        yield GaugeMetricFamily("xmppchat_sessions_waiting", text, value=waiting)
        phases = Counter(connection.phase.value for connection in self._connections.open)
        yield _gauges("xmppchat_connections", "connections of clients, by the state of the stream", "state", phases)

    def _traffic(self) -> Iterator[Metric]:
        counts = self._kernel.counts
        stanzas = CounterMetricFamily(
            "xmppchat_stanzas", "stanzas from (in) and to (out) clients", labels=("direction", "kind")
        )
        for direction, kinds in (("in", counts.received), ("out", counts.sent)):
            for kind, value in kinds.items():
                stanzas.add_metric((direction, kind), value)
        yield stanzas
        logins = CounterMetricFamily(
            "xmppchat_logins", "attempts to log in, by how they ended", labels=("mechanism", "outcome")
        )
        for labels, value in counts.logins.items():
            logins.add_metric(labels, value)
        yield logins
        resumptions = CounterMetricFamily(
            "xmppchat_resumptions", "sessions that clients asked to resume, by outcome", labels=("outcome",)
        )
        for outcome, value in counts.resumptions.items():
            resumptions.add_metric((outcome,), value)
        yield resumptions
        pushes = CounterMetricFamily(
            "xmppchat_pushes", "notifications to push services, by what came of them", labels=("outcome",)
        )
        for outcome, value in counts.pushes.items():
            pushes.add_metric((outcome,), value)
        yield pushes
        unencrypted = CounterMetricFamily(
            "xmppchat_unencrypted", "messages without encryption at hosts that want it", labels=("outcome",)
        )
        for outcome, value in counts.unencrypted.items():
            unencrypted.add_metric((outcome,), value)
        yield unencrypted
        limits = CounterMetricFamily("xmppchat_limits", "how often a limit stopped somebody", labels=("limit",))
        for name, value in self._kernel.limit_counters.counts.items():
            limits.add_metric((name,), value)
        yield limits

    def _components(self) -> Iterator[Metric]:
        links = self._kernel.links
        attached = {domain: int(links.get(domain) is not None) for domain in sorted(links.domains)}
        yield _gauges("xmppchat_component_attached", "whether an external component is there", "component", attached)
        stanzas = CounterMetricFamily(
            "xmppchat_component_stanzas", "stanzas from (in) and to (out) external components",
            labels=("component", "direction"),
        )
        for domain in attached:
            counts = links.counts(domain)
            stanzas.add_metric((domain, "in"), counts.received)
            stanzas.add_metric((domain, "out"), counts.sent)
        yield stanzas

    def _storage(self) -> Iterator[Metric]:
        writer, gate = self._writer, self._kernel.gate
        yield CounterMetricFamily("xmppchat_tickets", "sets of writes that have settled", value=writer.tickets)
        yield CounterMetricFamily("xmppchat_tickets_failed", "those that could not be written", value=writer.failed)
        yield CounterMetricFamily("xmppchat_batches", "transactions that held them", value=writer.batches)
        yield GaugeMetricFamily("xmppchat_batch_largest", "tickets in the largest of them", value=writer.largest)
        waiting = gate.last - gate.settled
        yield GaugeMetricFamily("xmppchat_tickets_pending", "sets of writes that wait for the disk", value=waiting)
        yield _histogram("xmppchat_commit_seconds", "time until a batch is on disk, from its handing over",
                         writer.latency)


class ProcessFigures(ProcessCollector):
    """Memory, CPU and descriptors of the process, also where /proc/stat is hidden, as in our systemd unit (ProcSubset).

    Without that file prometheus_client does not know when the machine was started, and shows nothing at all.
    """

    def _boot_time(self) -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)


class MetricsServer:
    """Answers ``GET /metrics`` on one address and port."""

    def __init__(self, address: str, port: int, figures: Figures, kernel: Kernel, account_counts: Any) -> None:
        self.address = address
        self.port = port
        self._figures = figures
        self._kernel = kernel
        self._account_counts = account_counts
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(figures)
        ProcessFigures(registry=self._registry)
        GCCollector(registry=self._registry)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lag: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen. Raises OSError, with address and port in its text."""
        try:
            self._server = await asyncio.start_server(self._accept, self.address, self.port, limit=MAX_BYTES)
        except OSError as error:
            where = f"{self.address} port {self.port}"
            raise OSError(error.errno, f"cannot listen for metrics on {where}: {error.strerror}") from error
        self.port = self._server.sockets[0].getsockname()[1]
        self._measure(time.monotonic())

    async def stop(self) -> None:
        """Stop listening and measuring."""
        if self._lag is not None:
            self._lag.cancel()
        if self._server is not None:
            self._server.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._server.wait_closed()

    async def text(self) -> bytes:
        """All series in the text format of Prometheus."""
        rows = await self._kernel.reader.fetch(self._account_counts)
        counted = {row[0]: row[1] for row in rows}
        self._figures.accounts = {host: counted.get(host, 0) for host in self._kernel.hosts}
        return generate_latest(self._registry)

    def _measure(self, due: float) -> None:
        now = time.monotonic()
        self._figures.lag.observe(max(0.0, now - due))
        self._lag = asyncio.get_running_loop().call_later(LAG_SECONDS, self._measure, now + LAG_SECONDS)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._tasks) >= MAX_CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            with contextlib.suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(DEADLINE_SECONDS):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except asyncio.CancelledError:
            pass  # the server stops
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.LimitOverrunError, asyncio.IncompleteReadError):
            return _response("400 Bad Request", b"this is no request that is answered here\n")
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        if method != b"GET":
            return _response("405 Method Not Allowed", b"only GET\n", "Allow: GET\r\n")
        if path != b"/metrics":
            return _response("404 Not Found", b"metrics are at /metrics\n")
        try:
            return _response("200 OK", await self.text(), content_type=CONTENT_TYPE_LATEST)
        except Exception:
            log.exception("metrics could not be collected")
            return _response("500 Internal Server Error", b"the server's log says why\n")


def _response(status: str, body: bytes, more: str = "", *, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n{more}\r\n"
    )
    return head.encode() + body


def _gauges(name: str, text: str, label: str, values: dict[str, int] | Counter[str]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    bounds = [*map(str, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(histogram.counts)), strict=True))
    return HistogramMetricFamily(name, text, buckets=buckets, sum_value=histogram.sum)
