"""Stock clients keep a profile, private data, and ask each other and the server small things."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from friends import become_contacts
from live_server import NewUser, ServerProcess
from profanity import StartProfanity
from slix import MakeSlix
from slixmpp import JID
from slixmpp.exceptions import IqError
from waiting import PATIENCE
from xmppjs import MakeXmppJs


async def test_a_vcard_is_kept_and_shown_to_a_contact(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he, she = slix(romeo), slix(juliet)
    for client in (he, she):
        client.register_plugin("xep_0054")
        await client.login()
    vcard = he.plugin["xep_0054"].make_vcard()
    vcard["FN"] = "Romeo Montague"
    vcard["NICKNAME"] = "Ro <3"
    await he.plugin["xep_0054"].publish_vcard(vcard, timeout=PATIENCE)
    she.send_presence_subscription(JID(romeo.jid), ptype="subscribe")
    await he.sees_request(juliet.jid, "subscribe")
    he.send_presence_subscription(JID(juliet.jid), ptype="subscribed")
    await she.has_subscription(romeo.jid, "to")
    own = await he.plugin["xep_0054"].get_vcard(local=False, cached=False, timeout=PATIENCE)
    seen = await she.plugin["xep_0054"].get_vcard(JID(romeo.jid), local=False, cached=False, timeout=PATIENCE)
    for answer in (own, seen):
        assert answer["vcard_temp"]["FN"] == "Romeo Montague"
    await he.logout()
    again = slix(romeo)
    again.register_plugin("xep_0054")
    await again.login()
    kept = await again.plugin["xep_0054"].get_vcard(local=False, cached=False, timeout=PATIENCE)
    assert kept["vcard_temp"]["FN"] == "Romeo Montague"


async def test_profanity_writes_a_vcard_and_reads_that_of_a_contact(
    slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he, she = slix(romeo), await (await profanity()).login(juliet.jid, juliet.password)
    he.register_plugin("xep_0054")
    await he.login()
    vcard = he.plugin["xep_0054"].make_vcard()
    vcard["FN"] = "Romeo Montague"
    await he.plugin["xep_0054"].publish_vcard(vcard, timeout=PATIENCE)
    await become_contacts(he, she, juliet.jid)
    she.type(f"/vcard get {romeo.jid}")
    await she.sees("Romeo Montague")
    she.type('/vcard set fullname "Juliet Capulet"')
    she.type("/vcard save")
    await she.settle()
    seen = await he.plugin["xep_0054"].get_vcard(JID(juliet.jid), local=False, cached=False, timeout=PATIENCE)
    assert seen["vcard_temp"]["FN"] == "Juliet Capulet"


async def test_private_data_is_its_owners(server: ServerProcess, slix: MakeSlix, new_user: NewUser) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he, she = slix(romeo), slix(juliet)
    for client in (he, she):
        client.register_plugin("xep_0048")
        client.register_plugin("xep_0049")
        await client.login()
    bookmarks = he.plugin["xep_0048"].stanza.Bookmarks()
    bookmarks.add_conference(JID("orchard@rooms.test"), nick="Ro")
    await he.plugin["xep_0049"].store(bookmarks, timeout=PATIENCE)
    answer = await he.plugin["xep_0049"].retrieve("bookmarks", timeout=PATIENCE)
    assert [str(room["jid"]) for room in answer["private"]["bookmarks"]["conferences"]] == ["orchard@rooms.test"]
    query = she.make_iq_get(ito=romeo.jid)
    query.enable("private")
    with pytest.raises(IqError):
        await query.send(timeout=PATIENCE)


async def test_the_server_tells_its_version_time_and_age(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser
) -> None:
    client = slix(new_user("romeo"))
    for plugin in ("xep_0092", "xep_0012", "xep_0202"):
        client.register_plugin(plugin)
    await client.login()
    domain = JID(server.domain)
    version = await client.plugin["xep_0092"].get_version(domain, timeout=PATIENCE)
    assert version["software_version"]["name"]
    time = await client.plugin["xep_0202"].get_entity_time(domain, timeout=PATIENCE)
    # slixmpp 1.17 cannot read the "Z" of a time without fractions itself.
    told = datetime.fromisoformat(time.xml.findtext(".//{urn:xmpp:time}utc"))
    assert abs(told - datetime.now(UTC)) < timedelta(minutes=1)
    age = await client.plugin["xep_0012"].get_last_activity(domain, timeout=PATIENCE)
    assert 0 <= age["last_activity"]["seconds"] < 600


async def test_the_vcard_of_another_client(slix: MakeSlix, xmppjs: MakeXmppJs, new_user: NewUser) -> None:
    romeo, juliet, paris = new_user("romeo"), new_user("juliet"), new_user("paris")
    he, she = slix(romeo), await xmppjs(juliet, "node").login()
    he.register_plugin("xep_0054")
    await he.login()
    she.do("introduce", name="Juliet <Capulet> & Co.")
    await she.sees("introduced")
    he.send_presence_subscription(JID(juliet.jid), ptype="subscribe")
    she.do("presence", to=romeo.jid, type="subscribed")
    await he.has_subscription(juliet.jid, "to")
    seen = await he.plugin["xep_0054"].get_vcard(JID(juliet.jid), local=False, cached=False, timeout=PATIENCE)
    assert seen["vcard_temp"]["FN"] == "Juliet <Capulet> & Co."
    she.do("look", at=juliet.jid)
    await she.sees("card")
    assert she.all("card")[-1]["name"] == "Juliet <Capulet> & Co."
    stranger = await xmppjs(paris, "node").login()
    stranger.do("look", at=juliet.jid)
    await stranger.sees("card")
    assert stranger.all("card")[-1]["error"] == "service-unavailable"
