"""Devices that encrypt, two of each person, in both namespaces of OMEMO (XEP-0384): the server brings them together."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from xml.etree import ElementTree as ET

import pytest
from live_server import NewUser, ServerProcess, User
from omemo.session_manager import MessageNotForUs
from omemo_client import (
    AXOLOTL,
    BUNDLES,
    DEVICE_LISTS,
    NAMESPACES,
    OMEMO,
    OmemoSlix,
    begins_a_session,
    check_secrecy,
    device,
)
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.stanza import Message

#: The plugin's way to others is old.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing plugins through the XMPP object:DeprecationWarning")
in_both = pytest.mark.parametrize("namespace", NAMESPACES, ids=["axolotl", "omemo2"])

#: A link as clients make it for a file and its thumbnail (XEP-0454 §3, §4), which is about 5 KiB.
FILE_LINK = (
    "aesgcm://upload.chat.test/4a771ac1-f0b2-4a4a-9700-f2a26fa2bb67/tr%C3%A8s%20cool.jpg"
    f"#8c3d050e9386ec173861778f{'68e9af38a97aaf82' * 4}\ndata:image/jpeg,/9j/4AAQ{'SkZJRgABAQEBLAEs' * 420}"
)


async def two_devices(slix: MakeSlix, user: User) -> list[OmemoSlix]:
    """One after the other: a client reads the list of devices before it adds itself."""
    return [await device(slix, user), await device(slix, user)]


async def become_contacts(romeo: OmemoSlix, juliet: OmemoSlix) -> None:
    for asking, asked in ((juliet, romeo), (romeo, juliet)):
        asking.send_presence_subscription(JID(asked.boundjid.bare))
        await asked.sees_request(asking.boundjid.bare, "subscribe")
        asked.send_presence_subscription(JID(asking.boundjid.bare), ptype="subscribed")
        await asking.sees_request(asked.boundjid.bare, "subscribed")


async def all_are_told(*people: list[OmemoSlix]) -> None:
    """Events have shown every device the lists of all."""
    for listener in itertools.chain(*people):
        for devices in people:
            await listener.is_told(devices[0].boundjid.bare, len(devices))


async def all_talk(romeo: list[OmemoSlix], juliet: list[OmemoSlix], namespace: str, word: str) -> list[Message]:
    """Each device says something to the other person; all others read it, the sender's own ones too."""
    sent = []
    everyone = [*romeo, *juliet]
    for number, speaker in enumerate(everyone):
        other = (juliet if speaker in romeo else romeo)[0].boundjid.bare
        text = f"{word} {number}"
        sent.append(await speaker.whisper(other, text, namespace))
        for listener in everyone:
            if listener is not speaker:
                await listener.hears(speaker.boundjid.bare, namespace, text)
    return sent


async def leave(*devices: OmemoSlix) -> None:
    for client in devices:
        await client.logout()


@in_both
async def test_contacts_talk_on_all_their_devices(slix: MakeSlix, new_user: NewUser, namespace: str) -> None:
    romeo, juliet = await two_devices(slix, new_user("romeo")), await two_devices(slix, new_user("juliet"))
    await become_contacts(romeo[0], juliet[0])
    await all_are_told(romeo, juliet)
    await all_talk(romeo, juliet, namespace, "verse")


@in_both
async def test_strangers_talk_on_all_their_devices(slix: MakeSlix, new_user: NewUser, namespace: str) -> None:
    """Keys are open: nobody needs to be allowed anything before the first word."""
    romeo, juliet = await two_devices(slix, new_user("romeo")), await two_devices(slix, new_user("juliet"))
    await all_talk(romeo, juliet, namespace, "verse")


@in_both
async def test_who_was_away_reads_it_later(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser, namespace: str
) -> None:
    """One device at its login, the others of both people out of their archives."""
    romeo_user, juliet_user = new_user("romeo"), new_user("juliet")
    romeo, juliet = await two_devices(slix, romeo_user), await two_devices(slix, juliet_user)
    await all_are_told(romeo)
    await all_are_told(juliet)
    await leave(romeo[1], *juliet)
    text = "Wherefore art thou"
    await romeo[0].whisper(juliet_user.jid, text, namespace)
    await romeo[0].settle(juliet_user.jid)

    phone = await device(slix, juliet_user, juliet[0].keys)
    await phone.hears(romeo_user.jid, namespace, text)
    for user, keys in ((juliet_user, juliet[1].keys), (romeo_user, romeo[1].keys)):
        laptop = await device(slix, user, keys, available=False)
        (message,) = await laptop.archived()
        secret = await laptop.read(message)
        assert secret is not None
        assert (secret.sender, secret.text) == (romeo_user.jid, text)
        check_secrecy(server, message, text)


@in_both
async def test_sessions_outlive_a_restart(
    server: ServerProcess, slix: MakeSlix, new_user: NewUser, namespace: str
) -> None:
    romeo_user, juliet_user = new_user("romeo"), new_user("juliet")
    romeo, juliet = await two_devices(slix, romeo_user), await two_devices(slix, juliet_user)
    sent = await all_talk(romeo, juliet, namespace, "before")
    assert begins_a_session(sent[0])
    await leave(*romeo, *juliet)
    await asyncio.to_thread(server.restart)

    romeo = [await device(slix, romeo_user, former.keys) for former in romeo]
    juliet = [await device(slix, juliet_user, former.keys) for former in juliet]
    sent = await all_talk(romeo, juliet, namespace, "after")
    assert not any(begins_a_session(message) for message in sent)
    tybalt_user = new_user("tybalt")
    tybalt = await device(slix, tybalt_user)  # knows nobody's keys
    await tybalt.whisper(juliet_user.jid, "have at thee", namespace)
    for listener in juliet:
        await listener.hears(tybalt_user.jid, namespace, "have at thee")


@pytest.mark.parametrize("contacts", [True, False], ids=["contacts", "strangers"])
async def test_a_device_that_comes_later(slix: MakeSlix, new_user: NewUser, contacts: bool) -> None:
    """It gets what is written from then on, as its sender is told of it; what was before, it cannot read."""
    romeo, juliet_user = await device(slix, new_user("romeo")), new_user("juliet")
    phone = await device(slix, juliet_user)
    if contacts:
        await become_contacts(romeo, phone)
        await romeo.is_told(juliet_user.jid, 1)
    for namespace in NAMESPACES:
        await romeo.whisper(juliet_user.jid, "before", namespace)
        await phone.hears(romeo.boundjid.bare, namespace, "before")

    tablet = await device(slix, juliet_user)
    await romeo.is_told(juliet_user.jid, 2)
    for namespace in NAMESPACES:
        await romeo.whisper(juliet_user.jid, "after", namespace)
        for listener in (phone, tablet):
            await listener.hears(romeo.boundjid.bare, namespace, "after")
    for before in (await tablet.archived())[:2]:
        with pytest.raises(MessageNotForUs):
            await tablet.read(before)


async def test_a_link_to_an_encrypted_file_passes_unchanged(slix: MakeSlix, new_user: NewUser) -> None:
    romeo, juliet = await device(slix, new_user("romeo")), await device(slix, new_user("juliet"))
    for namespace in NAMESPACES:
        sent = await romeo.whisper(juliet.boundjid.bare, FILE_LINK, namespace)
        assert "aesgcm" not in str(sent)
        await juliet.hears(romeo.boundjid.bare, namespace, FILE_LINK)


async def test_nodes_that_another_client_made_otherwise_are_set_right(slix: MakeSlix, new_user: NewUser) -> None:
    """Its conditions are not met (XEP-0060 §7.1.5), so the client configures the nodes and publishes again."""
    user = new_user("romeo")
    other = slix(user)
    other.register_plugin("xep_0060")
    await other.login()
    pubsub, own = other.plugin["xep_0060"], JID(user.jid)
    for node, payload in (
        (DEVICE_LISTS[AXOLOTL], f"{{{AXOLOTL}}}list"),
        (DEVICE_LISTS[OMEMO], f"{{{OMEMO}}}devices"),
        (BUNDLES, f"{{{OMEMO}}}bundle"),
    ):
        await pubsub.publish(own, node, id="current", payload=ET.Element(payload))
        assert (await configuration(other, node))["pubsub#access_model"] == "presence"
    assert (await configuration(other, BUNDLES))["pubsub#max_items"] == "1"

    romeo = await device(slix, user)
    for node in (*DEVICE_LISTS.values(), BUNDLES):
        assert (await configuration(other, node))["pubsub#access_model"] == "open"
    assert (await configuration(other, BUNDLES))["pubsub#max_items"] == "max"
    tybalt = await device(slix, new_user("tybalt"))
    for namespace in NAMESPACES:
        await tybalt.whisper(user.jid, "have at thee", namespace)
        await romeo.hears(tybalt.boundjid.bare, namespace, "have at thee")


async def configuration(owner: Slix, node: str) -> Mapping[str, str]:
    """What the server says of a node to its owner."""
    answer = await owner.plugin["xep_0060"].get_node_config(JID(owner.boundjid.bare), node)
    values: Mapping[str, str] = answer["pubsub_owner"]["configure"]["form"].get_values()
    return values
