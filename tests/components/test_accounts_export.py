"""`xmppchat user export` (XEP-0227)."""

from __future__ import annotations

import base64

from accounts_support import bring, hashed, log_in, run

from xmppchat.components.accounts import CREDENTIALS
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.xmlreader import parse_document
from xmppchat.testing.memory import MemoryDriver

PIE = "urn:xmpp:pie:0"


def only(parent: Element, name: str, namespace: str = PIE) -> Element:
    """The one child of this name."""
    (found,) = [child for child in parent.elements() if child.is_named(name, namespace)]
    return found


async def exported(driver: MemoryDriver, jid: str, **options: bool) -> Element:
    """The `<user/>` of an export, in a document as the schema has it (§9): others' namespaces come last."""
    head, _, text = (await run(driver, "user export", jid=jid, **options)).partition("\n")
    assert head == "<?xml version='1.0' encoding='UTF-8'?>"
    document = parse_document(text.encode())
    assert document.is_named("server-data", PIE)
    host = only(document, "host")
    user = only(host, "user")
    assert f"{user.get('name')}@{host.get('jid')}" == jid
    assert dict(user.attributes).keys() == {"name"}, "never a password"
    places = [child.namespace != PIE for child in user.elements()]
    assert places == sorted(places)
    assert [child.name for child in user.elements() if child.namespace == PIE] in ([], ["offline-messages"])
    assert not user.text.strip()
    return user



async def test_export(driver: MemoryDriver) -> None:
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    romeo, juliet = await log_in(driver, "romeo", "secret"), await log_in(driver, "juliet", "secret")
    item = "<item jid='nurse@chat.example' name='N &amp; N'><group>A</group></item>"
    await romeo.request("set", f"<query xmlns='jabber:iq:roster'>{item}</query>")
    juliet.write("<presence type='subscribe' to='romeo@chat.example'/>")
    juliet.write("<message to='romeo@chat.example' type='chat'><body>Hi\n&lt;there&gt;</body></message>")
    await romeo.request("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
    await romeo.request("set", "<query xmlns='jabber:iq:private'><p xmlns='urn:p'>x</p></query>")
    await driver.settle([romeo, juliet])

    user = await exported(driver, "romeo@chat.example")
    roster = user.find("query", "jabber:iq:roster")
    assert roster is not None
    (nurse,) = roster.elements()
    assert (nurse.get("jid"), nurse.get("name"), nurse.child_text("group")) == ("nurse@chat.example", "N & N", "A")
    request = user.find("presence", "jabber:client")
    assert request is not None
    assert (request.get("type"), request.get("from")) == ("subscribe", "juliet@chat.example")
    offline = user.find("offline-messages")
    assert offline is not None
    (message,) = offline.elements()
    assert message.child_text("body") == "Hi\n<there>"
    assert message.find("delay", "urn:xmpp:delay") is not None
    vcard = user.find("vCard", "vcard-temp")
    assert vcard is not None
    assert vcard.child_text("FN") == "Romeo"
    private = user.find("query", "jabber:iq:private")
    assert private is not None
    assert user.find("scram-credentials", PIE + "#scram") is None

    account = await driver.server.kernel.directory.get(JID.parse("romeo@chat.example"))
    whole = await exported(driver, "romeo@chat.example", with_credentials=True)
    found = {child.get("mechanism"): child for child in whole.elements() if child.name == "scram-credentials"}
    assert found.keys() == account[CREDENTIALS].keys()
    for mechanism, keys in account[CREDENTIALS].items():
        scram = PIE + "#scram"
        assert only(found[mechanism], "iter-count", scram).text == str(keys.iterations)
        for name, value in (("salt", keys.salt), ("stored-key", keys.stored_key), ("server-key", keys.server_key)):
            assert base64.b64decode(only(found[mechanism], name, scram).text) == value


async def test_an_export_holds_what_a_terminal_may_not_see(driver: MemoryDriver) -> None:
    """Joined emoji, soft hyphens, tabs, and what steers terminals: the command line shows none of it as it is."""
    text = "a\u200db\u00ad\tc\n\u009b31m d\U0001f469\u200d\U0001f680"
    await driver.create_account("romeo", "x")
    await driver.create_account("juliet", "x")
    juliet = await log_in(driver, "juliet", "x")
    juliet.write(f"<message to='romeo@chat.example' type='chat'><body>{text}</body></message>")
    await driver.settle([juliet])
    printed = await run(driver, "user export", jid="romeo@chat.example")
    assert all(line.isprintable() for line in printed.split("\n"))
    user = await exported(driver, "romeo@chat.example")
    (message,) = only(user, "offline-messages").elements()
    assert message.child_text("body") == text


async def test_an_imported_hash_is_not_exported(driver: MemoryDriver) -> None:
    imported = hashed("a")
    await bring(driver, {"account": "romeo", "bcrypt": imported})
    assert imported not in await run(driver, "user export", jid="romeo@chat.example", with_credentials=True)
