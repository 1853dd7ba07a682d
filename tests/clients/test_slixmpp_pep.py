"""slixmpp on nodes of accounts: events by its capabilities, keys that strangers read, what its owner alone may see."""

from __future__ import annotations

import asyncio

import pytest
from live_server import NewUser, User
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0004 import Form
from slixmpp.plugins.xep_0172 import UserNick
from slixmpp.stanza import Message
from slixmpp.xmlstream import ET
from waiting import PATIENCE

NODE = "eu.siacs.conversations.axolotl.devicelist"
PLUGINS = ("xep_0004", "xep_0060", "xep_0115", "xep_0163", "xep_0172", "xep_0222", "xep_0223")


def with_plugins(client: Slix) -> Slix:
    for plugin in PLUGINS:
        client.register_plugin(plugin)
    return client


def nick_of(client: Slix) -> asyncio.Queue[tuple[str, str]]:
    """(from, nick) of what `client` is told."""
    found: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def told(message: Message) -> None:
        nick = message["pubsub_event"]["items"]["item"]["nick"]["nick"]
        found.put_nowait((message["from"].full, nick))

    client.add_event_handler("user_nick_publish", told)
    return found


def options(client: Slix, **fields: str) -> Form:
    form: Form = client.plugin["xep_0004"].make_form(ftype="submit")
    form.add_field(var="FORM_TYPE", ftype="hidden", value="http://jabber.org/protocol/pubsub#publish-options")
    for name, value in fields.items():
        form.add_field(var=f"pubsub#{name}", value=value)
    return form


def devices(number: str) -> ET.Element:
    payload = ET.Element("{eu.siacs.conversations.axolotl}list")
    ET.SubElement(payload, "{eu.siacs.conversations.axolotl}device", {"id": number})
    return payload


async def befriend(romeo: Slix, juliet: Slix) -> None:
    juliet.send_presence_subscription(JID(romeo.boundjid.bare))
    await romeo.sees_request(juliet.boundjid.bare, "subscribe")
    romeo.send_presence_subscription(JID(juliet.boundjid.bare), ptype="subscribed")
    await juliet.has_subscription(romeo.boundjid.bare, "to")


async def test_a_nick_reaches_contacts_and_who_comes_later(slix: MakeSlix, new_user: NewUser) -> None:
    romeo_user, juliet_user = new_user("romeo"), new_user("juliet")
    romeo, juliet = with_plugins(slix(romeo_user)), with_plugins(slix(juliet_user))
    told = nick_of(juliet)
    for client in (romeo, juliet):
        await client.login()
    await befriend(romeo, juliet)
    await romeo.plugin["xep_0172"].publish_nick("Romeo")
    assert await asyncio.wait_for(told.get(), PATIENCE) == (romeo.boundjid.bare, "Romeo")
    phone = with_plugins(slix(juliet_user))
    told_later = nick_of(phone)
    await phone.login()
    assert await asyncio.wait_for(told_later.get(), PATIENCE) == (romeo.boundjid.bare, "Romeo")
    items = await juliet.plugin["xep_0060"].get_items(romeo.boundjid.bare, UserNick.namespace)
    (item,) = items["pubsub"]["items"]
    assert item["payload"].text == "Romeo"


async def test_keys_are_made_public_after_they_were_not(slix: MakeSlix, new_user: NewUser) -> None:
    """What a client does that finds a node with another access model: it configures it, and publishes again."""
    romeo, stranger = with_plugins(slix(new_user("romeo"))), with_plugins(slix(new_user("tybalt")))
    for client in (romeo, stranger):
        await client.login()
    pubsub, own = romeo.plugin["xep_0060"], JID(romeo.boundjid.bare)
    await pubsub.publish(own, NODE, id="current", payload=devices("1"))
    with pytest.raises(IqError) as refused:
        await stranger.plugin["xep_0060"].get_items(own, NODE)
    assert refused.value.condition == "not-authorized"
    wanted = options(romeo, access_model="open", persist_items="true")
    with pytest.raises(IqError) as refused:
        await pubsub.publish(own, NODE, id="current", payload=devices("2"), options=wanted)
    assert refused.value.condition == "conflict"
    configuration = (await pubsub.get_node_config(own, NODE))["pubsub_owner"]["configure"]["form"]
    assert configuration.get_values()["pubsub#access_model"] == "presence"
    configuration.reply()
    configuration.set_values({"pubsub#access_model": "open"})
    await pubsub.set_node_config(own, NODE, configuration)
    await pubsub.publish(own, NODE, id="current", payload=devices("2"), options=wanted)
    items = await stranger.plugin["xep_0060"].get_items(own, NODE)
    (item,) = items["pubsub"]["items"]
    assert item["payload"].find("{eu.siacs.conversations.axolotl}device").get("id") == "2"


async def test_private_data_are_private(slix: MakeSlix, user: User, new_user: NewUser) -> None:
    romeo, stranger = with_plugins(slix(user)), with_plugins(slix(new_user("tybalt")))
    for client in (romeo, stranger):
        await client.login()
    nick = UserNick()
    nick["nick"] = "secret"
    await romeo.plugin["xep_0223"].store(nick, "urn:example:private", id="current")
    own = JID(romeo.boundjid.bare)
    items = await romeo.plugin["xep_0060"].get_items(own, "urn:example:private")
    assert len(list(items["pubsub"]["items"])) == 1
    with pytest.raises(IqError) as refused:
        await stranger.plugin["xep_0060"].get_items(own, "urn:example:private")
    assert refused.value.condition == "not-allowed"
