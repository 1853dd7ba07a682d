"""What is delivered late goes to each device that has not got it, and to no other: whether the message itself, a carbon
of it or the archive brought it there."""

from __future__ import annotations

import pytest
from archive_support import JULIET, ROMEO, accounts, ask, connected, rows
from disk_support import SlowDisk, until
from stream_management_support import ids, log_in, message

from xmppchat.core import session as core_session
from xmppchat.core.session import Behind
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.wire_client import WireClient

ENABLE = f"<iq type='set' id='copies'><enable xmlns='{NS.CARBONS}'/></iq>"
NEVER = f"<iq type='set' id='never'><prefs xmlns='{NS.ARCHIVE}' default='never'/></iq>"
PRIVATE = f"<private xmlns='{NS.CARBONS}'/>"


def forwarded(element: Element) -> Element | None:
    """The message in a carbon."""
    for name in ("received", "sent"):
        carbon = element.find(name, NS.CARBONS)
        inside = carbon.find("forwarded", NS.FORWARD) if carbon is not None else None
        if inside is not None:
            return inside.find("message", NS.CLIENT)
    return None


def shown(client: WireClient) -> list[str]:
    """Ids of the messages that a client was sent, those in carbons marked with a "c"."""
    found = []
    for element in client.inbox:
        if element.name == "message":
            inside = forwarded(element)
            found.append(element.get("id") if inside is None else f"c {inside.get('id')}")
    return found


async def does(driver: MemoryDriver, client: WireClient, xml: str) -> None:
    client.write(xml)
    await driver.settle([])


# --- a session that nobody resumed -------------------------------------------------------------------------------

@pytest.mark.parametrize("preferences", ["", NEVER])
async def test_who_came_after_a_message_gets_it_from_the_session_that_is_over(
    driver: MemoryDriver, preferences: str
) -> None:
    romeo, _ = await log_in(driver, "romeo")
    old, _ = await log_in(driver, "juliet", "old")
    tablet, _ = await log_in(driver, "juliet", "tablet", is_new=False)
    await does(driver, tablet, preferences or " ")
    await driver.advance(11)  # without an archive nobody can say who just came; shown twice is better than lost
    await old.vanish()
    await driver.settle([])
    await does(driver, romeo, message(JULIET, "m1"))
    new, _ = await log_in(driver, "juliet", "new", is_new=False)
    await driver.advance(601)
    await driver.settle([])
    assert (ids(new), ids(tablet)) == (["m1"], ["m1"])


async def test_a_message_changes_hands_more_than_once_and_is_shown_once(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    phone, _ = await log_in(driver, "juliet", "phone")
    tablet, _ = await log_in(driver, "juliet", "tablet", is_new=False)
    await phone.vanish()
    await driver.settle([])
    await does(driver, romeo, message(f"{JULIET}/phone", "m1"))
    await driver.advance(300)
    second, _ = await log_in(driver, "juliet", "second", is_new=False)
    await second.vanish()
    await driver.settle([])
    await driver.advance(400)
    await driver.settle([])
    assert ids(tablet) == ["m1"], "the phone's time is over: it goes to both"
    third, _ = await log_in(driver, "juliet", "third", is_new=False)
    await driver.advance(400)
    await driver.settle([])
    assert (ids(tablet), ids(third)) == (["m1"], ["m1"])


async def test_who_fetched_it_from_the_archive_does_not_get_it_again(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    phone, _ = await log_in(driver, "juliet")
    await phone.vanish()
    await driver.settle([])
    await does(driver, romeo, message(f"{JULIET}/phone", "m1") + message(JULIET, "m2"))
    tablet, _ = await log_in(driver, "juliet", "tablet", is_new=False)
    assert (await ask(tablet)).bodies == ["m1", "m2"]
    await does(driver, romeo, message(f"{JULIET}/phone", "m3"))
    await driver.advance(601)
    await driver.settle([])
    assert ids(tablet) == ["m3"], "what came later it could not fetch then"


async def test_who_was_given_a_copy_does_not_get_it_again(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    phone, _ = await log_in(driver, "juliet")
    early, _ = await log_in(driver, "juliet", "early", is_new=False)
    await does(driver, early, ENABLE)
    await phone.vanish()
    await driver.settle([])
    secret = message(f"{JULIET}/phone", "m2").replace("</body>", f"</body>{PRIVATE}")
    await does(driver, romeo, message(f"{JULIET}/phone", "m1") + secret)
    late, _ = await log_in(driver, "juliet", "late", is_new=False)
    await does(driver, late, ENABLE)
    assert (shown(early), shown(late)) == (["c m1"], [])
    await driver.advance(601)
    await driver.settle([])
    assert shown(early) == ["c m1", "m2"]
    assert shown(late) == ["m1", "m2"]


async def test_what_two_devices_were_handed_out_together_stays_with_them(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    await does(driver, romeo, message(JULIET, "m1"))
    phone, _ = await log_in(driver, "juliet", is_new=False, is_available=False)
    tablet, _ = await log_in(driver, "juliet", "tablet", is_new=False, is_available=False)
    phone.write("<presence/>")
    tablet.write("<presence/>")
    await driver.settle([])
    assert (ids(phone), ids(tablet)) == (["m1"], ["m1"])
    await phone.vanish()
    await driver.settle([])
    await driver.advance(601)
    await driver.settle([])
    assert ids(tablet) == ["m1"]


# --- copies before the first presence ----------------------------------------------------------------------------

@pytest.mark.parametrize("preferences", ["", NEVER])
async def test_what_was_copied_to_a_device_is_not_handed_out_to_it(driver: MemoryDriver, preferences: str) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    juliet = await connected(driver, "juliet", is_available=False)
    await does(driver, juliet, preferences or " ")
    await does(driver, romeo, message(JULIET, "m1"))
    await does(driver, juliet, ENABLE)
    secret = message(JULIET, "m3").replace("</body>", f"</body>{PRIVATE}")
    await does(driver, romeo, message(JULIET, "m2") + secret)
    juliet.inbox = [one for one in juliet.inbox if one.name == "message"]
    assert shown(juliet) == ["c m2"]
    await does(driver, juliet, "<presence/>")
    assert shown(juliet) == ["c m2", "m1", "m3"]


async def test_another_device_gets_what_was_copied_to_one(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    copies = await connected(driver, "juliet", "copies", is_available=False)
    await does(driver, copies, ENABLE)
    await does(driver, romeo, message(JULIET, "m1"))
    plain = await connected(driver, "juliet", "plain", is_available=False)
    await does(driver, plain, "<presence/>")
    assert (shown(copies), shown(plain)) == (["c m1"], ["m1"])


async def test_to_oneself_from_a_device_without_presence(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo", is_available=False)
    await does(driver, romeo, ENABLE)
    await does(driver, romeo, message(ROMEO, "m1"))
    await does(driver, romeo, "<presence/>")
    assert shown(romeo) == ["m1"], "no copy went to its sender"


# --- new messages while stored ones are handed out -----------------------------------------------------------------

@pytest.mark.parametrize("number", [1, 150])
async def test_nothing_overtakes_what_is_handed_out(driver: MemoryDriver, number: int) -> None:
    """Neither what is for the full address nor copies: a client reads the archive behind the last id that it saw."""
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet", is_available=False)
    other = await connected(driver, "juliet", "other", is_available=False)
    stored = [f"s{one}" for one in range(number)]
    await does(driver, romeo, "".join(message(JULIET, name) for name in stored))
    await does(driver, juliet, ENABLE)
    await does(driver, other, message("nurse@chat.example", "warm up"))
    juliet.inbox.clear()
    disk, gate = SlowDisk(driver), driver.server.kernel.gate
    account = await driver.server.kernel.directory.get(JID.parse(JULIET))
    romeo.write(message("nurse@chat.example", "busy"))
    await until(lambda: gate.last > gate.settled)
    juliet.write("<presence/>")
    await until(lambda: account.is_draining)
    start = gate.last
    romeo.write(message(f"{JULIET}/x", "full") + message(JULIET, "bare"))
    await until(lambda: gate.last == start + 2)
    other.write(message("nurse@chat.example", "copy"))
    await until(lambda: gate.last == start + 3)
    disk.go_on()
    await driver.settle([])
    assert shown(juliet) == [*stored, "full", "bare", "c copy"]
    assert not account.is_draining
    left = [row.account_id for row in await rows(driver, schema.offline_messages)]
    assert account.id not in left


@pytest.mark.parametrize("is_managed", [True, False])
async def test_what_waits_behind_stored_messages_is_not_lost_with_its_session(
    driver: MemoryDriver, is_managed: bool
) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    phone: WireClient
    if is_managed:
        phone, _ = await log_in(driver, "juliet", "x", is_new=False)
    else:
        phone = await connected(driver, "juliet")
    session = driver.server.kernel.router.session(JID.parse(f"{JULIET}/x"))
    assert session is not None
    session.behind = Behind()
    await does(driver, romeo, message(JULIET, "m1") + message(f"{JULIET}/x", "m2"))
    assert ids(phone) == []
    await phone.close()
    await driver.settle([])
    assert ids(phone) == []
    again, _ = await log_in(driver, "juliet", "again", is_new=False, is_available=False)
    await does(driver, again, "<presence/>")
    assert ids(again) == ["m1", "m2"]


async def test_what_waits_behind_is_bounded(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_session, "MAX_BEHIND", 3)
    monkeypatch.setattr(core_session, "MAX_BEHIND_SIZE", 10_000)
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    session = driver.server.kernel.router.session(JID.parse(f"{JULIET}/x"))
    assert session is not None
    for more in ("", "x" * 10_000):
        session.behind = Behind()
        sent = ["a", "b"] if not more else ["a"]
        await does(driver, romeo, "".join(message(JULIET, name) for name in sent))
        assert ids(juliet) == []
        await does(driver, romeo, message(JULIET, "c").replace("</body>", f"{more}</body>"))
        assert ids(juliet) == [*sent, "c"]
        assert session.behind is None
        juliet.inbox.clear()
