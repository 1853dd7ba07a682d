"""The delivery contract under faults, in short; `make faults` is the long version.

Each run is judged from outside (reconcile.py): nothing acknowledged is lost or doubled, order is kept, every device and
every reader sees all. The seeds are fixed: what fails here fails again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from faults import nemesis, scenarios
from faults.proxy import FaultProxy
from faults.run import population
from faults.scenarios import Setting
from faults.targets import endpoint
from peers.postgresql import Postgresql

MakeSetting = Callable[..., Setting]

pytestmark = pytest.mark.timeout(300)


async def test_twenty_kills(setting: MakeSetting) -> None:
    report = await scenarios.kills(setting(1), 20)
    assert report.verdict.violations == [], report.text()
    assert report.counts == {"kills": 20}
    assert report.verdict.acknowledged > 200, report.text()


async def test_kills_with_postgresql(setting: MakeSetting, postgresql: Postgresql) -> None:
    report = await scenarios.kills(setting(2, postgresql), 4)
    assert report.verdict.violations == [], report.text()
    assert report.verdict.acknowledged > 40, report.text()


async def test_planned_restarts_are_resumed(setting: MakeSetting) -> None:
    """F-19: who was connected goes on with the same session."""
    place = setting(3)
    report = await place.run(place.server(), nemesis.restarts(2), population(6))
    assert report.verdict.violations == [], report.text()
    events = [event for client in report.history.events.values() for event in client]
    assert sum(event["event"] == "resumed" for event in events) >= 10, report.text()


async def test_a_bad_network(setting: MakeSetting) -> None:
    """F-06: connections that stand still, break, come in pieces."""
    place = setting(4)
    server = place.server()
    async with FaultProxy((endpoint(server).address, endpoint(server).port), place.seed) as proxy:
        report = await place.run(server, nemesis.bad_network(proxy, 5), population(6, proxy_port=proxy.port))
    assert report.verdict.violations == [], report.text()


async def test_power_is_lost(setting: MakeSetting) -> None:
    """F-02: what was not synced is lost, in part or all; what was acknowledged is not."""
    report = await scenarios.power_losses(setting(6), 3, accounts=4)
    assert report.verdict.violations == [], report.text()
    assert report.counts["power losses"] == 3
    assert report.verdict.acknowledged > 40, report.text()


async def test_who_archives_nothing_misses_nothing(setting: MakeSetting) -> None:
    """C5: devices come, go, are away for longer than their sessions wait; each message reaches one of them."""
    report = await scenarios.unarchived(setting(7), 5.0)
    assert report.verdict.violations == [], report.text()
    assert report.verdict.resent > 0, report.text()


async def test_a_planted_defect_is_found(setting: MakeSetting) -> None:
    """The harness can say no; `make faults` plants all the others."""
    report = await scenarios.hunt(setting(5, mutant="ack-before-commit"))
    found = report.verdict.counts
    # Sent again, what was lost has another id than the one it was shown with.
    assert sum(found[rule] for rule in ("lost", "shown, not kept", "ids", "protocol")) > 0, report.text()
