"""Accounts: passwords of another system, names that stay reserved, deletion that leaves nothing, export."""

from __future__ import annotations

import base64
import json
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import bcrypt
import pytest
from sqlalchemy import select

from xmppchat.components.accounts import CREDENTIALS
from xmppchat.components.accounts.passwords import Passwords
from xmppchat.core.commands import CommandError
from xmppchat.core.services import AccountService
from xmppchat.jid import JID
from xmppchat.protocol.errors import Conflict
from xmppchat.protocol.sasl import ScramKeys, derive_keys
from xmppchat.protocol.xmlreader import parse_document
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver, create_account
from xmppchat.testing.wire_client import ClientFailure, WireClient

COST = 4


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, register={"mode": "open"})
    await driver.start()
    yield driver
    await driver.stop()


async def run(driver: MemoryDriver, name: str, **arguments: object) -> Any:
    return await driver.server.execute(name, arguments)


async def bring(driver: MemoryDriver, *accounts: dict[str, str], **options: bool) -> Any:
    return await run(driver, "user import-part", accounts=json.dumps(accounts), **options)


def hashed(password: str, kind: str = "2b", cost: int = COST) -> str:
    made = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    return f"${kind}${made[4:]}"


async def rows(driver: MemoryDriver, table: Any) -> list[Any]:
    return list(await driver.server.database.fetch(select(table)))


async def log_in(driver: MemoryDriver, name: str, password: str) -> WireClient:
    client = await driver.connect()
    await client.log_in(name, password, "r")  # PLAIN, as it is a small client
    return client


# --- imported passwords -----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("kind", ["2a", "2b", "2y"])
async def test_the_first_login_makes_keys_of_a_bcrypt_hash(driver: MemoryDriver, kind: str) -> None:
    await bring(driver, {"account": "romeo", "bcrypt": hashed("wherefore", kind)})
    accounts = driver.server.kernel.services.get(AccountService)
    before = await accounts.scram_keys(driver.domain, "romeo", "SCRAM-SHA-256")
    with pytest.raises(ClientFailure):
        await log_in(driver, "romeo", "wrong")
    assert len(await rows(driver, schema.imported_passwords)) == 1
    await (await log_in(driver, "romeo", "wherefore")).close()
    await driver.settle([])
    after = await accounts.scram_keys(driver.domain, "romeo", "SCRAM-SHA-256")
    assert after != before
    assert after == derive_keys("SCRAM-SHA-256", "wherefore", after.salt, after.iterations)
    assert await rows(driver, schema.imported_passwords) == []
    assert {row.mechanism for row in await rows(driver, schema.credentials)} == {
        "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512",
    }  # fmt: skip
    await (await log_in(driver, "romeo", "wherefore")).close()


async def test_a_hash_can_be_kept(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path, accounts={"keep_bcrypt": True})
    await driver.start()
    await bring(driver, {"account": "romeo", "bcrypt": hashed("wherefore")})
    for _ in range(2):
        await (await log_in(driver, "romeo", "wherefore")).close()
    await driver.settle([])
    assert len(await rows(driver, schema.imported_passwords)) == 1
    assert len(await rows(driver, schema.credentials)) == 3
    await driver.stop()


async def test_bcrypt_sees_72_bytes_and_no_more(driver: MemoryDriver) -> None:
    long = "x" * 72
    await bring(driver, {"account": "romeo", "bcrypt": hashed(long)})
    with pytest.raises(ClientFailure):
        await log_in(driver, "romeo", "x" * 71)
    await (await log_in(driver, "romeo", long + "whatever")).close()


async def test_a_password_that_scram_cannot_have_stays_as_it_is(driver: MemoryDriver) -> None:
    odd = "wherefore\u0007"
    await bring(driver, {"account": "romeo", "bcrypt": hashed(odd)})
    for _ in range(2):
        try:
            await (await log_in(driver, "romeo", odd)).close()
        except ClientFailure:  # refused by PLAIN itself (RFC 4616 §2): then it is no login at all
            break
    await driver.settle([])
    assert len(await rows(driver, schema.imported_passwords)) == 1


async def test_a_new_password_replaces_an_imported_one(driver: MemoryDriver) -> None:
    await bring(driver, {"account": "romeo", "bcrypt": hashed("old")})
    await run(driver, "user passwd", jid="romeo@chat.example", password="new")
    assert await rows(driver, schema.imported_passwords) == []
    with pytest.raises(ClientFailure):
        await log_in(driver, "romeo", "old")
    await (await log_in(driver, "romeo", "new")).close()


async def test_scram_keys_and_passwords_can_be_imported(driver: MemoryDriver) -> None:
    keys = derive_keys("SCRAM-SHA-256", "wherefore", b"0123456789abcdef", 4_096)

    def encoded(value: bytes) -> str:
        return base64.b64encode(value).decode()

    scram = (f"SCRAM-SHA-256$4096:{encoded(keys.salt)}${encoded(keys.stored_key)}:{encoded(keys.server_key)}")
    answer = await bring(driver, {"account": "romeo", "scram": scram}, {"account": "juliet", "password": "balcony"})
    assert answer["added"] == 2
    accounts = driver.server.kernel.services.get(AccountService)
    assert await accounts.scram_keys(driver.domain, "romeo", "SCRAM-SHA-256") == keys
    await (await log_in(driver, "juliet", "balcony")).close()


async def test_what_exists_is_left_alone_unless_asked_for(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "first")
    new = {"account": "romeo", "bcrypt": hashed("second")}
    answer = await bring(driver, new)
    assert (answer["added"], answer["exist"], answer["names"]) == (0, 1, ["romeo@chat.example"])
    assert (await bring(driver, new, skip_existing=True))["skipped"] == 1
    assert (await bring(driver, new, replace_passwords=True, dry_run=True))["replaced"] == 1
    await (await log_in(driver, "romeo", "first")).close()
    assert (await bring(driver, new, replace_passwords=True))["replaced"] == 1
    with pytest.raises(ClientFailure):
        await log_in(driver, "romeo", "first")
    await (await log_in(driver, "romeo", "second")).close()


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"account": "romeo"}, "exactly one"),
        ({"account": "romeo", "password": "a", "bcrypt": hashed("a")}, "exactly one"),
        ({"account": "romeo", "bcrypt": "$2b$04$short"}, "no hash of bcrypt"),
        ({"account": "romeo", "bcrypt": hashed("a").replace("$04$", "$31$")}, "no hash of bcrypt"),
        ({"account": "romeo", "scram": "SCRAM-SHA-256$10:AA==$AA==:AA=="}, "MECHANISM"),
        ({"account": "a b", "password": "x"}, "not an address"),
        ({"account": "romeo/r", "password": "x"}, "address"),
        ({"account": "romeo", "password": "x", "shoe": "9"}, "no such column"),
        ({"account": "romeo", "password": 4}, "has to be text"),
        ({"account": "romeo@elsewhere.example", "password": "x"}, "not served here"),
    ],
)  # fmt: skip
async def test_nonsense_is_refused_and_never_repeated(driver: MemoryDriver, values: Any, fault: str) -> None:
    with pytest.raises(CommandError, match=fault) as refused:
        await bring(driver, values)
    assert "$2b$" not in str(refused.value).replace("$2b$12$", "")
    assert await rows(driver, schema.accounts) == []


async def test_only_plain_is_offered_while_accounts_move(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path, accounts={"only_plain": True})
    await driver.start()
    client = await driver.connect()
    mechanisms = driver.server.connections.settings.mechanisms(())
    assert list(mechanisms) == ["PLAIN"]
    await client.close()
    await driver.stop()


# --- time (V-15) ------------------------------------------------------------------------------------------------------

def rank_sum_z(first: list[float], second: list[float]) -> float:
    """The statistic of Mann and Whitney as a standard normal one: beyond ±4, the two differ."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(first), len(second)
    return (rank_sum - n * (n + m + 1) / 2) / (n * m * (n + m + 1) / 12) ** 0.5


async def times(check: Any, cases: dict[str, Any], rounds: int = 60) -> dict[str, list[float]]:
    """Seconds of CPU that each case takes the hashing thread, interleaved."""
    found: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, arguments in cases.items():
            began = time.process_time()
            await check(*arguments)
            found[name].append(time.process_time() - began)
    return found


def differ(found: dict[str, list[float]]) -> list[tuple[str, str]]:
    """Pairs of cases whose times tell them apart: by rank, and by more than a tenth of the median."""
    names = list(found)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def apart(a: str, b: str) -> bool:
        medians = statistics.median(found[a]), statistics.median(found[b])
        return abs(rank_sum_z(found[a], found[b])) > 4 and max(medians) > 1.1 * min(medians)

    return [pair for pair in pairs if apart(*pair)]


async def test_time_does_not_tell_whether_and_how_an_account_is_there(driver: MemoryDriver) -> None:
    await driver.create_account("juliet", "balcony")
    await bring(
        driver, {"account": "romeo", "bcrypt": hashed("a", cost=6)}, {"account": "paris", "bcrypt": hashed("a", cost=8)}
    )
    accounts = driver.server.kernel.services.get(AccountService)
    names = ("juliet", "romeo", "paris", "nobody", "no@body")
    cases = {name: (driver.domain, name, "wrong password") for name in names}
    assert differ(await times(accounts.check_password, cases)) == []


async def test_a_leak_would_be_seen() -> None:
    passwords = Passwords(4_096)
    passwords.bcrypt_cost = 6
    keys = ScramKeys(b"0123456789abcdef", 4_096, b"", b"")
    leaky = {"cheap": ("x", keys, ""), "dear": ("x", keys, hashed("a", cost=8))}
    assert differ(await times(passwords.check, leaky, rounds=30)) == [("cheap", "dear")]
    passwords.close()


# --- deletion ---------------------------------------------------------------------------------------------------------

async def owned(driver: MemoryDriver, account_id: int, bare: str) -> list[str]:
    """Where anything of an account still stands."""
    found = []
    for table in schema.TABLES:
        for row in await rows(driver, table):
            values = row._mapping
            if values.get("account_id") == account_id or (table is schema.accounts and values["id"] == account_id):
                found.append(table.name)
            if table.name == "invitations" and values["creator"] == bare:
                found.append(table.name)
    return found


async def test_deletion_leaves_nothing_but_a_reserved_name(driver: MemoryDriver) -> None:
    await driver.create_account("juliet", "balcony")
    await bring(driver, {"account": "romeo", "bcrypt": hashed("a")})
    account = await driver.server.kernel.directory.get(JID.parse("romeo@chat.example"))
    account_id = account.id
    romeo, juliet = await log_in(driver, "romeo", "a"), await log_in(driver, "juliet", "balcony")
    await romeo.request("set", "<query xmlns='jabber:iq:roster'><item jid='juliet@chat.example'/></query>")
    await romeo.request("set", "<vCard xmlns='vcard-temp'><FN>Romeo</FN></vCard>")
    await romeo.request("set", "<query xmlns='jabber:iq:private'><p xmlns='urn:p'>x</p></query>")
    juliet.write("<message to='romeo@chat.example' type='chat'><body>Hi</body></message>")
    await driver.settle([romeo, juliet])
    assert {"accounts", "credentials", "roster_items", "offline_messages", "vcards", "private_xml"} <= set(
        await owned(driver, account_id, "romeo@chat.example")
    )
    await run(driver, "user delete", jid="romeo@chat.example")
    await driver.settle([juliet])
    assert await owned(driver, account_id, "romeo@chat.example") == []
    assert romeo.is_closed
    assert [(row.domain, row.localpart) for row in await rows(driver, schema.tombstones)] == [("chat.example", "romeo")]


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


# --- export and lists -------------------------------------------------------------------------------------------------

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

    document = parse_document((await run(driver, "user export", jid="romeo@chat.example")).partition("\n")[2].encode())
    pie = "urn:xmpp:pie:0"
    assert document.is_named("server-data", pie)
    host = document.find("host")
    assert host is not None
    assert host.get("jid") == "chat.example"
    user = host.find("user")
    assert user is not None
    assert user.get("name") == "romeo"
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
    assert user.find("scram-credentials", pie + "#scram") is None

    whole = await run(driver, "user export", jid="romeo@chat.example", with_credentials=True)
    account = await driver.server.kernel.directory.get(JID.parse("romeo@chat.example"))
    for keys in account[CREDENTIALS].values():
        assert base64.b64encode(keys.stored_key).decode() in whole


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
