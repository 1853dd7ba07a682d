"""Stock clients find and run commands of the server (XEP-0050): an invitation, and administration (XEP-0133)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from live_server import Certificates, LiveServer, NewUser
from profanity import StartProfanity
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.exceptions import IqError
from waiting import PATIENCE

COMMANDS = "http://jabber.org/protocol/commands"
ADMIN = "http://jabber.org/protocol/admin"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[LiveServer]:
    """One with an admin, on which the invited may register. (Prosody's commands are its own.)"""
    init = ("--admin", "admin@chat.test", "--registration", "invite")
    with LiveServer(tmp_path_factory.mktemp("admin"), certificates, init=init) as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: LiveServer) -> Any:
    """The admin's account."""
    return server.add_user("admin", "pass word of the admin")


async def commander(slix: MakeSlix, user: Any) -> Slix:
    client = slix(user)
    for plugin in ("xep_0004", "xep_0050"):
        client.register_plugin(plugin)
    return await client.login()


async def nodes(client: Slix) -> set[str]:
    answer = await client.plugin["xep_0050"].get_commands(JID(client.boundjid.domain), timeout=PATIENCE)
    return {node for _, node, _ in answer["disco_items"]["items"]}


async def run(client: Slix, node: str, values: dict[str, str] | None = None) -> Any:
    """Runs a command, with the form filled in where it asks for one; returns the result's form or notes."""
    send = client.plugin["xep_0050"].send_command
    server = JID(client.boundjid.domain)
    answer = await send(server, node, timeout=PATIENCE)
    if answer["command"]["status"] == "executing":
        form = answer["command"]["form"]
        form["type"] = "submit"
        asked = set(form.get_fields())
        assert set(values or {}) <= asked, asked
        for name in asked - {"FORM_TYPE"}:
            if name not in (values or {}):
                form.field[name]["value"] = form.field[name]["value"]
        form.set_values(values or {})
        session = answer["command"]["sessionid"]
        answer = await send(server, node, sessionid=session, action="complete", payload=form, timeout=PATIENCE)
    assert answer["command"]["status"] == "completed"
    return answer["command"]


async def test_a_user_invites_and_sees_no_more(slix: MakeSlix, new_user: NewUser) -> None:
    client = await commander(slix, new_user("romeo"))
    assert await nodes(client) == {
        "urn:xmpp:invite#invite", "xmppchat#omemo-check-own", "xmppchat#omemo-remove-own",
    }
    result = await run(client, "urn:xmpp:invite#invite")
    uri = result["form"].get_values()["uri"]
    assert uri.startswith(f"xmpp:{client.boundjid.bare}?roster;preauth=")
    assert uri.endswith(";ibr=y")
    with pytest.raises(IqError) as refused:
        await run(client, f"{ADMIN}#delete-user")
    assert refused.value.condition == "forbidden"


async def test_an_admin_adds_lists_and_deletes(slix: MakeSlix, server: LiveServer, admin: Any) -> None:
    client = await commander(slix, admin)
    listed = await nodes(client)
    assert {f"{ADMIN}#add-user", f"{ADMIN}#delete-user", "urn:xmpp:invite#create-account"} <= listed
    jid = f"made@{server.domain}"
    password = "made by a form"
    await run(client, f"{ADMIN}#add-user", {"accountjid": jid, "password": password, "password-verify": password})
    assert jid in server.run("user", "list", "--config", str(server.config_file))
    await run(client, f"{ADMIN}#delete-user", {"accountjids": jid})
    assert jid not in server.run("user", "list", "--config", str(server.config_file))
    audit = server.run("audit", "--config", str(server.config_file))
    for text in (admin.jid, "user add", "user delete", jid):
        assert text in audit
    assert password not in audit + server.log()


async def test_profanity_lists_and_runs_commands(
    profanity: StartProfanity, server: LiveServer, admin: Any
) -> None:
    client = await (await profanity()).login(admin.jid, admin.password)
    client.type(f"/cmd list {server.domain}")
    await client.sees("urn:xmpp:invite#invite")
    client.type(f"/cmd exec {ADMIN}#get-registered-users-num {server.domain}")
    await client.settle()
    answers = [stanza.xml for stanza in client.wire() if not stanza.sent and 'status="completed"' in stanza.xml]
    assert answers, client.screen()
