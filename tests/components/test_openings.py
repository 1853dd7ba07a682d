"""From the login to stanzas: what may change in between, and what reaches a client then."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from xmppchat.components.archive import ends
from xmppchat.components.archive.store import Archives
from xmppchat.core.services import AccountService
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

BARE = JID.parse("juliet@chat.example")
BIND_2 = f"<bind xmlns='{NS.BIND_2}'><enable xmlns='{NS.CARBONS}'/></bind>"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    one = MemoryDriver(tmp_path)
    await one.start()
    for name in ("juliet", "romeo"):
        await one.create_account(name, "secret")
    yield one
    await one.stop()


async def connect(driver: MemoryDriver) -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    return client


def authenticate(wishes: str, name: str = "juliet") -> str:
    initial = base64.b64encode(f"\0{name}\0secret".encode()).decode()
    return (
        f"<authenticate xmlns='{NS.SASL_2}' mechanism='PLAIN'><initial-response>{initial}</initial-response>{wishes}"
        "</authenticate>"
    )


async def log_in(driver: MemoryDriver, wishes: str, name: str = "juliet") -> tuple[MemoryClient, Element]:
    """A client that logs in by SASL2, and its <success/>."""
    client = await connect(driver)
    client.write(authenticate(wishes, name))
    return client, await client.take(lambda element: element.is_named("success", NS.SASL_2))


async def change_password(driver: MemoryDriver) -> None:
    kernel = driver.server.kernel
    account = await kernel.directory.get(BARE)
    turn = kernel.new_turn()
    await kernel.services.get(AccountService).set_password(account, "another", turn)
    await kernel.settled(turn)


@pytest.mark.parametrize("step", [
    f"<iq type='set' id='b'><bind xmlns='{NS.BIND}'/></iq>",
    f"<resume xmlns='{NS.STREAM_MANAGEMENT}' previd='x' h='0'/>",
])  # fmt: skip
async def test_who_proved_a_former_password_gets_no_session(driver: MemoryDriver, step: str) -> None:
    client, _ = await log_in(driver, "")
    await change_password(driver)
    client.write(step)
    await client.until_closed()
    assert (await driver.server.kernel.directory.get(BARE)).sessions == {}


async def test_messages_are_in_the_archive_as_told_or_come_live(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes while a client logs in: each message is within the ends it is told, or reaches it live."""
    looks = 0
    look = Archives.ends

    async def counted(archives: Archives, account: int) -> tuple[int, int] | None:
        nonlocal looks
        looks += 1
        return await look(archives, account)

    monkeypatch.setattr(Archives, "ends", counted)
    romeo = await connect(driver)
    await romeo.log_in("romeo", "secret", "desk")
    laptop = await connect(driver)
    await laptop.log_in("juliet", "secret", "laptop")
    laptop.write("<presence/>")
    romeo.write(f"<message to='{laptop.jid}' type='chat' id='first'><body>before</body></message>")
    await settle(driver.server.kernel)
    phone = await connect(driver)
    phone.write(authenticate(BIND_2))
    number = 0
    while not any(element.is_named("success", NS.SASL_2) for element in phone.inbox) or number < 40:
        number += 1
        romeo.write(f"<message to='{laptop.jid}' type='chat' id='m{number}'><body>{number}</body></message>")
        await laptop.take(lambda element, number=number: element.child_text("body") == str(number))
        if looks >= 3 or number >= 100:  # or there might be no moment at which ends can be told
            await settle(driver.server.kernel)
    success = await phone.take(lambda element: element.is_named("success", NS.SASL_2))
    await settle(driver.server.kernel)
    (end,) = [element for element in descendants(success) if element.is_named("end", NS.ARCHIVE)]
    whole = f"<query xmlns='{NS.ARCHIVE}'><set xmlns='{NS.RSM}'><max>250</max></set></query>"
    page = await laptop.request("set", whole)
    stored = {one.get("id") for element in laptop.inbox for one in descendants(element) if one.name == "result"}
    live = {one.get("id") for element in phone.inbox for one in descendants(element) if one.name == "stanza-id"}
    assert page.get("type") == "result"
    assert len(stored) == number + 1
    assert {id for id in stored if int(id) > int(end.get("id"))} <= live


async def test_who_writes_all_the_time_keeps_nobody_out(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ends, "MAX_LOOKS", 0)
    _, success = await log_in(driver, BIND_2)
    assert success.find("bound", NS.BIND_2) is not None
    assert not [element for element in descendants(success) if element.is_named("metadata", NS.ARCHIVE)]


async def test_a_wish_that_is_said_twice_is_done_once(driver: MemoryDriver) -> None:
    twice = f"<enable xmlns='{NS.STREAM_MANAGEMENT}'/>" * 2
    _, success = await log_in(driver, f"<bind xmlns='{NS.BIND_2}'>{twice}</bind>")
    assert len([element for element in descendants(success) if element.name == "enabled"]) == 1


async def test_there_are_only_so_many_sessions(driver: MemoryDriver) -> None:
    most = driver.server.kernel.limits.sessions_per_account
    for _ in range(most):
        await log_in(driver, BIND_2)
    client = await connect(driver)
    client.write(authenticate(BIND_2))
    await client.until_closed()
    assert "resource-constraint" in client.inbox[-1].to_xml()
    assert driver.server.kernel.limit_counters.counts["sessions_per_account"] == 1


async def test_the_resource_is_the_same_each_time_and_tells_nothing(driver: MemoryDriver) -> None:
    agent = "<user-agent id='d4565fa7-4d72-4749-b3d3-740edbf87770'/>"
    wishes = f"{agent}<bind xmlns='{NS.BIND_2}'><tag>Client</tag></bind>"
    resources = []
    for name in ("juliet", "juliet", "romeo"):
        client, success = await log_in(driver, wishes, name)
        resources.append((success.child_text("authorization-identifier") or "").partition("/")[2])
        await client.close()
    assert resources[0] == resources[1] != resources[2]
    assert all(resource.startswith("Client/") and "d4565fa7" not in resource for resource in resources)


@pytest.mark.parametrize("tag", ["", "x" * 1_100, "\u200b"])
async def test_a_tag_that_can_be_in_no_resource_is_left_out(driver: MemoryDriver, tag: str) -> None:
    _, success = await log_in(driver, f"<bind xmlns='{NS.BIND_2}'><tag>{tag}</tag></bind>")
    resource = (success.child_text("authorization-identifier") or "").partition("/")[2]
    assert resource
    assert len(resource) < 64


def descendants(element: Element) -> list[Element]:
    found = [element]
    for child in element.elements():
        found += descendants(child)
    return found
