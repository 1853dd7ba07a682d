"""Push notifications (XEP-0357): who is woken for what, and when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from push_support import APP, JULIET, SECRET, AppServer, acknowledge, ask, enable, gone, session
from stream_management_support import log_in, message, resume

from xmppchat.components.push import component as push_component
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver
from xmppchat.testing.runner import read_stanzas

BODY = "<body>wherefore</body>"
PROPOSE = "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/><store xmlns='urn:xmpp:hints'/>"
ROOM = "verona@rooms.example"
#: What comes, and wakes nobody.
DULL = {
    "a chat state": "<message to='{to}' type='chat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>",
    "a marker": "<message to='{to}' type='chat'><displayed xmlns='urn:xmpp:chat-markers:0' id='1'/></message>",
    "a receipt": "<message to='{to}' type='chat'><received xmlns='urn:xmpp:receipts' id='1'/></message>",
    "a headline": "<message to='{to}' type='headline'><body>News</body></message>",
    "nothing to keep": "<message to='{to}' type='chat'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>",
    "an empty message": "<message to='{to}' type='chat'/>",
    "presence": "<presence to='{to}'/>",
    "a request to subscribe": "<presence to='{to}' type='subscribe'/>",
    "a question": "<iq to='{to}' type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>",
}  # fmt: skip


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, external_components={APP: SECRET, "rooms.example": SECRET})
    await driver.start()
    yield driver
    await driver.stop()


@pytest.fixture
async def app(driver: MemoryDriver) -> AppServer:
    server = AppServer(driver)
    await driver.settle([])
    return server


@pytest.fixture
async def phone(driver: MemoryDriver, app: AppServer) -> MemoryClient:
    """Juliet's phone, which wants to be woken, and a session that outlives its connection."""
    client, _ = await log_in(driver, "juliet")
    await enable(client)
    await driver.settle([])
    client.answers_requests = True
    await acknowledge(driver, client)
    return client


@pytest.fixture
async def romeo(driver: MemoryDriver) -> MemoryClient:
    client, _ = await log_in(driver, "romeo", resume=False)
    client.answers_requests = True
    return client


async def said(driver: MemoryDriver, client: MemoryClient, *xml: str) -> None:
    client.write("".join(xml))
    await driver.settle([])


async def closed(driver: MemoryDriver, client: MemoryClient) -> None:
    await client.close()
    await driver.settle([])


# --- a closed device --------------------------------------------------------------------------------------------------

async def test_a_message_wakes_a_device_that_is_not_there(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"))
    assert await app.nodes(0.9) == []
    assert await app.nodes(0.1) == ["node-1"], "after a second, in which more may come"
    assert await app.nodes(600) == [], "once"


async def test_the_notification_says_nothing_but_that_there_is_something(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    options = (
        "<x xmlns='jabber:x:data' type='submit'>"
        "<field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
        "<field var='secret'><value>eruio &amp; co</value></field><odd xmlns='urn:odd' a='b'>c</odd></x>"
    )
    await enable(phone, "yxs32", options=options)
    await closed(driver, phone)
    await said(driver, romeo, "<message to='juliet@chat.example' type='chat' id='CANARY'><body>CANARY</body></message>")
    assert sorted(await app.nodes(1)) == ["node-1", "yxs32"]
    seen = next(one for one in app.seen if "yxs32" in one.to_xml())
    assert (seen.get("type"), seen.get("from"), seen.get("to")) == ("set", "chat.example", APP)
    [expected] = read_stanzas(
        "<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='yxs32'><item>"
        "<notification xmlns='urn:xmpp:push:0'><x xmlns='jabber:x:data' type='submit'>"
        "<field var='FORM_TYPE' type='hidden'><value>urn:xmpp:push:summary</value></field>"
        "<field var='message-count'><value>1</value></field>"
        "<field var='last-message-body'><value>New Message!</value></field></x></notification></item></publish>"
        f"<publish-options>{options}</publish-options></pubsub>"
    )
    assert next(seen.elements()).to_xml() == expected.to_xml()


async def test_without_a_node(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await enable(phone, "")
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"))
    assert sorted(await app.nodes(1)) == ["", "node-1"]
    assert any("<publish>" in one.to_xml() for one in app.seen)


async def test_what_comes_within_a_second_shares_a_notification(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"), message(JULIET, "m2"))
    await driver.advance(0.5)
    await said(driver, romeo, message(JULIET, "m3"))
    assert await app.nodes(0.5) == ["node-1"]
    await said(driver, romeo, message(JULIET, "m4"))
    assert await app.nodes(1) == ["node-1"]
    assert await app.nodes(60) == []


async def test_each_device_is_woken_once(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    tablet, _ = await log_in(driver, "juliet", "tablet", is_new=False)
    await enable(tablet, "node-2")
    await said(driver, romeo, message(JULIET, "m1"))
    assert await app.nodes(1) == [], "both are here"
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m2"))
    assert await app.nodes(1) == ["node-1"], "the other one is here"
    await closed(driver, tablet)
    await said(driver, romeo, message(JULIET, "m3"))
    assert sorted(await app.nodes(1)) == ["node-1", "node-2"]


async def test_who_comes_back_in_time_is_not_woken(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"))
    await log_in(driver, "juliet", is_new=False)
    assert await app.nodes(5) == []


async def test_a_device_is_known_by_its_place_in_the_list(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    client, _ = await log_in(driver, "juliet", "Random-1")
    session(driver, "Random-1").device_id = 7
    await enable(client)
    await closed(driver, client)
    client, _ = await log_in(driver, "juliet", "Random-2", is_new=False)
    session(driver, "Random-2").device_id = 7
    await said(driver, romeo, message(JULIET, "m1"))
    assert await app.nodes(1) == [], "the same one, by another resource"
    session(driver, "Random-2").device_id = 8
    await said(driver, romeo, message(JULIET, "m2"))
    assert await app.nodes(1) == ["node-1"], "another one"


@pytest.mark.parametrize("xml", DULL.values(), ids=DULL)
async def test_what_wakes_nobody(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient, xml: str
) -> None:
    await gone(driver, phone)
    await said(driver, romeo, xml.format(to=phone.jid), xml.format(to=JULIET))
    assert await app.nodes(5) == [], "while it hibernates"
    await driver.advance(86_500)
    await said(driver, romeo, xml.format(to=phone.jid), xml.format(to=JULIET))
    assert await app.nodes(5) == [], "while it is not there"
    await said(driver, romeo, message(JULIET, "m1"))
    assert await app.nodes(5) == ["node-1"], "a text does"


async def test_what_the_account_says_itself_wakes_none_of_its_devices(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await ask(phone, "<enable xmlns='urn:xmpp:carbons:2'/>")
    await gone(driver, phone)
    laptop, _ = await log_in(driver, "juliet", "laptop", is_new=False)
    await said(driver, laptop, message("romeo@chat.example", "m1"), message(JULIET, "to-herself"))
    assert await app.nodes(5) == []
    await said(driver, romeo, message(laptop.jid, "m2"))
    assert await app.nodes(5) == ["node-1"], "a copy of what comes to the laptop does"


async def test_who_is_blocked_wakes_nobody(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await ask(phone, "<block xmlns='urn:xmpp:blocking'><item jid='romeo@chat.example'/></block>")
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"), f"<message to='{JULIET}' type='chat'>{PROPOSE}</message>")
    assert await app.nodes(5) == []


async def test_what_cannot_be_fetched_wakes_nobody(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    """Archiving is off, and the laptop takes it: nothing is left for the phone."""
    await ask(phone, "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>")
    await closed(driver, phone)
    laptop, _ = await log_in(driver, "juliet", "laptop", is_new=False)
    await said(driver, romeo, message(JULIET, "m1"))
    assert await app.nodes(5) == []
    await closed(driver, laptop)
    await said(driver, romeo, message(JULIET, "m2"))
    assert await app.nodes(5) == ["node-1"], "it is stored until somebody comes"


async def test_what_is_refused_wakes_nobody(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    kernel = driver.server.kernel
    kernel.limits = kernel.limits.model_copy(update={"offline_messages": 0})
    await ask(phone, "<prefs xmlns='urn:xmpp:mam:2' default='never'><always/><never/></prefs>")
    await closed(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"))
    assert romeo.inbox[-1].get("type") == "error"
    assert await app.nodes(5) == []


async def test_accounts_without_devices_to_wake_cost_nothing(
    driver: MemoryDriver, romeo: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked(*arguments: object) -> None:
        raise AssertionError("nobody wants to know")

    monkeypatch.setattr(push_component, "importance_of", looked)
    monkeypatch.setattr("xmppchat.core.pipeline.Outcome", looked)
    juliet, _ = await log_in(driver, "juliet")
    await said(driver, romeo, message(JULIET, "m1"))
    await gone(driver, juliet)
    await said(driver, romeo, message(JULIET, "m2"))
    await driver.settle([])
    assert [one.name for one in romeo.inbox if one.name == "message"] == []


# --- a session that hibernates ----------------------------------------------------------------------------------------

async def test_a_session_that_hibernates_is_woken(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await gone(driver, phone)
    assert await app.nodes(5) == [], "it has all it was sent"
    await said(driver, romeo, message(JULIET, "m1"))
    assert await app.nodes(1) == ["node-1"]
    await said(driver, romeo, message(phone.jid, "m2"))
    assert await app.nodes(1) == ["node-1"], "each burst is a chance to get through"


async def test_what_was_under_way_when_the_connection_was_lost_wakes(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    phone.answers_requests = False
    await said(driver, romeo, message(JULIET, "m1"))
    await gone(driver, phone)
    assert await app.nodes(1) == ["node-1"]
    assert await app.nodes(60) == []


async def test_only_a_chat_state_was_under_way(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    phone.answers_requests = False
    await said(driver, romeo, DULL["a chat state"].format(to=JULIET))
    await gone(driver, phone)
    assert await app.nodes(5) == []


async def test_what_is_said_in_rooms_wakes_but_not_what_one_says_oneself(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient
) -> None:
    rooms = MemoryComponent(driver.server, "rooms.example")
    rooms.attach(SECRET)
    await said(driver, phone, f"<presence to='{ROOM}/jules'/>")
    await gone(driver, phone)
    for nick, inner in (("jules", BODY), ("nurse", "<subject>Tonight</subject>")):
        rooms.write(f"<message from='{ROOM}/{nick}' to='{phone.jid}' type='groupchat'>{inner}</message>")
        assert await app.nodes(5) == []
    rooms.write(f"<message from='{ROOM}/nurse' to='{phone.jid}' type='groupchat'>{BODY}</message>")
    await driver.settle([])
    assert await app.nodes(1) == ["node-1"]


async def test_who_resumes_is_not_woken(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    client, previd = await log_in(driver, "juliet")
    await enable(client)
    await gone(driver, client)
    await said(driver, romeo, message(JULIET, "m1"))
    back, answer = await resume(driver, "juliet", previd, 1)
    assert answer.name == "resumed"
    back.answers_requests = True
    back.handled = 1
    assert await app.nodes(5) == []
    await gone(driver, back)


# --- a connection with nobody at its other end ------------------------------------------------------------------------

async def test_who_does_not_acknowledge_is_woken_after_half_a_minute(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    phone.answers_requests = False
    await said(driver, romeo, message(JULIET, "m1"))
    for _ in range(15):
        assert await app.nodes(2) == []
    seen = [node for _ in range(3) for node in await app.nodes(2)]
    assert seen == ["node-1"]
    assert session(driver, "phone").output is not None
    await said(driver, romeo, message(JULIET, "m2"))
    seen = [node for _ in range(3) for node in await app.nodes(2)]
    assert seen == ["node-1"], "something new came meanwhile"
    seen = [node for _ in range(30) for node in await app.nodes(2)]
    assert seen == [], "the connection is given up, and what it did not acknowledge was told already"


async def test_who_acknowledges_late_is_left_in_peace(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    phone.answers_requests = False
    await said(driver, romeo, DULL["a chat state"].format(to=JULIET))
    seen = [node for _ in range(20) for node in await app.nodes(2)]
    assert seen == [], "nothing important"
    await acknowledge(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"))
    for _ in range(10):
        assert await app.nodes(2) == []
    await acknowledge(driver, phone)
    seen = [node for _ in range(30) for node in await app.nodes(2)]
    assert seen == []


# --- calls ------------------------------------------------------------------------------------------------------------

async def test_a_call_wakes_at_once_also_who_seems_to_be_there(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    call = f"<message to='{JULIET}' type='chat'>{PROPOSE}</message>"
    await said(driver, romeo, call)
    assert await app.nodes() == ["node-1"]
    assert await app.nodes(5) == []
    await gone(driver, phone)
    await said(driver, romeo, message(JULIET, "m1"), call)
    assert await app.nodes() == ["node-1"], "no second is waited for"
    assert await app.nodes(5) == [], "and the text shares it"


async def test_a_call_by_a_request_wakes(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await gone(driver, phone)
    await said(driver, romeo, (
        f"<iq type='set' id='1' to='{phone.jid}'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate'><content>"
        "<description xmlns='urn:xmpp:jingle:apps:rtp:1'/></content></jingle></iq>"
    ))
    assert await app.nodes() == ["node-1"]


async def test_calls_have_notifications_of_their_own(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await closed(driver, phone)
    seen = 0
    for second in range(120):
        await said(driver, romeo, message(JULIET, f"m{second}"))
        seen += len(await app.nodes(1))
    assert seen == 25, "what a burst may have"
    await said(driver, romeo, f"<message to='{JULIET}' type='chat'>{PROPOSE}</message>")
    assert await app.nodes() == ["node-1"]


async def test_at_most_sixty_in_an_hour_whatever_comes(
    driver: MemoryDriver, app: AppServer, phone: MemoryClient, romeo: MemoryClient
) -> None:
    await closed(driver, phone)
    times: list[float] = []
    for number in range(600):
        await said(driver, romeo, f"<message to='{JULIET}' type='chat'>{PROPOSE if number % 3 else BODY}</message>")
        times += [driver.clock.monotonic()] * len(await app.nodes(8))
    assert max(sum(begin <= at < begin + 3600 for at in times) for begin in times) <= 60
    assert len(times) > 60, "but it goes on"
    assert driver.server.kernel.limit_counters.counts["pushes_per_hour"] > 0
