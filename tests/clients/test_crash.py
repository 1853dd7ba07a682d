"""`kill -9` and a restart: contacts and messages for those who were offline are all there, in order, once each."""

from __future__ import annotations

import asyncio
import datetime
import re

from friends import become_contacts, has_subscription
from live_server import NewUser, ServerProcess
from profanity import Profanity, StartProfanity
from sendxmpp import MakeGoSendxmpp
from slix import MakeSlix
from waiting import until

COUNT = 20


async def crash(server: ServerProcess) -> None:
    """Kills the server and starts it again."""
    server.kill()
    await asyncio.to_thread(server.start)


def check_stamps(stamps: list[str], since: datetime.datetime) -> None:
    """Delay stamps (XEP-0203) are in UTC and lie between `since` and now; they may be whole seconds."""
    for stamp in stamps:
        when = datetime.datetime.fromisoformat(stamp)
        assert when.utcoffset() == datetime.timedelta(0), stamp
        assert since.replace(microsecond=0) <= when <= datetime.datetime.now(datetime.UTC)


async def test_profanity_gets_all_after_a_crash(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await become_contacts(he, she, juliet.jid)
    she.type("/disconnect")
    await he.sees_presence(juliet.jid, "unavailable")

    since = datetime.datetime.now(datetime.UTC)
    bodies = [f"verse {number}" for number in range(COUNT)]
    for body in bodies:
        he.say(juliet.jid, body)
    await he.settle(juliet.jid)  # an answer after them: they are acknowledged
    await crash(server)

    seen = len(she.wire())
    await she.login(juliet.jid, juliet.password, direct_tls=True)
    await until(lambda: len(she.received_bodies()) >= COUNT, lambda: f"{she.received_bodies()}\n{she.screen()}")
    await she.settle()
    assert she.received_bodies() == bodies
    check_stamps(delay_stamps(she, server.domain), since)
    assert any('subscription="both"' in s.xml and romeo.jid in s.xml for s in she.wire()[seen:] if not s.sent)
    assert has_subscription(she, romeo.jid, "both")

    again = await slix(romeo).login()
    assert again.subscription(juliet.jid) == "both"
    await again.sees_presence(juliet.jid, "available")
    await until(
        lambda: any("<presence" in s.xml and romeo.jid in s.xml for s in she.wire()[seen:] if not s.sent), she.screen
    )


async def test_slixmpp_gets_all_after_a_crash(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, sendxmpp: MakeGoSendxmpp, new_user: NewUser
) -> None:
    romeo, juliet, nurse = new_user("romeo"), new_user("juliet"), new_user("nurse")
    since = datetime.datetime.now(datetime.UTC)
    she = await (await profanity()).login(juliet.jid, juliet.password)
    she.type(f"/msg {romeo.jid} first")
    for number in range(5):
        she.type(f"line {number}")
    await she.settle()
    done = sendxmpp(nurse).send(romeo.jid, "from the nurse")
    assert done.returncode == 0, done.stderr
    # It says nothing more after its message, so wait till the server has it by another client of hers.
    await (await slix(nurse).login(available=False)).settle(romeo.jid)
    await crash(server)

    he = await slix(romeo).login()
    await he.settle()
    await he.sees_bodies("first", *(f"line {number}" for number in range(5)), "from the nurse")
    check_stamps([message["delay"]["stamp"].isoformat() for message in he.seen_messages], since)
    await he.logout()
    await crash(server)
    once = await slix(romeo).login()
    assert once.bodies == []


async def test_go_sendxmpp_gets_all_after_a_crash(
    server: ServerProcess, slix: MakeSlix, sendxmpp: MakeGoSendxmpp, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    since = datetime.datetime.now(datetime.UTC)
    he = await slix(romeo).login()
    for number in range(COUNT):
        he.say(juliet.jid, f"verse {number}")
    await he.settle(juliet.jid)
    await crash(server)
    listener = sendxmpp(juliet, direct_tls=True)
    listener.listen()
    stamps = await listener.hears(*((romeo.jid, f"verse {number}") for number in range(COUNT)))
    check_stamps(stamps, since)


async def test_a_polite_stop_loses_nothing_either(server: ServerProcess, slix: MakeSlix, new_user: NewUser) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    he.say(juliet.jid, "good night")
    await he.settle(juliet.jid)
    await asyncio.to_thread(server.restart)
    she = await slix(juliet).login()
    await she.sees_bodies("good night")


def delay_stamps(client: Profanity, domain: str) -> list[str]:
    """The delay stamp of each message with a body; there must be one, by the server or the account."""
    stamps = []
    for message in client.received_messages():
        delays = [child for child in message if child.tag == "{urn:xmpp:delay}delay"]
        assert len(delays) == 1, message.attrib
        assert re.fullmatch(rf"(\S+@)?{re.escape(domain)}", delays[0].get("from", ""))
        stamps.append(delays[0].get("stamp", ""))
    return stamps
