"""Nodes of accounts at rest: limits (27, 28), what a restart keeps, what a refusal changes, export, deletion."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from disk_support import FullDisk, SlowDisk, until
from pubsub_support import NODE, Client, befriend, component, condition, started
from sqlalchemy import select, update

from xmppchat.components.pubsub.config import DEFAULT, FIELDS, NodeConfig
from xmppchat.components.pubsub.nodes import NODES, PENDING
from xmppchat.core.limits import Limits
from xmppchat.jid import JID
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
TABLES = (schema.pubsub_nodes, schema.pubsub_items, schema.pubsub_entities)


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        names = () if drivers else ("romeo", "juliet", "tybalt")
        drivers.append(await started(tmp_path, storage_url, *names, **options))
        return drivers[-1]

    yield start
    await drivers[-1].stop()


async def assert_memory_is_disk(driver: MemoryDriver) -> None:
    """What decisions are made on is what a fresh load would give."""
    kernel = driver.server.kernel
    await driver.settle(())
    for account in kernel.directory.accounts():
        if account.exists:
            rows = await kernel.reader.fetch(NODES.statement, {"accounts": [account.id]})
            found, pending = account[NODES], account[PENDING]
            fresh = NODES.build(account, rows)
            assert found == fresh
            assert [list(node.items) for node in found.values()] == [list(fresh[name].items) for name in found]
            assert found.size == fresh.size
            assert pending == account[PENDING]


async def rows(driver: MemoryDriver) -> list[int]:
    return [len(await driver.server.kernel.reader.fetch(select(table))) for table in TABLES]


def test_every_field_of_the_form_is_a_field_of_the_configuration() -> None:
    assert list(FIELDS) == list(NodeConfig.__dataclass_fields__)
    assert DEFAULT.to_json() == "{}"
    other = NodeConfig(access_model="roster", roster_groups_allowed=("a", "b"), max_items=0, notify_sub=True)
    assert NodeConfig.from_json(other.to_json()) == other
    assert NodeConfig.from_json('{"of_a_later_version": 1, "title": "x"}') == NodeConfig(title="x")


async def test_what_profanity_needs_to_publish_keys_for_everybody(start: Start) -> None:
    """It adds itself to a list that is not there by a number, and asks the domain for publish-options."""
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    missing = (await juliet.ask("get", f"<items node='{NODE}'/>", juliet.bare)).find("error")
    assert missing is not None
    assert missing.get("code") == "404"
    assert missing.find("item-not-found", NS.STANZA_ERROR) is not None
    answer = await juliet.request("get", f"<query xmlns='{NS.DISCO_INFO}'/>", driver.domain)
    info = answer.find("query", NS.DISCO_INFO)
    assert info is not None
    assert NS.PUBSUB_OPTIONS in [feature.get("var") for feature in info.find_all("feature")]


async def test_what_is_left_blank_says_nothing(start: Start) -> None:
    """As a condition it cannot be met (V-53), in a configuration it changes nothing."""
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    for name in ("access_model", "max_items", "max_payload_size", "send_last_published_item"):
        assert await juliet.publish(**{name: ""}) == "bad-request invalid-options", name
    assert await juliet.publish(persist_items="") == "not-acceptable", "neither yes nor no"
    assert await juliet.items() == "item-not-found"
    assert await juliet.publish(access_model="whitelist", max_items="7", title="x", persist_items="true") == ""
    assert await juliet.configure(access_model="", max_items="", title="") == ""
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    assert account[NODES][NODE].config == NodeConfig(access_model="whitelist", max_items=7)


async def test_limits_are_told_by_name_and_counted(start: Start) -> None:
    """reliability.md, limits 27 and 28."""
    limits = Limits(
        profile="test", pubsub_payload_bytes=1_024, pubsub_nodes=3, pubsub_items=4, pubsub_bytes=3_600,
        pubsub_entities=2,
    )
    driver = await start(limits=limits)
    fired = driver.server.kernel.limit_counters.counts
    juliet, tybalt = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "tybalt")
    empty = len("<a xmlns='urn:example:a'></a>")
    assert await juliet.publish(text="x" * (1_025 - empty)) == "not-acceptable payload-too-big"
    assert fired["pubsub_payload_bytes"] == 1
    assert await juliet.items() == "item-not-found", "a refused publication makes no node"
    assert await juliet.publish(text="x" * (1_024 - empty), access_model="open", max_items="max") == ""
    for item in "234":
        assert await juliet.publish(item=item) == ""
    assert fired["pubsub_items"] == 0
    assert await juliet.publish(item="5") == ""
    assert fired["pubsub_items"] == 1
    found = await juliet.items()
    assert list(found) == ["2", "3", "4", "5"]
    for node in "bc":
        assert await juliet.publish(node) == ""
    assert await juliet.publish("d") == "resource-constraint"
    assert condition(await juliet.ask("set", "<create node='d'/>")) == "resource-constraint"
    assert fired["pubsub_nodes"] == 2
    big = "x" * (1_000 - empty)
    assert await juliet.publish("b", text=big) == ""
    assert await juliet.publish("c", text=big) == "resource-constraint"
    assert fired["pubsub_bytes"] == 1
    assert await juliet.publish("b", text=big[:-1]) == "", "what is replaced does not count"
    for resource in "12":
        jid = f"{tybalt.bare}/{resource}"
        assert condition(await tybalt.ask("set", f"<subscribe node='{NODE}' jid='{jid}'/>", juliet.bare)) == ""
    answer = await tybalt.ask("set", f"<subscribe node='{NODE}' jid='{tybalt.bare}'/>", juliet.bare)
    assert condition(answer) == "policy-violation too-many-subscriptions"
    assert fired["pubsub_entities"] == 1
    await assert_memory_is_disk(driver)


async def test_a_lowered_limit_lets_things_shrink(start: Start) -> None:
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    for item in "1234":
        assert await juliet.publish(item=item, text="x" * 900, max_items="10") == ""
    await driver.stop()
    driver = await start(limits=Limits(profile="test", pubsub_bytes=2_000, pubsub_items=3))
    juliet = await Client.log_in(driver, "juliet")
    assert await juliet.publish(item="4", text="x" * 800) == "", "smaller, and with fewer others"
    assert list(await juliet.items()) == ["2", "3", "4"]
    assert await juliet.publish("other") == "resource-constraint"


async def test_a_restart_keeps_everything(start: Start) -> None:
    driver = await start()
    juliet, tybalt = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "tybalt")
    for item in ("a", "b", "c", "a"):
        assert await juliet.publish(item=item, text=item, access_model="open", max_items="max") == ""
    assert condition(await tybalt.ask("set", f"<subscribe node='{NODE}' jid='{tybalt.full}'/>", juliet.bare)) == ""
    asked = f"<affiliations node='{NODE}'><affiliation jid='{tybalt.bare}' affiliation='publisher'/></affiliations>"
    assert condition(await juliet.ask("set", asked, owner=True)) == ""
    assert await juliet.configure(title="Ménage", notify_retract="0") == ""
    assert await juliet.publish("secret", access_model="authorize") == ""
    assert condition(await tybalt.ask("set", f"<subscribe node='secret' jid='{tybalt.bare}'/>", juliet.bare)) == ""
    await assert_memory_is_disk(driver)
    await driver.stop()
    driver = await start()
    juliet, tybalt = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "tybalt")
    assert await tybalt.items(to=juliet.bare) == {"b": "b", "c": "c", "a": "a"}
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    node = account[NODES][NODE]
    assert (node.config.title, node.config.notify_retract, node.config.max_items) == ("Ménage", False, 0)
    assert (node.affiliations, node.subscriptions) == ({tybalt.bare: "publisher"}, {tybalt.full: "subscribed"})
    assert account[PENDING] == {("secret", tybalt.bare)}
    assert await tybalt.publish(item="d", text="d", to=juliet.bare) == ""
    assert list(await tybalt.items(to=juliet.bare)) == ["b", "c", "a", "d"], "ids go on where they were"


async def test_what_could_not_be_stored_is_not_there(start: Start) -> None:
    driver = await start()
    kernel = driver.server.kernel
    juliet = await Client.log_in(driver, "juliet")
    assert await juliet.publish() == ""
    writer, kernel.gate._writer = kernel.gate._writer, FullDisk(driver)
    assert await juliet.publish(text="2") == "resource-constraint"
    assert await juliet.publish("other") == "resource-constraint"
    assert condition(await juliet.ask("set", f"<delete node='{NODE}'/>", owner=True)) == "resource-constraint"
    kernel.gate._writer = writer
    assert await juliet.items() == {"1": "1"}
    assert await juliet.items("other") == "item-not-found"
    await assert_memory_is_disk(driver)


async def test_nothing_is_told_before_it_is_on_disk(start: Start) -> None:
    driver = await start()
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await romeo.appear(f"{NODE}+notify")
    await juliet.appear("urn:nothing")
    await befriend(juliet, romeo)
    await juliet.events(), await romeo.events()
    disk = SlowDisk(driver)
    juliet.client.write(
        f"<iq type='set' id='p'><pubsub xmlns='{NS.PUBSUB}'><publish node='{NODE}'>"
        f"<item id='1'><a xmlns='urn:x'/></item></publish></pubsub></iq>"
    )
    romeo.client.write(
        f"<iq type='get' id='g' to='{juliet.bare}'><pubsub xmlns='{NS.PUBSUB}'><items node='{NODE}'/></pubsub></iq>"
    )
    await until(lambda: len(disk._tickets) == 1)
    for _ in range(50):
        await asyncio.sleep(0)
    too_early = [*juliet.client.inbox, *romeo.client.inbox]
    disk.go_on()
    assert too_early == []
    await driver.settle(())
    assert [one.get("id") for one in juliet.client.inbox] == ["p"]
    assert {one.name for one in romeo.client.inbox} == {"iq", "message"}


async def test_a_get_behind_a_publication_sees_it(start: Start) -> None:
    """Stanzas of one client are handled in order (RFC 6120 §10.1), though the one waits for the disk."""
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    for number in range(20):
        juliet.client.write(
            f"<iq type='set' id='p{number}'><pubsub xmlns='{NS.PUBSUB}'><publish node='{NODE}'><item id='1'>"
            f"<a xmlns='urn:x'>{number}</a></item></publish></pubsub></iq>"
            f"<iq type='get' id='g{number}'><pubsub xmlns='{NS.PUBSUB}'><items node='{NODE}'/></pubsub></iq>"
        )
    await driver.settle(())
    answers = {one.get("id"): one.to_xml() for one in juliet.client.inbox}
    for number in range(20):
        # A later publication may have replaced it meanwhile; an earlier one is never seen, nor none.
        assert any(f">{later}<" in answers[f"g{number}"] for later in range(number, 20))


async def test_what_is_replaced_while_it_is_read_is_not_missing(start: Start) -> None:
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    large = "x" * 20_000  # too large to be remembered
    for number in range(20):
        juliet.client.write(
            f"<iq type='set' id='p{number}'><pubsub xmlns='{NS.PUBSUB}'><publish node='{NODE}'><item id='{number}'>"
            f"<a xmlns='urn:x'>{large}</a></item></publish></pubsub></iq>"
            f"<iq type='get' id='g{number}'><pubsub xmlns='{NS.PUBSUB}'><items node='{NODE}'/></pubsub></iq>"
        )
    await driver.settle(())
    answers = [one for one in juliet.client.inbox if one.get("id").startswith("g")]
    assert all(large in one.to_xml() for one in answers)


async def test_ids_of_an_archive_inside_a_payload_stay(start: Start) -> None:
    """A read mark (XEP-0490) is an id of the owner's archive; elsewhere such an id would be a forgery (V-27)."""
    driver = await start()
    phone, laptop = await Client.log_in(driver, "juliet", "phone"), await Client.log_in(driver, "juliet", "laptop")
    await laptop.appear("urn:xmpp:mds:displayed:0+notify")
    await laptop.events()
    mark = f"<stanza-id xmlns='urn:xmpp:sid:0' by='{phone.bare}' id='123'/>"
    payload = f"<displayed xmlns='urn:xmpp:mds:displayed:0'>{mark}</displayed>"
    inner = f"<publish node='urn:xmpp:mds:displayed:0'><item id='{phone.bare}'>{payload}</item></publish>"
    assert condition(await phone.ask("set", inner)) == ""
    await driver.settle(())
    (message,) = [one for one in laptop.client.inbox if one.name == "message"]
    assert "id='123'" in message.to_xml()


async def test_a_damaged_row_is_left_out(start: Start) -> None:
    driver = await start()
    kernel = driver.server.kernel
    juliet = await Client.log_in(driver, "juliet")
    for item in "12":
        assert await juliet.publish(item=item, max_items="2") == ""
    turn = kernel.new_turn()
    damage = update(schema.pubsub_items).where(schema.pubsub_items.c.item_id == "1").values(xml="<a xmlns='u'><b></a>")
    turn.write(None, damage, {})
    await kernel.settled(turn)
    component(driver)._payloads._known.clear()
    assert await juliet.items() == {"2": "1"}


async def test_export_is_all_of_it_and_deletion_leaves_nothing(start: Start) -> None:
    """XEP-0227 §4.10."""
    driver = await start()
    kernel = driver.server.kernel
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    for owner, other in ((juliet, romeo), (romeo, juliet)):
        assert await owner.publish(access_model="open") == ""
        asked = f"<affiliations node='{NODE}'><affiliation jid='{other.bare}' affiliation='member'/></affiliations>"
        assert condition(await owner.ask("set", asked, owner=True)) == ""
        for jid in (other.full, other.bare):
            assert condition(await other.ask("set", f"<subscribe node='{NODE}' jid='{jid}'/>", owner.bare)) == ""
    account = await kernel.directory.get(JID.parse(juliet.bare))
    about, contents = await component(driver).export(account)
    assert about.namespace == NS.PUBSUB_OWNER
    assert [one.name for one in about.elements()] == ["configure", "affiliations", "subscriptions"]
    assert "<field var='pubsub#access_model'><value>open</value></field>" in about.to_xml()
    assert contents.to_xml() == (
        f"<pubsub xmlns='{NS.PUBSUB}'><items node='{NODE}'><item id='1'><a xmlns='urn:example:a'>1</a></item></items>"
        f"</pubsub>"
    )
    assert await rows(driver) == [2, 2, 4]
    await driver.server.execute("user delete", {"jid": juliet.bare})
    await driver.settle(())
    assert await rows(driver) == [1, 1, 0], "what juliet was to romeo's node is gone, too"
    romeos = await kernel.directory.get(JID.parse(romeo.bare))
    assert (romeos[NODES][NODE].affiliations, romeos[NODES][NODE].subscriptions) == ({}, {})
    nobody = await kernel.directory.get(JID.parse(f"tybalt@{driver.domain}"))
    assert await component(driver).export(nobody) == []
    await assert_memory_is_disk(driver)


async def test_reconfiguring_takes_away_what_is_too_much(start: Start) -> None:
    driver = await start()
    juliet, tybalt = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "tybalt")
    for item in "123":
        assert await juliet.publish(item=item, text=item, access_model="open", max_items="3") == ""
    assert condition(await tybalt.ask("set", f"<subscribe node='{NODE}' jid='{tybalt.bare}'/>", juliet.bare)) == ""
    assert await juliet.configure(max_items="2") == ""
    assert await juliet.items() == {"2": "2", "3": "3"}
    await tybalt.events()
    assert await juliet.configure(access_model="whitelist") == ""
    tybalt.client.write("<presence/>")
    assert await tybalt.events() == []
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    assert account[NODES][NODE].subscriptions == {}, "XEP-0163 §7.1: the service MUST cancel the entity's subscription"
    assert await juliet.configure(persist_items="0") == ""
    assert account[NODES][NODE].items == {}
    assert await rows(driver) == [1, 0, 0]
    await assert_memory_is_disk(driver)


async def test_what_is_told_depends_on_the_configuration(start: Start) -> None:
    """XEP-0060 §7.1.2.2, §7.1.2.3, §8.2.5.3, §17.4.4."""
    driver = await start()
    juliet, tybalt = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "tybalt")
    for client in (juliet, tybalt):
        client.client.write("<presence/>")
    assert await juliet.publish(access_model="open", send_last_published_item="never", notify_sub="1") == ""
    await juliet.events()
    subscribe = f"subscribe node='{NODE}' jid='{tybalt.bare}'"
    assert condition(await tybalt.ask("set", f"<{subscribe}/>", juliet.bare)) == ""
    assert await juliet.events() == [("juliet", NODE, "subscription", "")], "notify_sub"
    assert await juliet.configure(notify_config="1", itemreply="publisher") == ""
    await driver.settle(())
    assert "<field var='pubsub#itemreply'><value>publisher</value>" in tybalt.client.inbox[-1].to_xml()
    assert await tybalt.events() == [("juliet", NODE, "configuration", "")], "notify_config"
    assert await juliet.publish(item="2") == ""
    await driver.settle(())
    assert f"publisher='{juliet.bare}'" in tybalt.client.inbox[-1].to_xml()
    assert f"publisher='{juliet.bare}'" in (await juliet.ask("get", f"<items node='{NODE}'/>")).to_xml()
    await tybalt.events()
    assert await juliet.configure(deliver_payloads="0", notify_config="0", type="urn:example:a") == ""
    assert await juliet.publish(item="3") == ""
    await driver.settle(())
    (message,) = tybalt.client.inbox
    assert "urn:example:a'>3" not in message.to_xml()
    assert await tybalt.events() == [("juliet", NODE, "item", "3")]
    other = f"<publish node='{NODE}'><item><b xmlns='urn:example:b'/></item></publish>"
    assert condition(await juliet.ask("set", other)) == "bad-request invalid-payload"
    assert await juliet.configure(deliver_notifications="0") == ""
    assert await juliet.publish(item="4") == ""
    assert await tybalt.events() == []
    assert await juliet.configure(deliver_notifications="1", persist_items="0") == ""
    assert condition(await juliet.ask("set", other)) == "bad-request item-forbidden"
    assert condition(await juliet.ask("set", f"<publish node='{NODE}'/>")) == ""
    assert await tybalt.events() == [("juliet", NODE, "items", "")], "XEP-0060 §4.3: an empty <items/>"
    await assert_memory_is_disk(driver)


async def test_publishers_are_those_the_owner_wants(start: Start) -> None:
    """XEP-0060 §4.1, `publish_model` of §17.4.4."""
    driver = await start()
    juliet, tybalt = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "tybalt")
    assert await juliet.publish(access_model="open", max_items="9") == ""
    assert await tybalt.publish(item="t", to=juliet.bare) == "forbidden"
    assert await tybalt.publish("urn:new", to=juliet.bare) == "forbidden", "nor does anybody else make nodes"
    assert await juliet.configure(publish_model="subscribers") == ""
    assert await tybalt.publish(item="t", to=juliet.bare) == "forbidden"
    assert condition(await tybalt.ask("set", f"<subscribe node='{NODE}' jid='{tybalt.bare}'/>", juliet.bare)) == ""
    assert await tybalt.publish(item="t", to=juliet.bare) == ""
    retract = f"<retract node='{NODE}'><item id='{{}}'/></retract>"
    assert condition(await tybalt.ask("set", retract.format("1"), juliet.bare)) == "forbidden"
    assert condition(await tybalt.ask("set", retract.format("t"), juliet.bare)) == "", "one's own"
    outcast = f"<affiliations node='{NODE}'><affiliation jid='{tybalt.bare}' affiliation='outcast'/></affiliations>"
    assert condition(await juliet.ask("set", outcast, owner=True)) == ""
    assert await juliet.configure(publish_model="open") == ""
    assert await tybalt.publish(item="t", to=juliet.bare) == "forbidden"
    assert await tybalt.items(to=juliet.bare) == "forbidden"
    only = outcast.replace("'outcast'", "'publish-only'")
    assert condition(await juliet.ask("set", only, owner=True)) == ""
    assert await tybalt.publish(item="t", to=juliet.bare) == ""
    assert await tybalt.items(to=juliet.bare) == "forbidden"
    assert await juliet.items() == {"1": "1", "t": "1"}
    await assert_memory_is_disk(driver)
