"""Bots that speak OMEMO: both ways, in both namespaces, with whom, and what is never sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bots_support import BOT, BOTH, Person, body, component, connected, heard, run, started
from disk_support import until
from pubsub_support import Client, befriend

from xmppchat.components.bots import envelope
from xmppchat.components.bots.capabilities import LABEL, SERVER_HELD
from xmppchat.core.commands import CommandError
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import ItemNotFound, NotAcceptable, StanzaError
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryDriver

JULIET = JID.parse("juliet@chat.example")


@pytest.fixture
async def driver(tmp_path: Path, storage_url: str) -> AsyncIterator[MemoryDriver]:
    """A server with a bot, and two accounts."""
    driver = await started(tmp_path, storage_url)
    await furnish(driver)
    yield driver
    await driver.stop()


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    """The same, for what has nothing to do with the kind of database."""
    driver = await started(tmp_path, bots={"waiting": 3})
    await furnish(driver)
    yield driver
    await driver.stop()


async def furnish(driver: MemoryDriver) -> None:
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    await run(driver, "bot add", jid=BOT.bare)
    await connected(driver)


async def trust(driver: MemoryDriver, person: Person, decision: str) -> Any:
    return await run(
        driver, "bot trust", jid=BOT.bare, contact=person.bare, device=person.device_id, decision=decision
    )


@pytest.mark.parametrize("namespace", BOTH)
async def test_a_bot_and_a_client_talk_both_ways(driver: MemoryDriver, namespace: str) -> None:
    romeo = await Person.log_in(driver, "romeo", (namespace,))
    await romeo.say("What news?", namespace)
    (message,) = heard(driver).messages
    assert (message.body, message.encryption, message.is_verified) == ("What news?", namespace, False)
    assert message.sender.bare == romeo.bare
    await romeo.read()
    sent = await component(driver).send(BOT, message.sender, "None, but that the world's grown honest.", encrypt=True)
    assert (sent.namespaces, sent.devices, dict(sent.left_out)) == ((namespace,), 1, {})
    assert await romeo.read() == [(namespace, "None, but that the world's grown honest.")]
    assert not [one for one in romeo.client.client.inbox if "honest" in one.to_xml()], "nothing in clear"


async def test_a_bot_begins_and_is_answered(driver: MemoryDriver) -> None:
    romeo = await Person.log_in(driver, "romeo")
    outcome = await run(driver, "send", bot=BOT.bare, to=romeo.bare, text="Awake!", encrypt=True)
    assert outcome["encrypted"] == f"for 1 device(s), by {NS.OMEMO}"
    assert await romeo.read() == [(NS.OMEMO, "Awake!")]
    await romeo.say("Is it so early?", NS.OMEMO)
    await romeo.say("Good morrow.", NS.OMEMO_AXOLOTL)
    assert heard(driver).bodies == ["Is it so early?", "Good morrow."]


async def test_devices_of_different_kinds_get_one_stanza(small: MemoryDriver) -> None:
    old = await Person.log_in(small, "romeo", (NS.OMEMO_AXOLOTL,), "old")
    new = await Person.log_in(small, "romeo", (NS.OMEMO,), "new")
    sent = await component(small).send(BOT, JID.parse(old.bare), "Awake!", encrypt=True)
    assert (sent.namespaces, sent.devices) == (BOTH, 2)
    for client in (old, new):
        await small.settle([client.client.client])
        (stanza,) = [one for one in client.client.client.inbox if one.find("encrypted", NS.OMEMO) is not None]
        assert stanza.find("encrypted", NS.OMEMO_AXOLOTL) is not None
    assert await old.read() == [(NS.OMEMO_AXOLOTL, "Awake!")]
    assert await new.read() == [(NS.OMEMO, "Awake!")]


async def test_what_all_devices_understand_is_used_alone(small: MemoryDriver) -> None:
    await Person.log_in(small, "romeo", (NS.OMEMO_AXOLOTL,), "old")
    both = await Person.log_in(small, "romeo", BOTH, "both")
    sent = await component(small).send(BOT, JID.parse(both.bare), "Awake!", encrypt=True)
    assert (sent.namespaces, sent.devices) == ((NS.OMEMO_AXOLOTL,), 2)


async def test_a_device_that_is_added_later_gets_what_comes_then(small: MemoryDriver) -> None:
    """Without any subscription, so without being told: the list is asked for."""
    first = await Person.log_in(small, "romeo", BOTH, "first")
    to = JID.parse(first.bare)
    assert (await component(small).send(BOT, to, "one", encrypt=True)).devices == 1
    second = await Person.log_in(small, "romeo", BOTH, "second")
    assert (await component(small).send(BOT, to, "two", encrypt=True)).devices == 2
    assert [text for _, text in await second.read()] == ["two"]


# --- nothing in clear --------------------------------------------------------------------------------------------

async def test_who_has_no_device_is_sent_nothing(small: MemoryDriver) -> None:
    romeo = await Client.log_in(small, "romeo")
    await romeo.appear()
    romeo.client.inbox.clear()
    with pytest.raises(CommandError, match=r"romeo@chat.example has no device that could read this; nothing was sent"):
        await run(small, "send", bot=BOT.bare, to=romeo.bare, text="in clear?", encrypt=True)
    await small.settle([romeo.client])
    assert romeo.client.inbox == []
    await run(small, "send", bot=BOT.bare, to=romeo.bare, text="in clear!")
    await small.settle([romeo.client])
    (stanza,) = romeo.client.inbox
    assert stanza.child_text("body") == "in clear!"


async def test_who_has_keys_that_are_of_no_use_is_sent_nothing(small: MemoryDriver) -> None:
    romeo = await Client.log_in(small, "romeo")
    await romeo.appear()
    for node, payload in (
        (NS.OMEMO_DEVICES, f"<devices xmlns='{NS.OMEMO}'><device id='5'/></devices>"),
        (NS.OMEMO_BUNDLES, f"<bundle xmlns='{NS.OMEMO}'><spk id='1'>AAAA</spk></bundle>"),
    ):
        item = "5" if node == NS.OMEMO_BUNDLES else "current"
        await romeo.ask("set", f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>")
        await romeo.configure(node, access_model="open")
    romeo.client.inbox.clear()
    with pytest.raises(NotAcceptable, match="nothing was sent"):
        await component(small).send(BOT, JID.parse(romeo.bare), "in clear?", encrypt=True)
    await small.settle([romeo.client])
    assert romeo.client.inbox == []


async def test_a_database_that_cannot_write_sends_nothing(small: MemoryDriver) -> None:
    romeo = await Person.log_in(small, "romeo")
    values = next(iter(component(small)._values.values()))
    values.is_closed = True
    with pytest.raises(StanzaError, match="nothing was sent"):
        await component(small).send(BOT, JID.parse(romeo.bare), "in clear?", encrypt=True)
    await small.settle([romeo.client.client])
    assert not [one for one in romeo.client.client.inbox if one.name == "message"]


async def test_it_is_said_which_device_cannot_read_it(small: MemoryDriver) -> None:
    romeo = await Person.log_in(small, "romeo", (NS.OMEMO,))
    other = await Person.log_in(small, "romeo", (NS.OMEMO,), "other")
    await component(small).send(BOT, JID.parse(romeo.bare), "before", encrypt=True)
    third = await Person.log_in(small, "romeo", (NS.OMEMO,), "third")
    for node_owner, number in ((third, third.device_id), (other, 77)):
        listed = [romeo.device_id, other.device_id, third.device_id, number]
        devices = "".join(f"<device id='{one}'/>" for one in dict.fromkeys(listed))
        await node_owner.client.ask("set", (
            f"<publish node='{NS.OMEMO_DEVICES}'><item id='current'><devices xmlns='{NS.OMEMO}'>{devices}</devices>"
            "</item></publish>"
        ))  # fmt: skip
    await third.client.ask("set", f"<retract node='{NS.OMEMO_BUNDLES}'><item id='{third.device_id}'/></retract>")
    outcome = await run(small, "send", bot=BOT.bare, to=romeo.bare, text="now", encrypt=True)
    assert outcome["encrypted"] == f"for 2 device(s), by {NS.OMEMO}"
    numbers = sorted((77, third.device_id))
    assert outcome["cannot read it"] == [f"device {number}: its keys cannot be had" for number in numbers]


async def test_nothing_is_written_in_the_name_of_a_person(small: MemoryDriver) -> None:
    with pytest.raises(CommandError, match=r"juliet@chat\.example is no bot"):
        await run(small, "send", bot=JULIET.bare, to=BOT.bare, text="Hi")
    with pytest.raises(ItemNotFound):
        await component(small).send(JULIET, BOT, "Hi")
    with pytest.raises(CommandError, match="this name is taken"):
        await run(small, "bot add", jid=JULIET.bare)


@pytest.mark.parametrize("turns", [0, 10_000], ids=["at once", "late"])
async def test_a_refused_message_is_told(small: MemoryDriver, turns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is looked at for long whether it is sent again."""
    reader = small.server.kernel.reader
    fetch = reader.fetch

    async def slow(*arguments: Any) -> Any:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await fetch(*arguments)

    monkeypatch.setattr(reader, "fetch", slow)
    with pytest.raises(CommandError, match="service-unavailable"):
        await run(small, "send", bot=BOT.bare, to="nobody@chat.example", text="Hi")


async def test_what_is_said_is_in_no_log(small: MemoryDriver, capsys: pytest.CaptureFixture[str]) -> None:
    await Person.log_in(small, "romeo")
    await run(small, "send", bot=BOT.bare, to="romeo@chat.example", text="our secret wedding", encrypt=True)
    with pytest.raises(CommandError):
        await run(small, "send", bot=BOT.bare, to="juliet@chat.example", text="our secret wedding", encrypt=True)
    await small.settle([])
    rows = await run(small, "audit")
    assert [row["command"] for row in rows][:2] == ["send", "send"]
    assert "romeo@chat.example" in str(rows)
    output = capsys.readouterr()
    assert "our secret wedding" not in str(rows) + output.out + output.err
    assert "command" in output.out


# --- trust -------------------------------------------------------------------------------------------------------

async def test_devices_are_trusted_blindly_until_one_is_verified(driver: MemoryDriver) -> None:
    romeo = await Person.log_in(driver, "romeo")
    to = JID.parse(romeo.bare)
    await component(driver).send(BOT, to, "one", encrypt=True)
    (device,) = await run(driver, "bot devices", jid=BOT.bare, contact=romeo.bare)
    assert (device["device"], device["trust"], device["active"]) == (romeo.device_id, "blindly trusted", "yes")
    assert (await trust(driver, romeo, "yes"))["trust"] == "trusted"
    await romeo.say("verified", NS.OMEMO)
    assert heard(driver).messages[-1].is_verified
    stranger = await Person.log_in(driver, "romeo", BOTH, "stranger")
    assert (await component(driver).send(BOT, to, "two", encrypt=True)).devices == 1
    assert await stranger.read() == []
    await stranger.say("trust me", NS.OMEMO)
    assert heard(driver).bodies == ["verified"]
    await trust(driver, stranger, "yes")
    await stranger.say("now?", NS.OMEMO)
    assert heard(driver).bodies == ["verified", "now?"]


async def test_a_device_that_is_not_trusted_is_neither_written_to_nor_read(small: MemoryDriver) -> None:
    romeo = await Person.log_in(small, "romeo")
    await component(small).send(BOT, JID.parse(romeo.bare), "one", encrypt=True)
    await trust(small, romeo, "no")
    with pytest.raises(CommandError, match="no device that is trusted; nothing was sent"):
        await run(small, "send", bot=BOT.bare, to=romeo.bare, text="two", encrypt=True)
    await romeo.say("three", NS.OMEMO)
    assert heard(small).bodies == []


async def test_without_blind_trust_an_admin_decides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    driver = await started(tmp_path, bots={"blind_trust": False})
    try:
        await furnish(driver)
        romeo = await Person.log_in(driver, "romeo")
        with pytest.raises(NotAcceptable, match="no device that is trusted"):
            await component(driver).send(BOT, JID.parse(romeo.bare), "one", encrypt=True)
        assert "a device is not trusted" in capsys.readouterr().out
        await trust(driver, romeo, "yes")
        assert (await component(driver).send(BOT, JID.parse(romeo.bare), "one", encrypt=True)).devices == 1
        with pytest.raises(CommandError, match="has no device 5"):
            await run(driver, "bot trust", jid=BOT.bare, contact=romeo.bare, device=5, decision="yes")
    finally:
        await driver.stop()


async def test_decisions_are_logged_with_fingerprints(small: MemoryDriver, capsys: pytest.CaptureFixture[str]) -> None:
    romeo = await Person.log_in(small, "romeo")
    await component(small).send(BOT, JID.parse(romeo.bare), "one", encrypt=True)
    own, _ = await romeo.manager.get_own_device_information()
    log = capsys.readouterr().out
    assert "a device is blindly trusted" in log
    assert own.identity_key.hex() in log


# --- who it says to be -------------------------------------------------------------------------------------------

async def test_the_label(driver: MemoryDriver) -> None:
    juliet = await Client.log_in(driver, "juliet")
    await juliet.appear()
    answer = await juliet.ask("get", f"<items node='{NS.OMEMO_DEVICES}'/>", BOT.bare)
    assert f"label='{LABEL}' labelsig='" in answer.to_xml()
    person = await Person.log_in(driver, "romeo")
    await person.manager.refresh_device_lists(BOT.bare)
    (device,) = await person.manager.get_device_information(BOT.bare)
    assert device.label == LABEL, "the signature holds"
    juliet.client.write(f"<presence type='subscribe' to='{BOT.bare}'/>")
    await driver.settle([juliet.client])
    for address in (BOT.bare, next(iter(component(driver)._bots.values()))._session.session.jid.full):  # type: ignore
        query = (await juliet.request("get", f"<query xmlns='{NS.DISCO_INFO}'/>", address)).to_xml()
        assert "category='client' type='bot'" in query
        assert SERVER_HELD in query
    query = (await juliet.request("get", f"<query xmlns='{NS.DISCO_INFO}'/>", juliet.bare)).to_xml()
    assert "type='bot'" not in query
    (row,) = await run(driver, "bot list")
    assert row["bot"] == BOT.bare
    assert row["connected"] == "yes"
    assert "whose key this server holds" in row["encryption"]
    assert device.identity_key.hex()[:8] in row["encryption"]


async def test_it_takes_messages_only(small: MemoryDriver) -> None:
    juliet = await Client.log_in(small, "juliet")
    address = next(iter(component(small)._bots.values()))._session.session.jid.full  # type: ignore[union-attr]
    answer = await juliet.request("set", "<x xmlns='urn:x'/>", address)
    assert "service-unavailable" in answer.to_xml()


# --- what must not be read ---------------------------------------------------------------------------------------

async def test_plain_messages_are_heard_as_such(small: MemoryDriver) -> None:
    romeo = await Client.log_in(small, "romeo")
    romeo.client.write(f"<message to='{BOT}' id='p1'><body>Hi</body></message>")
    for kind in ("headline", "groupchat", "error"):
        romeo.client.write(f"<message to='{BOT}' type='{kind}'><body>no</body></message>")
    await small.settle([romeo.client])
    (message,) = heard(small).messages
    assert (message.body, message.id, message.encryption) == ("Hi", "p1", "")


@pytest.mark.parametrize("namespace", BOTH)
async def test_garbage_is_left_out_with_a_line_in_the_log(
    small: MemoryDriver, namespace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    romeo = await Person.log_in(small, "romeo", (namespace,))
    (good,) = await romeo.encrypted("good", namespace)
    device = (await run(small, "bot devices", jid=BOT.bare))[0]["device"]

    def with_key(text: str, **attributes: str) -> Element:
        key = text_element("key", namespace, text, {"rid": str(device), **attributes})
        keys: Element = Element("keys", namespace, {"jid": BOT.bare}, (key,)) if namespace == NS.OMEMO else key
        header = Element("header", namespace, {"sid": str(romeo.device_id)}, (keys,))
        return Element("encrypted", namespace, None, (header, text_element("payload", namespace, "AAAA")))

    flag = "kex" if namespace == NS.OMEMO else "prekey"
    bad = [
        Element("encrypted", namespace), with_key("!"), with_key("AAAA"), with_key("AAAA", **{flag: "true"}),
        with_key("A" * 100_000), with_key(""), with_key("MwohBQ==", **{flag: "1"}),
        good.replace(children=[child for child in good.elements() if child.name != "header"]),
    ]
    for element in bad:
        romeo.write([element, *body("in clear, and not to be believed")])
        await small.settle([romeo.client.client])
    assert heard(small).bodies == []
    log = capsys.readouterr().out
    assert log.count("a message to a bot is left out") == len(bad)
    assert "Traceback" not in log
    romeo.write([good])
    await small.settle([romeo.client.client])
    assert heard(small).bodies == ["good"]
    romeo.write([good])
    await small.settle([romeo.client.client])
    assert heard(small).bodies == ["good"], "what comes again is not read again"


async def test_another_envelope_is_refused(small: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    romeo = await Person.log_in(small, "romeo")
    wrap = envelope.wrap
    now = small.clock.now()
    for forged in (
        wrap("a", JULIET, BOT, now), wrap("b", JID.parse(romeo.bare), JULIET, now),
        wrap("c", JID.parse(romeo.bare), BOT, now - 2 * envelope.MARGIN), b"<x xmlns='urn:x'/>", b"<envelope", b"\xff",
    ):
        monkeypatch.setattr(envelope, "wrap", lambda *_, made=forged: made)
        await romeo.say("", NS.OMEMO)
    assert heard(small).bodies == []
    monkeypatch.setattr(envelope, "wrap", wrap)
    await romeo.say("mine", NS.OMEMO)
    assert heard(small).bodies == ["mine"]


async def test_a_flood_is_refused_before_it_is_stored(small: MemoryDriver) -> None:
    romeo = await Person.log_in(small, "romeo")
    (encrypted,) = await romeo.encrypted("1", NS.OMEMO)
    bot = next(iter(component(small)._bots.values()))
    device = bot.device
    assert device is not None
    goes_on = asyncio.Event()
    decrypt = device.decrypt

    async def slow(*arguments: Any) -> Any:
        await goes_on.wait()
        return await decrypt(*arguments)

    device.decrypt = slow  # type: ignore[method-assign]
    refused: list[Element] = []

    def is_decided(number: int) -> bool:
        refused[:] = [one for one in romeo.client.client.inbox if one.get("type") == "error"]
        return len(refused) + len(bot._waiting) + 1 == number  # one is being read

    for number in range(1, 51):
        romeo.write([encrypted])
        await asyncio.wait_for(until(partial(is_decided, number)), 10)
    assert len(refused) == 50 - 1 - 3
    assert "this bot has too much to read" in refused[0].to_xml()
    goes_on.set()
    await small.settle([romeo.client.client])
    assert heard(small).bodies == ["1"]


async def test_two_lists_at_once_lose_no_namespace(driver: MemoryDriver) -> None:
    """The library reads, waits and writes: without a lock one of two lists that come at once is lost."""
    romeo = await Person.log_in(driver, "romeo")
    await component(driver).send(BOT, JID.parse(romeo.bare), "one", encrypt=True)
    bot = next(iter(component(driver)._bots.values()))
    device = bot.device
    assert device is not None
    for number in range(5):
        new = 1_000 + number
        payloads = (
            (NS.OMEMO_DEVICES, NS.OMEMO, "devices"), (NS.OMEMO_AXOLOTL_DEVICES, NS.OMEMO_AXOLOTL, "list"),
        )  # fmt: skip
        bundles = await asyncio.gather(*[
            device.list_changed(JID.parse(romeo.bare), node, Element(name, namespace, None, [
                Element("device", namespace, {"id": str(romeo.device_id)}),
                Element("device", namespace, {"id": str(new)}),
            ])) for node, namespace, name in payloads
        ])
        assert len(bundles) == 2
        storage = device._manager._SessionManager__storage  # type: ignore[attr-defined]
        names = (await component(driver)._thread.run(
            storage.load_list(f"/devices/{romeo.bare}/{new}/namespaces", str)
        )).from_just()
        assert sorted(names) == sorted(BOTH)


async def test_strangers_lists_are_not_kept(small: MemoryDriver) -> None:
    romeo = await Client.log_in(small, "romeo")
    event = (
        f"<event xmlns='{NS.PUBSUB_EVENT}'><items node='{NS.OMEMO_DEVICES}'><item id='current'>"
        f"<devices xmlns='{NS.OMEMO}'><device id='7'/></devices></item></items></event>"
    )
    romeo.client.write(f"<message to='{BOT}' type='headline'>{event}</message>")
    await small.settle([romeo.client])
    assert await run(small, "bot devices", jid=BOT.bare, contact=romeo.bare) == []


async def test_its_own_list_is_repaired(small: MemoryDriver) -> None:
    """Another client of the account, which an admin gave a password, throws the bot's device off the list."""
    await run(small, "user passwd", jid=BOT.bare, password="secret")
    await small.settle([])
    component(small)  # its session ended with the old password
    await component(small).return_all()
    await small.settle([])
    other = await Client.log_in(small, "news", "other")
    await other.ask("set", (
        f"<publish node='{NS.OMEMO_DEVICES}'><item id='current'><devices xmlns='{NS.OMEMO}'><device id='9'/></devices>"
        "</item></publish>"
    ))  # fmt: skip
    await small.settle([other.client])
    answer = await other.ask("get", f"<items node='{NS.OMEMO_DEVICES}'/>")
    own = (await run(small, "bot devices", jid=BOT.bare))[0]["device"]
    assert f"id='{own}'" in answer.to_xml()
    assert "id='9'" in answer.to_xml()


async def test_contacts_are_accepted(small: MemoryDriver) -> None:
    romeo = await Client.log_in(small, "romeo")
    juliet = await Client.log_in(small, "juliet")
    for client in (romeo, juliet):
        await client.appear()
    await befriend(romeo, juliet)
    romeo.client.inbox.clear()
    romeo.client.write(f"<presence type='subscribe' to='{BOT}'/>")
    await small.settle([romeo.client])
    kinds = [(one.get("from").partition("/")[0], one.get("type")) for one in romeo.client.inbox if one.name != "iq"]
    assert (BOT.bare, "") in kinds
