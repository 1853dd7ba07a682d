"""Sessions without a connection, in numbers: what they keep in all, how they are saved, what is said of ended ones."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from archive_support import JULIET, ROMEO
from disk_support import SlowDisk, until
from stream_management_support import SM, count, ids, log_in, message, names, resume

from xmppchat.components.stream_management import component as module
from xmppchat.components.stream_management import restart, store
from xmppchat.components.stream_management.component import StreamManagement
from xmppchat.components.stream_management.managed import Managed
from xmppchat.components.stream_management.waiting import SESSION_BYTES
from xmppchat.core.commit_gate import Write
from xmppchat.core.services import ResumptionService
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.element import text_element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.memory import MemoryClient, MemoryDriver

BODY = "x" * 10_000


def manager_of(driver: MemoryDriver) -> StreamManagement:
    manager = driver.server.kernel.services.get(ResumptionService)
    assert isinstance(manager, StreamManagement)
    return manager


def set_limits(driver: MemoryDriver, **limits: int) -> None:
    driver.server.kernel.limits = driver.server.kernel.limits.model_copy(update=limits)


async def waiting_devices(driver: MemoryDriver, number: int) -> list[str]:
    """SM-IDs of devices of juliet's that have no connection."""
    await driver.create_account("juliet", "secret")
    previds = []
    for one in range(number):
        client, previd = await log_in(driver, "juliet", f"phone-{one}", is_new=False)
        await client.vanish()
        await driver.settle([])
        previds.append(previd)
    return previds


# --- in all --------------------------------------------------------------------------------------------------------

async def test_all_waiting_sessions_together_keep_a_bounded_amount(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    previds = await waiting_devices(driver, 4)
    manager = manager_of(driver)
    empty = manager._waiting.bytes
    assert 4 * SESSION_BYTES <= empty < 4 * (SESSION_BYTES + 10_000)
    set_limits(driver, hibernated_bytes=empty + 3 * 4 * len(BODY))
    sent = [f"m{number}" for number in range(5)]
    for name in sent:
        romeo.write(f"<message to='{JULIET}' type='chat' id='{name}'><body>{BODY}</body></message>")
        await driver.settle([])
        assert manager._waiting.bytes <= driver.server.kernel.limits.hibernated_bytes
    ended = [not manager._streams.get(previd) for previd in previds]
    assert ended == [True, True, False, False], "those that have waited longest"
    assert driver.server.kernel.limit_counters.counts["hibernated_bytes"] == 2
    again, answer = await resume(driver, "juliet", previds[3], 0)
    assert answer.name == "resumed"
    assert ids(again) == sent
    await resume(driver, "juliet", previds[2], 0)
    assert manager._waiting.bytes == 0


async def test_what_does_not_wait_any_more_is_not_counted(driver: MemoryDriver) -> None:
    await waiting_devices(driver, 3)
    manager = manager_of(driver)
    driver.server.kernel.end_session(next(driver.server.kernel.directory.sessions()))
    assert 2 * SESSION_BYTES <= manager._waiting.bytes < 3 * SESSION_BYTES + 10_000
    await driver.advance(601)
    await driver.settle([])
    assert manager._waiting.bytes == 0


# --- what is sent ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("size", "most"), [(10, 100), (19_000, 2), (300_000, 1)])
def test_the_bounds_are_looked_at_by_size_and_by_number(size: int, most: int) -> None:
    looks = 0

    class Manager:
        def grew(self, managed: Managed) -> None:
            nonlocal looks
            looks += 1

        def __getattr__(self, name: str) -> Any:
            return lambda *_: 0

    class Nowhere:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    managed = Managed(Manager(), Nowhere(), 1, "token", 600)  # type: ignore[arg-type]
    stanza = Stanza("message", children=(text_element("body", NS.CLIENT, "x" * size),))
    for _ in range(3):
        looks = 0
        for _ in range(most):
            managed.sent(stanza, None)
        assert looks == 1
        managed.acknowledge(managed.unacknowledged.sent)


# --- how far a stream is ---------------------------------------------------------------------------------------------

async def test_an_acknowledgement_does_not_wait_for_what_is_sent_after_it(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    await log_in(driver, "juliet")
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    romeo.inbox.clear()
    first = SlowDisk(driver)
    gate, start = driver.server.kernel.gate, driver.server.kernel.gate.last
    romeo.write(message(JULIET, "m2") + f"<r xmlns='{SM}'/>")
    await until(lambda: gate.last == start + 1)
    first.go_on()
    second = SlowDisk(driver)
    romeo.write(message(JULIET, "m3") + f"<r xmlns='{SM}'/>")
    await until(lambda: gate.last == start + 2)
    await until(lambda: bool(romeo.inbox))
    assert [(one.name, one.get("h")) for one in romeo.inbox] == [("a", "2")]
    second.go_on()
    await driver.settle([])
    assert [(one.name, one.get("h")) for one in romeo.inbox] == [("a", "2"), ("a", "3")]


async def test_of_an_ended_stream_all_is_told_that_was_under_way(driver: MemoryDriver) -> None:
    romeo, previd = await log_in(driver, "romeo")
    await log_in(driver, "juliet")
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    kernel = driver.server.kernel
    disk = SlowDisk(driver)
    romeo.write(message(JULIET, "m2"))
    await until(lambda: kernel.gate.last > kernel.gate.settled)
    session = kernel.router.session(JID.parse(f"{ROMEO}/phone"))
    assert session is not None
    kernel.end_session(session)
    again = MemoryClient(driver.domain, driver.server.connections.new())
    await again.open()
    await again.authenticate("romeo", "secret")
    again.write(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>")
    for _ in range(100):
        await asyncio.sleep(0)
    assert names(again.inbox) == []
    disk.go_on()
    await driver.settle([])
    assert [(one.name, one.get("h")) for one in again.inbox] == [("failed", "2")]
    assert manager_of(driver)._ended[previd][1] == 2, "the stream itself is not kept"


async def test_of_a_stream_that_does_not_settle_what_is_known_is_told(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SETTLING_SECONDS", 0.01)
    _, previd = await log_in(driver, "romeo")
    session = driver.server.kernel.router.session(JID.parse(f"{ROMEO}/phone"))
    assert isinstance(session, Session)
    assert isinstance(session.management, Managed)
    session.management.received()
    driver.server.kernel.end_session(session)
    assert await manager_of(driver).last_handled(JID.parse(ROMEO), previd) == 0
    session.management.submitted(1)
    session.management.settled(1, is_written=True)
    await driver.settle([])
    assert await manager_of(driver).last_handled(JID.parse(ROMEO), previd) == 1


# --- restarts ----------------------------------------------------------------------------------------------------

async def test_many_sessions_are_saved_and_come_back_a_few_at_a_time(
    tmp_path: Path, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restart, "CHUNK", 2)
    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    await driver.start()
    romeo, _ = await log_in(driver, "romeo")
    previds = await waiting_devices(driver, 5)
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    tickets: list[int] = []
    submit = driver.server.kernel.gate._writer.submit

    class Counted:
        def submit(self, ticket: int, writes: list[Write]) -> None:
            tickets.append(sum("saved" in write.parameters for write in writes))
            submit(ticket, writes)

    driver.server.kernel.gate._writer = Counted()  # type: ignore[assignment]
    await romeo.close()
    await driver.stop()
    assert [number for number in tickets if number] == [2, 2, 1]
    again = MemoryDriver(tmp_path, storage_url=storage_url)
    await again.start()
    try:
        for previd in previds:
            client, answer = await resume(again, "juliet", previd, 0)
            assert answer.name == "resumed"
            assert ids(client) == ["m1"]
    finally:
        await again.stop()


@pytest.mark.parametrize("is_settled", [True, False])
async def test_after_a_restart_no_less_is_told_of_an_ended_stream(
    tmp_path: Path, storage_url: str, is_settled: bool
) -> None:
    """Its last stanza wrote nothing, so no row of its own said how far it came."""
    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    await driver.start()
    await driver.create_account("juliet", "secret")
    romeo, previd = await log_in(driver, "romeo")
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    disk = None if is_settled else SlowDisk(driver)
    if disk is not None:
        romeo.write(message(JULIET, "m2"))
    romeo.write("<presence/>")
    told = await count(driver, romeo) if is_settled else 3
    assert told == 3 - is_settled
    kernel = driver.server.kernel
    session = kernel.router.session(JID.parse(f"{ROMEO}/phone"))
    assert session is not None
    assert isinstance(session.management, Managed)
    if disk is not None:
        await until(lambda: session.management._received == told)
    kernel.end_session(session)
    if disk is not None:
        disk.go_on()
    await driver.settle([])
    await driver.stop()
    again = MemoryDriver(tmp_path, storage_url=storage_url)
    await again.start()
    try:
        _, answer = await resume(again, "romeo", previd, 0)
        assert (answer.name, answer.get("h")) == ("failed", str(told))
    finally:
        await again.stop()


async def test_a_clock_that_jumps_forgets_no_counts(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    await driver.create_account("juliet", "secret")
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    await romeo.close()
    await driver.settle([])
    manager, reader = manager_of(driver), driver.server.kernel.reader
    await manager.clean()
    driver.clock._start += 9 * 86_400_000  # the wall clock alone
    await manager.clean()
    await driver.settle([])
    assert len(await store.older(reader, 2**62)) == 1
    driver.clock._seconds += 86_401
    await manager.clean()
    await driver.settle([])
    assert await store.older(reader, 2**62) == [], "it has been that date for a day: it is believed"
