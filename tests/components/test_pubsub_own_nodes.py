"""What other components do with nodes of accounts, and what they are told (`NodeService`)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from pubsub_support import NODE, Client, component

from xmppchat.components import BUILTIN
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import Component, on
from xmppchat.core.services import NodeDescription, NodeService
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, Serialised, text_element
from xmppchat.protocol.errors import Conflict, NotAcceptable
from xmppchat.testing.memory import MemoryDriver

OTHER = "urn:example:other"


class Listener(Component):
    """Writes down what it is told."""

    name = "listener"
    requires = (NodeService,)

    def setup(self) -> None:
        self.told: list[tuple[object, ...]] = []

    @on(events.ItemPublished)
    def published(self, event: events.ItemPublished) -> None:
        self.told.append(("published", event.node, event.item_id, event.payload.text, event.is_ours))

    @on(events.ItemsRemoved)
    def removed(self, event: events.ItemsRemoved) -> None:
        self.told.append(("removed", event.node, tuple(event.item_ids), event.is_ours))


@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    driver.server.config = replace(driver.server.config, component_classes=(*BUILTIN, Listener))
    await driver.start()
    await driver.create_account("juliet", "secret")
    yield driver
    await driver.stop()


@pytest.fixture
async def juliet(driver: MemoryDriver) -> Client:
    client = await Client.log_in(driver, "juliet")
    await client.appear(f"{NODE}+notify", f"{OTHER}+notify")
    await client.events()
    return client


def told(driver: MemoryDriver) -> list[tuple[object, ...]]:
    listener = next(one for one in driver.server.kernel.components if isinstance(one, Listener))
    found, listener.told = listener.told, []
    return found


async def account_of(driver: MemoryDriver, client: Client) -> Account:
    return await driver.server.kernel.directory.get(JID.parse(client.bare))


async def test_components_hear_of_all_that_clients_do(driver: MemoryDriver, juliet: Client) -> None:
    await juliet.publish(item="1", text="a", max_items="2")
    await juliet.publish(item="2", text="b")
    await juliet.publish(item="3", text="c")
    assert told(driver) == [("published", NODE, str(n), text, False) for n, text in enumerate("abc", 1)]
    await juliet.ask("set", f"<retract node='{NODE}'><item id='2'/></retract>")
    await juliet.ask("set", f"<purge node='{NODE}'/>", owner=True)
    await juliet.publish(item="4")
    told(driver)
    await juliet.ask("set", f"<delete node='{NODE}'/>", owner=True)
    assert told(driver) == [("removed", NODE, ("4",), False)]
    assert await juliet.publish(item="5", max_payload_size="1") == "not-acceptable payload-too-big"
    assert told(driver) == [], "what was refused did not happen"


async def test_a_component_publishes_in_the_owners_name(driver: MemoryDriver, juliet: Client) -> None:
    kernel = driver.server.kernel
    nodes, account = kernel.services.get(NodeService), await account_of(driver, juliet)
    turn = kernel.new_turn()
    options = {"access_model": "open", "max_items": "max"}
    nodes.publish(account, OTHER, "x", Element("a", "urn:example:a", None, ("one",)), turn, options)
    other = {"access_model": "presence"}
    nodes.publish(account, OTHER, "y", Element("a", "urn:example:a", None, ("two",)), turn, other)
    turn.commit()
    await kernel.settled(turn)
    assert await juliet.events() == [("juliet", OTHER, "item", "x"), ("juliet", OTHER, "item", "y")]
    assert told(driver) == [("published", OTHER, "x", "one", True), ("published", OTHER, "y", "two", True)]
    described = nodes.describe_node(account, OTHER)
    assert described is not None
    assert described == NodeDescription(OTHER, "open", True, 0, described.items), "a node keeps its configuration"
    now = kernel.clock.now()  # which stands still, while ids go on
    assert {id: now <= at < now + 1_000 for id, at in described.items.items()} == {"x": True, "y": True}
    assert nodes.describe(account) == [described]
    assert nodes.describe_node(account, NODE) is None
    assert {id: one.text for id, one in (await nodes.read(account, OTHER)).items()} == {"x": "one", "y": "two"}
    assert list(await nodes.read(account, OTHER, ["y", "z"])) == ["y"]
    assert await nodes.read(account, NODE) == {}


async def test_a_component_removes(driver: MemoryDriver, juliet: Client) -> None:
    kernel = driver.server.kernel
    nodes, account = kernel.services.get(NodeService), await account_of(driver, juliet)
    await juliet.publish(item="1", max_items="max")
    await juliet.publish(item="2")
    told(driver)
    await juliet.events()
    turn = kernel.new_turn()
    nodes.retract(account, NODE, "1", turn)
    nodes.retract(account, NODE, "not there", turn)
    nodes.retract(account, OTHER, "1", turn)
    nodes.delete_node(account, OTHER, turn)
    turn.commit()
    await kernel.settled(turn)
    assert await juliet.events() == [("juliet", NODE, "retract", "1")]
    assert await juliet.items() == {"2": "1"}
    turn = kernel.new_turn()
    nodes.delete_node(account, NODE, turn)
    turn.commit()
    await kernel.settled(turn)
    assert await juliet.events() == [("juliet", NODE, "delete", "")]
    assert await juliet.items() == "item-not-found"
    assert told(driver) == [("removed", NODE, ("1",), True), ("removed", NODE, ("2",), True)]


async def test_a_limit_stops_a_component_too(driver: MemoryDriver, juliet: Client) -> None:
    kernel = driver.server.kernel
    nodes, account = kernel.services.get(NodeService), await account_of(driver, juliet)
    turn = kernel.new_turn()
    large = Element("a", "urn:example:a", None, ("x" * kernel.limits.pubsub_payload_bytes,))
    with pytest.raises(NotAcceptable):
        nodes.publish(account, OTHER, "x", large, turn)
    turn.commit()
    assert nodes.describe(account) == []
    assert told(driver) == []


async def test_what_is_read_is_as_it_was_at_that_moment(driver: MemoryDriver, juliet: Client) -> None:
    """Or who changes what was read would undo what came between."""
    kernel = driver.server.kernel
    nodes, account = kernel.services.get(NodeService), await account_of(driver, juliet)
    payloads = component(driver)._payloads
    read, changes = payloads.read, ["3", "2"]

    async def slow(numbers: Sequence[int]) -> Mapping[int, Serialised]:
        """Somebody publishes while the database answers."""
        found = await read(numbers)
        if changes:
            turn = kernel.new_turn()
            nodes.publish(account, NODE, changes.pop(), text_element("a", "urn:example:a", "new"), turn)
            turn.commit()
        return found

    await juliet.publish(item="1", text="old", max_items="max")
    await juliet.publish(item="2", text="old")
    payloads.read = slow  # type: ignore[method-assign]
    found = await nodes.read(account, NODE)
    assert {id: one.text for id, one in found.items()} == {"1": "old", "2": "new", "3": "new"}
    changes[:] = ["5", "4"]
    last = await nodes.read_last(account, NODE)
    assert last is not None
    assert (last.id, last.payload and last.payload.text) == ("5", "new")
    assert await nodes.read_last(account, OTHER) is None
    changes[:] = [str(number) for number in range(10)]
    with pytest.raises(Conflict):
        await nodes.read(account, NODE)
    with pytest.raises(Conflict):
        await nodes.read_last(account, NODE)
