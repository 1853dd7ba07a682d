"""What accounts want to be notified of, chat by chat (XEP-0492), and that push notifications heed it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from push_support import APP, JULIET, SECRET, AppServer, account, attached, enable, gone
from stream_management_support import log_in

from xmppchat.components.bookmarks.settings import SETTINGS, Setting, setting_of
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.testing.component import MemoryComponent
from xmppchat.testing.memory import MemoryClient, MemoryDriver

ROOM, NURSE = "verona@rooms.example", "nurse@chat.example"


def bookmark(notify: str, nick: str = "") -> Element:
    inner = f"<notify xmlns='{NS.NOTIFICATION_SETTINGS}'>{notify}</notify>"
    name = f"<nick>{nick}</nick>" if nick else ""
    return parse_stored(f"<conference xmlns='{NS.BOOKMARKS}'>{name}<extensions>{inner}</extensions></conference>")


@pytest.mark.parametrize(("notify", "expected"), [
    ("", None),
    ("<always/>", None),
    ("<never/>", "never"),
    ("<on-mention/>", "on-mention"),
    ("<sometimes/>", None),
    ("<never><advanced><x xmlns='urn:x'/></advanced></never>", "never"),
    ("<never identity-category='client'/><always/>", "never"),
    ("<never identity-category='client' identity-type='pc'/><on-mention/>", "on-mention"),
    ("<never identity-category='client' identity-type='pc'/>", None),
    ("<always identity-category='gateway'/><never/>", "never"),
    ("<on-mention identity-category='client' identity-type='phone'/><never identity-category='client'/>", "on-mention"),
    ("<always identity-category='client' identity-type='pc'/><never/>", None),
    ("<never identity-type='pc'/>", None),
])  # fmt: skip
def test_what_counts_of_a_setting(notify: str, expected: str | None) -> None:
    """§4: the most specific; of several clients that may be meant, the one that wants most."""
    assert setting_of(bookmark(notify, "J")) == (None if expected is None else Setting(expected, "J"))


def test_a_bookmark_without() -> None:
    assert setting_of(parse_stored(f"<conference xmlns='{NS.BOOKMARKS}'/>")) is None
    assert setting_of(parse_stored(f"<conference xmlns='{NS.BOOKMARKS}'><extensions/></conference>")) is None


@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(
        tmp_path, storage_url=storage_url, external_components={APP: SECRET, "rooms.example": SECRET}
    )
    await driver.start()
    yield driver
    await driver.stop()


@pytest.fixture
async def app(driver: MemoryDriver) -> AppServer:
    return await attached(driver)


async def set_up(driver: MemoryDriver, *settings: str) -> tuple[MemoryClient, MemoryClient]:
    """Juliet's laptop, which stays, while her phone is to be woken; and who writes to her."""
    laptop, _ = await log_in(driver, "juliet", "laptop")
    laptop.answers_requests = True
    for jid_and_notify in settings:
        jid, _, notify = jid_and_notify.partition(" ")
        payload = bookmark(notify, "Jule").to_xml()
        publish = f"<publish node='{NS.BOOKMARKS}'><item id='{jid}'>{payload}</item></publish>"
        form = (
            f"<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{NS.PUBSUB_OPTIONS}"
            "</value></field><field var='pubsub#max_items'><value>max</value></field></x></publish-options>"
        )
        answer = await laptop.request("set", f"<pubsub xmlns='{NS.PUBSUB}'>{publish}{form}</pubsub>")
        assert answer.get("type") == "result"
    await enable(laptop)
    await laptop.close()
    await driver.settle([])
    writer, _ = await log_in(driver, "nurse", resume=False)
    writer.answers_requests = True
    return laptop, writer


async def woken_by(driver: MemoryDriver, app: AppServer, writer: MemoryClient, inner: str) -> bool:
    writer.write(f"<message to='{JULIET}' type='chat' id='m{driver.server.kernel.ids.token()}'>{inner}</message>")
    await driver.settle([])
    return bool(await app.nodes(2))


async def test_never_means_no_message_and_a_call_still_rings(driver: MemoryDriver, app: AppServer) -> None:
    _, nurse = await set_up(driver, f"{NURSE} <never/>")
    assert account(driver)[SETTINGS] == {NURSE: Setting("never", "Jule")}
    assert not await woken_by(driver, app, nurse, "<body>Jule!</body>")
    assert await woken_by(
        driver, app, nurse, "<propose xmlns='urn:xmpp:jingle-message:0' id='c'/><store xmlns='urn:xmpp:hints'/>"
    )


@pytest.mark.parametrize(("inner", "wakes"), [
    ("<body>Good morrow</body>", False),
    ("<body>Good morrow, JULE.</body>", True),
    (f"<body>x</body><reference xmlns='{NS.REFERENCES}' type='mention' uri='xmpp:{JULIET}'/>", True),
    (f"<body>x</body><reference xmlns='{NS.REFERENCES}' type='mention' uri='xmpp:{NURSE}/Jule'/>", True),
    (f"<body>x</body><reference xmlns='{NS.REFERENCES}' type='mention' uri='xmpp:other@chat.example'/>", False),
    (f"<body>x</body><reference xmlns='{NS.REFERENCES}' type='data' uri='xmpp:{JULIET}'/>", False),
    (f"<body>x</body><reply xmlns='{NS.REPLY}' to='{JULIET}/laptop' id='1'/>", True),
    (f"<body>x</body><reply xmlns='{NS.REPLY}' to='other@chat.example' id='1'/>", False),
    (f"<body>x</body><encrypted xmlns='{NS.OMEMO_AXOLOTL}'><payload>x</payload></encrypted>", True),
])  # fmt: skip
async def test_on_mention(driver: MemoryDriver, app: AppServer, inner: str, wakes: bool) -> None:
    """§4; of what is encrypted nobody can tell, so it wakes."""
    _, nurse = await set_up(driver, f"{NURSE} <on-mention/>")
    assert await woken_by(driver, app, nurse, inner) is wakes


async def test_settings_go_with_their_bookmarks(driver: MemoryDriver, app: AppServer) -> None:
    _, nurse = await set_up(driver, f"{NURSE} <never/>", f"{ROOM} <never/>", "other@rooms.example <always/>")
    assert sorted(account(driver)[SETTINGS]) == [NURSE, ROOM]
    again, _ = await log_in(driver, "juliet", "again", is_new=False)
    retract = f"<retract node='{NS.BOOKMARKS}'><item id='{NURSE}'/></retract>"
    assert (await again.request("set", f"<pubsub xmlns='{NS.PUBSUB}'>{retract}</pubsub>")).get("type") == "result"
    await again.close()
    await driver.settle([])
    assert list(account(driver)[SETTINGS]) == [ROOM]
    assert await woken_by(driver, app, nurse, "<body>x</body>")
    account(driver).invalidate()
    loaded = await driver.server.kernel.directory.get(account(driver).jid)
    assert loaded[SETTINGS] == {ROOM: Setting("never", "Jule")}, "and is on disk"


async def test_what_made_room_for_newer_ones_counts_no_more(driver: MemoryDriver) -> None:
    laptop, _ = await log_in(driver, "juliet", "laptop")
    for jid in (NURSE, ROOM):  # a node of one item
        item = f"<item id='{jid}'>{bookmark('<never/>').to_xml()}</item>"
        publish = f"<pubsub xmlns='{NS.PUBSUB}'><publish node='{NS.BOOKMARKS}'>{item}</publish></pubsub>"
        assert (await laptop.request("set", publish)).get("type") == "result"
    assert list(account(driver)[SETTINGS]) == [ROOM]


async def test_an_account_that_is_deleted_leaves_none(driver: MemoryDriver, app: AppServer) -> None:
    await set_up(driver, f"{NURSE} <never/>")
    reader, number = driver.server.kernel.reader, account(driver).id
    assert len(await reader.fetch(SETTINGS.statement, {"accounts": [number]})) == 1
    await driver.server.execute("user delete", {"jid": JULIET})
    await driver.settle([])
    assert not await reader.fetch(SETTINGS.statement, {"accounts": [number]})


async def test_a_message_in_a_room_for_a_session_that_waits(driver: MemoryDriver, app: AppServer) -> None:
    """What no archive has wakes a device, too; unless its room is muted."""
    await set_up(driver, f"{ROOM} <never/>")
    rooms = MemoryComponent(driver.server, "rooms.example")
    rooms.attach(SECRET)
    phone, _ = await log_in(driver, "juliet", "phone", is_new=False)
    await enable(phone, "phone-1")
    await gone(driver, phone)
    await app.nodes(2)
    for room, woken in (("other@rooms.example", ["phone-1"]), (ROOM, [])):
        rooms.write(f"<message from='{room}/nurse' to='{JULIET}/phone' type='groupchat'><body>x</body></message>")
        await driver.settle([])
        assert await app.nodes(2) == woken
