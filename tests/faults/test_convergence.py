"""Two devices of an account come and go at random; in the end both hold the same history, each message once (C4)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from faults import nemesis
from faults.oracle.plan import ClientPlan
from faults.scenarios import Setting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from live_server import Certificates


@st.composite
def devices(draw: st.DrawFn) -> list[ClientPlan]:
    """A phone and a laptop with habits of their own, and a friend who stays."""
    own = [
        ClientPlan(
            "romeo", resource, has_carbons=draw(st.booleans()), rate=draw(st.sampled_from((2.0, 15.0))),
            restless=draw(st.sampled_from((0.0, 0.3, 1.0))),
        )
        for resource in ("phone", "laptop")
    ]  # fmt: skip
    return [*own, ClientPlan("juliet", "phone", rate=20.0), ClientPlan("romeo", "tail", "tail", has_sm=False)]


@pytest.mark.timeout(300)
@settings(
    max_examples=3, deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(clients=devices(), deaths=st.integers(0, 1), seed=st.integers(0, 1_000_000))
async def test_every_device_rebuilds_the_same_history(
    harness_certificates: Certificates, clients: list[ClientPlan], deaths: int, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Setting(Path(folder), harness_certificates, seed)
        what = nemesis.several(nemesis.calm(2.0), nemesis.kills(deaths))
        report = await place.run(place.server(), what, clients)
    assert report.verdict.violations == [], report.text()
    bodies = {row.body for row in report.history.archives["romeo"]}
    for client in clients[:2]:
        seen = {event["body"] for event in report.history.events[client.name] if event["event"] == "recv"}
        said = {body for body, sending in report.history.sendings.items() if sending.sender is client}
        if client.has_carbons:
            assert seen | (said & bodies) == bodies, f"{client} has another history"
