"""Last activity (XEP-0012) outlives a restart, and counts from the making of an account that nobody used."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from xmppchat.components.last_activity import SAVE_SECONDS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle


async def asked(driver: MemoryDriver, name: str, resource: str) -> tuple[MemoryClient, str, str]:
    """A session without presence that asks for its own account: seconds and status."""
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", resource)
    answer = await client.request("get", "<query xmlns='jabber:iq:last'/>")
    query = answer.find("query", "jabber:iq:last")
    assert query is not None
    return client, query.get("seconds"), query.text


async def test_it_survives_a_restart(tmp_path: Path, storage_url: str) -> None:
    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    await driver.start()
    await driver.create_account("juliet", "secret")
    driver.clock.advance(50)
    client, seconds, _ = await asked(driver, "juliet", "first")
    assert seconds == "50", "never there: since the account was made"
    client.write("<presence/><presence type='unavailable'><status>" + "x" * 2_000 + "</status></presence>")
    await settle(driver.server.kernel)
    now = driver.clock.now()
    await driver.stop()

    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    await driver.start()
    try:
        driver.clock.advance((now - driver.clock.now()) / 1_000 + 30)
        _, seconds, status = await asked(driver, "juliet", "second")
        assert seconds == "30", "a session that was never available does not count"
        assert status == "x" * 1_000
    finally:
        await driver.stop()


async def test_it_is_written_down_for_all_who_left_together(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    kernel = driver.server.kernel
    try:
        for name in ("juliet", "romeo"):
            await driver.create_account(name, "secret")
            client, _, _ = await asked(driver, name, "first")
            client.write(f"<presence/><presence type='unavailable'><status>{name} left</status></presence>")
        await settle(kernel)
        before = kernel.gate.last
        driver.clock.advance(SAVE_SECONDS)
        await settle(kernel)
        assert kernel.gate.last == before + 1
        rows = await driver.server.database.fetch(select(schema.accounts.c.seen_status))
        assert sorted(row[0] for row in rows) == ["juliet left", "romeo left"]
    finally:
        await driver.stop()
