"""Archives in the long run: retention, deletion, tombstones, what is sent again, read marks, conversations, export."""

from __future__ import annotations

import pytest
from archive_support import JULIET, NURSE, ROMEO, accounts, archive, ask, connected, page, rows

from xmppchat.components.archive import resends, store
from xmppchat.components.archive.upkeep import Upkeep
from xmppchat.core.clock_guard import DAY, ClockGuard
from xmppchat.core.services import ArchiveService
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver


async def put(driver: MemoryDriver, account: int, moments: list[int], *, peer: str = JULIET, flags: int = 2) -> None:
    """Rows of an account that came at these moments (ms)."""
    turn = driver.server.kernel.new_turn()
    for number, moment in enumerate(moments):
        turn.write(None, store.INSERT, {
            "id": (moment << 22) + number + 1 + (account & 0xFF) * 10_000, "account_id": account, "flags": flags | 4,
            "peer": peer, "resource": "x", "message_id": f"p{number}",
            "stanza": b"<message xmlns='jabber:client' type='chat'><body>old</body></message>",
        })  # fmt: skip
    await driver.server.kernel.settled(turn)


async def account_id(driver: MemoryDriver, jid: str) -> int:
    return (await driver.server.kernel.directory.get(JID.parse(jid))).id


async def test_what_is_too_old_goes_first_and_nothing_else(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo, juliet = await account_id(driver, ROMEO), await account_id(driver, JULIET)
    now = driver.clock.now()
    await put(driver, romeo, [now - 400 * DAY + n for n in range(450)] + [now - 364 * DAY, now])
    await put(driver, juliet, [now - 366 * DAY, now - 1 * DAY])
    upkeep = Upkeep(driver.server.kernel)
    assert await upkeep.tidy(365, 0) == 451
    left = await rows(driver)
    assert sorted((row.account_id, row.id >> 22) for row in left) == sorted(
        [(romeo, now - 364 * DAY), (romeo, now), (juliet, now - 1 * DAY)]
    )
    assert await upkeep.tidy(0, 0) == 0
    assert await rows(driver) == left


async def test_of_each_account_the_newest_are_kept(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo, juliet = await account_id(driver, ROMEO), await account_id(driver, JULIET)
    now = driver.clock.now()
    await put(driver, romeo, [now - 1_000 + n for n in range(300)])
    await put(driver, juliet, [now - 5 + n for n in range(5)])
    assert await Upkeep(driver.server.kernel).tidy(0, 7) == 293
    left = [row.id >> 22 for row in await rows(driver) if row.account_id == romeo]
    assert left == [now - 1_000 + n for n in range(293, 300)]
    assert len(await rows(driver)) == 12


async def test_nothing_is_deleted_by_a_clock_that_jumped(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await account_id(driver, ROMEO)
    now = driver.clock.now()
    await put(driver, romeo, [now - 100 * DAY, now])
    upkeep = Upkeep(driver.server.kernel)
    assert await upkeep.tidy(365, 0) == 0
    driver.clock._start += 300 * DAY  # the wall clock alone
    assert await upkeep.tidy(365, 0) == 0
    assert len(await rows(driver)) == 2
    driver.clock._seconds += 86_399
    assert await upkeep.tidy(365, 0) == 0
    driver.clock._seconds += 2
    assert await upkeep.tidy(365, 0) == 1, "it has been that date for a day: it is believed"


def test_the_clock_guard() -> None:
    guard = ClockGuard()
    assert guard.refusal(10 * DAY, 0.0, 0) == ""
    assert guard.refusal(10 * DAY + 3_600_000, 3_600.0, 0) == ""
    assert guard.refusal(8 * DAY, 7_200.0, 0) != "", "back"
    assert guard.refusal(9 * DAY, 7_200.0 + 86_400, 0) == ""
    after_a_long_pause = ClockGuard()
    assert after_a_long_pause.refusal(10 * DAY, 0.0, 3 * DAY) != ""
    assert after_a_long_pause.refusal(10 * DAY, 0.0, 3 * DAY) != "", "asked again it is no better"


async def test_what_a_deletion_left_behind_goes_at_the_next_start(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await account_id(driver, ROMEO)
    now = driver.clock.now()
    await put(driver, romeo, [now])
    await put(driver, 4_711, [now - n for n in range(500)])
    await archive(driver)._upkeep.remove_orphans()
    await driver.settle([])
    assert {row.account_id for row in await rows(driver)} == {romeo}


# --- sent again --------------------------------------------------------------------------------------------------

def chat(body: str, id_: str = "m1", to: str = JULIET, more: str = "") -> str:
    return f"<message to='{to}' type='chat' id='{id_}'><body>{body}</body>{more}</message>"


DELAY = "<delay xmlns='urn:xmpp:delay' stamp='2001-01-01T00:00:00Z'/>"


async def count(driver: MemoryDriver, jid: str) -> int:
    owner = await account_id(driver, jid)
    return len([row for row in await rows(driver) if row.account_id == owner])


@pytest.mark.parametrize(("again", "stored"), [
    (chat("One"), 1), (chat("One", more=DELAY), 1), (chat("Two"), 2), (chat("One", "m2"), 2),
    (chat("One", to=NURSE), 2), (chat("One", to=f"{JULIET}/x"), 2), (chat("One", more="<x xmlns='urn:x'/>"), 2),
    (chat("One").replace("'chat'", "'normal'"), 2), (chat("One").replace(" id='m1'", ""), 2),
])  # fmt: skip
async def test_the_same_message_from_a_new_session(driver: MemoryDriver, again: str, stored: int) -> None:
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    romeo.write(chat("One"))
    await driver.settle([])
    romeo = await connected(driver, "romeo", "again")
    juliet.inbox.clear()
    romeo.inbox.clear()
    romeo.write(again + chat("behind", "b1"))
    await driver.settle([])
    bodies = [one.child_text("body") for one in juliet.inbox]
    is_for_juliet = f"'{NURSE}'" not in again
    expected = ["behind"] if stored == 1 or not is_for_juliet else [again.split("body>")[1][:-2], "behind"]
    assert bodies == expected
    assert await count(driver, ROMEO) == stored + 1
    assert romeo.inbox == [], "no error"


async def test_the_same_message_later_or_from_the_same_session(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    for _ in range(2):
        romeo.write(chat("One", "", more="<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"))
    await driver.settle([])
    assert await count(driver, JULIET) == 2, "a session that sends twice means it"
    driver.clock.advance(resends.SINCE / 1_000 + 1)
    romeo = await connected(driver, "romeo", "again")
    romeo.write(chat("One", "", more="<origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"))
    await driver.settle([])
    assert await count(driver, JULIET) == 3, "48 h later it is another"
    assert juliet


async def test_the_window_ends(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    romeo.write(chat("One"))
    await driver.settle([])
    romeo = await connected(driver, "romeo", "again")
    session = (await driver.server.kernel.directory.get(JID.parse(ROMEO))).sessions["again"]
    assert session.intake is not None
    for number in range(resends.MESSAGES + 1):
        romeo.write(chat("x", f"n{number}"))
    await driver.settle([])
    romeo.write(chat("x", "last"))
    await driver.settle([])
    assert session.intake is None
    romeo.write(chat("One"))
    await driver.settle([])
    assert await count(driver, JULIET) == resends.MESSAGES + 4
    session = (await driver.server.kernel.directory.get(JID.parse(ROMEO))).sessions["x"]
    assert session.intake is not None
    driver.clock.advance(resends.SECONDS + 1)
    assert session.intake is None


async def test_order_is_kept_while_it_is_looked_at(driver: MemoryDriver) -> None:
    """Also for what is no message, and for recipients that are not in memory."""
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    romeo.write(chat("One", "m1"))
    await driver.settle([])
    romeo = await connected(driver, "romeo", "again")
    juliet.inbox.clear()
    stanzas = [chat("new", "n1"), chat("One", "m1"), f"<presence to='{JULIET}'/>", chat("new", "n2"),
               "<message to='nurse@chat.example' type='chat' id='n3'><body>x</body></message>", chat("new", "n4")]
    romeo.write("".join(stanzas))
    await driver.settle([])
    assert [one.get("id") or one.name for one in juliet.inbox] == ["n1", "presence", "n2", "n4"]


# --- conversations -----------------------------------------------------------------------------------------------

async def test_conversations(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    service = driver.server.kernel.services.get(ArchiveService)
    account = await driver.server.kernel.directory.get(JID.parse(ROMEO))
    assert await service.conversations(account) == []
    assert await service.last_id(account) == ""
    nurse = await connected(driver, "nurse")
    for number in range(3):
        juliet.write(chat("x", f"j{number}", ROMEO))
        nurse.write(chat("x", f"n{number}", ROMEO))
        await driver.settle([])
        driver.clock.advance(1)
    juliet.write(f"<message to='{ROMEO}' id='r1'><received xmlns='urn:xmpp:receipts' id='x'/></message>")
    await driver.settle([])
    assert [(c.peer, c.unread) for c in await service.conversations(account)] == [(JULIET, 3), (NURSE, 3)]
    romeo.write(f"<message to='{NURSE}' id='d1'><displayed xmlns='urn:xmpp:chat-markers:0' id='n1'/></message>")
    await driver.settle([])
    found = await service.conversations(account)
    assert [(c.peer, c.unread) for c in found] == [(NURSE, 0), (JULIET, 3)], "what was sent counts as an answer"
    assert [(row.peer, row.account_id) for row in await rows(driver, schema.read_marks)] == [(NURSE, account.id)]
    nurse.write(chat("x", "n3", ROMEO))
    await driver.settle([])
    assert [c.unread for c in await service.conversations(account)] == [1, 3]
    (mark,) = await rows(driver, schema.read_marks)
    romeo.write(f"<message to='{NURSE}' id='d2'><displayed xmlns='urn:xmpp:chat-markers:0' id='n0'/></message>")
    romeo.write(f"<message to='{JULIET}' id='d3'><displayed xmlns='urn:xmpp:chat-markers:0' id='unknown'/></message>")
    await driver.settle([])
    await service.conversations(account)
    assert await rows(driver, schema.read_marks) == [mark], "only what is news is written"
    latest = await service.messages(account, peer=JULIET, most=2)
    assert [(await service.last_id(account)) == latest[-1].id, len(latest)] == [True, 2]
    earlier = await service.messages(account, peer=JULIET, before=latest[0].id)
    assert [one.stanza.id for one in (*earlier, *latest)] == ["j0", "j1", "j2", "r1", "d3"]
    listed = await driver.server.execute("conversations", {"jid": ROMEO})
    assert [(one["with"], one["unread"]) for one in listed] == [(JULIET, 0), (NURSE, 0)]
    stats = await driver.server.execute("archive stats", {"jid": ROMEO})
    assert stats["messages"] == await count(driver, ROMEO)


async def test_the_export_has_the_archive_and_nothing_of_others(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    for number in range(70):
        romeo.write(chat(f"body {number} &lt;", f"m{number}"))
    juliet.write(chat("to the nurse", "s1", NURSE))
    await driver.settle([])
    xml = str(await driver.server.execute("user export", {"jid": ROMEO}))
    document = parse_stored(xml[xml.index("<server-data"):])
    user = next(next(document.elements()).elements())
    kept = user.find("archive", NS.PORTABLE_ARCHIVE)
    assert kept is not None
    ids = [int(result.get("id")) for result in kept.find_all("result", NS.ARCHIVE)]
    assert len(ids) == 70
    assert ids == sorted(ids) == [int(one) for one in (await ask(romeo, page(max=250))).ids]
    assert "to the nurse" not in xml


async def test_preferences_outlive_a_restart_and_are_bounded(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    many = "".join(f"<jid>a{number}@x.example</jid>" for number in range(1_001))
    answer = await romeo.request("set", f"<prefs xmlns='{NS.ARCHIVE}' default='never'><always>{many}</always></prefs>")
    assert answer.get("type") == "error"
    always = f"<always><jid>{JULIET}</jid></always>"
    await romeo.request("set", f"<prefs xmlns='{NS.ARCHIVE}' default='never'>{always}</prefs>")
    account = await driver.server.kernel.directory.get(JID.parse(ROMEO))
    account.invalidate()  # what is in memory is what is on disk
    romeo.write(chat("kept", "k1"))
    romeo.write(chat("not kept", "k2", NURSE))
    await driver.settle([])
    assert (await ask(romeo)).bodies == ["kept"]
    await romeo.request("set", f"<prefs xmlns='{NS.ARCHIVE}' default='always'/>")
    assert await rows(driver, schema.archive_preferences) == []
