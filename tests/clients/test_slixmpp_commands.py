"""slixmpp as an admin's client: it finds the commands, fills in forms, and shows what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from live_server import DOMAIN, Certificates, LiveServer, User
from slix import MakeSlix, Slix
from slixmpp import JID
from waiting import PATIENCE

ADMIN = "http://jabber.org/protocol/admin#"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[LiveServer]:
    """A server with an admin."""
    admin = ("--admin", f"boss@{DOMAIN}")
    with LiveServer(tmp_path_factory.mktemp("commands"), certificates, init=admin) as running:
        yield running


async def logged_in(slix: MakeSlix, user: User) -> Slix:
    client = slix(user)
    for plugin in ("xep_0004", "xep_0050"):
        client.register_plugin(plugin)
    return await client.login()


async def answer(client: Slix, node: str, values: dict[str, object] | None = None) -> Any:
    """The last stanza of a command: executed, its form filled in and completed as slixmpp does it."""
    outcome: asyncio.Future[Any] = client.loop.create_future()
    commands = client.plugin["xep_0050"]

    def done(iq: Any, session: dict[str, Any]) -> None:
        outcome.set_result(iq)

    def fill_in(iq: Any, session: dict[str, Any]) -> None:
        if iq["command"]["status"] == "completed":
            outcome.set_result(iq)
            return
        form = iq["command"]["form"]
        form["type"] = "submit"
        form.set_values(values)
        session.update(payload=form, next=done, has_next=False)
        commands.complete_command(session)

    commands.start_command(JID(client.boundjid.domain), node, {"next": fill_in, "error": done})
    return await asyncio.wait_for(outcome, PATIENCE)


async def nodes(client: Slix) -> set[str]:
    found = await client.plugin["xep_0050"].get_commands(JID(client.boundjid.domain))
    return {item[1] for item in found["disco_items"]["items"]}


async def test_an_admin_administers(server: LiveServer, slix: MakeSlix) -> None:
    boss = await logged_in(slix, server.add_user("boss", "pass word"))
    assert {f"{ADMIN}add-user", f"{ADMIN}announce", "xmppchat#user-list"} <= await nodes(boss)
    created = f"created@{server.domain}"
    filled = {"accountjid": created, "password": "new", "password-verify": "new"}
    iq = await answer(boss, f"{ADMIN}add-user", filled)
    assert (iq["type"], iq["command"]["status"]) == ("result", "completed")
    assert iq["command"]["notes"] == [("info", f"added: {created}")]
    iq = await answer(boss, f"{ADMIN}add-user", filled)
    assert (iq["type"], iq["error"]["condition"]) == ("error", "conflict")
    other = await logged_in(slix, User(created, "new"))
    iq = await answer(boss, f"{ADMIN}get-online-users-list", {})
    assert set(iq["command"]["form"].get_values()["onlineuserjids"]) == {boss.boundjid.bare, created}
    iq = await answer(boss, "xmppchat#sessions")
    rows = iq["command"]["form"].get_items()
    assert {row["session"] for row in rows} == {boss.boundjid.full, other.boundjid.full}
    ended: asyncio.Future[Any] = other.loop.create_future()
    other.add_event_handler("stream_error", ended.set_result)
    iq = await answer(boss, f"{ADMIN}end-user-session", {"accountjids": [created]})
    assert iq["command"]["status"] == "completed"
    assert "an admin ended this session" in (await asyncio.wait_for(ended, PATIENCE))["text"]
    assert f"boss@{server.domain}" in server.run("audit", "--config", str(server.config_file))


async def test_a_user_does_not(server: LiveServer, slix: MakeSlix) -> None:
    romeo = await logged_in(slix, server.add_user("romeo", "pass word"))
    assert not any(node.startswith(ADMIN) for node in await nodes(romeo))
    iq = await answer(romeo, f"{ADMIN}delete-user")
    assert (iq["type"], iq["error"]["condition"]) == ("error", "forbidden")
