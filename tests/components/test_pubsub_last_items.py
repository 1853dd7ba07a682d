"""The last items for who comes: once, what it asks for and may see, and no database where there is nothing to send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from pubsub_support import NODE, Client, befriend, component, condition, started

from xmppchat.core.limits import Limits
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
ASKS = f"{NODE}+notify"


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        names = () if drivers else ("romeo", "juliet", "nurse", "tybalt")
        drivers.append(await started(tmp_path, storage_url, *names, **options))
        return drivers[-1]

    yield start
    await drivers[-1].stop()


class CountingReader:
    """In place of the kernel's reader: counts the queries."""

    def __init__(self, driver: MemoryDriver) -> None:
        self._reader = driver.server.kernel.reader
        self.count = 0
        driver.server.kernel.reader = self
        driver.server.kernel.directory._reader = self
        component(driver)._payloads._reader = self

    async def fetch(self, *arguments: Any) -> Any:
        self.count += 1
        return await self._reader.fetch(*arguments)

    async def fetch_many(self, queries: Any) -> Any:
        self.count += len(queries)
        return await self._reader.fetch_many(queries)


async def test_a_login_reads_nothing_where_there_is_nothing_to_send(start: Start) -> None:
    """Logins are a hot path: neither who asks for nothing, nor who asks and has nothing, costs a query."""
    driver = await start()
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await befriend(juliet, romeo)
    await romeo.appear(ASKS)  # from now on it is known what these features are
    reader = CountingReader(driver)
    for features in (("urn:nothing",), (ASKS,)):
        phone = await Client.log_in(driver, "romeo", "phone")
        before = reader.count
        await phone.appear(*features)
        assert reader.count == before
        phone.client.write("</stream:stream>")
        await driver.settle(())
    assert await juliet.publish() == ""
    before = reader.count
    for resource in ("tablet", "laptop"):
        later = await Client.log_in(driver, "romeo", resource)
        before = reader.count
        await later.appear(ASKS)
        assert await later.events() == [("juliet", NODE, "item", "1")]
        assert reader.count == before, "what was published is remembered"


async def test_who_has_nodes_is_known_without_loading(start: Start) -> None:
    """After a restart nobody is in memory: of a login's contacts those are loaded that have something, together."""
    driver = await start()
    clients = {name: await Client.log_in(driver, name) for name in ("juliet", "nurse", "tybalt", "romeo")}
    for name in ("juliet", "nurse", "tybalt"):
        await befriend(clients[name], clients["romeo"])
    for name in ("juliet", "nurse"):
        assert await clients[name].publish(item=name) == ""
    await driver.stop()
    driver = await start()
    romeo = await Client.log_in(driver, "romeo")
    await romeo.appear(ASKS)
    assert sorted(await romeo.events()) == [("juliet", NODE, "item", "juliet"), ("nurse", NODE, "item", "nurse")]
    directory = driver.server.kernel.directory
    assert directory.find(f"tybalt@{driver.domain}") is None, "who has no nodes is not loaded for this"
    assert directory.find(f"nurse@{driver.domain}") is not None


async def test_once_for_each_presence_and_for_what_is_new(start: Start) -> None:
    driver = await start()
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await befriend(juliet, romeo)
    for node in (NODE, "urn:example:b", "urn:example:never"):
        assert await juliet.publish(node) == ""
    assert await juliet.configure("urn:example:never", send_last_published_item="on_sub") == ""
    await romeo.appear(ASKS, "urn:example:never+notify")
    assert await romeo.events() == [("juliet", NODE, "item", "1")]
    romeo.client.write("<presence><show>away</show></presence>")
    assert await romeo.events() == []
    await romeo.appear(ASKS, "urn:example:b+notify", "urn:example:never+notify")
    assert await romeo.events() == [("juliet", "urn:example:b", "item", "1")]
    romeo.client.write("<presence type='unavailable'/>")
    await romeo.events()
    assert await juliet.publish(item="2") == ""
    assert await romeo.events() == [], "XEP-0163 §4.3.3: only who is available"
    await romeo.appear(ASKS, "urn:example:b+notify", "urn:example:never+notify")
    assert sorted(await romeo.events()) == [("juliet", NODE, "item", "2"), ("juliet", "urn:example:b", "item", "1")]


async def test_who_is_let_in_gets_it_and_who_is_let_out_loses_it(start: Start) -> None:
    """XEP-0060 §13.2, XEP-0163 §7.1: a presence subscription, then a group of the roster."""
    driver = await start()
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await romeo.appear(ASKS)
    juliet.client.write("<presence/>")
    assert await juliet.publish() == ""
    assert condition(await romeo.ask("set", f"<subscribe node='{NODE}' jid='{romeo.bare}'/>", juliet.bare)) == (
        "not-authorized presence-subscription-required"
    )
    await romeo.events()
    romeo.client.write(f"<presence type='subscribe' to='{juliet.bare}'/>")
    await driver.settle(())
    juliet.client.write(f"<presence type='subscribed' to='{romeo.bare}'/>")
    assert await romeo.events() == [("juliet", NODE, "item", "1")]
    assert condition(await romeo.ask("set", f"<subscribe node='{NODE}' jid='{romeo.full}'/>", juliet.bare)) == ""
    assert await romeo.events() == [("juliet", NODE, "item", "1")]
    assert await juliet.publish(item="2") == ""
    assert await romeo.events() == [("juliet", NODE, "item", "2")], "one notification for two reasons"

    group = f"<query xmlns='jabber:iq:roster'><item jid='{romeo.bare}'><group>Friends</group></item></query>"
    assert await juliet.configure(access_model="roster", roster_groups_allowed="Friends") == ""
    assert await romeo.events() == [("juliet", NODE, "subscription", "")]
    assert await juliet.publish(item="3") == ""
    assert await romeo.events() == []
    assert condition(await juliet.request("set", group)) == ""
    assert await romeo.events() == [("juliet", NODE, "item", "3")]
    assert condition(await romeo.ask("set", f"<subscribe node='{NODE}' jid='{romeo.bare}'/>", juliet.bare)) == ""
    await romeo.events()
    assert condition(await juliet.request("set", group.replace("Friends", "Foes"))) == ""
    assert await romeo.events() == [("juliet", NODE, "subscription", "")]
    assert await romeo.items(to=juliet.bare) == "not-authorized not-in-roster-group"


async def test_own_clients_get_what_nobody_else_may_see(start: Start) -> None:
    driver = await start()
    phone, romeo = await Client.log_in(driver, "juliet", "phone"), await Client.log_in(driver, "romeo")
    await befriend(phone, romeo)
    assert await phone.publish(access_model="whitelist") == ""
    laptop = await Client.log_in(driver, "juliet", "laptop")
    for client in (laptop, romeo):
        await client.appear(ASKS)
    assert await laptop.events() == [("juliet", NODE, "item", "1")]
    assert await romeo.events() == []


async def test_whom_the_owner_blocks_gets_nothing(start: Start) -> None:
    """XEP-0163 §4.3.3: as he comes; and who blocks the owner hears nothing of it either (XEP-0191 §3.3)."""
    driver = await start()
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await befriend(juliet, romeo)
    await befriend(romeo, juliet)
    block = f"<block xmlns='{NS.BLOCKING}'><item jid='{{}}'/></block>"
    for blocker, blocked in ((juliet, romeo), (romeo, juliet)):
        assert await juliet.publish(access_model="open") == ""
        assert condition(await blocker.request("set", block.format(blocked.bare))) == ""
        await romeo.appear(ASKS)
        assert await juliet.publish(item="2") == ""
        assert await romeo.events() == []
        assert condition(await blocker.request("set", f"<unblock xmlns='{NS.BLOCKING}'/>")) == ""
        romeo.client.write("<presence type='unavailable'/>")
        await romeo.events()
    await romeo.appear(ASKS)
    assert await romeo.events() == [("juliet", NODE, "item", "2")]


async def test_what_a_client_causes_by_coming_is_on_its_account(start: Start) -> None:
    """reliability.md V-44: presence that comes and goes makes others' servers send; here the sender is slowed."""
    limits = Limits(account_fan_out_rate=1, account_fan_out_burst=30)
    driver = await start(limits=limits)
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await befriend(juliet, romeo)
    await romeo.appear(*(f"urn:n:{number}+notify" for number in range(20)))
    await romeo.events()
    for number in range(20):
        assert await juliet.publish(f"urn:n:{number}") == ""
    assert len(await romeo.events()) == 20
    rates = driver.server.kernel.directory.find(romeo.bare).rates
    assert rates is not None
    before = rates._fan_out._level
    romeo.client.write("<presence type='unavailable'/>")
    await romeo.events()
    await romeo.appear(*(f"urn:n:{number}+notify" for number in range(20)))
    assert len(await romeo.events()) == 20
    assert rates._fan_out._level <= before - 20


async def test_a_resumed_session_is_not_told_again(start: Start) -> None:
    """After a planned restart a session that waited has what there is (XEP-0198 §5)."""
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    assert await juliet.publish(access_model="whitelist") == ""
    phone = await Client.log_in(driver, "juliet", "phone")
    phone.client.write("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
    await phone.appear(ASKS)
    assert await phone.events() == [("juliet", NODE, "item", "1")]
    await phone.client.vanish()
    await driver.settle(())
    await driver.stop()
    driver = await start()
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    (session,) = account.sessions.values()
    assert component(driver)._last_items._told == {session: frozenset({NODE})}
