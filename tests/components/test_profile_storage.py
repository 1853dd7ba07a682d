"""Private XML and vCards at rest: limits (31), who sees what, export, deletion, order, restart."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from xmppchat.core.component import Component
from xmppchat.core.limits import Limits
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
PREFS = "<prefs xmlns='urn:example:prefs'>dark</prefs>"


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, storage_url=storage_url, **options)
        await driver.start()
        if not drivers:
            for name in ("romeo", "juliet", "nurse"):
                await driver.create_account(name, "secret")
        drivers.append(driver)
        return driver

    yield start
    await drivers[-1].stop()


async def connected(driver: MemoryDriver, name: str) -> MemoryClient:
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    await client.log_in(name, "secret", "x")
    return client


def component(driver: MemoryDriver, name: str) -> Component[Any]:
    (found,) = [c for c in driver.server.kernel.components if c.name == name]
    return found


def condition(answer: Element) -> str:
    """The condition of an error answer, "" for a result."""
    error = answer.find("error")
    return next(error.elements()).name if error is not None else ""


async def store(client: MemoryClient, *elements: str) -> str:
    return condition(await client.request("set", f"<query xmlns='{NS.PRIVATE_XML}'>{''.join(elements)}</query>"))


async def stored(client: MemoryClient, name: str, namespace: str) -> Element:
    answer = await client.request("get", f"<query xmlns='{NS.PRIVATE_XML}'><{name} xmlns='{namespace}'/></query>")
    query = answer.find("query", NS.PRIVATE_XML)
    assert query is not None
    return next(query.elements())


def of_size(size: int, name: str = "a") -> str:
    empty = f"<{name} xmlns='urn:x'></{name}>"
    return empty.replace("><", f">{'x' * (size - len(empty))}<")


async def test_limits_of_private_xml(start: Start) -> None:
    """reliability.md, limit 31."""
    limits = Limits(profile="test", stored_xml_bytes=2_000, private_xml_bytes=5_000, private_xml_elements=4)
    driver = await start(limits=limits)
    client = await connected(driver, "romeo")
    fired = driver.server.kernel.limit_counters.counts
    assert await store(client, of_size(2_000)) == ""
    assert await store(client, of_size(2_001)) == "policy-violation"
    assert fired["stored_xml_bytes"] == 1
    assert await store(client, of_size(2_000, "b"), of_size(1_000, "c")) == ""
    assert await store(client, "<d xmlns='urn:x'>1</d>") == "resource-constraint"
    assert fired["private_xml_bytes"] == 1
    assert await store(client, of_size(900, "c"), "<d xmlns='urn:x'>1</d>") == "", "what is replaced does not count"
    assert await store(client, "<e xmlns='urn:x'>1</e>") == "resource-constraint"
    assert fired["private_xml_elements"] == 1
    assert await store(client, "<b xmlns='urn:x'/>") == ""
    assert await store(client, "<e xmlns='urn:x'>1</e>") == ""
    assert (await stored(client, "a", "urn:x")).text == "x" * (2_000 - len("<a xmlns='urn:x'></a>"))


async def test_limits_hold_after_a_restart_and_a_lowered_limit_lets_things_shrink(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", private_xml_bytes=3_000))
    assert await store(await connected(driver, "romeo"), of_size(2_900)) == ""
    await driver.stop()
    driver = await start(limits=Limits(profile="test", private_xml_bytes=1_024, stored_xml_bytes=1_024))
    client = await connected(driver, "romeo")
    assert await store(client, "<b xmlns='urn:x'>1</b>") == "resource-constraint"
    assert await store(client, of_size(2_800)) == ""
    assert await store(client, of_size(2_850)) == "policy-violation"
    assert await store(client, of_size(500), "<b xmlns='urn:x'>1</b>") == ""


async def test_a_refused_set_changes_nothing(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", stored_xml_bytes=2_000))
    client = await connected(driver, "romeo")
    assert await store(client, "<a xmlns='urn:x'>old</a>") == ""
    assert await store(client, "<a xmlns='urn:x'>new</a>", of_size(3_000, "b")) == "policy-violation"
    assert (await stored(client, "a", "urn:x")).text == "old"


async def test_a_get_behind_a_set_sees_it(start: Start) -> None:
    """Stanzas of one client are handled in order (RFC 6120 §10.1), though the one waits for the disk."""
    driver = await start()
    client = await connected(driver, "romeo")
    for number in range(20):
        client.write(
            f"<iq type='set' id='s'><query xmlns='{NS.PRIVATE_XML}'><a xmlns='urn:x'>{number}</a></query></iq>"
            f"<iq type='get' id='g{number}'><query xmlns='{NS.PRIVATE_XML}'><a xmlns='urn:x'/></query></iq>"
            f"<iq type='set' id='s'><vCard xmlns='vcard-temp'><FN>{number}</FN></vCard></iq>"
            f"<iq type='get' id='v{number}'><vCard xmlns='vcard-temp'/></iq>"
        )
        await settle(driver.server.kernel)
        answers = {e.get("id"): e for e in client.inbox}
        assert f">{number}<" in answers[f"g{number}"].to_xml()
        assert f">{number}<" in answers[f"v{number}"].to_xml()


async def test_export_is_all_of_it_and_deletion_leaves_nothing(start: Start) -> None:
    driver = await start()
    kernel = driver.server.kernel
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    for client in (romeo, juliet):
        assert await store(client, PREFS) == ""
        assert await store(client, "<storage xmlns='storage:rosternotes'><note jid='a@b'/></storage>") == ""
        assert condition(await client.request("set", "<vCard xmlns='vcard-temp'><FN>R</FN></vCard>")) == ""
    private, vcards = component(driver, "private_xml"), component(driver, "vcard")
    account = await kernel.directory.get(JID.parse("romeo@chat.example"))
    assert [e.to_xml() for e in await private.export(account)] == [
        "<query xmlns='jabber:iq:private'><storage xmlns='storage:rosternotes'><note jid='a@b'/></storage>"
        "<prefs xmlns='urn:example:prefs'>dark</prefs></query>"
    ]
    assert [e.to_xml() for e in await vcards.export(account)] == ["<vCard xmlns='vcard-temp'><FN>R</FN></vCard>"]
    nobody = await kernel.directory.get(JID.parse("nurse@chat.example"))
    assert await private.export(nobody) == []
    assert await vcards.export(nobody) == []
    await driver.server.execute("user delete", {"jid": "romeo@chat.example"})
    await settle(kernel)
    assert await private.export(account) == []
    assert await vcards.export(account) == []
    juliets = await kernel.directory.get(JID.parse("juliet@chat.example"))
    assert len(await private.export(juliets)) == 1
    assert len(await vcards.export(juliets)) == 1


@pytest.mark.parametrize("visibility", ["subscribers", "everyone"])
async def test_who_reads_a_vcard_is_the_admins_choice(start: Start, visibility: str) -> None:
    driver = await start(vcard={"visibility": visibility})
    romeo, juliet = await connected(driver, "romeo"), await connected(driver, "juliet")
    assert condition(await romeo.request("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")) == ""
    answers = {}
    for name in ("romeo", "nurse", "nobody"):
        juliet.write(f"<iq type='get' id='{name}' to='{name}@{driver.domain}'><vCard xmlns='vcard-temp'/></iq>")
        answer = await juliet.take(lambda element: element.name == "iq")
        answers[name] = answer.to_xml().replace(name, "NAME")
    assert ("<FN>Romeo</FN>" in answers["romeo"]) is (visibility == "everyone")
    assert "<service-unavailable" in answers["nobody"]
    assert answers["nurse"] == answers["nobody"], "an account without a vCard is as one that is not there (V-17)"
    if visibility == "subscribers":
        assert answers["romeo"] == answers["nobody"]
