"""Two different clients become contacts, see each other come, change and go, and chat both ways."""

from __future__ import annotations

import pytest
from friends import become_contacts, has_subscription
from live_server import NewUser, ServerProcess
from profanity import StartProfanity
from slix import MakeSlix
from slixmpp import JID
from waiting import until


async def test_contacts_presence_and_chat(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    she = await (await profanity()).login(juliet.jid, juliet.password, direct_tls=True)
    await become_contacts(he, she, juliet.jid)

    # Both are online: allowing someone shows them the current presence (RFC 6121 §3.1.5).
    await he.sees_presence(juliet.jid, "available")
    await she.sees(f"++ {romeo.jid} (")  # the resource, then "is online"
    he.send_presence(pshow="away", pstatus="in the orchard")
    await she.sees("in the orchard")
    she.type("/status set dnd balcony")
    assert (await he.sees_presence(juliet.jid, "dnd"))["status"] == "balcony"

    he.say(juliet.jid, "But, soft! <what> light & “window”")
    await until(lambda: she.received_bodies() == ["But, soft! <what> light & “window”"], she.screen)
    she.type(f"/msg {romeo.jid}")
    await she.sees("But, soft! <what> light")
    she.type("Ay me!")
    she.type("O Romeo, Romeo…")
    await he.sees_bodies("Ay me!", "O Romeo, Romeo…")
    assert he.seen_messages[-1]["from"].bare == juliet.jid

    await he.logout()
    await she.sees("[offline]")


async def test_leaving_is_seen(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await become_contacts(he, she, juliet.jid)
    she.type("/disconnect")
    await he.sees_presence(juliet.jid, "unavailable")


async def test_a_contact_can_be_removed(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await become_contacts(he, she, juliet.jid)
    she.type(f"/roster remove {romeo.jid}")
    # Both subscriptions end, and he keeps his item (RFC 6121 §2.5.2).
    await he.has_subscription(juliet.jid, "none")
    await until(lambda: has_subscription(she, romeo.jid, "remove"), she.screen)


@pytest.mark.parametrize("direct_tls", [False, True], ids=["starttls", "direct-tls"])
async def test_two_devices_of_one_account(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser, direct_tls: bool
) -> None:
    """A roster change is pushed to each device; a message to the bare account reaches both (same priority)."""
    romeo, juliet = new_user("romeo"), new_user("juliet")
    phone, laptop = await slix(juliet, direct_tls=direct_tls).login(), await slix(juliet).login()
    assert phone.boundjid.full != laptop.boundjid.full
    phone.update_roster(JID(romeo.jid), name="Romeo", groups=["Montague"])
    for device in (phone, laptop):
        await device.has_subscription(romeo.jid, "none")
        assert device.client_roster[romeo.jid]["name"] == "Romeo"
        assert device.client_roster[romeo.jid]["groups"] == ["Montague"]
    he = await slix(romeo).login()
    he.say(juliet.jid, "to all of you")
    for device in (phone, laptop):
        await device.sees_bodies("to all of you")
