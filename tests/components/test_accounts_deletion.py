"""Deleted accounts: nothing of them stays but a reserved name."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from accounts_support import bring, hashed, log_in, rows, run
from sqlalchemy import Boolean, LargeBinary, Table, Text, insert

from xmppchat.core.services import AccountService
from xmppchat.jid import JID
from xmppchat.protocol.errors import Conflict
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver, create_account

ROMEO = "romeo@chat.example"
#: Where the address of an account stands and is not its own: what others have in their rosters, what others reported,
#: what an admin did, what an admin keeps as evidence, and for whom an invitation was.
OTHERS = {
    ("roster_items", "contact"), ("offline_messages", "sender"), ("blocked", "jid"), ("abuse_reports", "reported"),
    ("abuse_reports", "reporter"), ("audit_log", "arguments"), ("audit_log", "actor"), ("invitation_uses", "used_by"),
    ("archive", "peer"), ("read_marks", "peer"),
}  # fmt: skip


async def owned(driver: MemoryDriver, account_id: int, bare: str) -> set[str]:
    """Tables in which anything of an account stands: its id, or its address in a column of text."""
    found = set()
    for table in schema.TABLES:
        texts = [c.name for c in table.c if isinstance(c.type, Text) and (table.name, c.name) not in OTHERS]
        for row in await rows(driver, table):
            values = row._mapping
            is_own = values.get("account_id") == account_id or (table is schema.accounts and values["id"] == account_id)
            if is_own or any(bare == values[name] for name in texts):
                found.add(table.name)
    return found


async def fill(driver: MemoryDriver, account_id: int) -> set[str]:
    """Put a row of the account into every table that has rows of accounts; their names."""
    kernel = driver.server.kernel
    tables = [table for table in schema.TABLES if "account_id" in table.c or "creator" in table.c]
    turn = kernel.new_turn()
    for table in tables:
        if not [row for row in await rows(driver, table) if getattr(row, "account_id", 0) == account_id]:
            turn.write(None, insert(table), {c.name: value(table, c, account_id) for c in table.c})
    turn.commit()
    await kernel.gate.drained()
    return {table.name for table in tables}


def value(table: Table, column: Any, account_id: int) -> Any:
    if column.name == "account_id":
        return account_id
    if column.name in ("domain", "creator"):
        return {"domain": "chat.example", "creator": ROMEO}[column.name]
    if column.name == "subscription":
        return "none"
    if isinstance(column.type, Text):
        return "<x xmlns='urn:x'/>"
    if isinstance(column.type, LargeBinary):
        return b"x"
    return False if isinstance(column.type, Boolean) else 1


async def test_deletion_leaves_nothing_but_a_reserved_name(driver: MemoryDriver) -> None:
    """Whatever tables there will be: each that has rows of accounts is filled by this test, and empty after it."""
    await driver.create_account("juliet", "balcony")
    await bring(driver, {"account": "romeo", "bcrypt": hashed("a")})
    account_id = (await driver.server.kernel.directory.get(JID.parse(ROMEO))).id
    romeo, juliet = await log_in(driver, "romeo", "a"), await log_in(driver, "juliet", "balcony")
    await romeo.request("set", "<query xmlns='jabber:iq:roster'><item jid='juliet@chat.example'/></query>")
    await romeo.request("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
    await romeo.request("set", "<query xmlns='jabber:iq:private'><p xmlns='urn:p'>x</p></query>")
    juliet.write(f"<message to='{ROMEO}' type='chat'><body>Hi</body></message>")
    await driver.settle([romeo, juliet])
    tables = await fill(driver, account_id)
    assert {"imported_passwords", "credentials", "roster_items", "offline_messages", "vcards", "private_xml"} <= tables
    assert await owned(driver, account_id, ROMEO) >= tables | {"accounts"}
    await run(driver, "user delete", jid=ROMEO)
    await driver.settle([juliet])
    assert await owned(driver, account_id, ROMEO) == set()
    assert romeo.is_closed
    assert [(row.domain, row.localpart) for row in await rows(driver, schema.tombstones)] == [("chat.example", "romeo")]


async def test_what_comes_while_an_account_is_being_deleted_leaves_nothing(driver: MemoryDriver) -> None:
    """Messages, and requests of its own other devices, between the decision and the disk."""
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    romeo, juliet = await log_in(driver, "romeo", "secret"), await log_in(driver, "juliet", "secret")
    kernel = driver.server.kernel
    account = await kernel.directory.get(JID.parse(ROMEO))
    turn = kernel.new_turn()
    kernel.services.get(AccountService).delete(account, turn)
    turn.commit()
    assert kernel.gate.last > kernel.gate.settled, "the deletion is on its way to the disk"
    juliet.write(f"<message to='{ROMEO}' type='chat' id='late'><body>Hi</body></message>")
    romeo.write(
        "<iq type='set' id='r1'><query xmlns='jabber:iq:roster'><item jid='juliet@chat.example'/></query></iq>"
    )
    while juliet.transport._waiting or romeo.transport._waiting:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await driver.settle([juliet])
    assert await owned(driver, account.id, ROMEO) == set()
    (answer,) = juliet.inbox
    assert (answer.get("id"), answer.get("type")) == ("late", "error")


async def test_a_login_under_way_does_not_bring_a_deleted_account_back(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bring(driver, {"account": "romeo", "bcrypt": hashed("old")})
    accounts: Any = driver.server.kernel.services.get(AccountService)
    account_id = (await driver.server.kernel.directory.get(JID.parse(ROMEO))).id
    derive = accounts.passwords.derive

    async def derive_late(password: str) -> Any:
        keys = await derive(password)
        await run(driver, "user delete", jid=ROMEO)
        return keys

    monkeypatch.setattr(accounts.passwords, "derive", derive_late)
    await accounts.check_password(driver.domain, "romeo", "old")
    await driver.settle([])
    assert await owned(driver, account_id, ROMEO) == set()


async def test_the_name_of_a_deleted_account_stays_reserved(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "first")
    await run(driver, "user delete", jid="romeo@chat.example")
    romeo = JID.parse("romeo@chat.example")
    with pytest.raises(Conflict) as reserved:
        await create_account(driver.server.kernel, romeo, "second")
    await driver.create_account("juliet", "x")
    with pytest.raises(Conflict) as taken:
        await create_account(driver.server.kernel, JID.parse("juliet@chat.example"), "second")
    assert reserved.value.text == taken.value.text, "nobody learns who was here"
    answer = await bring(driver, {"account": "romeo", "password": "x"}, replace_passwords=True)
    assert (answer["reserved"], answer["names"]) == (1, ["romeo@chat.example"])
    await run(driver, "user add", jid="romeo@chat.example", password="third", reuse=True)
    await run(driver, "user delete", jid="romeo@chat.example")
    await run(driver, "user forget", jid="romeo@chat.example")
    await driver.create_account("romeo", "fourth")


