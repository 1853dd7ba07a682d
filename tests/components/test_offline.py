"""Stored messages: each is handed out once, whatever the disk does, and none that a device has already."""

from __future__ import annotations

from typing import Any

import pytest
from archive_support import JULIET, accounts, connected, rows
from disk_support import FullDisk
from sqlalchemy import update
from stream_management_support import ids

from xmppchat.components.offline import STORED, Offline
from xmppchat.core.commit_gate import Writer
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.wire_client import WireClient


def writer_of(driver: MemoryDriver) -> Writer:
    return driver.server.kernel.gate._writer


async def fill(driver: MemoryDriver, number: int) -> list[str]:
    """So many messages wait for juliet; returns their ids."""
    romeo = await connected(driver, "romeo")
    sent = [f"m{one}" for one in range(number)]
    for name in sent:
        romeo.write(f"<message to='{JULIET}' type='chat' id='{name}'><body>{name}</body></message>")
    await driver.settle([])
    return sent


async def appears(driver: MemoryDriver, resource: str = "x") -> WireClient:
    """A device of juliet's that sends its first presence, and was given what there is."""
    juliet = await connected(driver, "juliet", resource, is_available=False)
    juliet.write("<presence/>")
    await driver.settle([])
    return juliet


async def stored(driver: MemoryDriver) -> tuple[int, int]:
    account = await driver.server.kernel.directory.get(JID.parse(JULIET))
    return account[STORED].count, account[STORED].bytes


@pytest.mark.parametrize("number", [30, 250])
async def test_a_full_disk_repeats_messages_at_the_next_login_at_most(driver: MemoryDriver, number: int) -> None:
    await accounts(driver)
    sent = await fill(driver, number)
    gate, writer = driver.server.kernel.gate, writer_of(driver)
    gate._writer = FullDisk(driver)
    juliet = await appears(driver)
    assert ids(juliet) == sent
    gate._writer = writer
    assert (await stored(driver))[0] == number, "they are still there"
    await juliet.close()
    await driver.settle([])
    assert ids(await appears(driver, "y")) == sent
    assert await stored(driver) == (0, 0)
    assert await rows(driver, schema.offline_messages) == []


async def test_what_could_not_be_deleted_goes_with_the_next_ones(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await accounts(driver)
    sent = await fill(driver, 150)
    gate, writer = driver.server.kernel.gate, writer_of(driver)
    gate._writer = FullDisk(driver)
    delete = Offline._delete

    async def spy(self: Offline, *arguments: Any) -> bool:
        is_done = await delete(self, *arguments)
        gate._writer = writer
        return is_done

    monkeypatch.setattr(Offline, "_delete", spy)
    assert ids(await appears(driver)) == sent
    assert await stored(driver) == (0, 0)
    assert await rows(driver, schema.offline_messages) == []


async def test_a_damaged_row_keeps_nobody_from_the_others(driver: MemoryDriver) -> None:
    await accounts(driver)
    sent = await fill(driver, 3)
    damaged = (await rows(driver, schema.offline_messages))[1].id
    turn = driver.server.kernel.new_turn()
    turn.write(None, update(schema.offline_messages).where(schema.offline_messages.c.id == damaged).values(
        stanza=b"<message xmlns='jabber:client'><body>cut off"
    ), {})  # fmt: skip
    await driver.server.kernel.settled(turn)
    assert ids(await appears(driver)) == [sent[0], sent[2]]
    assert await rows(driver, schema.offline_messages) == []


@pytest.mark.parametrize(("more", "has_copies", "is_refused"), [
    ("", False, True), ("", True, False), (f"<private xmlns='{NS.CARBONS}'/>", True, True),
])  # fmt: skip
async def test_what_must_not_be_stored_is_refused_unless_somebody_got_it(
    driver: MemoryDriver, more: str, has_copies: bool, is_refused: bool
) -> None:
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet", is_available=False)
    if has_copies:
        await juliet.request("set", f"<enable xmlns='{NS.CARBONS}'/>")
    hint = f"<no-store xmlns='{NS.HINTS}'/>"
    romeo.write(f"<message to='{JULIET}' type='chat' id='m1'><body>Hi</body>{hint}{more}</message>")
    await driver.settle([])
    assert [(one.get("id"), one.get("type")) for one in romeo.inbox] == ([("m1", "error")] if is_refused else [])
    assert len([one for one in juliet.inbox if one.name == "message"]) == (0 if is_refused else 1)
