"""Stream management: acknowledgements and resumption (XEP-0198), seen by clients in memory."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from stream_management_support import SM, connect, count, ids, log_in, message, names, resume

from xmppchat.components.stream_management import StreamManagement, store
from xmppchat.components.stream_management.managed import Managed
from xmppchat.core.services import ResumptionService
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stream_management import MODULUS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

JULIET = "juliet@chat.example"
ROMEO = "romeo@chat.example"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    yield driver
    await driver.stop()


async def vanish(driver: MemoryDriver, client: MemoryClient) -> None:
    await client.vanish()
    await driver.settle([])


# --- acknowledgements -------------------------------------------------------------------------------------------------

async def test_what_was_sent_is_counted_once_it_is_stored(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    await driver.create_account("juliet", "secret")
    assert await count(driver, romeo) == 0, "what came before <enable/> does not count"
    romeo.write(message(JULIET, "m1") + message("nobody@chat.example", "m2") + f"<r xmlns='{SM}'/>" + "<presence/>")
    await driver.settle([])
    answers = [element for element in romeo.inbox if element.name == "a"]
    assert [answer.get("h") for answer in answers] == ["3"], "answered when all that had come was settled"
    romeo.inbox.clear()
    romeo.write("<message to='@@'/><iq type='get' id='1'/><iq type='result' id='2' to='chat.example'/>")
    assert await count(driver, romeo) == 6, "refused stanzas are handled, too"


async def test_the_server_asks_after_ten_stanzas_and_after_two_seconds(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, _ = await log_in(driver, "juliet")
    romeo.write("".join(message(JULIET, f"m{number}") for number in range(12)))
    await driver.settle([])
    assert names(juliet.inbox) == ["message"] * 10 + ["r"] + ["message"] * 2
    juliet.inbox.clear()
    juliet.write(f"<a xmlns='{SM}' h='10'/>")
    await driver.settle([])
    assert juliet.inbox == []
    await driver.advance(2.1)
    await driver.settle([])
    assert names(juliet.inbox) == ["r"], "the last two"
    juliet.write(f"<a xmlns='{SM}' h='12'/>")
    await driver.settle([])
    await driver.advance(10)
    await driver.settle([])
    assert names(juliet.inbox) == ["r"], "nothing more to ask for"


@pytest.mark.parametrize("xml", ["<a xmlns='urn:xmpp:sm:3' h='0'/>", "<r xmlns='urn:xmpp:sm:3'/>"])
async def test_nothing_is_acknowledged_before_it_is_enabled(driver: MemoryDriver, xml: str) -> None:
    await driver.create_account("romeo", "secret")
    romeo = await connect(driver, "romeo")
    await romeo.bind("phone")
    romeo.write(xml)
    await romeo.until_closed()
    assert romeo.inbox[-1].find("policy-violation", NS.STREAM_ERROR) is not None


@pytest.mark.parametrize(
    ("xml", "condition"),
    [
        ("<enable xmlns='urn:xmpp:sm:3'/>", "policy-violation"),
        ("<a xmlns='urn:xmpp:sm:3' h='1'/>", "undefined-condition"),
        ("<a xmlns='urn:xmpp:sm:3' h='one'/>", "bad-format"),
        ("<a xmlns='urn:xmpp:sm:3'/>", "bad-format"),
    ],
)
async def test_misuse_ends_the_stream(driver: MemoryDriver, xml: str, condition: str) -> None:
    romeo, _ = await log_in(driver, "romeo")
    romeo.write(xml)
    await romeo.until_closed()
    error = romeo.inbox[-1]
    assert error.find(condition, NS.STREAM_ERROR) is not None
    assert (error.find("handled-count-too-high", SM) is not None) is (condition == "undefined-condition")


async def test_a_good_bye_is_answered_with_the_last_count_and_ends_the_session(driver: MemoryDriver) -> None:
    romeo, previd = await log_in(driver, "romeo")
    tablet, _ = await log_in(driver, "romeo", "tablet", is_new=False)
    tablet.inbox.clear()
    romeo.inbox.clear()
    romeo.write(message(ROMEO, "m1") + "</stream:stream>")
    await romeo.until_closed()
    await driver.settle([])
    assert romeo.inbox[-1].get("h") == "1"
    assert [element.get("type") for element in tablet.inbox if element.name == "presence"] == ["unavailable"]
    _, answer = await resume(driver, "romeo", previd, 0)
    assert answer.name == "failed"


# --- resumption -------------------------------------------------------------------------------------------------------

async def test_a_session_goes_on_where_it_was(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, previd = await log_in(driver, "juliet")
    juliet.write(message(ROMEO, "j1"))
    romeo.write(message(JULIET, "m1") + message(JULIET, "m2"))
    await driver.settle([])
    assert ids(juliet) == ["m1", "m2"]
    await vanish(driver, juliet)
    romeo.inbox.clear()
    romeo.write(message(JULIET, "m3") + message(f"{JULIET}/phone", "m4"))
    await driver.settle([])
    assert names(romeo.inbox) == [], "no error, no presence: she is there as far as anybody knows"
    await driver.advance(60)
    again, answer = await resume(driver, "juliet", previd, 1)
    assert (answer.name, answer.get("previd"), answer.get("h")) == ("resumed", previd, "1")
    assert ids(again) == ["m2", "m3", "m4"]
    delays = [element.find("delay", NS.DELAY) for element in again.inbox if element.name == "message"]
    assert all(delay is not None and delay.get("from") == "chat.example" for delay in delays)
    assert names(again.inbox)[-1] == "r"
    again.write(f"<a xmlns='{SM}' h='4'/>" + message(ROMEO, "j2"))
    assert await count(driver, again) == 2
    assert ids(romeo) == ["j2"]


async def test_only_what_is_counted_differently_is_refused(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, previd = await log_in(driver, "juliet")
    romeo.write(message(JULIET, "m1") + message(JULIET, "m2"))
    await driver.settle([])
    juliet.write(f"<a xmlns='{SM}' h='2'/>")
    await driver.settle([])
    await vanish(driver, juliet)
    _, answer = await resume(driver, "juliet", previd, 1)
    assert (answer.name, answer.get("h")) == ("failed", "0"), "what was acknowledged is not kept"
    impostor, error = await resume(driver, "juliet", previd, 3)
    await impostor.until_closed()
    detail = error.find("handled-count-too-high", SM)
    assert detail is not None
    assert (detail.get("h"), detail.get("send-count")) == ("3", "2")
    _, answer = await resume(driver, "juliet", previd, 2)
    assert answer.name == "resumed"


@pytest.mark.parametrize("previd", ["", "nothing", "123.nothing", "99999999999999999999.x", "'--", "1" * 3000])
async def test_an_unknown_session_is_not_found_and_a_resource_can_be_bound(driver: MemoryDriver, previd: str) -> None:
    await driver.create_account("romeo", "secret")
    client, answer = await resume(driver, "romeo", previd.replace("'", "&apos;"), 0)
    assert answer.to_xml() == (
        f"<failed xmlns='{SM}'><item-not-found xmlns='{NS.STANZA_ERROR}'/></failed>"
    )  # fmt: skip
    await client.bind("phone")
    assert client.jid == f"{ROMEO}/phone"


async def test_nobody_resumes_the_session_of_another(driver: MemoryDriver) -> None:
    romeo, previd = await log_in(driver, "romeo")
    await driver.create_account("mallory", "secret")
    await vanish(driver, romeo)
    _, answer = await resume(driver, "mallory", previd, 0)
    assert (answer.name, answer.get("h")) == ("failed", "")
    _, answer = await resume(driver, "romeo", previd, 0)
    assert answer.name == "resumed"


async def test_the_old_connection_gives_way(driver: MemoryDriver) -> None:
    juliet, previd = await log_in(driver, "juliet")
    romeo, _ = await log_in(driver, "romeo")
    again, answer = await resume(driver, "juliet", previd, 0)
    assert answer.name == "resumed"
    await juliet.until_closed()
    assert juliet.inbox[-1].find("conflict", NS.STREAM_ERROR) is not None
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    assert ids(again) == ["m1"]
    assert ids(juliet) == []


async def test_of_two_at_once_exactly_one_has_it(driver: MemoryDriver) -> None:
    juliet, previd = await log_in(driver, "juliet")
    await vanish(driver, juliet)
    first, second = await connect(driver, "juliet"), await connect(driver, "juliet")
    for client in (first, second):
        client.write(f"<resume xmlns='{SM}' previd='{previd}' h='0'/>")
    await driver.settle([])
    assert [client.is_closed for client in (first, second)] == [True, False]
    assert names(second.inbox) == ["resumed"]
    assert first.inbox[-1].find("conflict", NS.STREAM_ERROR) is not None


async def test_a_session_is_resumed_more_than_once(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, previd = await log_in(driver, "juliet")
    for number in range(1, 6):
        await vanish(driver, juliet)
        romeo.write(message(JULIET, f"m{number}"))
        await driver.settle([])
        juliet, answer = await resume(driver, "juliet", previd, number - 1)
        assert answer.name == "resumed"
        assert ids(juliet) == [f"m{number}"]


async def test_of_presence_only_the_newest_waits(driver: MemoryDriver) -> None:
    phone, previd = await log_in(driver, "romeo")
    tablet, _ = await log_in(driver, "romeo", "tablet", is_new=False)
    await driver.settle([])
    h = sum(element.name in ("presence", "message", "iq") for element in phone.inbox)
    await vanish(driver, phone)
    for show in ("away", "dnd", "xa"):
        tablet.write(f"<presence><show>{show}</show></presence>")
    await driver.settle([])
    phone, _ = await resume(driver, "romeo", previd, h)
    assert [element.child_text("show") for element in phone.inbox if element.name == "presence"] == ["xa"]


async def test_a_shorter_time_may_be_asked_for(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "secret")
    for wanted, granted in (("60", "60"), ("99999", "600"), ("0", "1"), ("soon", "600")):
        client = await connect(driver, "romeo")
        await client.bind("phone")
        client.write(f"<enable xmlns='{SM}' resume='1' max='{wanted}'/>")
        enabled = await client.take(lambda element: element.name == "enabled")
        assert (enabled.get("max"), enabled.get("resume")) == (granted, "true")
        await client.close()


# --- the end of waiting -----------------------------------------------------------------------------------------------

async def test_what_nobody_came_for_waits_offline_once(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, previd = await log_in(driver, "juliet")
    romeo.write(message(JULIET, "m1") + message(JULIET, "m2"))
    await driver.settle([])
    juliet.write(f"<a xmlns='{SM}' h='1'/>" + message(ROMEO, "j1"))
    await driver.settle([])
    await vanish(driver, juliet)
    romeo.write(message(JULIET, "m3") + f"<iq type='get' id='q1' to='{JULIET}/phone'><ping xmlns='{NS.PING}'/></iq>")
    await driver.settle([])
    romeo.inbox.clear()
    await driver.advance(601)
    await driver.settle([])
    errors = [element for element in romeo.inbox if element.get("type") == "error"]
    assert [error.get("id") for error in errors] == ["q1"], "a question is answered, messages are kept"
    _, answer = await resume(driver, "juliet", previd, 2)
    assert (answer.name, answer.get("h")) == ("failed", "1"), "the client knows what was handled"
    again, _ = await log_in(driver, "juliet", is_new=False, is_available=False)
    again.write("<presence/>")
    await driver.settle([])
    assert ids(again) == ["m2", "m3"]
    stamps = [len(element.find_all("delay", NS.DELAY)) for element in again.inbox if element.name == "message"]
    assert stamps == [1, 1], "the time of the first try, once"
    again.write(f"<a xmlns='{SM}' h='3'/>")
    await again.close()
    third, _ = await log_in(driver, "juliet", is_new=False, is_available=False)
    third.write("<presence/>")
    await driver.settle([])
    assert ids(third) == []


async def test_other_devices_get_what_was_for_the_one_that_is_gone(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    phone, _ = await log_in(driver, "juliet")
    tablet, _ = await log_in(driver, "juliet", "tablet", is_new=False)
    await vanish(driver, phone)
    romeo.write(message(JULIET, "to all") + message(f"{JULIET}/phone", "to the phone"))
    await driver.settle([])
    assert ids(tablet) == ["to all"]
    await driver.advance(601)
    await driver.settle([])
    assert ids(tablet) == ["to all", "to the phone"]


async def test_a_stream_that_cannot_be_resumed_gives_back_what_was_not_acknowledged(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, previd = await log_in(driver, "juliet", resume=False)
    assert previd == ""
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    await vanish(driver, juliet)
    again, _ = await log_in(driver, "juliet", is_new=False, is_available=False)
    again.write("<presence/>")
    await driver.settle([])
    assert ids(again) == ["m1"]


async def test_a_new_session_of_the_same_resource_gets_what_the_old_one_missed(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, _ = await log_in(driver, "juliet")
    await vanish(driver, juliet)
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    again, _ = await log_in(driver, "juliet", is_new=False, is_available=False)
    again.write("<presence/>")
    await driver.settle([])
    assert ids(again) == ["m1"]


async def test_who_does_not_answer_has_lost_its_connection(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    juliet, previd = await log_in(driver, "juliet")
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    for _ in range(40):
        await driver.advance(2.1)
        await driver.settle([])
    assert juliet.is_closed
    assert juliet.inbox[-1].find("connection-timeout", NS.STREAM_ERROR) is not None
    again, answer = await resume(driver, "juliet", previd, 0)
    assert answer.name == "resumed"
    assert ids(again) == ["m1"]


async def test_closing_the_connection_without_a_word_is_no_good_bye(driver: MemoryDriver) -> None:
    juliet, previd = await log_in(driver, "juliet")
    juliet.transport.connection.received(b"")
    await driver.settle([])
    _, answer = await resume(driver, "juliet", previd, 0)
    assert answer.name == "resumed"


async def test_a_stanza_that_ends_the_stream_is_not_counted(driver: MemoryDriver) -> None:
    juliet, previd = await log_in(driver, "juliet")
    juliet.write("<presence/>" + "<nonsense/>")
    await juliet.until_closed()
    _, answer = await resume(driver, "juliet", previd, 1)
    assert (answer.name, answer.get("h")) == ("resumed", "1")


async def test_a_session_that_is_ended_by_the_server_is_over(driver: MemoryDriver) -> None:
    juliet, previd = await log_in(driver, "juliet")
    await driver.server.execute("user kick", {"jid": JULIET})
    await juliet.until_closed()
    _, answer = await resume(driver, "juliet", previd, 0)
    assert answer.name == "failed"


async def test_a_waiting_session_can_be_ended_by_the_server(driver: MemoryDriver) -> None:
    juliet, previd = await log_in(driver, "juliet")
    await vanish(driver, juliet)
    await driver.server.execute("user kick", {"jid": JULIET})
    _, answer = await resume(driver, "juliet", previd, 0)
    assert answer.name == "failed"
    assert list(driver.server.kernel.directory.sessions()) == []


async def test_too_much_for_a_waiting_session_ends_it_and_loses_nothing(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    config = driver.server.config
    limits = config.limits.model_copy(update={"unacknowledged_stanzas": 50})
    driver.server.config = dataclasses.replace(config, limits=limits)
    await driver.start()
    try:
        romeo, _ = await log_in(driver, "romeo")
        juliet, previd = await log_in(driver, "juliet")
        await vanish(driver, juliet)
        sent = [f"m{number}" for number in range(60)]
        for name in sent:
            romeo.write(message(JULIET, name))
        await driver.settle([])
        assert driver.server.kernel.limit_counters.counts["unacknowledged_stanzas"] == 1
        _, answer = await resume(driver, "juliet", previd, 0)
        assert answer.name == "failed"
        again, _ = await log_in(driver, "juliet", is_new=False, is_available=False)
        again.write("<presence/>")
        await driver.settle([])
        assert ids(again) == sent
    finally:
        await driver.stop()


async def test_an_account_has_a_bounded_number_of_waiting_sessions(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    config = driver.server.config
    limits = config.limits.model_copy(update={"hibernated_sessions": 2})
    driver.server.config = dataclasses.replace(config, limits=limits)
    await driver.start()
    try:
        await driver.create_account("romeo", "secret")
        previds = []
        for number in range(3):
            client, previd = await log_in(driver, "romeo", f"phone-{number}", is_new=False)
            previds.append(previd)
            await vanish(driver, client)
        answers = [(await resume(driver, "romeo", previd, 0))[1].name for previd in previds]
        assert answers == ["failed", "resumed", "resumed"]
    finally:
        await driver.stop()


# --- the order of what is handled -------------------------------------------------------------------------------------

async def test_messages_of_a_managed_stream_are_stored_in_its_order(driver: MemoryDriver) -> None:
    """The second is for somebody in memory, the first is not: what is counted as handled is one number."""
    romeo, _ = await log_in(driver, "romeo")
    juliet, _ = await log_in(driver, "juliet")
    await driver.create_account("nurse", "secret")
    driver.server.kernel.directory.forget("nurse@chat.example")
    handed_in: list[str] = []
    route = driver.server.kernel.router.route
    driver.server.kernel.router.route = lambda stanza, turn: (handed_in.append(stanza.id), route(stanza, turn))[1]  # type: ignore[method-assign]
    romeo.write(message("nurse@chat.example", "m1") + message(JULIET, "m2") + "<presence id='p3'/>")
    await driver.settle([])
    assert [name for name in handed_in if name.startswith("m")] == ["m1", "m2"]
    assert await count(driver, romeo) == 3
    assert ids(juliet) == ["m2"]


def test_numbers_go_over_the_wrap(tmp_path: Path) -> None:
    """F-10: counters start just below 2^32."""

    async def go() -> None:
        driver = MemoryDriver(tmp_path)
        await driver.start()
        romeo, _ = await log_in(driver, "romeo")
        juliet, _ = await log_in(driver, "juliet")
        session = driver.server.kernel.router.session(JID.parse(f"{ROMEO}/phone"))
        assert session is not None
        manager = driver.server.kernel.services.get(ResumptionService)
        assert isinstance(manager, StreamManagement)
        near = MODULUS - 3
        managed = Managed(manager, session, 7, "token", 600, received=near, acknowledged=near)
        session.management = manager._streams[managed.id] = managed
        romeo.write("".join(message(JULIET, f"m{number}") for number in range(5)))
        juliet.write("".join(message(ROMEO, f"j{number}") for number in range(5)))
        await driver.settle([])
        assert await count(driver, romeo) == 2
        romeo.write(f"<a xmlns='{SM}' h='1'/>")
        await driver.settle([])
        await vanish(driver, romeo)
        again, answer = await resume(driver, "romeo", managed.id, 1)
        assert (answer.name, answer.get("h")) == ("resumed", "2")
        assert ids(again) == ["j4"]
        await driver.stop()

    asyncio.run(go())


# --- restarts ---------------------------------------------------------------------------------------------------------

async def test_a_session_goes_on_after_a_planned_restart(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    romeo, previd = await log_in(driver, "romeo")
    _, of_tablet = await log_in(driver, "romeo", "tablet", is_new=False)
    juliet, of_juliet = await log_in(driver, "juliet")
    juliet.write("<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
    juliet.write("<iq type='get' id='b'><blocklist xmlns='urn:xmpp:blocking'/></iq>")
    romeo.write(message(JULIET, "m1") + message(JULIET, "m2"))
    await driver.settle([])
    assert ids(juliet) == ["m1", "m2"]
    juliet.write(f"<a xmlns='{SM}' h='3'/>")  # the roster, the block list and m1
    await driver.settle([])
    await vanish(driver, juliet)
    romeo.write(message(JULIET, "m3"))
    await driver.settle([])
    at_end = len([element for element in romeo.inbox if element.name in ("message", "presence", "iq")])
    await driver.stop()
    assert romeo.inbox[-1].find("system-shutdown", NS.STREAM_ERROR) is not None

    driver = MemoryDriver(tmp_path)
    await driver.start()
    try:
        romeo, answer = await resume(driver, "romeo", previd, at_end)
        assert (answer.name, answer.get("h")) == ("resumed", "3")
        romeo.inbox.clear()
        romeo.write(message(JULIET, "m4"))
        await driver.settle([])
        assert ids(romeo) == [], "she is still there"
        juliet, answer = await resume(driver, "juliet", of_juliet, 3)
        assert (answer.name, answer.get("h")) == ("resumed", "2")
        assert ids(juliet) == ["m2", "m3", "m4"]
        session = driver.server.kernel.router.session(JID.parse(f"{JULIET}/phone"))
        assert session is not None
        assert session.is_interested, "roster pushes go on"
        juliet.inbox.clear()
        juliet.write("<iq type='set' id='b2'><block xmlns='urn:xmpp:blocking'><item jid='x@y.example'/></block></iq>")
        await driver.settle([])
        pushes = [element.find("block", "urn:xmpp:blocking") for element in juliet.inbox]
        assert any(push is not None for push in pushes), "changes of the block list are pushed to it, too"
        _, answer = await resume(driver, "romeo", of_tablet, 0)
        assert answer.name == "resumed"
    finally:
        await driver.stop()


async def test_after_a_crash_the_client_learns_what_was_stored(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    romeo, previd = await log_in(driver, "romeo")
    await driver.create_account("juliet", "secret")
    romeo.write(message(JULIET, "m1") + message(JULIET, "m2") + "<presence/>")
    await driver.settle([])
    await driver.server.database.close()  # what kill -9 leaves: nothing was written down at the end

    again = MemoryDriver(tmp_path)
    await again.start()
    try:
        _, answer = await resume(again, "romeo", previd, 0)
        assert (answer.name, answer.get("h")) == ("failed", "3"), "the presence went ahead of them"
        mallory = "mallory"
        await again.create_account(mallory, "secret")
        _, answer = await resume(again, mallory, previd, 0)
        assert (answer.name, answer.get("h")) == ("failed", ""), "nobody else learns it"
        _, answer = await resume(again, "romeo", previd.partition(".")[0] + ".guessed", 0)
        assert (answer.name, answer.get("h")) == ("failed", "")
        juliet, _ = await log_in(again, "juliet", is_new=False, is_available=False)
        juliet.write("<presence/>")
        await again.settle([])
        assert ids(juliet) == ["m1", "m2"]
    finally:
        await again.stop()


async def test_old_counts_are_forgotten(driver: MemoryDriver) -> None:
    romeo, _ = await log_in(driver, "romeo")
    await driver.create_account("juliet", "secret")
    romeo.write(message(JULIET, "m1"))
    await driver.settle([])
    await romeo.close()
    romeo, living = await log_in(driver, "romeo", is_new=False)
    romeo.write(message(JULIET, "m2"))
    await driver.settle([])
    reader = driver.server.kernel.reader
    assert len(await store.older(reader, 2**62)) == 2
    manager = driver.server.kernel.services.get(ResumptionService)
    assert isinstance(manager, StreamManagement)
    await manager.clean()
    await driver.advance(8 * 86_400)
    await manager.clean()
    await driver.settle([])
    assert [str(number) for number in await store.older(reader, 2**62)] == [living.partition(".")[0]]
