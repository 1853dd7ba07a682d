"""Metrics: what they say, who may ask how, and that nobody outside can make series."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import ProcessCollector

from xmppchat.components.accounts import ACCOUNT_COUNTS
from xmppchat.core.counts import Histogram
from xmppchat.network import metrics
from xmppchat.network.metrics import Figures, MetricsServer, ProcessFigures
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver


@pytest_asyncio.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    yield driver
    await driver.stop()


@pytest_asyncio.fixture
async def server(driver: MemoryDriver) -> AsyncIterator[MetricsServer]:
    whole = driver.server
    figures = Figures(whole.kernel, whole.connections, whole.database.writer)
    server = MetricsServer("127.0.0.1", 0, figures, whole.kernel, ACCOUNT_COUNTS)
    await server.start()
    yield server
    await server.stop()


async def client(driver: MemoryDriver, name: str, resource: str = "x") -> MemoryClient:
    found = await driver.connect()
    assert isinstance(found, MemoryClient)
    await found.log_in(name, "secret", resource)
    return found


async def ask(server: MetricsServer, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    await writer.wait_closed()
    return answer


async def series(server: MetricsServer) -> dict[str, float]:
    answer = await ask(server, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Type: text/plain; version=" in head
    lines = (line.rpartition(" ") for line in body.decode().splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def test_what_is_counted(driver: MemoryDriver, server: MetricsServer) -> None:
    await driver.create_account("romeo", "secret")
    await driver.create_account("juliet", "secret")
    romeo, juliet = await client(driver, "romeo"), await client(driver, "juliet")
    juliet.write("<presence/>")
    await juliet.barrier()
    for number in range(3):
        romeo.write(f"<message to='juliet@chat.example' id='m{number}'><body>x</body></message>")
    await driver.settle([romeo, juliet])
    stranger = await driver.connect()
    assert isinstance(stranger, MemoryClient)

    found = await series(server)
    assert found['xmppchat_accounts{host="chat.example"}'] == 2
    assert found['xmppchat_sessions{host="chat.example"}'] == 2
    assert found['xmppchat_connections{state="bound"}'] == 2
    assert found['xmppchat_connections{state="secure"}'] == 1
    assert found['xmppchat_stanzas_total{direction="in",kind="message"}'] == 3
    assert found['xmppchat_stanzas_total{direction="out",kind="message"}'] == 3
    assert found['xmppchat_stanzas_total{direction="in",kind="presence"}'] == 1
    assert found['xmppchat_logins_total{mechanism="PLAIN",outcome="success"}'] == 2
    assert found["xmppchat_tickets_pending"] == 0
    assert found["xmppchat_tickets_total"] >= found["xmppchat_batches_total"] >= 2
    assert found['xmppchat_commit_seconds_bucket{le="+Inf"}'] == found["xmppchat_batches_total"]
    assert found["xmppchat_commit_seconds_sum"] > 0
    assert found["process_resident_memory_bytes"] > 1e6
    assert any(name.startswith("xmppchat_build_info{") and 'version="' in name for name in found)
    assert found['xmppchat_loop_lag_seconds_bucket{le="+Inf"}'] >= 1


async def test_limits_and_failed_logins_have_names(driver: MemoryDriver, server: MetricsServer) -> None:
    driver.server.kernel.limit_counters.fired("roster_items")
    stranger = await driver.connect()
    assert isinstance(stranger, MemoryClient)
    stranger.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AHJvbWVvAHdyb25n</auth>")
    await stranger.take(lambda element: element.name == "failure")
    found = await series(server)
    assert found['xmppchat_limits_total{limit="roster_items"}'] == 1
    assert found['xmppchat_logins_total{mechanism="PLAIN",outcome="not-authorized"}'] == 1


@pytest.mark.parametrize(("xml", "before", "after"), [
    (f"<a>{'x' * 20_000}", "untrusted_stanza_bytes", ""),
    (f"<a>{'x' * 300_000}", "untrusted_total_bytes", "stanza_bytes"),
    ("<a>" * 70, "untrusted_depth", "stanza_depth"),
    ("<a>" + "<b/>" * 10_001, "untrusted_elements", "stanza_elements"),
    ("<a {}/>".format(" ".join(f"x{n}='1'" for n in range(65))), "untrusted_attributes", "element_attributes"),
    ("<a {}/>".format(" ".join(f"xmlns:x{n}='urn:x'" for n in range(70))), "namespaces", "namespaces"),
    (f"<{'a' * 600}/>", "name_bytes", "name_bytes"),
    (f"<a b='{'x' * 33_000}'/>", "attribute_bytes", "attribute_bytes"),
])
async def test_each_bound_of_a_stream_is_counted_by_its_name(
    driver: MemoryDriver, server: MetricsServer, xml: str, before: str, after: str
) -> None:
    await driver.create_account("romeo", "secret")
    shown = await series(server)
    assert all(value == 0 for name, value in shown.items() if name.startswith("xmppchat_limits_total"))
    stranger, romeo = await driver.connect(), await client(driver, "romeo")
    for who, limit in ((stranger, before), (romeo, after)):
        if not limit:
            continue
        was = (await series(server))[f'xmppchat_limits_total{{limit="{limit}"}}']
        who.write(xml)
        await who.until_closed()
        assert (await series(server))[f'xmppchat_limits_total{{limit="{limit}"}}'] == was + 1


async def test_nobody_can_make_series(driver: MemoryDriver, server: MetricsServer) -> None:
    """reliability.md V-57: a thousand names, resources, ids and addresses later there are as many series as before."""
    await driver.create_account("romeo", "secret")
    first = await client(driver, "romeo", "first")
    first.write("<presence/><message to='nobody@chat.example' id='0'/><iq type='get' id='i' to='other.example'/>")
    await driver.settle([first])
    first.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='X'/>")  # what comes of it, comes below too
    await first.until_closed()
    stranger = await driver.connect()
    assert isinstance(stranger, MemoryClient)
    stranger.write("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='M'>AA==</auth>")
    await stranger.take(lambda element: element.name == "failure")
    await client(driver, "romeo", "second")
    before = set(await series(server))
    for number in range(1_000):
        one = await client(driver, "romeo", f"resource-{number}")
        one.write(f"<presence id='{number}'/><message to='n{number}@chat.example/{number}' id='{number}'/>"
                  f"<iq type='get' id='i{number}' to='{number}.example'><q xmlns='urn:{number}'/></iq>")
        one.write("</stream:stream>")
        await one.until_closed()
        stranger = await driver.connect()
        assert isinstance(stranger, MemoryClient)
        stranger.write(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='M{number}'>AA==</auth>")
        stranger.write("</stream:stream>")
        await stranger.until_closed()
    assert set(await series(server)) == before


async def test_only_get_metrics(server: MetricsServer) -> None:
    assert (await ask(server, b"POST /metrics HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 405 ")
    assert (await ask(server, b"GET / HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert (await ask(server, b"GET /metrics/../etc HTTP/1.1\r\n\r\n")).startswith(b"HTTP/1.1 404 ")
    assert (await ask(server, b"GET /metrics?x=1 HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_request_is_bounded(server: MetricsServer) -> None:
    endless = b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (metrics.MAX_BYTES + 10)
    assert (await ask(server, endless)).startswith(b"HTTP/1.1 400 ")


async def test_who_says_nothing_is_cut(server: MetricsServer, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(metrics, "DEADLINE_SECONDS", 0.05)
    assert await ask(server, b"GET /metr") == b""


async def test_only_so_many_at_once(server: MetricsServer) -> None:
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(metrics.MAX_CONNECTIONS)]
    try:
        answer = await ask(server, b"GET /metrics HTTP/1.1\r\n\r\n")
    except ConnectionError:
        answer = b""
    assert answer == b""
    for _, writer in held:
        writer.close()
        await writer.wait_closed()


def test_the_process_is_seen_where_only_processes_are(tmp_path: Path) -> None:
    """Our systemd unit hides /proc/stat from the server (ProcSubset=pid)."""
    (tmp_path / "self").symlink_to("/proc/self")
    found = {metric.name: metric for metric in ProcessFigures(proc=str(tmp_path), registry=None).collect()}
    assert {"process_resident_memory_bytes", "process_cpu_seconds", "process_open_fds", "process_max_fds"} <= set(found)
    (started,) = found["process_start_time_seconds"].samples
    (expected,) = next(
        metric.samples for metric in ProcessCollector(registry=None).collect() if metric.name == started.name
    )
    assert started.value == pytest.approx(expected.value, abs=5)


def test_a_histogram_counts_by_bounds() -> None:
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 9.0):
        histogram.observe(value)
    assert (histogram.counts, histogram.sum) == ([2, 2, 1], 14.0)


async def test_the_text_can_be_parsed(server: MetricsServer) -> None:
    text = (await server.text()).decode()
    assert re.search(r"^# TYPE xmppchat_commit_seconds histogram$", text, re.MULTILINE)
    for line in text.splitlines():
        assert line.startswith("# ") or re.fullmatch(r'[a-z_]+(\{([a-z_]+="[^"]*",?)*\})? \S+', line), line


async def test_external_components_are_counted_by_their_domain(tmp_path: Path) -> None:
    secret = "s" * 32
    driver = MemoryDriver(tmp_path, external_components={"a.example": secret, "b.example": secret})
    await driver.start()
    component = MemoryComponent(driver.server, "a.example")
    component.attach(secret)
    await driver.settle(())
    component.write("<iq type='get' id='1' from='a.example' to='chat.example'><ping xmlns='urn:xmpp:ping'/></iq>")
    await driver.settle(())
    whole = driver.server
    figures = Figures(whole.kernel, whole.connections, whole.database.writer)
    server = MetricsServer("127.0.0.1", 0, figures, whole.kernel, ACCOUNT_COUNTS)
    await server.start()
    found = await series(server)
    assert found['xmppchat_component_attached{component="a.example"}'] == 1
    assert found['xmppchat_component_attached{component="b.example"}'] == 0
    for direction in ("in", "out"):
        assert found[f'xmppchat_component_stanzas_total{{component="a.example",direction="{direction}"}}'] == 1
    assert found['xmppchat_logins_total{mechanism="component handshake",outcome="success"}'] == 1
    await server.stop()
    await driver.stop()
