"""OMEMO health: each finding is brought about on purpose, as a client would, and is told with its remedy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from omemo_support import (
    DAY,
    KEY,
    NEW,
    NEW_BUNDLES,
    NEW_LIST,
    OLD,
    OLD_LIST,
    SIGNATURE,
    check,
    component,
    devices,
    found,
    new_bundle,
    old_bundle,
    old_node,
    publish,
    publish_new_bundle,
    publish_new_list,
    publish_old_bundle,
    publish_old_list,
    run,
    set_up,
    table,
)
from pubsub_support import Client, condition, started
from sqlalchemy import update

from xmppchat.components.omemo.findings import KINDS, Finding
from xmppchat.components.omemo.health import examine
from xmppchat.components.omemo.snapshot import Budget, take
from xmppchat.core.limits import Limits
from xmppchat.core.rates import FAN_OUT
from xmppchat.jid import JID
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver

#: The names of all findings that were brought about here.
BROUGHT_ABOUT = {
    "list-missing", "list-unreadable", "device-without-bundle", "bundle-unreadable", "list-overwritten",
    "bundle-without-device", "no-prekeys", "few-prekeys", "access-model", "max-items", "not-kept", "unseen",
    "one-version", "too-many",
}  # fmt: skip


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    for name in ("juliet", "romeo"):
        await driver.create_account(name, "secret")
    yield driver
    await driver.stop()


@pytest.fixture
async def juliet(driver: MemoryDriver) -> Client:
    return await Client.log_in(driver, "juliet")


async def only_row(driver: MemoryDriver, client: Client) -> dict[str, str]:
    (row,) = await check(driver, client)
    return row


def test_no_finding_is_forgotten() -> None:
    assert {kind.name for kind in KINDS} == BROUGHT_ABOUT
    for kind in KINDS:
        for text in (kind.wrong, kind.owner, kind.admin):
            assert text, kind.name


def test_values_of_strangers_are_no_formats() -> None:
    """A label or node that looks like a place for a value is shown as it is."""
    unreadable = next(kind for kind in KINDS if kind.name == "list-unreadable")
    finding = Finding(unreadable, "OMEMO", values={"fault": "{account} {0} {x.__class__}"})
    assert finding.wrong.endswith("{account} {0} {x.__class__}")


async def test_all_is_well_and_counted(driver: MemoryDriver, juliet: Client) -> None:
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]
    row = await only_row(driver, juliet)
    assert row["what is wrong"].startswith("nothing: no app has published keys here")
    await set_up(juliet, 31415, 2, versions=(OLD,))
    row = await only_row(driver, juliet)
    assert row["what is wrong"] == "nothing; OMEMO: 2 devices, each with 100 or more one-time keys"
    await set_up(juliet, 31415, 2)
    row = await only_row(driver, juliet)
    two = "2 devices, each with 100 or more one-time keys"
    assert row["what is wrong"] == f"nothing; OMEMO: {two}; OMEMO 2: {two}"


async def test_a_device_without_its_bundle(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1)
    await publish_old_list(juliet, 1, 31415)
    await publish_new_list(juliet, 1, 31415)
    assert await found(driver, juliet) == [
        ("error", "device-without-bundle", "OMEMO", "31415"), ("error", "device-without-bundle", "OMEMO 2", "31415"),
    ]  # fmt: skip
    row = (await check(driver, juliet))[0]
    assert "its keys are not there" in row["what is wrong"]
    assert "open the app on that device and keep it online" in row["what the owner can do"]
    assert '"Remove a lost device" with the number 31415' in row["what the owner can do"]
    assert f"`xmppchat omemo remove {juliet.bare} 31415`" in row["what you can do"]
    # What the apps themselves do when they are opened helps.
    await publish_old_bundle(juliet, 31415)
    await publish_new_bundle(juliet, 31415)
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]


async def test_a_node_without_items_is_no_bundle(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 7, versions=(OLD,))
    await juliet.ask("set", f"<retract node='{old_node(7)}'><item id='current'/></retract>")
    assert await found(driver, juliet) == [("error", "device-without-bundle", "OMEMO", "7")]


async def test_a_bundle_that_was_never_announced(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1)
    driver.clock.advance(60)
    await publish_old_bundle(juliet, 2)
    await publish_new_bundle(juliet, 2)
    assert await found(driver, juliet) == [
        ("warning", "bundle-without-device", "OMEMO", "2"), ("warning", "bundle-without-device", "OMEMO 2", "2"),
    ]  # fmt: skip
    row = (await check(driver, juliet))[0]
    assert "nobody encrypts to it" in row["what is wrong"]
    assert '"Remove a lost device" with the number 2' in row["what the owner can do"]


async def test_a_list_that_another_client_overwrote(
    driver: MemoryDriver, juliet: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told at once, in the log with who did it, and later, as long as it is so."""
    await set_up(juliet, 1, 2)
    driver.clock.advance(60)
    laptop = await Client.log_in(driver, "juliet", "laptop")
    capsys.readouterr()
    await publish_old_list(laptop, 3, 1)
    await publish_old_bundle(laptop, 3)
    await publish_new_list(laptop, 1)
    told = "".join(capsys.readouterr())
    assert told.count("a device list leaves out devices that have keys") == 2
    assert "laptop" in told
    assert juliet.bare in told
    errors = [one for one in await found(driver, juliet) if one[0] == "error"]
    assert errors == [("error", "list-overwritten", "OMEMO", "2"), ("error", "list-overwritten", "OMEMO 2", "2")]
    row = (await check(driver, juliet))[0]
    assert "another app has overwritten the list, or taken the device off" in row["what is wrong"]
    assert "it puts itself on the list" in row["what the owner can do"]
    assert "the log names who published the list" in row["what you can do"]
    await publish_old_list(juliet, 3, 1, 2)
    await publish_new_list(juliet, 1, 2)
    assert "error" not in {severity for severity, *_ in await found(driver, juliet)}
    assert "leaves out" not in "".join(capsys.readouterr())


async def test_a_list_that_leaves_out_what_is_long_gone(
    driver: MemoryDriver, juliet: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    await set_up(juliet, 1, 2, versions=(OLD,))
    driver.clock.advance(91 * DAY)
    capsys.readouterr()
    await publish_old_bundle(juliet, 1)
    await publish_old_list(juliet, 1)
    assert await found(driver, juliet) == [("warning", "bundle-without-device", "OMEMO", "2")]
    assert "leaves out" not in "".join(capsys.readouterr())


async def test_bundles_without_a_list(driver: MemoryDriver, juliet: Client) -> None:
    await publish_old_bundle(juliet, 1)
    await publish_old_bundle(juliet, 2)
    await publish_new_bundle(juliet, 1)
    assert await found(driver, juliet) == [
        ("error", "list-missing", "OMEMO", "-"), ("error", "list-missing", "OMEMO 2", "-"),
    ]  # fmt: skip
    row = (await check(driver, juliet))[0]
    assert "keys of 2 device(s), but no list of devices" in row["what is wrong"]
    assert "open the app on each of your devices" in row["what the owner can do"]
    assert "tell the owner" in row["what you can do"]


@pytest.mark.parametrize(("prekeys", "expected"), [
    (0, ("error", "no-prekeys")), (1, ("warning", "few-prekeys")), (19, ("warning", "few-prekeys")),
    (20, ("all well", "-")),
])  # fmt: skip
async def test_few_prekeys(driver: MemoryDriver, juliet: Client, prekeys: int, expected: tuple[str, str]) -> None:
    await set_up(juliet, 5)
    await publish_old_bundle(juliet, 5, prekeys)
    await publish_new_bundle(juliet, 5, prekeys)
    rows = await check(driver, juliet)
    assert {(row["severity"], row["finding"]) for row in rows} == {expected}
    if expected[0] == "warning":
        assert f"{prekeys} one-time key(s) left, fewer than 20" in rows[0]["what is wrong"]
        assert "it makes new ones" in rows[0]["what the owner can do"]
    elif expected[0] == "error":
        assert "who has not written to it before cannot begin" in rows[0]["what is wrong"]


async def test_prekeys_are_counted_as_clients_count_them(driver: MemoryDriver, juliet: Client) -> None:
    """What has no id, the id of another, or no key, is none."""
    await set_up(juliet, 5, versions=(OLD,))
    key = old_bundle(1).partition("<prekeys>")[2].partition("</prekeys>")[0]
    odd = key.replace("preKeyId='1'", "") + key + key.replace("preKeyId='1'", "preKeyId='2'").replace("A", "!")
    await publish(juliet, old_node(5), old_bundle(1).replace(key, odd + key))
    assert "has 1 one-time key(s) left" in (await only_row(driver, juliet))["what is wrong"]


async def test_what_strangers_may_not_read(driver: MemoryDriver, juliet: Client) -> None:
    await publish_old_bundle(juliet, 1, access_model="presence")
    await publish_old_list(juliet, 1, access_model="whitelist")
    await publish_new_bundle(juliet, 1, access_model="roster", max_items="max")
    await publish_new_list(juliet, 1, access_model="authorize")
    rows = await check(driver, juliet)
    assert {(row["severity"], row["finding"]) for row in rows} == {("error", "access-model")}
    assert len(rows) == 4
    assert [row["device"] for row in rows] == ["1", "-", "-", "-"]
    told = " ".join(row["what is wrong"] for row in rows)
    for node, model in (
        (old_node(1), "presence"), (OLD_LIST, "whitelist"), (NEW_BUNDLES, "roster"), (NEW_LIST, "authorize"),
    ):  # fmt: skip
        assert f'not everybody may read {node} (it is "{model}", not "open")' in told
    assert "log in with the app again: it sets this right" in rows[0]["what the owner can do"]
    for node in (old_node(1), OLD_LIST, NEW_BUNDLES, NEW_LIST):
        assert await juliet.configure(node, access_model="open") == ""
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]


async def test_a_node_that_keeps_one_bundle(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1, versions=(OLD,))
    await publish_new_bundle(juliet, 1, access_model="open", max_items="1")
    await publish_new_list(juliet, 1)
    assert await found(driver, juliet) == [("error", "max-items", "OMEMO 2", "-")]
    row = await only_row(driver, juliet)
    assert f"{NEW_BUNDLES} keeps 1 bundle(s) only: the keys of one device push out" in row["what is wrong"]
    assert "they set it so that all bundles are kept" in row["what the owner can do"]
    # And that is what happens.
    await publish_old_list(juliet, 1, 2)
    await publish_old_bundle(juliet, 2)
    await publish_new_bundle(juliet, 2, access_model="open")
    await publish_new_list(juliet, 1, 2)
    assert ("error", "device-without-bundle", "OMEMO 2", "1") in await found(driver, juliet)


async def test_a_node_that_keeps_nothing(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1, versions=(OLD,))
    assert await juliet.configure(OLD_LIST, persist_items="false") == ""
    assert ("error", "not-kept", "OMEMO", "-") in await found(driver, juliet)
    row = next(row for row in await check(driver, juliet) if row["finding"] == "not-kept")
    assert "who looks later finds nothing" in row["what is wrong"]
    assert "it sets this right" in row["what the owner can do"]


async def test_a_device_that_was_not_seen_for_long(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1, 2)
    driver.clock.advance(91 * DAY)
    await publish_old_bundle(juliet, 2)
    await publish_new_bundle(juliet, 2)
    assert await found(driver, juliet) == [("note", "unseen", "OMEMO", "1"), ("note", "unseen", "OMEMO 2", "1")]
    row = (await check(driver, juliet))[0]
    assert "has published nothing for 91 days" in row["what is wrong"]
    assert "if it only reads, the server does not see that" in row["what is wrong"]
    assert '"Remove a lost device" with the number 1' in row["what the owner can do"]


async def test_a_device_that_only_some_contacts_reach(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1, versions=(OLD,))
    assert await found(driver, juliet) == [("all well", "-", "-", "-")], "what most clients do is sound"
    await set_up(juliet, 2, versions=(NEW,))
    assert await found(driver, juliet) == [
        ("note", "one-version", "OMEMO", "1"), ("note", "one-version", "OMEMO 2", "2"),
    ]  # fmt: skip
    row = (await check(driver, juliet))[1]
    assert "on the list of OMEMO 2, not on that of OMEMO" in row["what is wrong"]
    await publish_old_list(juliet, 1, 2)
    await publish_old_bundle(juliet, 2)
    assert await found(driver, juliet) == [("note", "one-version", "OMEMO", "1")]
    assert condition(await juliet.ask("set", f"<delete node='{OLD_LIST}'/>", owner=True)) == ""
    assert ("note", "one-version", "OMEMO 2", "2") in await found(driver, juliet), "most contacts do not reach it"


@pytest.mark.parametrize(("payload", "fault"), [
    ("<a xmlns='urn:a'/>", "there is <a/> of urn:a in the place of <list/>"),
    (devices("x"), "a device in it has the id 'x': no number from 1 to 2147483647"),
    (devices("0"), "the id '0'"), (devices("2147483648"), "the id '2147483648'"), (devices("-1"), "the id '-1'"),
    (devices("01"), "the id '01'"), (devices("&#x664;"), "the id"), (devices("9" * 400), "the id '99"),
    (f"<list xmlns='{OLD}'><device/></list>", "the id ''"),
])  # fmt: skip
async def test_a_list_that_cannot_be_read(driver: MemoryDriver, juliet: Client, payload: str, fault: str) -> None:
    await set_up(juliet, 1, versions=(OLD,))
    await publish(juliet, OLD_LIST, payload)
    row = await only_row(driver, juliet)
    assert (row["severity"], row["finding"]) == ("error", "list-unreadable")
    assert "the list of devices cannot be read, so contacts cannot encrypt" in row["what is wrong"]
    assert fault in row["what is wrong"]
    assert len(row["what is wrong"]) < 250
    assert "each publishes the list anew" in row["what the owner can do"]


BROKEN = {
    "no-bundle": ("<a xmlns='urn:a'/>", "there is <a/> of urn:a in the place of <bundle/>"),
    "other-version": (old_bundle(), f"of {OLD} in the place"),
    "no-identity": (new_bundle().replace(f"<ik>{KEY}</ik>", ""), "it has no identity key"),
    "no-signed-prekey": (new_bundle().replace("spk ", "spx ").replace("/spk>", "/spx>"), "it has no signed prekey"),
    "no-signature": (new_bundle().replace(SIGNATURE, ""), "its signature of the signed prekey is none"),
    "short-key": (new_bundle().replace(f"<ik>{KEY}", f"<ik>{KEY[:-8]}"), "its identity key is none"),
    "no-base64": (new_bundle().replace(f"<ik>{KEY}", f"<ik>*{KEY[1:]}"), "its identity key is none"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_a_bundle_that_cannot_be_read(driver: MemoryDriver, juliet: Client, name: str) -> None:
    payload, fault = BROKEN[name]
    await set_up(juliet, 9)
    await publish(juliet, NEW_BUNDLES, payload, "9")
    row = await only_row(driver, juliet)
    assert (row["severity"], row["finding"], row["device"]) == ("error", "bundle-unreadable", "9")
    assert fault in row["what is wrong"]
    assert "update the app on that device" in row["what the owner can do"]
    assert f"`xmppchat omemo remove {juliet.bare} 9`" in row["what you can do"]


async def test_a_bundle_of_nobody(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 9)
    await publish_new_bundle(juliet, "my phone")
    await publish_old_bundle(juliet, "x" * 400)
    rows = await check(driver, juliet)
    assert [(row["severity"], row["finding"], row["for"]) for row in rows] == [
        ("error", "bundle-unreadable", "OMEMO"), ("error", "bundle-unreadable", "OMEMO 2"),
    ]  # fmt: skip
    assert "keys stand under 'my phone', which is no number of a device" in rows[1]["what is wrong"]
    assert len(rows[0]["device"]) == 30


async def test_damage_on_the_servers_disk_is_told(driver: MemoryDriver, juliet: Client) -> None:
    """reliability.md F-24: it is not blamed on an app."""
    await set_up(juliet, 9, versions=(OLD,))
    kernel = driver.server.kernel
    turn = kernel.new_turn()
    statement = update(schema.pubsub_items).where(schema.pubsub_items.c.node == old_node(9)).values(xml="<bundle")
    turn.write(None, statement, {})
    await kernel.settled(turn)
    pubsub = next(one for one in kernel.components if one.name == "pubsub")
    pubsub._payloads._known.clear()  # type: ignore[attr-defined]
    assert "the server's copy of it is damaged" in (await only_row(driver, juliet))["what is wrong"]


async def test_who_publishes_without_a_pause_hides_nobody_else(driver: MemoryDriver, juliet: Client) -> None:
    await publish_old_list(juliet, 1)
    romeo = await Client.log_in(driver, "romeo")
    await publish_old_list(romeo, 2)
    payloads = next(one for one in driver.server.kernel.components if one.name == "pubsub")._payloads  # type: ignore[attr-defined]
    read = payloads.read

    async def busy(numbers: object) -> object:
        found = await read(numbers)
        await publish_old_list(juliet, 1)
        return found

    payloads.read = busy
    rows = await driver.server.execute("omemo check-all", {})
    assert [row["account"] for row in rows] == [juliet.bare, romeo.bare]
    assert "it is being replaced all the time" in (await check(driver, juliet))[0]["what is wrong"]


async def test_more_devices_than_anybody_has(driver: MemoryDriver, juliet: Client) -> None:
    await publish_old_list(juliet, *range(1, 151))
    rows = await check(driver, juliet)
    assert len(rows) == 101
    (row,) = [row for row in rows if row["finding"] == "too-many"]
    assert "50 more devices or bundles are there, and were not looked at" in row["what is wrong"]
    assert "remove the devices that you do not have any more" in row["what the owner can do"]
    assert f"`xmppchat devices {juliet.bare}`" in row["what you can do"]


async def test_options_are_the_yardstick(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path, omemo={"few_prekeys": 100, "unseen_days": 1})
    await driver.start()
    await driver.create_account("juliet", "secret")
    juliet = await Client.log_in(driver, "juliet")
    await set_up(juliet, 1, versions=(OLD,))
    await publish_old_bundle(juliet, 1, 99)
    driver.clock.advance(DAY + 1)  # an id may be of the next millisecond
    assert await found(driver, juliet) == [("warning", "few-prekeys", "OMEMO", "1"), ("note", "unseen", "OMEMO", "1")]
    await driver.stop()


# --- the owner's commands ---------------------------------------------------------------------------------------------

async def test_the_owner_is_told_the_same_by_any_client(driver: MemoryDriver, juliet: Client) -> None:
    await set_up(juliet, 1)
    labelled = f"<devices xmlns='{NEW}'><device id='1'/><device id='2' label='Gajim on Linux'/></devices>"
    await publish(juliet, NEW_LIST, labelled)
    (first, second) = table(await run(juliet, "omemo-check-own"))
    assert (first["how bad"], first["device"], first["for"]) == ("error", "2 (Gajim on Linux)", "OMEMO 2")
    assert '"Remove a lost device" with the number 2' in first["what to do"]
    assert second["how bad"] == "note"
    assert "xmppchat" not in first["what to do"], "commands of the admin's are none of theirs"


async def test_the_owner_removes_a_lost_device(driver: MemoryDriver, juliet: Client) -> None:
    """It goes from lists and bundles of both versions, nothing else does, and everybody is told."""
    await set_up(juliet, 1, 2)
    labelled = f"<devices xmlns='{NEW}'><device id='2'/><device id='1' label='Phone' labelsig='AA=='/></devices>"
    await publish(juliet, NEW_LIST, labelled)
    await juliet.appear(f"{OLD_LIST}+notify", f"{NEW_LIST}+notify")
    await juliet.events()
    answer = await run(juliet, "omemo-remove-own", device="2")
    assert "the entry in the list of OMEMO 2" in answer.to_xml()
    assert "puts itself on the list again" in answer.to_xml()
    assert await juliet.events() == [("juliet", OLD_LIST, "item", "current"), ("juliet", NEW_LIST, "item", "current")]
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]
    romeo = await Client.log_in(driver, "romeo")
    lists = await romeo.ask("get", f"<items node='{NEW_LIST}'/>", juliet.bare)
    assert "<device id='1' label='Phone' labelsig='AA=='/></devices>" in lists.to_xml()
    assert list(await romeo.items(NEW_BUNDLES, juliet.bare)) == ["1"]
    assert await romeo.items(old_node(2), juliet.bare) == "item-not-found"
    assert list(await romeo.items(old_node(1), juliet.bare)) == ["current"]
    again = await run(juliet, "omemo-remove-own", device="2")
    assert condition(again) == "item-not-found"
    assert "has no device 2" in again.to_xml()


@pytest.mark.parametrize("device", ["0", "-1", "2147483648", "x", ""])
async def test_what_is_no_device_is_refused(driver: MemoryDriver, juliet: Client, device: str) -> None:
    await set_up(juliet, 1)
    answer = await run(juliet, "omemo-remove-own", device=device)
    assert "error" in answer.to_xml()
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]


async def test_a_device_of_which_only_part_is_there(driver: MemoryDriver, juliet: Client) -> None:
    omemo, jid = component(driver), JID.parse(juliet.bare)
    await set_up(juliet, 1)
    await publish_old_list(juliet, 1, 2)
    await publish_new_bundle(juliet, 3)
    assert (await omemo.remove(jid, 2))["removed"] == ["the entry in the list of OMEMO"]
    assert (await omemo.remove(jid, 3))["removed"] == ["the keys for OMEMO 2"]
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]
    await omemo.remove(jid, 1)
    assert await found(driver, juliet) == [("all well", "-", "-", "-")], "empty lists say that there is no device"


async def test_a_list_that_is_published_meanwhile_is_not_overwritten(driver: MemoryDriver, juliet: Client) -> None:
    """The removal reads a list and writes it; a client that publishes in between is newer, and loses nothing."""
    await set_up(juliet, 1, 2)
    omemo = component(driver)
    nodes = omemo._nodes
    read_last = nodes.read_last
    newer = devices(1, 2, 3)

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(nodes, name)

        async def read_last(self, account: object, node: str) -> object:
            last = await read_last(account, node)  # type: ignore[arg-type]
            if node == OLD_LIST:
                await publish(juliet, OLD_LIST, newer)
            return last

    omemo._nodes = Slow()  # type: ignore[assignment]
    await omemo.remove(JID.parse(juliet.bare), 2)
    omemo._nodes = nodes
    items = await juliet.ask("get", f"<items node='{OLD_LIST}'/>")
    assert "<device id='1'/><device id='3'/></list>" in items.to_xml()
    assert not omemo._removals


async def test_nobody_looks_at_the_keys_of_others_by_command(driver: MemoryDriver, juliet: Client) -> None:
    romeo = await Client.log_in(driver, "romeo")
    await set_up(juliet, 1)
    for node, values in (
        ("omemo-check", {"accountjid": juliet.bare}), ("omemo-check-all", {}),
        ("omemo-remove", {"accountjid": juliet.bare, "device": "1"}),
    ):  # fmt: skip
        assert condition(await run(romeo, node, **values)) == "forbidden", node
    assert condition(await run(romeo, "omemo-remove-own", device="1", accountjid=juliet.bare)) == "item-not-found"
    assert await found(driver, juliet) == [("all well", "-", "-", "-")]


# --- the admin's ------------------------------------------------------------------------------------------------------

async def test_all_accounts_with_findings(tmp_path: Path, storage_url: str) -> None:
    driver = await started(tmp_path, storage_url, "juliet", "romeo", "tybalt")
    omemo = component(driver)
    juliet, romeo, tybalt = [await Client.log_in(driver, name) for name in ("juliet", "romeo", "tybalt")]
    await set_up(romeo, 1)
    await set_up(tybalt, 1)
    await publish_old_list(tybalt, 1, 2)
    await publish_new_list(tybalt, 1, 2)
    await publish_old_bundle(juliet, 7)
    await tybalt.publish("urn:example:other")
    expected: list[dict[str, object]] = [
        {"account": juliet.bare, "errors": 1, "warnings": 0, "findings": "list-missing"},
        {"account": tybalt.bare, "errors": 2, "warnings": 0, "findings": "device-without-bundle"},
    ]
    assert await omemo.check_all() == expected
    assert await omemo.check_all(domain=driver.domain) == expected
    assert await omemo.check_all(domain="elsewhere.example") == []
    assert await omemo.check_all(limit=1) == expected[:1]
    assert await omemo.check_all(after=juliet.bare) == expected[1:]
    assert await omemo.check_all(after=tybalt.bare) == []
    assert await omemo.check_all(limit=0) == []
    await driver.stop()


async def test_what_is_removed_is_on_disk(tmp_path: Path, storage_url: str) -> None:
    driver = await started(tmp_path, storage_url, "juliet")
    juliet = await Client.log_in(driver, "juliet")
    await set_up(juliet, 1, 2)
    await component(driver).remove(JID.parse(juliet.bare), 2)
    await driver.stop()
    driver = await started(tmp_path, storage_url)
    juliet = await Client.log_in(driver, "juliet")
    row = await only_row(driver, juliet)
    assert "OMEMO: 1 device, each with 100 or more one-time keys" in row["what is wrong"]
    await driver.stop()


async def test_no_more_is_looked_at_than_somebody_has_paid_for(driver: MemoryDriver, juliet: Client) -> None:
    """What is left out is no device without keys."""
    await set_up(juliet, 1, 2, 3, versions=(OLD,))
    omemo = component(driver)
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    elements = 4 + 105 + 1  # of the list, of one bundle, and of the next one
    budget = Budget(elements)
    older, newer = await take(omemo._nodes, account, budget)
    assert older.left_out == 1, "one bundle is in it, and the one that is begun is finished"
    assert older.devices is not None
    assert list(older.devices.devices) == [1, 2] == list(older.bundles)
    assert budget.spent > elements
    assert not newer.is_used
    assert {finding.kind.name for finding in examine([older, newer], omemo._yardstick())} == {"too-many"}
    everything = Budget()
    (older, _) = await take(omemo._nodes, account, everything)
    assert (older.left_out, list(older.bundles)) == (0, [1, 2, 3])


async def test_who_asks_often_pays_for_it(tmp_path: Path) -> None:
    """reliability.md V-44: looking at much counts as sending much, so whoever goes on is read later."""
    driver = MemoryDriver(tmp_path, limits=Limits(profile="test", account_fan_out_rate=1, account_fan_out_burst=200))
    await driver.start()
    await driver.create_account("juliet", "secret")
    juliet = await Client.log_in(driver, "juliet")
    await publish_old_bundle(juliet, 1)
    account = await driver.server.kernel.directory.get(JID.parse(juliet.bare))
    assert account.rates is not None
    now = driver.clock.monotonic()
    for _ in range(8):
        assert account.rates.take(now, 0, ()) == 0
        await run(juliet, "omemo-check-own")
    assert account.rates.take(now, 0, ()) > 0
    assert account.rates.exceeded == FAN_OUT
    await driver.stop()
