"""Messages that a client sends again in a new session: stored once, however far the first one was (reliability.md)."""

from __future__ import annotations

from pathlib import Path

import pytest
from archive_support import JULIET, NURSE, ROMEO, accounts, connected, rows
from disk_support import SlowDisk, until
from stream_management_support import log_in, resume

from xmppchat.components.archive import resends
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver
from xmppchat.testing.wire_client import WireClient

NEVER = f"<iq type='set' id='never'><prefs xmlns='{NS.ARCHIVE}' default='never'/></iq>"


def chat(body: str, to: str = JULIET, id: str = "m1", origin: str = "o1") -> str:
    of_sender = f"<origin-id xmlns='{NS.STANZA_IDS}' id='{origin}'/>" if origin else ""
    return f"<message to='{to}' type='chat' id='{id}'><body>{body}</body>{of_sender}</message>"


def bodies(client: WireClient) -> list[str | None]:
    return [one.child_text("body") for one in client.inbox if one.name == "message"]


async def stored(driver: MemoryDriver, body: str, *owners: str) -> list[int]:
    """How many rows with this body are in the archives of `owners`."""
    found = [row.account_id for row in await rows(driver) if f">{body}<".encode() in row.stanza]
    directory = driver.server.kernel.directory
    return [found.count((await directory.get(JID.parse(owner))).id) for owner in owners]


async def logged_in(driver: MemoryDriver, resource: str) -> WireClient:
    """A device of romeo's that logs in while other things are under way."""
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    await client.log_in("romeo", "secret", resource)
    return client


async def test_the_first_copy_is_still_looked_at(driver: MemoryDriver) -> None:
    await accounts(driver)
    juliet = await connected(driver, "juliet")
    tablet, phone = await connected(driver, "romeo", "tablet"), await connected(driver, "romeo", "phone")
    tablet.write(chat("warm up", id="w"))
    await driver.settle([])
    disk = SlowDisk(driver)
    gate, romeo = driver.server.kernel.gate, await driver.server.kernel.directory.get(JID.parse(ROMEO))
    tablet.write(chat("busy", id="b"))
    await until(lambda: gate.last > gate.settled)
    phone.write(chat("One"))
    await until(lambda: bool(romeo.unbegun))
    await phone.vanish()
    again = await logged_in(driver, "again")
    again.write(chat("One") + chat("Two", id="m2"))
    await until(lambda: len(romeo.unbegun or ()) == 3)
    disk.go_on()
    await driver.settle([])
    assert bodies(juliet) == ["warm up", "busy", "One", "Two"]
    assert await stored(driver, "One", ROMEO, JULIET) == [1, 1]
    assert romeo.unbegun is None


@pytest.mark.parametrize("is_managed", [True, False])
async def test_the_first_copy_waits_for_its_recipient(driver: MemoryDriver, is_managed: bool) -> None:
    await accounts(driver)
    kernel = driver.server.kernel
    phone: WireClient
    if is_managed:
        phone, _ = await log_in(driver, "romeo", is_new=False)
    else:
        phone = await connected(driver, "romeo")
    phone.write(chat("warm up", to=NURSE, id="w"))  # its window has loaded
    await driver.settle([])
    kernel.directory.forget(JULIET)
    disk = SlowDisk(driver)
    romeo = await kernel.directory.get(JID.parse(ROMEO))
    phone.write(chat("busy", to=NURSE, id="b"))
    await until(lambda: kernel.gate.last > kernel.gate.settled)
    juliet = await kernel.directory.get(JID.parse(JULIET))
    juliet.last_ticket = kernel.gate.last
    juliet.invalidate()  # it is loaded again behind what is open
    phone.write(chat("One") + chat("Two", id="m2"))
    await until(lambda: len(romeo.unbegun or ()) == 2)
    await phone.vanish()
    again = await logged_in(driver, "again")
    again.write(chat("One") + chat("Two", id="m2"))
    await until(lambda: len(romeo.unbegun or ()) == 4)
    disk.go_on()
    await driver.settle([])
    for body in ("One", "Two"):
        assert await stored(driver, body, ROMEO, JULIET) == [1, 1]
    assert romeo.unbegun is None


@pytest.mark.parametrize(("again", "expected"), [
    (chat("One"), 1), (chat("Two"), 1), (chat("One", origin="o2"), 2), (chat("One", id="m2"), 2),
])  # fmt: skip
async def test_a_sender_that_keeps_no_archive(driver: MemoryDriver, again: str, expected: int) -> None:
    await accounts(driver)
    juliet = await connected(driver, "juliet")
    romeo = await connected(driver, "romeo")
    romeo.write(NEVER)
    await driver.settle([])
    romeo.write(chat("One"))
    await driver.settle([])
    juliet.inbox.clear()
    romeo = await connected(driver, "romeo", "again")
    romeo.write(again + chat("to nobody", to="nobody@chat.example") + chat("elsewhere", to="nurse@elsewhere.example"))
    await driver.settle([])
    assert await stored(driver, "One", ROMEO, JULIET) == [0, expected]
    assert bodies(juliet) == ([] if again == chat("One") else [again.split("body>")[1][:-2]])


# --- without an origin-id ----------------------------------------------------------------------------------------

ALARM = chat("The disk is full", id="1", origin="")


@pytest.mark.parametrize(("says_good_bye", "is_managed", "seconds", "expected"), [
    (True, True, 8 * 3_600, 2), (True, False, 8 * 3_600, 2), (False, False, 8 * 3_600, 2),
    (False, True, 8 * 3_600, 1), (True, True, resends.SINCE_BY_ID // 1_000 - 1, 1), (False, False, 1, 1),
    (False, True, 49 * 3_600, 2),
])  # fmt: skip
async def test_who_uses_an_id_twice_may_mean_another_message(
    driver: MemoryDriver, says_good_bye: bool, is_managed: bool, seconds: int, expected: int
) -> None:
    await accounts(driver)
    for resource in ("first", "second"):
        script = await (log_in(driver, "romeo", resource, is_new=False) if is_managed else
                        connected(driver, "romeo", resource))
        client = script[0] if isinstance(script, tuple) else script
        client.write(ALARM)
        await driver.settle([])
        await (client.close() if says_good_bye else client.vanish())
        await driver.settle([])
        await driver.advance(seconds)
        await driver.settle([])
    assert await stored(driver, "The disk is full", ROMEO, JULIET) == [expected, expected]


async def test_what_a_waiting_session_sent_may_come_again(driver: MemoryDriver) -> None:
    await accounts(driver)
    phone, _ = await log_in(driver, "romeo", is_new=False)
    phone.write(ALARM)
    await driver.settle([])
    driver.clock._seconds += 3_600  # nothing expires
    await phone.vanish()
    await driver.settle([])
    again, _ = await log_in(driver, "romeo", "again", is_new=False)
    again.write(ALARM)
    await driver.settle([])
    assert await stored(driver, "The disk is full", ROMEO, JULIET) == [1, 1]


async def test_lost_sessions_are_bounded(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resends, "MAX_LOST", 2)
    await accounts(driver)
    lost, sessions = resends.LostSessions(), []
    for resource in ("a", "b", "c"):
        await log_in(driver, "romeo", resource, is_new=False)
        session = driver.server.kernel.router.session(JID.parse(f"{ROMEO}/{resource}"))
        assert session is not None
        sessions.append(session)
        lost.ended(session, is_good_bye=False)
    account = sessions[0].account
    assert [lost.has(session.jid, account) for session in sessions] == [False, True, True]
    lost.ended(sessions[1], is_good_bye=True)
    assert [lost.has(session.jid, account) for session in sessions] == [False, False, True]
    assert not lost.has(None, account)


# --- ids (XEP-0424 §4, XEP-0333 §4) --------------------------------------------------------------------------------

async def test_a_message_is_retracted_by_its_id_whatever_its_origin_id(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    romeo.write(chat("Oops", id="m1", origin="o1"))
    await driver.settle([])
    romeo.write(f"<message to='{JULIET}' type='chat' id='r1'><retract xmlns='{NS.RETRACT}' id='m1'/></message>")
    await driver.settle([])
    assert await stored(driver, "Oops", ROMEO, JULIET) == [0, 0]


async def test_a_session_may_send_again_after_a_planned_restart(tmp_path: Path) -> None:
    """What a client began to send again, in a new session, before the server stopped."""
    driver = MemoryDriver(tmp_path)
    await driver.start()
    await accounts(driver, "juliet")
    former, _ = await log_in(driver, "romeo")
    former.write(chat("once"))
    await driver.settle([])
    _, previd = await log_in(driver, "romeo", "tablet", is_new=False)
    await driver.stop()

    driver = MemoryDriver(tmp_path)
    await driver.start()
    again, answer = await resume(driver, "romeo", previd, 0)
    assert answer.name == "resumed"
    again.write(chat("once"))
    await driver.settle([])
    assert await stored(driver, "once", ROMEO, JULIET) == [1, 1]
    await driver.stop()
