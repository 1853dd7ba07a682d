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
from slixmpp.stanza import Presence
from slixmpp.xmlstream import ET
from waiting import PATIENCE

#: Something that begins like an image.
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


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


async def test_an_avatar_is_one_for_clients_of_old_and_of_today(slix: MakeSlix, new_user: NewUser) -> None:
    """Published by XEP-0084 and seen by XEP-0153, and the other way (XEP-0398)."""
    romeo, juliet = slix(new_user("romeo")), slix(new_user("juliet"))
    for client in (romeo, juliet):
        for plugin in ("xep_0054", "xep_0060", "xep_0084", "xep_0115", "xep_0163"):
            client.register_plugin(plugin)
        await client.login()
    juliet.send_presence_subscription(JID(romeo.boundjid.bare))
    await romeo.sees_request(juliet.boundjid.bare, "subscribe")
    romeo.send_presence_subscription(JID(juliet.boundjid.bare), ptype="subscribed")
    await juliet.has_subscription(romeo.boundjid.bare, "to")
    hashes: asyncio.Queue[str] = asyncio.Queue()

    def seen(presence: Presence) -> None:
        photo = presence.xml.find("{vcard-temp:x:update}x/{vcard-temp:x:update}photo")
        if photo is not None and presence["from"].bare == romeo.boundjid.bare:
            hashes.put_nowait(photo.text or "")

    juliet.add_event_handler("presence_available", seen)
    avatars, vcards = romeo.plugin["xep_0084"], romeo.plugin["xep_0054"]
    await avatars.publish_avatar(PNG)
    number = avatars.generate_id(PNG)
    await avatars.publish_avatar_metadata({"id": number, "type": "image/png", "bytes": str(len(PNG))})
    assert await asyncio.wait_for(hashes.get(), PATIENCE) == number
    card = await juliet.plugin["xep_0054"].get_vcard(JID(romeo.boundjid.bare), cached=False)
    assert card["vcard_temp"]["PHOTO"]["BINVAL"] == PNG

    card = vcards.make_vcard()
    card["FN"], card["PHOTO"]["TYPE"], card["PHOTO"]["BINVAL"] = "Romeo", "image/png", PNG + b"2"
    await vcards.publish_vcard(card)
    other = avatars.generate_id(PNG + b"2")
    assert await asyncio.wait_for(hashes.get(), PATIENCE) == other
    found = await juliet.plugin["xep_0084"].retrieve_avatar(JID(romeo.boundjid.bare), other)
    assert found["pubsub"]["items"]["item"]["avatar_data"]["value"] == PNG + b"2"
    await avatars.stop()
    assert await asyncio.wait_for(hashes.get(), PATIENCE) == ""


async def test_bookmarks_of_old_are_bookmarks_of_today(slix: MakeSlix, new_user: NewUser) -> None:
    """Stored by XEP-0048 in private XML, read by XEP-0402, changed there, read by XEP-0048 at its node."""
    romeo = slix(new_user("romeo"))
    for plugin in ("xep_0048", "xep_0049", "xep_0060", "xep_0163", "xep_0223", "xep_0402"):
        romeo.register_plugin(plugin)
    await romeo.login()
    bookmarks = romeo.plugin["xep_0048"]
    rooms = Bookmarks()
    rooms.add_conference(JID("balcony@rooms.example"), nick="R", autojoin=True)
    await bookmarks.set_bookmarks(rooms, method="xep_0049")
    pubsub = romeo.plugin["xep_0060"]
    answer = await pubsub.get_items(JID(romeo.boundjid.bare), "urn:xmpp:bookmarks:1")
    (item,) = answer["pubsub"]["items"]
    assert (item["id"], item["conference"]["nick"], item["conference"]["autojoin"]) == (
        "balcony@rooms.example", "R", True,
    )  # fmt: skip
    await pubsub.retract(JID(romeo.boundjid.bare), "urn:xmpp:bookmarks:1", "balcony@rooms.example")
    payload = ET.fromstring("<conference xmlns='urn:xmpp:bookmarks:1' name='Tomb'><nick>J</nick></conference>")
    await pubsub.publish(JID(romeo.boundjid.bare), "urn:xmpp:bookmarks:1", id="tomb@rooms.example", payload=payload)
    for method in ("xep_0049", "xep_0223"):
        answer = await bookmarks.get_bookmarks(method=method)
        storage = answer["private"]["bookmarks"] if method == "xep_0049" else (
            answer["pubsub"]["items"]["item"]["bookmarks"]
        )
        found = [(room["jid"], room["name"], room["nick"]) for room in storage["conferences"]]
        assert found == [("tomb@rooms.example", "Tomb", "J")], method
