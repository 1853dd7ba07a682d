"""The report says which aims are missed, and compares only what did the same work."""

from __future__ import annotations

import pytest

from bench.report import Report
from bench.runner import SERVERS, Measurement, Results
from bench.workload import Workload
from bench.workloads import WORKLOADS


def _report(*measurements: tuple[str, str, dict[str, float]]) -> Report:
    results = Results(1, quick=False)
    for server, workload, figures in measurements:
        results.measurements.append(Measurement(server, workload, 1, {**figures}))
    return Report(results)


def _taking_part(workload: Workload) -> tuple[str, ...]:
    """Who does this work, or that which is compared with it."""
    others = next((other.servers for other in WORKLOADS if other.name == workload.rivals_do), ())
    return (*workload.servers, *others)


def test_every_workload_names_servers_that_exist_and_aims_at_rivals_that_take_part() -> None:
    for workload in WORKLOADS:
        assert set(workload.servers) <= set(SERVERS)
        assert SERVERS[workload.ours].family == "xmppchat"
        assert bool(SERVERS[workload.ours].archives) == all(
            SERVERS[name].archives for name in _taking_part(workload)[1:]
        )
        for figure in workload.main:
            assert set(figure.aims) <= set(_taking_part(workload))
    assert len({workload.name for workload in WORKLOADS}) == len(WORKLOADS)


@pytest.mark.parametrize(("ours", "missed"), [(400.0, []), (399.0, ["3.99 × Prosody, internal storage, aim ≥ 4 ×"])])
def test_an_aim_is_missed_below_its_ratio(ours: float, missed: list[str]) -> None:
    report = _report(
        ("xmppchat-archive", "archived-16", {"msgs_per_server_cpu_s": ours}),
        ("prosody-archive", "archived-16", {"msgs_per_server_cpu_s": 100.0}),
    )
    start = "Archived messages, 50 pairs, 16 in flight each: messages / server CPU s "
    assert report.missed_aims() == [start + each for each in missed]


@pytest.mark.parametrize(("p99", "missed"), [(15.0, []), (15.1, ["15.10, aim ≤ 15"])])
def test_a_limit_is_missed_whatever_the_rivals_do(p99: float, missed: list[str]) -> None:
    report = _report(
        ("xmppchat-archive", "archived-latency", {"p99_ms": p99}),
        ("ejabberd-sqlite", "archived-latency", {"p99_ms": 1000.0}),
    )
    assert report.missed_aims() == [f"Latency of archived messages at 500 a second: p99 ms {each}" for each in missed]
    assert all(each in report.text() for each in missed)


def test_the_summary_compares_what_did_the_same_work() -> None:
    text = _report(
        ("xmppchat", "sm-16", {"msgs_per_server_cpu_s": 300.0}),
        ("ejabberd", "sm-16", {"msgs_per_server_cpu_s": 100.0}),
        ("xmppchat-archive", "page-1", {"pages_per_server_cpu_s": 50.0}),
        ("ejabberd-sqlite", "page-1", {"pages_per_server_cpu_s": 20.0}),
    ).text()
    assert "| work | xmppchat | ejabberd | ratio | aim |" in text
    assert "| work | xmppchat, SQLite | ejabberd, SQLite | ratio | aim |" in text
    assert "| 50 | 20 | 2.50 | ≥ 3 × each |" in text
    assert "2.50 × ejabberd, SQLite, aim ≥ 3 ×" in text


def test_who_cannot_do_a_work_is_compared_by_what_it_does_instead() -> None:
    report = _report(
        ("xmppchat", "login-ready", {"logins_per_server_cpu_s": 1000.0}),
        ("ejabberd", "login-ready", {"logins_per_server_cpu_s": 500.0}),
        ("xmppchat", "login-token", {"logins_per_server_cpu_s": 950.0}),
    )
    assert report.missed_aims() == [
        "Logins, ready to chat: SASL2 with a token: logins / server CPU s 1.90 × ejabberd, aim ≥ 2 ×"
    ]
    assert "| Logins, ready to chat: SASL2 with a token: logins / server CPU s | 950 | 500 | 1.90 |" in report.text()


def test_a_run_is_joined_with_the_last_one() -> None:
    first, second = Results(1, quick=False), Results(1, quick=False)
    first.versions = {"prosody": "0.12"}
    second.versions = {"prosody": "0.12", "ejabberd": "23"}
    first.measurements = [Measurement("prosody", "login", 1, {}), Measurement("prosody", "idle", 1, {}, "old")]
    second.measurements = [Measurement("prosody", "idle", 1, {}), Measurement("ejabberd", "idle", 1, {})]
    joined = second.joined(first)
    assert [(one.server, one.workload, one.error) for one in joined.measurements] == [
        ("prosody", "login", ""), ("prosody", "idle", ""), ("ejabberd", "idle", ""),
    ]  # fmt: skip
    assert joined.versions == second.versions
    second.versions = {"prosody": "13.0"}
    with pytest.raises(ValueError, match="measure all again"):
        second.joined(first)
