"""Registrations and what lives with them: limits, accounts, passwords, sessions that wait longer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from push_support import (
    APP,
    JULIET,
    OTHER_APP,
    SECRET,
    account,
    ask,
    attached,
    command,
    disable,
    enable,
    gone,
    registrations,
    session,
)
from stream_management_support import connect, log_in, message, resume

from xmppchat.core import events
from xmppchat.core.services import PushService
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver

COMPONENTS = {APP: SECRET, OTHER_APP: SECRET}


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, external_components=COMPONENTS)
    await driver.start()
    yield driver
    await driver.stop()


@pytest.fixture
async def phone(driver: MemoryDriver) -> MemoryClient:
    client, _ = await log_in(driver, "juliet")
    return client


async def nodes(driver: MemoryDriver) -> list[str]:
    return [one.node for one in await registrations(driver)]


def condition(answer: object) -> str:
    found = answer.find("error", "jabber:client")  # type: ignore[attr-defined]
    return next(found.elements()).name if found is not None else ""


# --- enabling ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("attributes", "inner", "wanted"), [
    ("", "", "bad-request"),
    ("jid=''", "", "bad-request"),
    ("jid='@@'", "", "jid-malformed"),
    ("jid='juliet@chat.example'", "", "not-allowed"),
    ("jid='juliet@chat.example/phone'", "", "not-allowed"),
    ("jid='CHAT.example'", "", "not-allowed"),
    ("jid='push.app.example'", "<x xmlns='jabber:x:data' type='submit'/>", "bad-request"),
    ("jid='push.app.example'", "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:x</value>"
                               "</field></x>", "bad-request"),
    ("jid='push.app.example'", "<more xmlns='urn:tigase:push'/>", ""),
    (f"jid='push.app.example' node='{'n' * 2_544}'", "", ""),
    (f"jid='push.app.example' node='{'n' * 2_545}'", "", "policy-violation"),
    (f"jid='push.app.example' node='{'ä' * 1_273}'", "", "policy-violation"),
])  # fmt: skip
async def test_what_may_be_enabled(
    driver: MemoryDriver, phone: MemoryClient, attributes: str, inner: str, wanted: str
) -> None:
    answer = await ask(phone, f"<enable xmlns='urn:xmpp:push:0' {attributes}>{inner}</enable>")
    assert condition(answer) == wanted
    assert len(await nodes(driver)) == (not wanted)
    assert driver.server.kernel.limit_counters.counts["push_bytes"] == (wanted == "policy-violation")


async def test_others_enable_nothing(driver: MemoryDriver, phone: MemoryClient) -> None:
    mallory, _ = await log_in(driver, "mallory")
    mallory.write(f"<iq type='set' id='1' to='{JULIET}'><enable xmlns='urn:xmpp:push:0' jid='{APP}' node='n'/></iq>")
    answer = await mallory.take(lambda element: element.get("id") == "1")
    assert condition(answer) == "service-unavailable"
    assert await nodes(driver) == []


async def test_the_last_request_for_a_node_counts(driver: MemoryDriver, phone: MemoryClient) -> None:
    form = (
        "<x xmlns='jabber:x:data'><field var='FORM_TYPE'><value>http://jabber.org/protocol/pubsub#publish-options"
        "</value></field><field var='secret'><value>{}</value></field></x>"
    )
    await enable(phone, options=form.format("old"))
    await enable(phone, "node-2")
    await driver.advance(1)
    laptop, _ = await log_in(driver, "juliet", "laptop", is_new=False)
    await enable(laptop, options=form.format("new"))
    first, last = await registrations(driver)
    assert (first.node, last.node, last.resource) == ("node-2", "node-1", "laptop")
    assert "new" in last.options
    assert "old" not in last.options
    await enable(laptop)
    assert (await registrations(driver))[-1].options == "", "and if it brings none, there are none"


async def test_one_more_device_than_there_may_be(driver: MemoryDriver, phone: MemoryClient) -> None:
    for number in range(10):
        await enable(phone, f"n{number}")
        await driver.advance(1)
    await enable(phone, "n0")
    await enable(phone, "n10")
    assert await nodes(driver) == [*(f"n{number}" for number in range(2, 10)), "n0", "n10"], "n1 was oldest"
    (await registrations(driver))[5].disabled_at = 1
    await enable(phone, "n11")
    assert "n7" not in await nodes(driver), "what is over makes room first"
    assert len(await nodes(driver)) == 10
    assert driver.server.kernel.limit_counters.counts["push_devices"] == 2


async def test_disabling(driver: MemoryDriver, phone: MemoryClient) -> None:
    for node in ("a", "b", "c"):
        await enable(phone, node)
    await enable(phone, "d", app=OTHER_APP)
    assert (await disable(phone, "b")).get("type") == "result"
    assert await nodes(driver) == ["a", "c", "d"]
    assert (await disable(phone, "b")).get("type") == "result", "it is not enabled, as was wanted"
    assert (await disable(phone)).get("type") == "result"
    assert await nodes(driver) == ["d"]
    assert condition(await disable(phone, app="")) == "bad-request"


# --- the service ends it (§8) -----------------------------------------------------------------------------------------

@pytest.mark.parametrize(("sender", "node", "affiliation", "wanted"), [
    (APP, "a", f"jid='{JULIET}' affiliation='none'", ["b"]),
    (APP, "a", "jid='chat.example' affiliation='none'", ["b"]),
    (APP, "a", f"jid='{JULIET}' affiliation='publish-only'", ["a", "b"]),
    (APP, "a", "jid='romeo@chat.example' affiliation='none'", ["a", "b"]),
    (APP, "z", f"jid='{JULIET}' affiliation='none'", ["a", "b"]),
    (f"mallory@{APP}", "a", f"jid='{JULIET}' affiliation='none'", ["a", "b"]),
    (OTHER_APP, "a", f"jid='{JULIET}' affiliation='none'", ["a", "b"]),
])  # fmt: skip
async def test_a_push_service_ends_it(
    driver: MemoryDriver, phone: MemoryClient, sender: str, node: str, affiliation: str, wanted: list[str]
) -> None:
    for one in ("a", "b"):
        await enable(phone, one)
    service = MemoryComponent(driver.server, sender.rpartition("@")[2])
    service.attach(SECRET)
    await driver.settle([])
    phone.inbox.clear()
    service.write(
        f"<message from='{sender}' to='{JULIET}'><pubsub xmlns='http://jabber.org/protocol/pubsub' node='{node}'>"
        f"<affiliation {affiliation}/></pubsub></message>"
    )
    await driver.settle([])
    assert [one.node for one in await registrations(driver) if not one.disabled_at] == wanted
    told = [one for one in phone.inbox if one.name == "message"]
    assert len(told) == (len(wanted) == 2), "what the server takes is for nobody else"
    if len(wanted) == 1:
        shown = await command(driver, "push status", jid=JULIET)
        assert "wants no more" in shown[0]["state"]
        await disable(phone, "b")
        [outcome] = await command(driver, "push test", jid=JULIET)
        assert outcome["outcome"].startswith("not tried")


# --- accounts, devices, passwords -------------------------------------------------------------------------------------

async def test_they_go_with_a_device_that_is_revoked(driver: MemoryDriver, phone: MemoryClient) -> None:
    session(driver, "phone").device_id = 7
    await enable(phone, "a")
    session(driver, "phone").device_id = 8
    await enable(phone, "b")
    session(driver, "phone").device_id = 0
    await enable(phone, "c")
    kernel = driver.server.kernel
    turn = kernel.new_turn()
    kernel.emit(events.DeviceRevoked(account(driver), 7, turn))
    await kernel.settled(turn)
    assert await nodes(driver) == ["b", "c"]
    turn = kernel.new_turn()
    kernel.services.get(PushService).forget_device(account(driver), 0, turn)
    kernel.services.get(PushService).forget_device(account(driver), 8, turn)
    await kernel.settled(turn)
    assert await nodes(driver) == ["c"]


async def test_a_new_password_leaves_only_the_device_that_set_it(driver: MemoryDriver, phone: MemoryClient) -> None:
    laptop, _ = await log_in(driver, "juliet", "laptop", is_new=False)
    await enable(phone, "of-the-phone")
    await enable(laptop, "of-the-laptop")
    laptop.write("<iq type='set' id='p' to='chat.example'><query xmlns='jabber:iq:register'><username>juliet</username>"
                 "<password>another secret</password></query></iq>")
    assert (await laptop.take(lambda element: element.get("id") == "p")).get("type") == "result"
    assert await nodes(driver) == ["of-the-laptop"]
    await command(driver, "user passwd", jid=JULIET, password="a third secret")
    assert await nodes(driver) == []


async def test_who_may_not_log_in_is_not_woken(driver: MemoryDriver, phone: MemoryClient) -> None:
    app = await attached(driver)
    romeo, _ = await log_in(driver, "romeo", resume=False)
    await enable(phone)
    await command(driver, "user disable", jid=JULIET)
    romeo.write(message(JULIET, "m"))
    assert await app.nodes(5) == []


# --- sessions wait longer (limit 21) ----------------------------------------------------------------------------------

async def test_who_is_woken_has_a_day_to_come_back(driver: MemoryDriver) -> None:
    client, previd = await log_in(driver, "juliet")
    await enable(client)
    await gone(driver, client)
    await driver.advance(86_390)
    await driver.settle([])
    _, answer = await resume(driver, "juliet", previd, 1)
    assert answer.name == "resumed"


@pytest.mark.parametrize("wish", ["none", "disabled", "other device", "short"])
async def test_who_is_not_woken_has_ten_minutes(driver: MemoryDriver, wish: str) -> None:
    await driver.create_account("juliet", "secret")
    client = await connect(driver, "juliet")
    await client.bind("phone")
    most = " max='600'" if wish != "short" else " max='599'"
    client.write(f"<enable xmlns='urn:xmpp:sm:3' resume='true'{most}/>")
    previd = (await client.take(lambda element: element.name == "enabled")).get("id")
    if wish != "none":
        await enable(client)
    [*found] = await registrations(driver)
    if wish == "disabled":
        found[0].disabled_at = 1
    elif wish == "other device":
        found[0].resource = "laptop"
    await gone(driver, client)
    await driver.advance(601)
    await driver.settle([])
    _, answer = await resume(driver, "juliet", previd, 1)
    assert answer.name == "failed"


async def test_what_wakes_a_device_is_not_shown(driver: MemoryDriver, phone: MemoryClient) -> None:
    await enable(phone)
    [registration] = await registrations(driver)
    assert "node-1" not in repr(registration)
