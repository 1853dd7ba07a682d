"""The list of clients (XEP-0494) and what becomes of who is taken off it, for the owner and for the admin."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from devices_support import (
    DAY,
    NONE,
    Phone,
    account,
    auth,
    change_password,
    given,
    listed,
    phone,
    revoke,
)
from sqlalchemy import select, update

from xmppchat.components import BUILTIN
from xmppchat.core import events
from xmppchat.core.commands import CommandError
from xmppchat.core.component import Component, ComponentConfig, on
from xmppchat.core.services import DeviceService, LoggedIn
from xmppchat.protocol.moments import timestamp
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver, settle

PASSWORD_RESET = ["service-unavailable", "password-reset-required"]


async def without_password(driver: MemoryDriver, owner: Phone) -> None:
    """Let `owner` be a client that never had the password: an invitation or a grant will be other ways in."""
    await driver.settle([])
    known = await account(driver, owner.account)
    turn = driver.server.kernel.new_turn()
    statement = update(schema.devices).where(schema.devices.c.id == owner.device_id).values(has_password=False)
    turn.write(known, statement, {})
    await driver.server.kernel.settled(turn)
    driver.server.kernel.directory.forget(known.jid.bare)


async def test_what_is_told_of_a_client(driver: MemoryDriver) -> None:
    owner = await phone(driver, software="Chat", device="Juliet's phone")
    begin = driver.clock.now()
    driver.clock.advance(60)
    client = await owner.connect()
    driver.clock.advance(5)
    [one] = (await listed(client)).values()
    assert one.attributes == {"connected": "true", "id": str(owner.device_id), "type": "session"}
    now = driver.clock.now()
    assert [child.name for child in one.elements()] == ["first-seen", "last-seen", "auth", "permission", "user-agent"]
    assert one.child_text("first-seen") == timestamp(begin)
    assert one.child_text("last-seen") == timestamp(now)
    assert auth(one) == ["password", "fast"]
    agent = one.find("user-agent", NS.CLIENT_ACCESS)
    assert agent is not None
    assert agent.child_text("software") == "Chat"


async def test_who_is_away_is_listed_as_long_as_it_can_come_back(driver: MemoryDriver) -> None:
    owner, other = await phone(driver), await phone(driver, device="tablet")
    client = await owner.connect()
    seen = driver.clock.now()
    driver.clock.advance(61 * DAY)
    away = (await listed(client))["tablet"]
    assert (away.get("connected"), auth(away)) == ("false", ["password"]), "its token has expired"
    assert away.child_text("last-seen") == timestamp(seen)
    await change_password(driver)
    client = await owner.connect()
    assert list(await listed(client)) == ["phone"]
    await other.with_password()
    assert set(await listed(client)) == {"phone", "tablet"}


async def test_who_changes_the_password_knows_it(driver: MemoryDriver) -> None:
    owner, other = await phone(driver), await phone(driver, device="tablet")
    client, another = await owner.connect("one"), await other.connect("two")
    query = "<username>juliet</username><password>another secret</password>"
    answer = await client.request("set", f"<query xmlns='{NS.REGISTER}'>{query}</query>")
    assert answer.get("type") == "result", answer.to_xml()
    await another.until_closed()
    assert {name: auth(one) for name, one in (await listed(client)).items()} == {"phone": ["password"]}
    assert await owner.with_token() == await other.with_token() == "not-authorized"


async def test_a_client_with_the_password_is_logged_out_and_may_come_back(driver: MemoryDriver) -> None:
    owner, other = await phone(driver), await phone(driver, device="tablet")
    client, theirs = await owner.connect("one"), await other.connect("two")
    assert await revoke(client, str(other.device_id)) == PASSWORD_RESET
    await theirs.until_closed()
    assert await other.with_token() == "not-authorized"
    one = (await listed(client))["tablet"]
    assert (one.get("connected"), auth(one)) == ("false", ["password"]), "it still has access, so it is shown"
    assert isinstance(await owner.with_token(), LoggedIn)
    assert isinstance(await other.with_password(token_for=NONE), LoggedIn)
    assert isinstance(await other.with_token(), LoggedIn)


async def test_a_client_without_the_password_is_gone(driver: MemoryDriver) -> None:
    owner, other = await phone(driver), await phone(driver, device="tablet")
    await without_password(driver, other)
    client, theirs = await owner.connect("one"), await other.connect("two")
    assert auth((await listed(client))["tablet"]) == ["fast"]
    assert await revoke(client, str(other.device_id)) == []
    await theirs.until_closed()
    assert await other.with_token() == "not-authorized"
    assert list(await listed(client)) == ["phone"]
    assert await revoke(client, str(other.device_id)) == ["item-not-found"]
    rows = await driver.server.database.fetch(select(schema.fast_tokens))
    assert [row.device_id for row in rows] == [owner.device_id]


async def test_a_session_that_waits_for_its_client_is_ended_too(driver: MemoryDriver) -> None:
    owner, other = await phone(driver), await phone(driver, device="tablet")
    client, theirs = await owner.connect("one"), await other.connect("two")
    theirs.write(f"<enable xmlns='{NS.STREAM_MANAGEMENT}' resume='true'/>")
    await theirs.take(lambda element: element.is_named("enabled", NS.STREAM_MANAGEMENT))
    await theirs.vanish()
    await settle(driver.server.kernel)
    assert (await listed(client))["tablet"].get("connected") == "true", "it can be resumed (XEP-0494 §3.1)"
    await revoke(client, str(other.device_id))
    await settle(driver.server.kernel)
    assert list((await account(driver)).sessions) == ["one"]


async def test_who_revokes_itself_gets_the_answer_first(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    await without_password(driver, owner)
    client = await owner.connect()
    assert await revoke(client, str(owner.device_id)) == []
    await client.until_closed()
    assert await owner.with_token() == "not-authorized"


async def test_ids_are_of_ones_own_list(driver: MemoryDriver) -> None:
    owner, romeos = await phone(driver), await phone(driver, "romeo")
    client = await owner.connect()
    assert await revoke(client, str(romeos.device_id)) == ["item-not-found"]
    assert isinstance(await romeos.with_token(), LoggedIn)


# --- for the admin ---------------------------------------------------------------------------------------------------

async def shown(driver: MemoryDriver) -> list[dict[str, Any]]:
    found: Any = await driver.server.execute("devices", {"jid": "juliet@chat.example"})
    return list(found)


async def test_the_admin_sees_them_all(driver: MemoryDriver) -> None:
    owner = await phone(driver, software="Chat")
    gone = await phone(driver, device="tablet")
    await change_password(driver)
    await owner.with_password(token_for=NONE)
    await owner.connect("balcony")
    until = timestamp(driver.clock.now() + 60 * DAY * 1_000)[:16]
    now = timestamp(driver.clock.now())[:16]
    assert await shown(driver) == [
        {"id": str(owner.device_id), "software": "Chat", "device": "phone", "first seen": now, "last seen": now,
         "connected": "balcony", "logs in with": "password, token", "token until": until},
        {"id": str(gone.device_id), "software": "Chat", "device": "tablet", "first seen": now, "last seen": now,
         "connected": "no", "logs in with": "nothing: its access was ended", "token until": "-"},
    ]  # fmt: skip


async def test_the_admin_logs_a_client_out(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    client = await owner.connect()
    wanted = {"jid": "juliet@chat.example", "id": str(owner.device_id)}
    outcome: Any = await driver.server.execute("device revoke", wanted)
    assert "user passwd juliet@chat.example" in outcome["note"]
    await client.until_closed()
    assert await owner.with_token() == "not-authorized"
    assert [one["logs in with"] for one in await shown(driver)] == ["password"]
    await settle(driver.server.kernel)
    log: Any = await driver.server.execute("audit", {})
    assert [entry["command"] for entry in log][:1] == ["device revoke"]


async def test_a_session_without_an_id_is_logged_out_by_the_admin(driver: MemoryDriver) -> None:
    await driver.create_account("juliet", "secret")
    client = await driver.connect()
    await client.log_in("juliet", "secret", "balcony")
    [one] = await shown(driver)
    assert (one["connected"], one["logs in with"]) == ("balcony", "password")
    await driver.server.execute("device revoke", {"jid": "juliet@chat.example", "id": one["id"]})
    await client.until_closed()
    assert await shown(driver) == []


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        ("devices", {"jid": "nobody@chat.example"}, "there is no account nobody@chat.example"),
        ("device revoke", {"jid": "nobody@chat.example", "id": "1"}, "there is no account nobody@chat.example"),
        ("device revoke", {"jid": "juliet@chat.example", "id": "1"}, "`xmppchat devices juliet@chat.example` lists"),
    ],
)
async def test_commands_say_what_is_wrong(driver: MemoryDriver, command: str, arguments: Any, text: str) -> None:
    await phone(driver)
    with pytest.raises(CommandError, match=text):
        await driver.server.execute(command, arguments)


# --- for others ------------------------------------------------------------------------------------------------------

class Registrations(Component[ComponentConfig]):
    """Hears whose access has ended, as a component with things of devices does."""

    name = "registrations"
    heard: list[tuple[str, int]]

    def setup(self) -> None:
        self.heard = []

    @on(events.DeviceRevoked)
    def revoked(self, event: events.DeviceRevoked) -> None:
        self.heard.append((event.account.jid.bare, event.device_id))


@pytest.fixture
async def listening(storage_url: str, tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    driver.server.config = replace(driver.server.config, component_classes=(*BUILTIN, Registrations))
    await driver.start()
    yield driver
    await driver.stop()


async def test_others_hear_of_it(listening: MemoryDriver) -> None:
    driver = listening
    heard = next(c for c in driver.server.kernel.components if isinstance(c, Registrations)).heard
    owner, other = await phone(driver), await phone(driver, device="tablet")
    client = await owner.connect()
    await revoke(client, str(other.device_id))
    assert heard == [("juliet@chat.example", other.device_id)]
    heard.clear()
    await change_password(driver)
    assert sorted(heard) == sorted(("juliet@chat.example", one.device_id) for one in (owner, other))


async def test_the_owner_can_take_the_list_along(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    component: Any = driver.server.kernel.services.get(DeviceService)
    [clients] = await component.export(await account(driver))
    assert [one.get("id") for one in clients.elements()] == [str(owner.device_id)]
    xml: Any = await driver.server.execute("user export", {"jid": "juliet@chat.example", "with_credentials": True})
    assert owner.token not in xml


async def test_an_account_that_was_out_of_memory_knows_its_clients(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    second = given(await owner.with_token(token_for=NONE))
    await settle(driver.server.kernel)
    driver.server.kernel.directory.forget("juliet@chat.example")
    assert isinstance(await owner.with_token(second), LoggedIn)
    assert [one["software"] for one in await shown(driver)] == ["Chat"]
