"""Bookmarks in three forms (XEP-0402 §5.3): what old lists do to items, and who is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pubsub_support import Client, condition, started

from xmppchat.components.bookmarks import component as bookmarks_component
from xmppchat.core import mailbox
from xmppchat.core.limits import Limits
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver

OLD, NEW = NS.BOOKMARKS_STORAGE, NS.BOOKMARKS


@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    driver = await started(tmp_path, storage_url, "juliet", limits=Limits(profile="test", pubsub_items=5))
    yield driver
    await driver.stop()


@pytest.fixture
async def juliet(driver: MemoryDriver) -> Client:
    client = await Client.log_in(driver, "juliet")
    await client.appear(f"{OLD}+notify", f"{NEW}+notify")
    await client.events()
    return client


def room(name: str, inner: str = "", attributes: str = "") -> str:
    return f"<conference jid='{name}@r.example'{attributes}>{inner}</conference>"


async def put(client: Client, *entries: str) -> str:
    """A list in private XML."""
    storage = f"<storage xmlns='{OLD}'>{''.join(entries)}</storage>"
    return condition(await client.request("set", f"<query xmlns='{NS.PRIVATE_XML}'>{storage}</query>"))


async def put_at_node(client: Client, *entries: str) -> str:
    """A list at the old node."""
    storage = f"<storage xmlns='{OLD}'>{''.join(entries)}</storage>"
    return condition(await client.ask("set", f"<publish node='{OLD}'><item>{storage}</item></publish>"))


async def publish(client: Client, name: str, inner: str = "", attributes: str = "") -> str:
    payload = f"<conference xmlns='{NEW}'{attributes}>{inner}</conference>"
    return condition(
        await client.ask("set", f"<publish node='{NEW}'><item id='{name}@r.example'>{payload}</item></publish>")
    )


async def private(client: Client) -> Element:
    """The list in private XML."""
    answer = await client.request("get", f"<query xmlns='{NS.PRIVATE_XML}'><storage xmlns='{OLD}'/></query>")
    query = answer.find("query", NS.PRIVATE_XML)
    assert query is not None
    storage = query.find("storage", OLD)
    assert storage is not None
    return storage


async def names(client: Client) -> list[str]:
    return [one.get("jid").partition("@")[0] for one in (await private(client)).find_all("conference")]


async def item(client: Client, name: str) -> str:
    """The payload of an item, "" where there is none."""
    answer = await client.ask("get", f"<items node='{NEW}'><item id='{name}@r.example'/></items>")
    items = answer.find("pubsub", NS.PUBSUB).find("items")  # type: ignore[union-attr]
    assert items is not None
    found = items.find("item")
    return "" if found is None else next(found.elements()).to_xml()


async def test_only_what_changes_is_told_and_of_the_list_once(juliet: Client) -> None:
    assert await put(juliet, room("a"), room("b", "<nick>J</nick>")) == ""
    assert sorted(await juliet.events()) == [
        ("juliet", OLD, "item", "current"), ("juliet", NEW, "item", "a@r.example"),
        ("juliet", NEW, "item", "b@r.example"),
    ]  # fmt: skip
    assert await put_at_node(juliet, room("b", "<nick>J</nick>"), room("a", "", " autojoin='0'")) == ""
    assert await juliet.events() == [], "the same in other words"
    assert await put_at_node(juliet, room("b", "<nick>Jule</nick>")) == ""
    assert sorted(await juliet.events()) == [
        ("juliet", OLD, "item", "current"), ("juliet", NEW, "item", "b@r.example"),
        ("juliet", NEW, "retract", "a@r.example"),
    ]  # fmt: skip


@pytest.mark.parametrize("ending", [
    f"<retract node='{NEW}'><item id='a@r.example'/></retract>", f"<purge node='{NEW}'/>", f"<delete node='{NEW}'/>",
])  # fmt: skip
async def test_what_is_removed_is_in_no_list(juliet: Client, ending: str) -> None:
    assert await put(juliet, room("a")) == ""
    await juliet.events()
    assert condition(await juliet.ask("set", ending, owner="retract" not in ending)) == ""
    assert await names(juliet) == []
    told = await juliet.events()
    assert ("juliet", OLD, "item", "current") in told
    assert len(told) == 2


async def test_what_the_old_form_cannot_say_is_kept(juliet: Client) -> None:
    extensions = "<extensions><mark xmlns='urn:x' a='1'><b/></mark></extensions>"
    assert await publish(juliet, "a", f"<nick>J</nick>{extensions}<later>1</later>", " name='A' color='red'") == ""
    assert await put(juliet, room("a", "<password>p</password><mine xmlns='urn:old'/>", " autojoin='1'")) == ""
    assert await item(juliet, "a") == (
        f"<conference xmlns='{NEW}' color='red' autojoin='true'><password>p</password><later>1</later>"
        "<extensions><mark xmlns='urn:x' a='1'><b/></mark><mine xmlns='urn:old'/></extensions></conference>"
    )
    shown = (await private(juliet)).find("conference")
    assert shown is not None
    assert shown.to_xml() == (
        f"<conference xmlns='{OLD}' jid='a@r.example' autojoin='true'><password>p</password></conference>"
    )


async def test_a_list_that_is_refused_changes_nothing(driver: MemoryDriver, juliet: Client) -> None:
    assert await put(juliet, room("a"), "<url url='https://x.example'/>") == ""
    await juliet.events()
    for entries in ((room("b"), "<conference/>"), (room("b"), "<conference jid='@'/>")):
        assert await put(juliet, *entries) == "bad-request"
        assert await put_at_node(juliet, *entries) == "bad-request"
    assert await put(juliet, *(room(name) for name in "abcdef")) == "policy-violation"
    assert driver.server.kernel.limit_counters.counts["pubsub_items"] == 1
    assert await juliet.events() == []
    assert [one.name for one in (await private(juliet)).elements()] == ["conference", "url"]
    assert await put(juliet, *(room(name) for name in "bcdef")) == "", "one goes, and there is room"


async def test_what_is_no_bookmark_stays_where_it_is(juliet: Client) -> None:
    other = f"<publish node='{NEW}'><item id='x'><other xmlns='urn:x'/></item></publish>"
    assert await put(juliet, room("a")) == ""
    assert condition(await juliet.ask("set", other)) == ""
    assert await names(juliet) == ["a"]
    assert await put(juliet) == ""
    assert list(await juliet.items(NEW)) == ["x"]


async def test_a_node_that_others_could_read_is_closed_first(juliet: Client) -> None:
    """XEP-0411 §5: passwords are in it."""
    assert await publish(juliet, "a") == ""  # as a node of personal eventing: for contacts, one item
    assert await put(juliet, room("a"), room("b", "<password>p</password>")) == ""
    answer = await juliet.ask("get", f"<configure node='{NEW}'/>", owner=True)
    form = answer.to_xml()
    for value in ("<value>whitelist</value>", "<value>max</value>", "<value>never</value>"):
        assert value in form
    assert await names(juliet) == ["a", "b"]


async def test_rooms_that_were_stored_before_become_items_at_login(driver: MemoryDriver, juliet: Client) -> None:
    """XEP-0411 §4: before the user logs in for the first time."""
    assert await publish(juliet, "a") == ""
    component = next(
        one for one in driver.server.kernel.components if isinstance(one, bookmarks_component.Bookmarks)
    )
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    turn = driver.server.kernel.new_turn()
    conferences = [Element("conference", OLD, {"jid": f"{name}@r.example", "name": "old"}) for name in "ab"]
    url = Element("url", OLD, {"url": "https://x.example"})
    component._private.put(account, Element("storage", OLD, None, [*conferences, url]), turn)
    turn.commit()
    await driver.settle([juliet.client])
    assert await names(juliet) == ["a", "b"], "until then it is shown with the others"
    await Client.log_in(driver, "juliet", "another")
    await driver.settle([juliet.client])
    assert list(await juliet.items(NEW)) == ["a@r.example", "b@r.example"]
    assert await item(juliet, "a") == f"<conference xmlns='{NEW}'/>", "what is there already counts"
    assert [one.name for one in (await private(juliet)).elements()] == ["conference", "conference", "url"]


async def test_a_list_that_would_be_too_large(
    tmp_path: Path, storage_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await started(tmp_path, storage_url, "juliet")
    monkeypatch.setattr(bookmarks_component, "MAX_SIZE", 2_000)
    try:
        juliet = await Client.log_in(driver, "juliet")
        await juliet.publish(NEW, "z", max_items="max")
        assert await publish(juliet, "a", f"<extensions><x xmlns='urn:x'>{'x' * 3_000}</x></extensions>") == ""
        answer = await juliet.request("get", f"<query xmlns='{NS.PRIVATE_XML}'><storage xmlns='{OLD}'/></query>")
        assert condition(answer) == "resource-constraint"
        assert await put(juliet, room("b")) == "resource-constraint"
        assert list(await juliet.items(NEW)) == ["z", "a@r.example"]
    finally:
        await driver.stop()


async def test_everything_is_there_after_a_restart(tmp_path: Path, storage_url: str, driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    assert await put(juliet, room("a", "<nick>J</nick>"), "<url url='https://x.example'/>") == ""
    before = (await private(juliet)).to_xml()
    await driver.stop()
    again = await started(tmp_path, storage_url)
    try:
        juliet = await Client.log_in(again, "juliet")
        assert (await private(juliet)).to_xml() == before
    finally:
        await again.stop()
        await driver.start()


async def test_who_asks_too_much_at_once_is_told(
    driver: MemoryDriver, juliet: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists are read and written one behind the other, in the mailbox of the account."""
    kernel = driver.server.kernel
    account = await kernel.directory.get(JID.parse(juliet.bare))
    end = asyncio.Event()

    async def wait() -> None:
        await end.wait()

    monkeypatch.setattr(mailbox, "CAPACITY", 2)
    account.mailbox.post(kernel.tasks, wait)
    query = f"<query xmlns='{NS.PRIVATE_XML}'><storage xmlns='{OLD}'/></query>"
    for number in (1, 2):
        juliet.client.write(f"<iq type='get' id='g{number}'>{query}</iq>")
    refused = await juliet.client.take(lambda element: element.get("id") == "g2")
    assert condition(refused) == "resource-constraint"
    end.set()
    answered = await juliet.client.take(lambda element: element.get("id") == "g1")
    assert condition(answered) == ""
