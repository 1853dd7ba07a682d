"""slixmpp on the pubsub service: found by discovery, a node from its creation to its end, with another who listens."""

from __future__ import annotations

import asyncio

import pytest
from live_server import NewUser
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.exceptions import IqError
from slixmpp.stanza import Message
from slixmpp.xmlstream import ET
from waiting import PATIENCE

NODE = "urn:example:news"


def with_plugins(client: Slix) -> Slix:
    for plugin in ("xep_0004", "xep_0060"):
        client.register_plugin(plugin)
    return client


def told(client: Slix, *events: str) -> asyncio.Queue[tuple[str, str]]:
    """(event, id of the item or "") as they come."""
    found: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def note(event: str, message: Message) -> None:
        items = message.xml.findall(".//{*}items/*")
        found.put_nowait((event, items[0].get("id", "") if items else ""))

    for event in events:
        client.add_event_handler(f"pubsub_{event}", lambda message, event=event: note(event, message))
    return found


def entry(text: str) -> ET.Element:
    payload = ET.Element("{urn:example:news}entry")
    payload.text = text
    return payload


async def service_of(client: Slix) -> JID:
    """The pubsub service as any client finds it."""
    host = JID(client.boundjid.domain)
    for item in (await client.plugin["xep_0030"].get_items(jid=host))["disco_items"]["items"]:
        info = await client.plugin["xep_0030"].get_info(jid=JID(item[0]))
        if ("pubsub", "service") in {identity[:2] for identity in info["disco_info"]["identities"]}:
            return JID(item[0])
    raise AssertionError("the host has no pubsub service")


async def test_a_node_from_its_creation_to_its_end(slix: MakeSlix, new_user: NewUser) -> None:
    juliet, romeo = with_plugins(slix(new_user("juliet"))), with_plugins(slix(new_user("romeo")))
    events = told(romeo, "publish", "retract", "purge", "delete")
    for client in (juliet, romeo):
        await client.login()
    service = await service_of(romeo)
    owner, reader = juliet.plugin["xep_0060"], romeo.plugin["xep_0060"]
    form = juliet.plugin["xep_0004"].make_form(ftype="submit")
    form.add_field(var="pubsub#title", value="News")
    form.add_field(var="pubsub#notify_retract", value="1")
    await owner.create_node(service, NODE, config=form)
    with pytest.raises(IqError) as refused:
        await reader.create_node(service, NODE)
    assert refused.value.condition == "conflict"
    await owner.publish(service, NODE, id="1", payload=entry("one"))
    await reader.subscribe(service, NODE)

    async def next_event() -> tuple[str, str]:
        return await asyncio.wait_for(events.get(), PATIENCE)

    assert await next_event() == ("publish", "1"), "the last item, for who has just subscribed"
    await owner.publish(service, NODE, id="2", payload=entry("two"))
    assert await next_event() == ("publish", "2")
    items = (await reader.get_items(service, NODE))["pubsub"]["items"]
    assert [(item["id"], item["payload"].text) for item in items] == [("1", "one"), ("2", "two")]
    with pytest.raises(IqError) as refused:
        await reader.publish(service, NODE, id="3", payload=entry("three"))
    assert refused.value.condition == "forbidden"
    await owner.modify_affiliations(service, NODE, [(romeo.boundjid.bare, "owner")])
    configuration = (await reader.get_node_config(service, NODE))["pubsub_owner"]["configure"]["form"]
    assert configuration.get_values()["pubsub#title"] == "News"
    await owner.retract(service, NODE, "1", notify=True)
    assert await next_event() == ("retract", "1")
    await reader.delete_node(service, NODE)
    assert await next_event() == ("delete", "")
    with pytest.raises(IqError) as refused:
        await owner.get_items(service, NODE)
    assert refused.value.condition == "item-not-found"
