"""A pubsub service at its own address: at rest, at its limits, when owners go, and as a domain beside the hosts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from command_support import two_hosts
from component_support import SECRET
from disk_support import FullDisk
from pubsub_support import NODE, Client, condition, started
from sqlalchemy import select
from test_pubsub import assert_memory_is_disk

from xmppchat.components.pubsub.nodes import NODES, Nodes
from xmppchat.core.commands import CommandError
from xmppchat.core.limits import Limits
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
SERVICE = "pubsub.chat.example"
TABLES = (schema.pubsub_services, schema.pubsub_nodes, schema.pubsub_items, schema.pubsub_entities)


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        names = () if drivers else ("romeo", "juliet", "tybalt")
        drivers.append(await started(tmp_path, storage_url, *names, **options))
        return drivers[-1]

    yield start
    await drivers[-1].stop()


async def log_in(driver: MemoryDriver) -> tuple[Client, Client, Client]:
    juliet, romeo, tybalt = [await Client.log_in(driver, name) for name in ("juliet", "romeo", "tybalt")]
    return juliet, romeo, tybalt


def nodes_of(driver: MemoryDriver, service: str = SERVICE) -> Nodes:
    account = driver.server.kernel.directory.peek(service)
    assert account is not None
    return account[NODES]


async def create(client: Client, node: str = NODE, service: str = SERVICE) -> str:
    return condition(await client.ask("set", f"<create node='{node}'/>", service))


async def listed(client: Client, inner: str = "", service: str = SERVICE) -> tuple[list[str], Element | None]:
    answer = await client.request("get", f"<query xmlns='{NS.DISCO_ITEMS}'>{inner}</query>", service)
    query = answer.find("query", NS.DISCO_ITEMS)
    assert query is not None, answer
    return [item.get("node") for item in query.find_all("item")], query.find("set", NS.RSM)


async def rows(driver: MemoryDriver) -> list[int]:
    return [len(await driver.server.kernel.reader.fetch(select(table))) for table in TABLES]


async def test_a_restart_keeps_everything(start: Start) -> None:
    driver = await start()
    juliet, romeo, tybalt = await log_in(driver)
    assert await create(juliet) == ""
    for item in "123":
        assert await juliet.publish(item=item, text=item, to=SERVICE) == ""
    assert await juliet.configure(to=SERVICE, title="News", notify_retract="0") == ""
    assert await juliet.affiliate(SERVICE, romeo="owner", tybalt="publisher") == ""
    assert await tybalt.subscribe(SERVICE) == ""
    assert await tybalt.subscribe(SERVICE, jid=tybalt.full) == ""
    before = nodes_of(driver)[NODE]
    await assert_memory_is_disk(driver)
    await driver.stop()
    driver = await start()
    assert nodes_of(driver)[NODE] == before, "loaded at the start"
    juliet, romeo, tybalt = await log_in(driver)
    assert before.creator == juliet.bare
    assert await romeo.configure(to=SERVICE, title="Ours") == ""
    assert await tybalt.items(to=SERVICE) == {"1": "1", "2": "2", "3": "3"}
    tybalt.client.write("<presence/>")
    await tybalt.events()
    assert await tybalt.publish(item="4", to=SERVICE) == ""
    assert await tybalt.events() == [(SERVICE, NODE, "item", "4")] * 2, "to the bare address, and to this client"
    assert await rows(driver) == [1, 1, 4, 4]
    await assert_memory_is_disk(driver)


async def test_what_could_not_be_stored_is_not_there(start: Start) -> None:
    driver = await start()
    kernel = driver.server.kernel
    juliet = await Client.log_in(driver, "juliet")
    assert await create(juliet) == ""
    writer, kernel.gate._writer = kernel.gate._writer, FullDisk(driver)
    assert await juliet.publish(to=SERVICE) == "resource-constraint"
    assert await create(juliet, "other") == "resource-constraint"
    kernel.gate._writer = writer
    assert await juliet.items(to=SERVICE) == {}
    assert await juliet.items("other", to=SERVICE) == "item-not-found"
    await assert_memory_is_disk(driver)


async def test_who_is_deleted_is_nothing_to_any_node(start: Start) -> None:
    """What had no other owner goes, and is told of; the creator of another one is nobody any more."""
    driver = await start()
    juliet, romeo, tybalt = await log_in(driver)
    for node in ("alone", "shared"):
        assert await create(juliet, node) == ""
        assert await juliet.publish(node, to=SERVICE) == ""
        assert await tybalt.subscribe(SERVICE, node) == ""
    assert await juliet.subscribe(SERVICE, "shared") == ""
    assert await juliet.affiliate(SERVICE, "shared", romeo="owner") == ""
    tybalt.client.write("<presence/>")
    await tybalt.events()
    await driver.server.execute("user delete", {"jid": juliet.bare})
    assert await tybalt.events() == [(SERVICE, "alone", "delete", "")]
    shared = nodes_of(driver)["shared"]
    assert list(nodes_of(driver)) == ["shared"]
    assert (shared.owners, shared.creator, list(shared.subscriptions)) == ([romeo.bare], "", [tybalt.bare])
    await assert_memory_is_disk(driver)
    assert await rows(driver) == [1, 1, 1, 2]
    await driver.server.execute("user delete", {"jid": tybalt.bare})
    assert shared.subscriptions == {}
    assert await rows(driver) == [1, 1, 1, 1]


async def test_limits_are_told_by_name_and_counted(start: Start) -> None:
    """reliability.md, limits 27 and 28."""
    limits = Limits(
        profile="test", pubsub_service_nodes=3, pubsub_created_nodes=2, pubsub_service_bytes=3_000,
        pubsub_service_subscriptions=2, pubsub_entities=3,
    )
    driver = await start(limits=limits)
    fired = driver.server.kernel.limit_counters.counts
    juliet, romeo, tybalt = await log_in(driver)
    for node in "ab":
        assert await create(juliet, node) == ""
    assert await create(juliet, "c") == "resource-constraint"
    assert await juliet.publish("c", to=SERVICE) == "resource-constraint"
    assert fired["pubsub_created_nodes"] == 2
    assert await create(romeo, "c") == ""
    assert await create(romeo, "d") == "resource-constraint"
    assert fired["pubsub_service_nodes"] == 1
    assert await juliet.publish("a", text="x" * 1_000, to=SERVICE) == ""
    assert await romeo.publish("c", text="x" * 1_500, to=SERVICE) == "resource-constraint"
    assert fired["pubsub_service_bytes"] == 1
    for node in "ab":
        assert await tybalt.subscribe(SERVICE, node) == ""
    assert await tybalt.subscribe(SERVICE, "c") == "policy-violation too-many-subscriptions"
    assert fired["pubsub_service_subscriptions"] == 1
    assert await juliet.affiliate(SERVICE, "a", romeo="member") == "", "each node has room of its own"
    assert await romeo.subscribe(SERVICE, "a") == "policy-violation too-many-subscriptions"
    assert fired["pubsub_entities"] == 1
    await assert_memory_is_disk(driver)


async def test_who_may_create_is_the_admins_to_say(start: Start) -> None:
    driver = await start(admins={"chat.example": ["juliet@chat.example"]}, pubsub_service={"creators": "admins"})
    juliet, romeo, _ = await log_in(driver)
    assert await create(romeo) == "forbidden"
    assert await romeo.publish(to=SERVICE) == "item-not-found"
    assert condition(await romeo.ask("get", "<default/>", SERVICE, owner=True)) == "forbidden"
    assert await create(juliet) == ""
    answer = await juliet.ask("get", "<default/>", SERVICE, owner=True)
    assert condition(answer) == ""
    shown = answer.to_xml()
    assert "pubsub#roster_groups_allowed" not in shown
    assert "on_sub_and_presence" not in shown
    assert "<value>presence</value>" not in shown


async def test_without_an_address_there_is_no_service(start: Start) -> None:
    driver = await start(pubsub_service={"address": ""})
    juliet = await Client.log_in(driver, "juliet")
    assert await create(juliet) == "remote-server-not-found"
    answer = await juliet.request("get", f"<query xmlns='{NS.DISCO_ITEMS}'/>", driver.domain)
    assert SERVICE not in answer.to_xml()
    assert await rows(driver) == [0, 0, 0, 0]


async def test_conditions_hold_at_a_new_node_and_at_one_that_is_there(start: Start) -> None:
    """XEP-0060 §7.1.4, §7.1.5."""
    driver = await start()
    juliet, _, tybalt = await log_in(driver)
    assert await juliet.publish(to=SERVICE, access_model="whitelist") == ""
    assert await juliet.publish(to=SERVICE, access_model="open") == "conflict precondition-not-met"
    assert await juliet.publish("b", to=SERVICE, access_model="roster") == "not-acceptable unsupported-access-model"
    assert await juliet.publish("b", to=SERVICE, roster_groups_allowed="x") == "bad-request invalid-options"
    assert await tybalt.items(to=SERVICE) == "not-allowed closed-node"
    config = nodes_of(driver)[NODE].config
    assert (config.access_model, config.max_items, config.send_last_published_item) == ("whitelist", 10, "on_sub")


async def test_notifications_of_type_normal_wait_for_who_is_away(start: Start) -> None:
    """XEP-0060 §12.5; XEP-0160 §3: headlines are not stored."""
    driver = await start()
    juliet, _, tybalt = await log_in(driver)
    assert await create(juliet) == ""
    assert await tybalt.subscribe(SERVICE) == ""
    await tybalt.client.close()
    assert await juliet.publish(item="headline", to=SERVICE) == ""
    assert await juliet.configure(to=SERVICE, notification_type="normal") == ""
    assert await juliet.publish(item="normal", to=SERVICE) == ""
    tybalt = await Client.log_in(driver, "tybalt")
    tybalt.client.write("<presence/>")
    assert await tybalt.events() == [(SERVICE, NODE, "item", "normal")]


async def test_a_subscriber_who_is_gone_is_forgotten(start: Start) -> None:
    """XEP-0060 §12.4. What comes back from a bare address may have found its mailbox full only."""
    driver = await start()
    juliet, romeo, tybalt = await log_in(driver)
    assert await create(juliet) == ""
    assert await juliet.configure(to=SERVICE, notification_type="normal") == ""
    for jid in (tybalt.bare, tybalt.full):
        assert await tybalt.subscribe(SERVICE, jid=jid) == ""
    await tybalt.client.close()
    assert await juliet.publish(to=SERVICE) == ""
    await driver.settle(())
    assert list(nodes_of(driver)[NODE].subscriptions) == [tybalt.bare]
    for error, is_gone in (("resource-constraint", False), ("gone", True)):
        assert await romeo.subscribe(SERVICE, jid=romeo.full) == ""
        condition_of_it = f"<error type='cancel'><{error} xmlns='{NS.STANZA_ERROR}'/></error>"
        romeo.client.write(f"<message type='error' to='{SERVICE}'>{condition_of_it}</message>")
        await driver.settle(())
        assert (romeo.full not in nodes_of(driver)[NODE].subscriptions) == is_gone
    assert await rows(driver) == [1, 1, 1, 2]
    await assert_memory_is_disk(driver)


async def test_a_long_list_of_nodes_comes_in_pages(start: Start) -> None:
    """XEP-0030 §4, XEP-0059 §2."""
    driver = await start(limits=Limits(profile="test", pubsub_created_nodes=300))
    juliet = await Client.log_in(driver, "juliet")
    names = [f"node-{number:03}" for number in range(260)]
    for name in names:
        inner = f"<pubsub xmlns='{NS.PUBSUB}'><create node='{name}'/></pubsub>"
        juliet.client.write(f"<iq type='set' id='{name}' to='{SERVICE}'>{inner}</iq>")
    await driver.settle(())
    juliet.client.inbox.clear()
    found, page = await listed(juliet)
    assert found == names[:250]
    assert page is not None
    assert (page.child_text("last"), page.child_text("count")) == (names[249], "260")
    rsm = f"<set xmlns='{NS.RSM}'>{{}}</set>"
    assert (await listed(juliet, rsm.format(f"<after>{names[249]}</after>")))[0] == names[250:]
    assert (await listed(juliet, rsm.format("<max>3</max><before/>")))[0] == names[-3:]
    assert (await listed(juliet, rsm.format(f"<max>2</max><before>{names[5]}</before>")))[0] == names[3:5]
    assert (await listed(juliet, rsm.format("<max>0</max>")))[0] == []
    answer = await juliet.request(
        "get", f"<query xmlns='{NS.DISCO_ITEMS}'>{rsm.format('<after>none</after>')}</query>", SERVICE
    )
    assert condition(answer) == "item-not-found"


async def test_the_operator_sees_and_deletes_nodes(start: Start) -> None:
    driver = await start()
    juliet, _, tybalt = await log_in(driver)
    assert await create(juliet) == ""
    assert await tybalt.subscribe(SERVICE) == ""
    assert await driver.server.execute("pubsub nodes", {}) == [{
        "service": SERVICE, "node": NODE, "owners": juliet.bare, "access": "open", "items": 0, "subscriptions": 1,
    }]
    with pytest.raises(CommandError, match="pubsub nodes"):
        await driver.server.execute("pubsub delete", {"node": "other"})
    tybalt.client.write("<presence/>")
    await tybalt.events()
    await driver.server.execute("pubsub delete", {"node": NODE})
    assert await tybalt.events() == [(SERVICE, NODE, "delete", "")]
    assert await rows(driver) == [1, 0, 0, 0]


async def test_each_host_has_its_own(tmp_path: Path) -> None:
    """Nodes are made by accounts of the host; those of the other one read."""
    async with two_hosts(tmp_path) as hosts:
        alice, bob = await hosts.log_in("alice@a.example"), await hosts.log_in("bob@b.example")
        create = f"<pubsub xmlns='{NS.PUBSUB}'><create node='{NODE}'/></pubsub>"
        for client, service, kind in (
            (alice, "pubsub.a.example", "result"), (bob, "pubsub.a.example", "error"),
            (bob, "pubsub.b.example", "result"),
        ):  # fmt: skip
            client.write(f"<iq type='set' id='c' to='{service}'>{create}</iq>")
            await client.until_received(1)
            assert client.inbox.pop().get("type") == kind
        assert {node["service"] for node in await hosts.execute("pubsub nodes")} == {
            "pubsub.a.example", "pubsub.b.example",
        }  # fmt: skip


async def test_a_component_elsewhere_of_the_same_name_goes_first(tmp_path: Path) -> None:
    """What a configuration names was there before there was a default."""
    driver = MemoryDriver(tmp_path, external_components={SERVICE: SECRET})
    await driver.start()
    try:
        await driver.create_account("juliet", "secret")
        juliet = await Client.log_in(driver, "juliet")
        assert await create(juliet) == "remote-server-timeout", "it is not connected"
        answer = await juliet.request("get", f"<query xmlns='{NS.DISCO_ITEMS}'/>", driver.domain)
        assert SERVICE not in answer.to_xml()
    finally:
        await driver.stop()


async def test_a_service_is_no_account(start: Start) -> None:
    """Nobody logs in there, no account's rules apply, and it is in no list of accounts."""
    driver = await start()
    juliet = await Client.log_in(driver, "juliet")
    listed = str(await driver.server.execute("user list", {}))
    assert SERVICE not in listed
    for kind, payload in (
        ("get", "<query xmlns='jabber:iq:roster'/>"), ("get", "<vCard xmlns='vcard-temp'/>"),
        ("get", "<query xmlns='jabber:iq:last'/>"), ("set", "<block xmlns='urn:xmpp:blocking'/>"),
    ):  # fmt: skip
        assert condition(await juliet.request(kind, payload, SERVICE)) == "service-unavailable"
    assert condition(await juliet.request("get", f"<ping xmlns='{NS.PING}'/>", SERVICE)) == ""
    juliet.client.write(f"<presence to='{SERVICE}'/><presence type='subscribe' to='{SERVICE}'/>")
    await driver.settle(())
    service = await driver.server.kernel.directory.get(JID.parse(SERVICE))
    assert not service.sessions
