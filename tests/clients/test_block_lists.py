"""Stock clients block, report and unblock each other (XEP-0191, XEP-0377)."""

from __future__ import annotations

import pytest
from friends import become_contacts
from live_server import LiveServer, NewUser, ServerProcess
from profanity import StartProfanity
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.exceptions import IqError
from waiting import PATIENCE


async def blocked_by(client: Slix) -> set[str]:
    """The block list as the server has it."""
    answer = await client.plugin["xep_0191"].get_blocked(timeout=PATIENCE)
    return {str(item["jid"]) for item in answer["blocklist"]["items"]}


async def test_slixmpp_blocks_and_unblocks(server: ServerProcess, slix: MakeSlix, new_user: NewUser) -> None:
    romeo, paris = new_user("romeo"), new_user("paris")
    he, other = slix(romeo), slix(paris)
    for client in (he, other):
        client.register_plugin("xep_0191")
        await client.login()
    assert await blocked_by(he) == set()
    await he.plugin["xep_0191"].block([JID(paris.jid)], timeout=PATIENCE)
    assert await blocked_by(he) == {paris.jid}

    other.say(romeo.jid, "Do you hear me?")
    await other.sees_refusals(1)
    assert he.bodies == []
    with pytest.raises(IqError) as refused:
        await other.plugin["xep_0199"].send_ping(JID(he.boundjid.full), timeout=PATIENCE)
    assert refused.value.condition == "service-unavailable"

    await he.plugin["xep_0191"].unblock([JID(paris.jid)], timeout=PATIENCE)
    assert await blocked_by(he) == set()
    other.say(romeo.jid, "And now?")
    await he.sees_bodies("And now?")


async def test_who_is_blocked_sees_a_contact_leave_and_come(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await become_contacts(he, she, juliet.jid)
    await he.sees_presence(juliet.jid, "available")
    she.type(f"/blocked add {romeo.jid}")
    await he.sees_presence(juliet.jid, "unavailable")
    he.say(juliet.jid, "O, speak again")
    await he.sees_refusals(1)
    assert she.received_bodies() == []
    she.type("/blocked")
    await she.sees(romeo.jid)
    she.type(f"/blocked remove {romeo.jid}")
    await he.sees_presence(juliet.jid, "available")


async def test_profanity_reports_spam(
    server: ServerProcess, profanity: StartProfanity, new_user: NewUser
) -> None:
    """The admin sees who reported whom, why, and what was said of it."""
    if not isinstance(server, LiveServer):
        pytest.skip("how an admin lists reports is each server's own")
    juliet, paris = new_user("juliet"), new_user("paris")
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await she.settle()
    she.type(f"/blocked report-spam {paris.jid} Very annoying count")
    await she.settle()
    listed = server.run("report", "list", "--config", str(server.config_file))
    for text in (juliet.jid, paris.jid, "spam", "Very annoying count"):
        assert text in listed
