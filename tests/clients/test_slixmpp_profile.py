"""slixmpp on what the server says of itself and keeps for people: capabilities, vCard, private XML, version, time."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from live_server import NewUser, ServerProcess, User
from slix import MakeSlix
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.plugins import xep_0082
from slixmpp.plugins.xep_0048.stanza import Bookmarks
from waiting import PATIENCE


async def test_the_servers_capabilities_hold_what_they_prove(
    server: ServerProcess, slix: MakeSlix, user: User
) -> None:
    """From the stream features to a verified answer, by another's reading of XEP-0115."""
    client = slix(user)
    client.register_plugin("xep_0115")
    caps = client.plugin["xep_0115"]
    proven = asyncio.Event()
    assign = caps.assign_verstring

    async def assigned(jid: JID, ver: str) -> None:
        await assign(jid, ver)
        if JID(jid).full == server.domain:
            proven.set()

    caps.assign_verstring = assigned
    await client.login()
    await asyncio.wait_for(proven.wait(), PATIENCE)
    known = await caps.get_caps(JID(server.domain))
    assert "urn:xmpp:ping" in known["features"]


async def test_a_profile_is_for_contacts(slix: MakeSlix, new_user: NewUser) -> None:
    romeo, juliet = slix(new_user("romeo")), slix(new_user("juliet"))
    for client in (romeo, juliet):
        client.register_plugin("xep_0054")
        await client.login()
    card = romeo.plugin["xep_0054"].make_vcard()
    card["FN"] = "Romeo Montague"
    await romeo.plugin["xep_0054"].publish_vcard(card)
    own = await romeo.plugin["xep_0054"].get_vcard(cached=False)
    assert own["vcard_temp"]["FN"] == "Romeo Montague"
    with pytest.raises(IqError) as refused:
        await juliet.plugin["xep_0054"].get_vcard(JID(romeo.boundjid.bare), cached=False)
    assert refused.value.condition == "service-unavailable"
    juliet.send_presence_subscription(JID(romeo.boundjid.bare))
    await romeo.sees_request(juliet.boundjid.bare, "subscribe")
    romeo.send_presence_subscription(JID(juliet.boundjid.bare), ptype="subscribed")
    await juliet.has_subscription(romeo.boundjid.bare, "to")
    seen = await juliet.plugin["xep_0054"].get_vcard(JID(romeo.boundjid.bare), cached=False)
    assert seen["vcard_temp"]["FN"] == "Romeo Montague"


async def test_bookmarks_of_old_are_there_at_the_next_login(slix: MakeSlix, new_user: NewUser) -> None:
    user = new_user("romeo")
    for is_first in (True, False):
        client = slix(user)
        client.register_plugin("xep_0048", {"storage_method": "xep_0049"})
        await client.login()
        bookmarks = client.plugin["xep_0048"]
        if is_first:
            rooms = Bookmarks()
            rooms.add_conference(JID("balcony@rooms.example"), nick="R", autojoin=True)
            await bookmarks.set_bookmarks(rooms)
        else:
            answer = await bookmarks.get_bookmarks()
            found = answer["private"]["bookmarks"]["conferences"]
            assert [(room["jid"], room["nick"], room["autojoin"]) for room in found] == [
                ("balcony@rooms.example", "R", True)
            ]
        await client.logout()


async def test_version_and_time(server: ServerProcess, slix: MakeSlix, user: User) -> None:
    client = slix(user)
    for plugin in ("xep_0092", "xep_0202"):
        client.register_plugin(plugin)
    await client.login()
    version = (await client.plugin["xep_0092"].get_version(JID(server.domain)))["software_version"]
    assert version["name"].lower() in ("xmppchat", "prosody")
    assert version["version"]
    told = (await client.plugin["xep_0202"].get_entity_time(JID(server.domain)))["entity_time"]
    # Not `told["utc"]` and `told["tzo"]`: it does not read what it writes itself.
    utc = xep_0082.parse(told._get_sub_text("utc"))
    assert abs(datetime.now(UTC) - utc) < timedelta(seconds=30)
    assert told._get_sub_text("tzo") in ("+00:00", "Z")
