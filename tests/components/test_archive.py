"""Archives from outside: paging laws, ids, what is not archived, floods, damaged rows; on both databases."""

from __future__ import annotations

import asyncio

import pytest
from archive_support import JULIET, NURSE, ROMEO, accounts, ask, connected, form, page, rows
from disk_support import FullDisk
from sqlalchemy import bindparam, update

from xmppchat.core.limits import Limits
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver

GARBAGE = (
    "'; DROP TABLE archive; --", "1 OR 1=1", "1) UNION SELECT stanza FROM archive --", "0", "-1", "00", "1e3", "١", "½",
    "9223372036854775808", "18446744073709551616", "9" * 5_000, "&lt;x/&gt;", "%s", "{0}", "\u202e1", "é", " 1", "1.0",
)  # fmt: skip


async def filled(driver: MemoryDriver, count: int) -> list[str]:
    """Romeo's archive: messages to and from Juliet and the Nurse; their bodies in order."""
    await accounts(driver)
    romeo, nurse = await connected(driver, "romeo"), await connected(driver, "nurse")
    bodies = []
    for number in range(count):
        bodies.append(f"body {number}")
        sender, to = (nurse, ROMEO) if number % 3 == 0 else (romeo, JULIET)
        sender.write(f"<message to='{to}' type='chat' id='i{number}'><body>body {number}</body></message>")
        await driver.settle([])
        driver.clock.advance(0.5)
    return bodies


async def test_paging_laws(driver: MemoryDriver) -> None:
    """Any page size, forwards and backwards, flipped or not, with every filter: what a list would give."""
    bodies = await filled(driver, 23)
    romeo = await connected(driver, "romeo", "y")
    everything = await ask(romeo, page(max=250))
    assert everything.bodies == bodies
    assert (everything.is_complete, everything.said("count")) == (True, "23")
    assert sorted(everything.ids, key=int) == everything.ids
    filters = {
        "": bodies,
        form(_with=NURSE): [body for number, body in enumerate(bodies) if number % 3 == 0],
        form(_with=f"{NURSE}/x"): [body for number, body in enumerate(bodies) if number % 3 == 0],
        form(_with=JULIET): [body for number, body in enumerate(bodies) if number % 3],
        form(_with=ROMEO): [],
        form(after_id=everything.ids[4], before_id=everything.ids[17]): bodies[5:17],
        form(ids=[everything.ids[20], everything.ids[3]]): [bodies[3], bodies[20]],
        form(_with=NURSE, after_id=everything.ids[4]): [bodies[n] for n in range(5, 23) if n % 3 == 0],
    }
    for fields, wanted in filters.items():
        for size in (1, 2, 7, 23, 50):
            forwards: list[str] = []
            after: dict[str, str] = {}
            while True:
                answer = await ask(romeo, fields + page(max=size, **after))
                forwards += answer.bodies
                if answer.is_complete:
                    break
                assert len(answer.bodies) == size
                after = {"after": answer.said("last")}
            backwards: list[str] = []
            before = {"before": ""}
            while True:
                answer = await ask(romeo, fields + page(max=size, **before) + "<flip-page/>")
                backwards += answer.bodies
                if answer.is_complete:
                    break
                before = {"before": answer.said("first")}
            assert forwards == wanted
            assert backwards == wanted[::-1]
        assert (await ask(romeo, fields + page(max=0))).said("count") == str(len(wanted))


async def test_start_and_end_are_inclusive(driver: MemoryDriver) -> None:
    bodies = await filled(driver, 6)
    romeo = await connected(driver, "romeo", "y")
    everything = await ask(romeo)
    romeo.inbox.clear()
    romeo.write(f"<iq type='set' id='ask'><query xmlns='{NS.ARCHIVE}'/></iq>")
    stamps = []
    for _ in bodies:
        message = await romeo.take(lambda one: one.name == "message")
        delay = next(message.find("result", NS.ARCHIVE).elements()).find("delay", NS.DELAY)  # type: ignore[union-attr]
        assert delay is not None
        stamps.append(delay.get("stamp"))
    assert everything.bodies == bodies
    assert (await ask(romeo, form(start=stamps[2]))).bodies == bodies[2:]
    assert (await ask(romeo, form(end=stamps[2]))).bodies == bodies[:3]
    assert (await ask(romeo, form(start=stamps[1], end=stamps[1]))).bodies == [bodies[1]]
    assert (await ask(romeo, form(start=stamps[1][:-1] + "001Z", end=stamps[3]))).bodies == bodies[2:4]
    assert (await ask(romeo, form(start=stamps[4], end=stamps[1]))).bodies == []


async def test_pages_are_clamped_and_default_to_fifty(driver: MemoryDriver) -> None:
    await filled(driver, 60)
    driver.server.kernel.limits = Limits(profile="test", archive_page=55)
    romeo = await connected(driver, "romeo", "y")
    assert len((await ask(romeo)).ids) == 50
    answer = await ask(romeo, page(max=1_000))
    assert (len(answer.ids), answer.is_complete) == (55, False)


async def test_a_page_of_large_messages_is_shorter_and_goes_on(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    for number in range(12):
        romeo.write(f"<message to='{JULIET}' type='chat' id='i{number}'><body>{'x' * 200_000}</body></message>")
        await driver.settle([])
    seen: list[str] = []
    after: dict[str, str] = {}
    while True:
        answer = await ask(romeo, page(max=50, **after))
        assert len(answer.ids) <= 7
        seen += answer.ids
        if answer.is_complete:
            break
        after = {"after": answer.said("last")}
    assert len(seen) == len(set(seen)) == 12


@pytest.mark.parametrize("field", ["before_id", "after_id", "ids", "after", "before"])
async def test_garbage_for_an_id_is_an_id_that_is_not_there(driver: MemoryDriver, field: str) -> None:
    """reliability.md V-52."""
    bodies = await filled(driver, 3)
    romeo = await connected(driver, "romeo", "y")
    for text in GARBAGE:
        inner = form(**{field: text}) if field in ("before_id", "after_id", "ids") else page(**{field: text})
        assert (await ask(romeo, inner)).condition == "item-not-found", text
    assert (await ask(romeo)).bodies == bodies


@pytest.mark.parametrize("field", ["start", "end", "_with", "max", "FORM_TYPE"])
async def test_garbage_elsewhere_is_malformed_or_finds_nothing(driver: MemoryDriver, field: str) -> None:
    bodies = await filled(driver, 3)
    romeo = await connected(driver, "romeo", "y")
    for text in GARBAGE:
        if field == "FORM_TYPE":
            inner = form().replace(NS.ARCHIVE, text)
        else:
            inner = page(max=text) if field == "max" else form(**{field: text})
        answer = await ask(romeo, inner)
        assert answer.condition == "bad-request" or answer.bodies in ([], bodies[:1], bodies), text
    assert (await ask(romeo)).bodies == bodies


async def test_the_archive_of_somebody_else_is_none(driver: MemoryDriver) -> None:
    """Not to be told from an account that does not exist (V-17), and an id of it is none either."""
    await filled(driver, 4)
    romeo, nurse = await connected(driver, "romeo", "y"), await connected(driver, "nurse", "y")
    assert (await ask(nurse, to=ROMEO)).condition == (await ask(nurse, to="nobody@chat.example")).condition
    of_romeo = (await ask(romeo)).ids
    for number in of_romeo:
        assert (await ask(nurse, form(ids=number))).condition == "item-not-found"


async def test_a_flood_of_queries_waits_and_none_is_lost(driver: MemoryDriver) -> None:
    """Limit 25: ten in a second, one at a time, in order; other clients are served."""
    await filled(driver, 3)
    kernel = driver.server.kernel
    kernel.limits = Limits(profile="test", archive_query_rate=10)
    romeo, nurse = await connected(driver, "romeo", "y"), await connected(driver, "nurse", "y")
    for number in range(60):
        romeo.write(f"<iq type='set' id='f{number}'><query xmlns='{NS.ARCHIVE}'/></iq>")
    answer = await ask(nurse)
    assert answer.is_complete

    async def answered(count: int, step: float = 0.0) -> None:
        async with asyncio.timeout(20):
            while len([one for one in romeo.inbox if one.name == "iq"]) < count:
                driver.clock.advance(step)
                await rows(driver)

    await answered(40)  # the clock stands still: what may be answered now is
    for _ in range(20):
        await rows(driver)
    assert len([one for one in romeo.inbox if one.name == "iq"]) == 40
    await answered(60, 0.01)
    assert [one.get("id") for one in romeo.inbox if one.name == "iq"] == [f"f{number}" for number in range(60)]
    assert kernel.limit_counters.counts["archive_query_rate"] >= 19


async def test_a_damaged_row_is_left_out(driver: MemoryDriver) -> None:
    """reliability.md F-24."""
    bodies = await filled(driver, 7)
    damage = update(schema.archive).where(schema.archive.c.id == bindparam("row")).values(stanza=bindparam("new"))
    found = [row for row in await rows(driver) if b"body" in row.stanza]
    account = (await driver.server.kernel.directory.get(JID.parse(ROMEO))).id
    own = [row for row in found if row.account_id == account]
    broken = (
        b"", b"\xff\xfe<", b"<message xmlns='jabber:client'>", own[3].stanza + b"</stream:stream>", b"<presence/>",
        b"<message xmlns='jabber:client'><!--x--></message>",
    )  # fmt: skip
    turn = driver.server.kernel.new_turn()
    for row, stanza in zip(own, broken, strict=False):
        turn.write(None, damage, {"row": row.id, "new": stanza})
    await driver.server.kernel.settled(turn)
    romeo = await connected(driver, "romeo", "y")
    answer = await ask(romeo)
    assert (answer.bodies, answer.is_complete) == (bodies[len(broken):], True)
    assert answer.said("first") == str(own[0].id), "paging goes on behind it"
    assert len((await ask(romeo, page(max=2))).bodies) == 0
    client = await driver.server.execute("user export", {"jid": ROMEO})
    assert "body 6" in str(client)


async def test_who_is_blocked_is_in_no_archive(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    await juliet.request("set", f"<block xmlns='{NS.BLOCKING}'><item jid='{ROMEO}'/></block>")
    romeo.write(f"<message to='{JULIET}' type='chat' id='b1'><body>x</body></message>")
    await driver.settle([])
    assert (await ask(juliet)).ids == []


async def test_what_is_refused_is_not_in_the_archive_of_who_refuses_it(driver: MemoryDriver) -> None:
    """C5: for a device that is gone, a message of the type "normal" is refused, and so it was never received."""
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    romeo.write(f"<message to='{JULIET}/gone' id='b1'><body>x</body></message>")
    await driver.settle([])
    assert [one.get("type") for one in romeo.inbox] == ["error"]
    assert (await ask(juliet)).ids == []
    assert (await ask(romeo)).bodies == ["x", ""], "what it sent, and the error that answers it"


async def test_a_full_mailbox_refuses_only_what_is_not_archived(driver: MemoryDriver) -> None:
    await accounts(driver)
    driver.server.kernel.limits = Limits(profile="test", offline_messages=1)
    romeo = await connected(driver, "romeo")
    for hint in ("", "", "<no-permanent-store xmlns='urn:xmpp:hints'/>"):
        romeo.write(f"<message to='{JULIET}' type='chat'><body>x</body>{hint}</message>")
    await driver.settle([])
    assert [one.get("type") for one in romeo.inbox] == ["error"]
    juliet = await connected(driver, "juliet", is_available=False)
    assert len((await ask(juliet)).ids) == 2


async def test_an_error_to_a_device_is_archived(driver: MemoryDriver) -> None:
    """So that the other devices learn that a message was not delivered; not one to the account, nor one of its own."""
    await accounts(driver)
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    for to in (f"{JULIET}/x", JULIET):
        romeo.write(f"<message to='{to}' type='error' id='e1'>{error}</message>")
    await driver.settle([])
    assert len((await ask(juliet)).ids) == 1
    assert (await ask(romeo)).ids == []


@pytest.mark.parametrize(("payload", "count"), [
    ("<body>Hi</body>", 2), (f"<active xmlns='{NS.CHAT_STATES}'/>", 0), ("<x xmlns='urn:x'/>", 0),
])  # fmt: skip
async def test_an_error_of_the_server_is_archived_like_what_it_is_about(
    driver: MemoryDriver, payload: str, count: int
) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    romeo.write(f"<message to='nobody@chat.example' type='chat' id='m1'>{payload}</message>")
    await driver.settle([])
    (error,) = romeo.inbox
    assert error.get("type") == "error"
    stamps = [one.get("id") for one in error.find_all("stanza-id", NS.STANZA_IDS)]
    found = await ask(romeo)
    assert len(found.ids) == count
    assert stamps == found.ids[1:], "under the id that is in the archive, or none"


async def test_an_error_that_cannot_be_archived_is_told_all_the_same(driver: MemoryDriver) -> None:
    await accounts(driver)
    romeo = await connected(driver, "romeo")
    gate = driver.server.kernel.gate
    writer, gate._writer = gate._writer, FullDisk(driver)
    romeo.write("<message to='nobody@chat.example' type='chat' id='m1'><body>Hi</body></message>")
    await driver.settle([])
    gate._writer = writer
    (error,) = romeo.inbox
    assert (error.get("type"), error.get("id")) == ("error", "m1")
    assert (await ask(romeo)).ids == []
