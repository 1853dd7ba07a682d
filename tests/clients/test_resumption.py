"""Stock clients lose their TCP connection without a word, resume, and miss nothing (XEP-0198 §5)."""

from __future__ import annotations

import pytest
from live_server import LiveServer, NewUser, ServerProcess
from slix import MakeSlix, Slix
from waiting import until
from xmppjs import MakeXmppJs


def managed(client: Slix) -> Slix:
    """With stream management, as slixmpp does it."""
    client.register_plugin("xep_0198")
    return client


async def resumed(client: Slix) -> None:
    """Cut the connection of `client`, let it come back, wait until its session goes on."""
    done: list[object] = []
    client.add_event_handler("session_resumed", done.append, disposable=True)
    client.abort()
    client.connect(*client._place)
    await until(lambda: done, "slixmpp to resume its session")


async def test_xmpp_js_comes_back_and_has_everything(
    slix: MakeSlix, xmppjs: MakeXmppJs, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await slix(romeo).login()
    she = await xmppjs(juliet, "node").login()
    said: list[str] = []
    for cut in range(1, 4):
        for number in range(5):
            said.append(f"before cut {cut}, {number}")
            he.say(juliet.jid, said[-1])
        she.do("send", to=romeo.jid, id=f"j{cut}", body=f"into cut {cut}")
        she.do("cut")
        for number in range(5):
            said.append(f"during cut {cut}, {number}")
            he.say(juliet.jid, said[-1])
        await she.sees("resumed", cut)
        if any(unsent["id"] == f"j{cut}" for unsent in she.all("unsent")):
            she.do("send", to=romeo.jid, id=f"j{cut}", body=f"into cut {cut}")
        await until(lambda: she.bodies() == said, lambda: f"{she.bodies()}, not {said}")
    assert she.all("fail") == []
    assert len(she.all("online")) == 1, "it never had to log in anew"
    await he.sees_bodies(*(f"into cut {cut}" for cut in (1, 2, 3)))
    assert len(he.seen_messages) == 3, "each once, whether it left the client before the cut or after it"


async def test_slixmpp_comes_back_and_has_everything(slix: MakeSlix, new_user: NewUser) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he, she = await slix(romeo).login(), await managed(slix(juliet)).login()
    said: list[str] = []
    for cut in range(1, 4):
        for number in range(5):
            said.append(f"before cut {cut}, {number}")
            he.say(juliet.jid, said[-1])
        await resumed(she)
        await until(
            lambda: [str(message["body"]) for message in she.seen_messages] == said,
            lambda: f"{[str(message['body']) for message in she.seen_messages]}, not {said}",
        )
    she.say(romeo.jid, "still here")
    await he.sees_bodies("still here")


async def test_a_restart_of_the_server_is_no_new_login(
    server: ServerProcess, slix: MakeSlix, xmppjs: MakeXmppJs, new_user: NewUser
) -> None:
    if not isinstance(server, LiveServer):
        pytest.fail("only xmppchat keeps sessions over a restart")
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he, she = await xmppjs(romeo, "first").login(), await xmppjs(juliet, "second").login()
    he.do("send", to=juliet.jid, id="m1", body="before")
    await she.sees("message")
    server.stop()
    server.start()
    await he.sees("resumed")
    await she.sees("resumed")
    he.do("send", to=juliet.jid, id="m2", body="after")
    await until(lambda: she.bodies() == ["before", "after"], lambda: f"{she.bodies()}")
    assert (len(he.all("online")), len(she.all("online"))) == (1, 1)
    assert [ack["id"] for ack in he.all("ack") if ack["id"]][:1] == ["m1"]
