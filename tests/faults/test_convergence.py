"""Devices come and go at random, forget, stay away, are others; in the end each holds the whole history, once (C4).

Each run has three accounts with two devices each, whose habits are drawn. ``XMPPCHAT_SOAK=1`` draws more, and others
each time.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from faults import nemesis
from faults.history import History
from faults.oracle.plan import ClientPlan
from faults.rebuilt import rebuilt
from faults.scenarios import SHORT, Setting
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from live_server import Certificates

_IS_SOAK = "XMPPCHAT_SOAK" in os.environ
_NAMES = ("romeo", "juliet", "nurse")


@st.composite
def devices(draw: st.DrawFn) -> list[ClientPlan]:
    """A phone and a laptop for each account, with habits of their own."""
    return [
        ClientPlan(
            account, resource, has_carbons=draw(st.sampled_from((True, True, False))),
            rate=draw(st.sampled_from((2.0, 12.0))), restless=draw(st.sampled_from((0.0, 0.3, 0.8))),
            is_forgetful=draw(st.booleans()), absence=draw(st.sampled_from((0.0, 0.3, 1.5))),
            is_renaming=draw(st.booleans()), is_dozing=draw(st.booleans()), has_receipts=draw(st.booleans()),
        )
        for account in _NAMES for resource in ("phone", "laptop")
    ]  # fmt: skip


def check_histories(history: History) -> None:
    """What each device shows is the archive: all of it, each once.

    Without carbons a device is not told at once what others send and what is for others: then it is a part of the
    archive (which the judge compares with what it must have seen), in the same order as all else is.
    """
    for client in history.plan.clients:
        if client.kind == "tail":
            continue
        truth = [row.body for row in history.archives[client.account]]
        shown, twice = rebuilt(history.events[client.name])
        sent = {body for body, sending in history.sendings.items() if sending.sender is client}
        assert twice == []
        assert len(set(shown)) == len(shown), f"{client.name} shows something twice"
        if client.has_carbons:
            assert sorted(set(shown) - sent) == sorted(set(truth) - sent), f"{client.name} has another history"
        else:
            assert set(shown) - sent <= set(truth), f"{client.name} shows what is not there"


@pytest.mark.timeout(300 if not _IS_SOAK else 3_000)
@settings(
    max_examples=40 if _IS_SOAK else 3, deadline=None, derandomize=not _IS_SOAK, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.generate],  # a run is no function of what is drawn: to shrink it would only take long
)  # fmt: skip
@given(clients=devices(), deaths=st.integers(0, 1), seed=st.integers(0, 1_000_000))
async def test_every_device_rebuilds_the_same_history(
    harness_certificates: Certificates, clients: list[ClientPlan], deaths: int, seed: int
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Setting(Path(folder), harness_certificates, seed)
        what = nemesis.several(nemesis.calm(3.0), nemesis.kills(deaths))
        followed = [*clients, ClientPlan("romeo", "tail", "tail", has_sm=False)]
        report = await place.run(place.server(limits=SHORT), what, followed, rest=0.5)
    assert report.verdict.violations == [], report.text()  # order is among it
    check_histories(report.history)
