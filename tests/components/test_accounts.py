"""Accounts: what disabled ones can do, lists, and that registration tells nobody who was here."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from accounts_support import bring, hashed, log_in, refusal, rows, run

from xmppchat.components.accounts import users
from xmppchat.core.commands import CommandError
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.wire_client import WireClient

# --- disabled accounts ------------------------------------------------------------------------------------------------

ROMEO = "romeo@chat.example"


async def friends(driver: MemoryDriver) -> tuple[WireClient, WireClient]:
    """Romeo and Juliet, who see each other."""
    clients = []
    for name, other in (("romeo", "juliet"), ("juliet", "romeo")):
        await driver.create_account(name, "secret")
        client = await log_in(driver, name, "secret")
        client.write("<presence/>")
        client.write(f"<presence type='subscribe' to='{other}@chat.example'/>")
        client.write(f"<presence type='subscribed' to='{other}@chat.example'/>")
        await driver.settle(clients)
        clients.append(client)
    clients[0].write("<presence type='subscribed' to='juliet@chat.example'/>")
    await driver.settle(clients)
    return clients[0], clients[1]


async def test_a_disabled_account_leaves_and_its_messages_wait(driver: MemoryDriver) -> None:
    romeo, juliet = await friends(driver)
    juliet.inbox.clear()
    await run(driver, "user disable", jid=ROMEO)
    await driver.settle([romeo, juliet])
    assert romeo.is_closed
    assert next(romeo.inbox[-1].elements()).name == "not-authorized", "its owner is told why the stream ended"
    (gone,) = juliet.inbox
    assert (gone.name, gone.get("type"), gone.get("from")) == ("presence", "unavailable", f"{ROMEO}/r")
    juliet.inbox.clear()
    juliet.write(f"<message to='{ROMEO}' type='chat' id='m1'><body>Where are you?</body></message>")
    juliet.write(f"<presence type='probe' to='{ROMEO}'/>")
    await driver.settle([juliet])
    assert [one.name for one in juliet.inbox if one.get("type") == "error"] == [], "the message waits"

    assert await refusal(driver, "romeo", "secret") == "account-disabled"
    await run(driver, "user disable", jid=ROMEO, enable=True)
    again = await log_in(driver, "romeo", "secret")
    again.write("<presence/>")
    message = await again.take(lambda element: element.name == "message")
    assert message.child_text("body") == "Where are you?"


async def test_only_who_knows_the_password_learns_that_an_account_is_disabled(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "secret")
    await bring(driver, {"account": "juliet", "bcrypt": hashed("secret")})
    for name in ("romeo", "juliet"):
        await run(driver, "user disable", jid=f"{name}@chat.example")
        assert await refusal(driver, name, "wrong") == await refusal(driver, "nobody", "wrong") == "not-authorized"
        assert await refusal(driver, name, "secret") == "account-disabled"


# --- new passwords ----------------------------------------------------------------------------------------------------

async def test_a_new_password_logs_out_the_other_devices(driver: MemoryDriver) -> None:
    """As Prosody does: who took the old password has nothing of it any more."""
    await driver.create_account("romeo", "old")
    phone, laptop = await log_in(driver, "romeo", "old", "phone"), await log_in(driver, "romeo", "old", "laptop")
    query = "<query xmlns='jabber:iq:register'><username>romeo</username><password>new password</password></query>"
    assert (await phone.request("set", query)).get("type") == "result"
    await driver.settle([phone, laptop])
    assert (phone.is_closed, laptop.is_closed) == (False, True)
    assert next(laptop.inbox[-1].elements()).name == "reset"
    await run(driver, "user passwd", jid=ROMEO, password="newer")
    await driver.settle([phone])
    assert phone.is_closed
    await (await log_in(driver, "romeo", "newer")).close()


async def test_a_password_that_cannot_be_used_logs_out_nobody(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "old")
    phone = await log_in(driver, "romeo", "old")
    with pytest.raises(CommandError):
        await run(driver, "user passwd", jid=ROMEO, password="\u0007")
    await driver.settle([phone])
    assert not phone.is_closed
    await (await log_in(driver, "romeo", "old", "other")).close()


# --- names of deleted accounts ----------------------------------------------------------------------------------------

async def test_registration_answers_for_a_reserved_name_as_for_a_taken_one(driver: MemoryDriver) -> None:
    for name in ("gone", "here"):
        await driver.create_account(name, "secret")
    await run(driver, "user delete", jid="gone@chat.example")
    answers = []
    for name in ("gone", "here"):
        client = await driver.connect()
        answer = await client.request(
            "set",
            f"<query xmlns='jabber:iq:register'><username>{name}</username><password>anything else</password></query>",
        )
        answers.append(answer.to_xml().replace(name, "NAME"))
    assert answers[0] == answers[1]
    assert "<conflict" in answers[0]


async def test_a_refused_reuse_leaves_the_name_reserved(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "secret")
    await run(driver, "user delete", jid=ROMEO)
    with pytest.raises(CommandError, match="password cannot be used"):
        await run(driver, "user add", jid=ROMEO, password="\u007f", reuse=True)
    with pytest.raises(CommandError, match=r"taken: its account was deleted on .*; --reuse"):
        await run(driver, "user add", jid=ROMEO, password="secret")
    assert "deleted" in await run(driver, "user show", jid=ROMEO)
    await run(driver, "user forget", jid=ROMEO)
    with pytest.raises(CommandError, match="not reserved"):
        await run(driver, "user forget", jid=ROMEO)


async def test_a_clock_that_was_set_back_meanwhile_harms_nothing(tmp_path: Path, storage_url: str) -> None:
    """reliability.md F-17: ids of accounts and of the audit log go on above those of an earlier run."""
    at: list[int] = []
    for name in ("first", "second"):
        driver = MemoryDriver(tmp_path, storage_url=storage_url)  # its clock begins at the same moment each time
        await driver.start()
        try:
            at.append(driver.clock.now())
            await run(driver, "user add", jid=f"{name}@chat.example", password="secret")
            await driver.settle([])
            newest = (await run(driver, "audit", limit=1))[0]
            assert json.loads(newest["arguments"])["jid"] == f"{name}@chat.example"
            found = await rows(driver, schema.audit_log)
            assert len(found) == len({row.id for row in found}) == len(at)
        finally:
            await driver.stop()
    assert at[0] == at[1]


# --- lists ------------------------------------------------------------------------------------------------------------

async def test_lists_are_bounded_and_searched(driver: MemoryDriver) -> None:
    await bring(driver, *[{"account": f"user{n}", "bcrypt": hashed("a")} for n in range(20)])
    await driver.create_account("under_score", "a")
    await driver.create_account("underxscore", "a")
    assert len(await run(driver, "user list", limit=5)) == 5
    assert len(await run(driver, "user list", match="USER1")) == 11
    assert [row["account"] for row in await run(driver, "user list", match="under_")] == ["under_score@chat.example"]
    assert await run(driver, "user list", domain="elsewhere.example") == []
    shown = await run(driver, "user show", jid="user1@chat.example")
    assert shown["password"].startswith("imported")
    assert (await run(driver, "user list", match="user1@"))[0]["password"] == "imported"
    assert await run(driver, "user count") == [
        {"host": "chat.example", "accounts": 22, "disabled": 0, "imported": 20}
    ]
    await (await log_in(driver, "user1", "a")).close()
    await driver.settle([])
    assert (await run(driver, "user list", match="user1@"))[0]["password"] == "set"
    assert len(await run(driver, "user list", imported=True)) == 19


async def test_a_list_goes_on_where_another_ended(driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(users, "_PAGE", 3)
    monkeypatch.setattr(users, "MAX_LIST", 7)
    names = [f"{name}@chat.example" for name in sorted(f"user{n}" for n in range(20))]
    await bring(driver, *[{"account": name, "bcrypt": hashed("a")} for name in names])
    found: list[str] = []
    lengths = []
    while part := await run(driver, "user list", after=found[-1] if found else "", limit=1_000):
        lengths.append(len(part))
        found += [row["account"] for row in part]
    assert (found, lengths) == (names, [7, 7, 6])
