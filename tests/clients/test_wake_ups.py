"""Push notifications from end to end: slixmpp as client, slixmpp as the app server of the phone's app (XEP-0357)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from live_server import DOMAIN, Certificates, LiveServer, NewUser, User
from slix import MakeSlix, Slix
from slix_app_server import SlixAppServer
from waiting import PATIENCE, until

APP = f"push.{DOMAIN}"
PROPOSE = "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/>"
DULL = (
    "<composing xmlns='http://jabber.org/protocol/chatstates'/>", "<received xmlns='urn:xmpp:receipts' id='1'/>",
    "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
)  # fmt: skip


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """Secrets by domain."""
    return {}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, secrets: dict[str, str]
) -> Iterator[LiveServer]:
    """A server with the app server's component."""
    live = LiveServer(tmp_path_factory.mktemp("push"), certificates)
    secrets[APP] = live.add_component(APP)
    with live:
        yield live


@pytest.fixture
async def app(server: LiveServer, secrets: dict[str, str]) -> AsyncIterator[SlixAppServer]:
    """The app server, attached."""
    component = SlixAppServer(server, APP, secrets[APP])
    await component.attach()
    yield component
    await component.leave()


async def ask(client: Slix, xml: str, to: str = "") -> ET.Element:
    """The result of a request of type set."""
    iq = client.make_iq_set(ito=to or None)
    iq.xml.append(ET.fromstring(xml))
    answer = await iq.send(timeout=PATIENCE)
    return ET.fromstring(str(answer))


async def register_as_conversations(client: Slix) -> str:
    """Get node and secret from the app server, give them to the server; the node."""
    fields = "".join(
        f"<field var='{var}'><value>{value}</value></field>" for var, value in (("token", "fcm"), ("android-id", "a1"))
    )
    answer = await ask(
        client, "<command xmlns='http://jabber.org/protocol/commands' node='register-push-fcm' action='execute'>"
        f"<x xmlns='jabber:x:data' type='submit'>{fields}</x></command>", APP,
    )
    found = {
        field.get("var"): field.findtext("{jabber:x:data}value") for field in answer.iter("{jabber:x:data}field")
    }
    await ask(
        client, f"<enable xmlns='urn:xmpp:push:0' jid='{found['jid']}' node='{found['node']}'>"
        "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        "<value>http://jabber.org/protocol/pubsub#publish-options</value></field>"
        f"<field var='secret'><value>{found['secret']}</value></field></x></enable>",
    )
    return str(found["node"])


async def register_as_monal(client: Slix, app: SlixAppServer, token: str) -> str:
    """The node is the token of the device, and nothing is secret."""
    app.secrets[token] = ""
    await ask(client, f"<enable xmlns='urn:xmpp:push:0' jid='{APP}' node='{token}'/>")
    return token


async def cut(client: Slix) -> None:
    """The connection is lost without a word, and the client does not come back."""
    client.abort()
    await until(lambda: not client.is_connected(), "the end of the connection")


async def status(server: LiveServer, user: User) -> list[dict[str, Any]]:
    """What the admin sees."""
    shown = server.run("push", "status", user.jid, "--json", "--config", str(server.config_file))
    return list(json.loads(shown))


async def test_a_closed_phone_is_woken(
    server: LiveServer, app: SlixAppServer, slix: MakeSlix, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    phone = await slix(juliet).login()
    node = await register_as_conversations(phone)
    await phone.logout()
    he = await slix(romeo).login()
    for inner in DULL:
        he.send_raw(f"<message to='{juliet.jid}' type='chat'>{inner}</message>")
    he.say(juliet.jid, "a secret of Romeo's")
    await app.has_pushed(node)
    [payload] = app.payloads
    assert "New Message!" in payload
    assert "secret of" not in payload
    assert romeo.jid not in payload
    assert juliet.jid not in payload
    assert app.senders == [DOMAIN], "services know servers, not users"
    he.send_raw(f"<message to='{juliet.jid}' type='chat'>{PROPOSE}</message>")
    await app.has_pushed(node, node)
    again = await slix(juliet).login()
    he.say(juliet.jid, "she is there")
    await again.sees_bodies("a secret of Romeo's", "she is there")
    assert app.pushed == [node, node]


async def test_a_session_that_hibernates_is_woken_and_goes_on(
    server: LiveServer, app: SlixAppServer, slix: MakeSlix, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    phone = slix(juliet)
    phone.register_plugin("xep_0198")
    await phone.login()
    node = await register_as_monal(phone, app, "ab12" * 16)
    await phone.settle()
    he = await slix(romeo).login()
    await cut(phone)
    for inner in DULL:
        he.send_raw(f"<message to='{juliet.jid}' type='chat'>{inner}</message>")
    he.say(juliet.jid, "wake up")
    await app.has_pushed(node)
    resumed: list[object] = []
    phone.add_event_handler("session_resumed", resumed.append, disposable=True)
    phone.connect(*phone._place)
    await until(lambda: resumed, "the session that goes on")
    await phone.sees_bodies("wake up")
    [row] = await status(server, juliet)
    assert (row["app server"], row["state"], row["errors in a row"]) == (APP, "on", 0)
    assert row["last success"] != "-"
    assert node not in str(row)


async def test_what_goes_wrong_can_be_seen(
    server: LiveServer, app: SlixAppServer, slix: MakeSlix, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    phone = await slix(juliet).login()
    node = await register_as_conversations(phone)
    config = ("--config", str(server.config_file))

    async def test() -> str:
        """`push test`, while the app server goes on."""
        return await app.loop.run_in_executor(None, server.run, "push", "test", juliet.jid, *config)

    assert "accepted by the app server" in await test()
    assert app.pushed == [node]
    app.failure = "internal-server-error"
    assert "the app server failed" in await test()
    [row] = await status(server, juliet)
    assert (row["errors in a row"], row["state"]) == (1, "on")
    app.failure = ""
    app.secrets[node] = "another one"
    assert "a wrong secret" in await test()
    [row] = await status(server, juliet)
    assert row["state"].endswith("refused")
    await phone.logout()
    he = await slix(romeo).login()
    he.say(juliet.jid, "is she woken?")
    await he.settle(juliet.jid)
    phone = await slix(juliet).login()
    node = await register_as_conversations(phone)
    await phone.logout()
    he.say(juliet.jid, "she is")
    await until(lambda: app.pushed[1:] == [node], lambda: f"{node} alone: {app.pushed}")
    assert len(await status(server, juliet)) == 2


async def test_registrations_outlive_a_crash(
    server: LiveServer, app: SlixAppServer, slix: MakeSlix, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    phone = await slix(juliet).login()
    node = await register_as_conversations(phone)
    await phone.logout()
    app.add_event_handler("disconnected", lambda _: app.connect(), disposable=True)
    server.kill()
    server.start()
    await app.has_started(2)
    he = await slix(romeo).login()
    he.say(juliet.jid, "still there")
    await app.has_pushed(node)
