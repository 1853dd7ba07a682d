"""Imported accounts: passwords of another system, and what becomes of them."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

import pytest
from accounts_support import bring, hashed, log_in, refusal, rows, run

from xmppchat.components.accounts.passwords import Passwords, canonical_bcrypt
from xmppchat.core.commands import CommandError
from xmppchat.core.services import AccountService
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl import SCRAM_HASHES, derive_keys
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryClient, MemoryDriver
from xmppchat.testing.wire_client import ClientFailure


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
    for _ in range(2):
        await (await log_in(driver, "romeo", long + "whatever")).close()
    await driver.settle([])
    assert await rows(driver, schema.credentials) == [], "nobody knows whether the rest is what was meant"
    assert len(await rows(driver, schema.imported_passwords)) == 1


async def test_what_bcrypt_takes_for_the_same_is_not_the_same() -> None:
    passwords = Passwords(4_096)
    imported = hashed("a")
    passwords.effort.include({}, imported)
    assert await passwords.check("a", {}, imported)
    for other in ("a\0a", "a\0", "", "b", "\ud800", "x" * 5_000):
        assert not await passwords.check(other, {}, imported), other
    passwords.close()


async def test_a_hash_with_bits_that_mean_nothing_is_understood(driver: MemoryDriver) -> None:
    """Some libraries fill the unused bits of the salt's last character; the one here refuses such a hash."""
    imported = hashed("wherefore")
    digits = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    filled = imported[:28] + digits[digits.index(imported[28]) + 5] + imported[29:]
    assert filled != imported
    assert canonical_bcrypt(filled) == canonical_bcrypt(imported) == imported
    await bring(driver, {"account": "romeo", "bcrypt": filled})
    await (await log_in(driver, "romeo", "wherefore")).close()


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


def scram_text(mechanism: str, password: str) -> str:
    keys = derive_keys(mechanism, password, b"0123456789abcdef", 5_000)
    salt, stored, server = (base64.b64encode(part).decode() for part in (keys.salt, keys.stored_key, keys.server_key))
    return f"{mechanism}$5000:{salt}${stored}:{server}"


SCRAM_TEXT = scram_text("SCRAM-SHA-1", "x")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_keys_of_one_kind_are_enough_for_plain_which_makes_the_others(
    driver: MemoryDriver, mechanism: str
) -> None:
    keys = derive_keys(mechanism, "wherefore", b"0123456789abcdef", 5_000)
    assert (await bring(driver, {"account": "romeo", "scram": scram_text(mechanism, "wherefore")}))["added"] == 1
    accounts = driver.server.kernel.services.get(AccountService)
    assert await accounts.scram_keys(driver.domain, "romeo", mechanism) == keys
    assert await refusal(driver, "romeo", "wrong") == "not-authorized"
    await (await log_in(driver, "romeo", "wherefore")).close()
    await driver.settle([])
    stored = {row.mechanism: row for row in await rows(driver, schema.credentials)}
    assert set(stored) == set(SCRAM_HASHES)
    assert stored[mechanism].iterations == 5_000, "keys that are there stay"
    for name in SCRAM_HASHES:
        made = await accounts.scram_keys(driver.domain, "romeo", name)
        assert made == derive_keys(name, "wherefore", made.salt, made.iterations)


async def test_keys_may_come_in_columns(driver: MemoryDriver) -> None:
    text = scram_text("SCRAM-SHA-1", "wherefore")
    mechanism, middle, last = text.split("$")
    iterations, salt = middle.split(":")
    stored, server = last.split(":")
    columns = {"mechanism": mechanism, "iterations": int(iterations), "salt": salt, "stored_key": stored}
    with pytest.raises(CommandError, match="needed together"):
        await bring(driver, {"account": "romeo", **columns})
    await bring(driver, {"account": "romeo", **columns, "server_key": server})
    await (await log_in(driver, "romeo", "wherefore")).close()


async def test_passwords_can_be_imported(driver: MemoryDriver) -> None:
    await bring(driver, {"account": "juliet", "password": "balcony"})
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
        ({"account": "romeo", "scram": "SCRAM-SHA-256$9999999:MDEyMzQ1Njc4OWFi$AA==:AA=="}, "iterations"),
        ({"account": "romeo", "scram": f"{SCRAM_TEXT} {SCRAM_TEXT}"}, "two keys of one mechanism"),
        ({"account": "romeo", "scram": "SCRAM-SHA-256$4096:AAAA$AA==:AA=="}, "salt"),
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


async def test_an_account_stands_in_a_part_once(driver: MemoryDriver) -> None:
    with pytest.raises(CommandError, match="twice"):
        await bring(driver, {"account": "romeo", "password": "a"}, {"account": "Romeo", "password": "b"})


async def test_two_imports_at_once_make_an_account_once(driver: MemoryDriver) -> None:
    """Whoever comes second is refused as a whole, and has changed nothing: not on disk, not in memory."""
    parts = [
        [{"account": "romeo", "password": str(n)}, {"account": f"other{n}", "password": str(n)}] for n in range(2)
    ]
    done = await asyncio.gather(*[bring(driver, *part) for part in parts], return_exceptions=True)
    refused = [answer for answer in done if isinstance(answer, CommandError) or answer["exist"]]
    assert len(refused) == 1
    winner = 1 - done.index(refused[0])
    await (await log_in(driver, "romeo", str(winner))).close()
    assert await refusal(driver, "romeo", str(1 - winner)) == "not-authorized"


async def test_a_password_set_while_another_is_being_checked_is_the_one(
    driver: MemoryDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first login makes keys of the old password only if that is still the password."""
    await bring(driver, {"account": "romeo", "bcrypt": hashed("old")})
    accounts: Any = driver.server.kernel.services.get(AccountService)
    derive = accounts.passwords.derive

    async def derive_late(password: str) -> Any:
        keys = await derive(password)
        if password == "old":
            await bring(driver, {"account": "romeo", "bcrypt": hashed("new")}, replace_passwords=True)
        return keys

    monkeypatch.setattr(accounts.passwords, "derive", derive_late)
    assert await accounts.check_password(driver.domain, "romeo", "old")
    await driver.settle([])
    assert await rows(driver, schema.credentials) == []
    assert await refusal(driver, "romeo", "old") == "not-authorized"
    await (await log_in(driver, "romeo", "new")).close()


async def test_only_plain_is_offered_while_accounts_move(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path, accounts={"only_plain": True})
    await driver.start()
    client = MemoryClient(driver.domain, driver.server.connections.new())
    features = await client.open()
    mechanisms = features.find("mechanisms", NS.SASL)
    assert mechanisms is not None
    assert [mechanism.text for mechanism in mechanisms.elements()] == ["PLAIN"]
    client.write(f"<auth xmlns='{NS.SASL}' mechanism='SCRAM-SHA-256'>biws</auth>")
    answer = await client.take(lambda element: element.namespace == NS.SASL)
    assert next(answer.elements()).name == "invalid-mechanism"
    await driver.stop()



