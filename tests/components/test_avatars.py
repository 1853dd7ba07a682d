"""Avatars between nodes, vCards and presence (XEP-0398): what is in memory, what is refused, what is left over."""

from __future__ import annotations

import base64
import hashlib
import struct
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pubsub_support import Client, befriend, condition, started

from xmppchat.components.vcard.avatars import AVATAR, MAX_IMAGES, with_hash
from xmppchat.components.vcard.photo import Photo, decode, dimensions, hash_of, media_type, photo_of
from xmppchat.core.limits import Limits
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.testing.memory import MemoryDriver


def png(width: int = 3, height: int = 2) -> bytes:
    """The beginning of an image: as much as says what it is."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


IMAGE, OTHER = png(), png(5, 7)
HASH, OTHER_HASH = hash_of(IMAGE), hash_of(OTHER)


@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    driver = await started(tmp_path, storage_url, "juliet", "romeo")
    yield driver
    await driver.stop()


async def publish(client: Client, image: bytes, *, item: str = "", info: str | None = None) -> list[str]:
    """Data, then metadata; what is wrong with each."""
    item = item or hash_of(image)
    text = base64.b64encode(image).decode()
    data = f"<item id='{item}'><data xmlns='{NS.AVATAR_DATA}'>{text}</data></item>"
    info = f"<info id='{item}' bytes='{len(image)}' type='image/png'/>" if info is None else info
    metadata = f"<item id='{item}'><metadata xmlns='{NS.AVATAR_METADATA}'>{info}</metadata></item>"
    return [
        condition(await client.ask("set", f"<publish node='{node}'>{one}</publish>"))
        for node, one in ((NS.AVATAR_DATA, data), (NS.AVATAR_METADATA, metadata))
    ]


def vcard(image: bytes | None = None, inner: str = "<FN>J</FN>") -> str:
    photo = ""
    if image is not None:
        photo = f"<PHOTO><TYPE>image/x-wrong</TYPE><BINVAL>{base64.b64encode(image).decode()}</BINVAL></PHOTO>"
    return f"<vCard xmlns='vcard-temp'>{inner}{photo}</vCard>"


async def photo_in(client: Client, to: str = "") -> bytes | None:
    """The image in a vCard."""
    answer = (await client.request("get", "<vCard xmlns='vcard-temp'/>", to)).find("vCard", NS.VCARD)
    found = None if answer is None else photo_of(answer.find("PHOTO") or Element("PHOTO", NS.VCARD))
    return None if found is None else found.image


async def hash_seen(client: Client) -> str | None:
    """What the last presence that came said: None for nothing, "" for no image."""
    await client.driver.settle([client.client])
    found = [element for element in client.client.inbox if element.name == "presence"]
    client.client.inbox.clear()
    x = found[-1].find("x", NS.VCARD_UPDATE) if found else None
    photo = None if x is None else x.find("photo")
    return None if photo is None else photo.text


async def friends(driver: MemoryDriver) -> tuple[Client, Client]:
    juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
    await befriend(juliet, romeo)
    for client in (juliet, romeo):
        client.client.write("<presence/>")
    await driver.settle([juliet.client, romeo.client])
    juliet.client.inbox.clear()
    romeo.client.inbox.clear()
    return juliet, romeo


async def test_each_way_there_and_away(driver: MemoryDriver) -> None:
    juliet, romeo = await friends(driver)
    assert await publish(juliet, IMAGE) == ["", ""]
    assert await hash_seen(romeo) == HASH
    assert await photo_in(romeo, juliet.bare) == IMAGE
    assert condition(await juliet.request("set", vcard(OTHER))) == ""
    assert await hash_seen(romeo) == OTHER_HASH
    assert list(await romeo.items(NS.AVATAR_DATA, juliet.bare)) == [OTHER_HASH]
    assert list(await romeo.items(NS.AVATAR_METADATA, juliet.bare)) == [OTHER_HASH]
    assert condition(await juliet.ask("set", f"<delete node='{NS.AVATAR_METADATA}'/>", owner=True)) == ""
    assert await hash_seen(romeo) == ""
    assert await photo_in(romeo, juliet.bare) is None
    assert await publish(juliet, IMAGE) == ["", ""]
    assert await hash_seen(romeo) == HASH, "what we said of no image is no word of the client's"
    assert await publish(juliet, IMAGE, info="") == ["", ""]
    assert await hash_seen(romeo) == ""


async def test_the_same_photo_is_no_news(driver: MemoryDriver) -> None:
    juliet, romeo = await friends(driver)
    await romeo.appear(f"{NS.AVATAR_METADATA}+notify")
    assert condition(await juliet.request("set", vcard(IMAGE))) == ""
    assert await romeo.events() == [("juliet", NS.AVATAR_METADATA, "item", HASH)]
    assert condition(await juliet.request("set", vcard(IMAGE, "<FN>Juliet</FN>"))) == ""
    assert await romeo.events() == []
    assert await hash_seen(romeo) is None


async def test_data_of_another_hash_are_not_shown(driver: MemoryDriver) -> None:
    """XEP-0398 §4.1: who compares the hash would fetch it again and again."""
    juliet, romeo = await friends(driver)
    assert await publish(juliet, IMAGE, item=OTHER_HASH) == ["", ""]
    assert await hash_seen(romeo) is None
    assert await photo_in(juliet) is None
    elsewhere = f"<info id='{HASH}' bytes='1' type='image/png' url='https://x.example'/>"
    assert await publish(juliet, IMAGE, info=elsewhere) == ["", ""]
    assert await photo_in(juliet) is None, "that image is elsewhere"


async def test_it_is_there_after_a_restart(tmp_path: Path, storage_url: str, driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    assert await publish(juliet, IMAGE) == ["", ""]
    await driver.stop()
    again = await started(tmp_path, storage_url)
    try:
        juliet = await Client.log_in(again, "juliet")
        juliet.client.write("<presence/>")
        assert await hash_seen(juliet) == HASH
        assert await photo_in(juliet) == IMAGE
    finally:
        await again.stop()
        await driver.start()


async def test_what_is_remembered_is_bounded(driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    account = driver.server.kernel.directory.find(juliet.bare)
    assert account is not None
    await juliet.publish(NS.AVATAR_DATA, max_items="max")
    for number in range(1, MAX_IMAGES + 4):
        assert await publish(juliet, png(number)) == ["", ""]
    assert len(account[AVATAR].images) == MAX_IMAGES
    assert account[AVATAR].hash == hash_of(png(MAX_IMAGES + 3))


async def test_a_photo_that_is_too_large_and_one_that_is_none(tmp_path: Path, storage_url: str) -> None:
    driver = await started(
        tmp_path, storage_url, "juliet", limits=Limits(profile="test", pubsub_payload_bytes=1_024, pubsub_nodes=2)
    )
    try:
        juliet = await Client.log_in(driver, "juliet")
        fits = IMAGE + bytes(1_024 // 4 * 3 - 64 - len(IMAGE))
        assert condition(await juliet.request("set", vcard(fits, ""))) == ""
        assert await photo_in(juliet) == fits
        assert condition(await juliet.request("set", vcard(fits + bytes(60), ""))) == "policy-violation"
        assert driver.server.kernel.limit_counters.counts["pubsub_payload_bytes"] == 1
        garbage = "<vCard xmlns='vcard-temp'><PHOTO><BINVAL>%%%</BINVAL></PHOTO></vCard>"
        assert condition(await juliet.request("set", garbage)) == "bad-request"
        assert condition(await juliet.request("set", vcard(OTHER))) == "resource-constraint", "a third node"
        assert await photo_in(juliet) == fits, "nothing of what was refused has happened"
    finally:
        await driver.stop()


@pytest.mark.parametrize("visibility", ["subscribers", "everyone"])
async def test_who_may_read_the_vcard_may_read_the_nodes(
    tmp_path: Path, storage_url: str, visibility: str
) -> None:
    driver = await started(tmp_path, storage_url, "juliet", "romeo", vcard={"visibility": visibility})
    try:
        juliet, romeo = await Client.log_in(driver, "juliet"), await Client.log_in(driver, "romeo")
        assert condition(await juliet.request("set", vcard(IMAGE))) == ""
        answer = await romeo.items(NS.AVATAR_METADATA, juliet.bare)
        assert isinstance(answer, dict) is (visibility == "everyone")
        assert (await photo_in(romeo, juliet.bare) == IMAGE) is (visibility == "everyone")
    finally:
        await driver.stop()


async def test_an_account_that_is_deleted_leaves_no_avatar(driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    assert await publish(juliet, IMAGE) == ["", ""]
    await driver.server.execute("user delete", {"jid": juliet.bare})
    await driver.server.execute("user forget", {"jid": juliet.bare})
    await driver.create_account("juliet", "secret")
    juliet = await Client.log_in(driver, "juliet")
    juliet.client.write("<presence/>")
    assert await hash_seen(juliet) is None


# --- presence --------------------------------------------------------------------------------------------------------

def presence(x: str = "") -> Stanza:
    return Stanza.from_element(parse_stored(f"<presence xmlns='jabber:client'><show>away</show>{x}</presence>"))


def x(inner: str | None = None) -> str:
    return f"<x xmlns='{NS.VCARD_UPDATE}'>{inner or ''}</x>"


@pytest.mark.parametrize(("said", "hash", "expected"), [
    ("", "", ""),
    ("", "aa", x("<photo>aa</photo>")),
    (x(), "", x("<photo/>")),
    (x(), "aa", x("<photo>aa</photo>")),
    (x("<photo/>"), "aa", x("<photo/>")),
    (x("<photo>bb</photo>"), "aa", x("<photo>aa</photo>")),
    (x("<photo>bb</photo>"), "", x("<photo>bb</photo>")),
    (x("<photo>aa</photo>") + x(), "bb", x("<photo>bb</photo>")),
])  # fmt: skip
def test_what_presence_says(said: str, hash: str, expected: str) -> None:
    """XEP-0398 §5."""
    shown = with_hash(presence(said), hash=hash)
    assert list(shown.elements()) == list(presence(expected).elements())


def test_what_need_not_be_changed_is_the_same_stanza() -> None:
    for said, hash in (("", ""), (x("<photo>aa</photo>"), "aa"), (x("<photo/>"), "aa")):
        stanza = presence(said)
        assert with_hash(stanza, hash=hash) is stanza
    gone = with_hash(presence(x("<photo>aa</photo>")), hash="", is_change=True)
    assert list(gone.elements()) == list(presence(x("<photo/>")).elements())
    assert with_hash(gone, hash="", is_change=True) is gone


# --- images ----------------------------------------------------------------------------------------------------------

def jpeg(width: int, height: int) -> bytes:
    quantisation = b"\xff\xdb" + struct.pack(">H", 67) + bytes(65)
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8" + b"\xff\xe0" + struct.pack(">H", 16) + bytes(14) + quantisation + frame


@pytest.mark.parametrize(("image", "kind", "size"), [
    (png(640, 480), "image/png", (640, 480)),
    (png(0, 480), "image/png", None),
    (png()[:20], "image/png", None),
    (b"GIF89a" + struct.pack("<HH", 7, 9), "image/gif", (7, 9)),
    (b"GIF89a", "image/gif", None),
    (jpeg(320, 200), "image/jpeg", (320, 200)),
    (jpeg(320, 200)[:-15], "image/jpeg", None),
    (b"\xff\xd8\xff\xe0\x00\x00" * 4, "image/jpeg", None),
    (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp", None),
    (b"<svg/>", "", None),
    (b"", "", None),
])  # fmt: skip
def test_what_an_image_is(image: bytes, kind: str, size: tuple[int, int] | None) -> None:
    assert media_type(image) == kind
    assert dimensions(image) == size


def test_base64_as_clients_write_it() -> None:
    assert decode(" aGVs\r\n bG8 ") == b"hello"
    for text in ("aGVsbG8%", "a", "====", "ä"):
        with pytest.raises(ValueError):
            decode(text)


def test_what_is_published_of_a_photo() -> None:
    element = Element("PHOTO", NS.VCARD, None, [
        text_element("TYPE", NS.VCARD, "text/html"), text_element("BINVAL", NS.VCARD, "aGVsbG8="),
    ])
    photo = photo_of(element)
    assert photo == Photo(b"hello", hashlib.sha1(b"hello").hexdigest(), "image/png")
    assert dict(photo.metadata().find_all("info")[0].attributes) == {
        "bytes": "5", "id": photo.hash, "type": "image/png",
    }
    assert photo.data().text == "aGVsbG8="
    assert photo_of(Element("PHOTO", NS.VCARD)) is None
