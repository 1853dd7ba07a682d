"""slixmpp blocks, reports and unblocks, on two devices; the admin reads the report."""

from __future__ import annotations

import json

import pytest
from live_server import LiveServer, NewUser, ServerProcess
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.stanza import Iq
from waiting import until


def with_plugins(client: Slix) -> Slix:
    for plugin in ("xep_0012", "xep_0191", "xep_0377"):
        client.register_plugin(plugin)
    return client


async def test_block_report_and_unblock(server: ServerProcess, slix: MakeSlix, new_user: NewUser) -> None:
    if not isinstance(server, LiveServer):
        pytest.skip("reports are read by a command of ours")
    her, him = new_user("juliet"), new_user("paris")
    phone, desk, paris = with_plugins(slix(her)), with_plugins(slix(her)), slix(him)
    for client in (phone, desk, paris):
        await client.login()
    pushes: list[Iq] = []
    desk.add_event_handler("blocked", pushes.append)
    desk.add_event_handler("unblocked", pushes.append)
    assert await desk.plugin["xep_0191"].get_blocked_jids() == set()

    request = phone.make_iq_set()
    item = phone.plugin["xep_0191"].stanza.BlockItem(parent=request["block"])
    item["jid"] = JID(him.jid)
    item["report"]["reason"] = "urn:xmpp:reporting:abuse"
    item["report"]["text"] = "Never came trouble to my house like this."
    await request.send()
    await until(lambda: len(pushes) == 1, lambda: str(pushes))
    assert await phone.plugin["xep_0191"].get_blocked_jids() == {JID(him.jid)}

    paris.say(her.jid, "Sweet love!")
    await paris.sees_refusals(1)
    phone.say(him.jid, "No!")
    await phone.sees_refusals(1)
    assert phone.seen_refusals[0]["error"]["condition"] == "not-acceptable"
    listed = json.loads(server.run("report", "list", "--json", "--config", str(server.config_file)))
    assert [(row["reported"], row["by"], row["reason"]) for row in listed] == [(him.jid, her.jid, "abuse")]
    server.run("report", "delete", listed[0]["id"], "--config", str(server.config_file))
    assert json.loads(server.run("report", "list", "--json", "--config", str(server.config_file))) == []

    await phone.plugin["xep_0191"].unblock(JID(him.jid))
    await until(lambda: len(pushes) == 2, lambda: str(pushes))
    paris.say(her.jid, "Pardon me")
    await phone.sees_bodies("Pardon me")
    await desk.sees_bodies("Pardon me")


async def test_last_activity_is_for_subscribers(slix: MakeSlix, new_user: NewUser) -> None:
    her, him = new_user("juliet"), new_user("romeo")
    juliet, romeo = with_plugins(slix(her)), with_plugins(slix(him))
    for client in (juliet, romeo):
        await client.login()
    with pytest.raises(IqError):
        await romeo.plugin["xep_0012"].get_last_activity(JID(her.jid))
    romeo.send_presence_subscription(JID(her.jid))
    await juliet.sees_request(him.jid, "subscribe")
    juliet.send_presence_subscription(JID(him.jid), ptype="subscribed")
    await romeo.has_subscription(her.jid, "to")
    answer = await romeo.plugin["xep_0012"].get_last_activity(JID(her.jid))
    assert answer["last_activity"]["seconds"] == 0
