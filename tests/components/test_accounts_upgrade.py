"""Keys by upgrade tasks (XEP-0480): what is offered, who needs it, and what a client's hash is worth."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
from accounts_support import bring, hashed, rows

from xmppchat.core.account import Account
from xmppchat.core.services import AccountService
from xmppchat.jid import JID
from xmppchat.protocol.sasl import derive_keys
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver

SHA_1, SHA_256, SHA_512 = "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"
SALT = bytes(range(16))


def scram(password: str, *mechanisms: str) -> dict[str, Any]:
    """An account of another system's, with SCRAM keys for `mechanisms`."""
    keys = {name: derive_keys(name, password, SALT, 4_096) for name in mechanisms}

    def text(value: bytes) -> str:
        return base64.b64encode(value).decode()

    return {"account": "romeo", "scram": " ".join(
        f"{name}$4096:{text(SALT)}${text(one.stored_key)}:{text(one.server_key)}" for name, one in keys.items()
    )}  # fmt: skip


def service(driver: MemoryDriver) -> AccountService:
    return driver.server.kernel.services.get(AccountService)


async def romeo(driver: MemoryDriver) -> Account:
    return await driver.server.kernel.directory.get(JID.parse(f"romeo@{driver.domain}"))


async def upgrade(driver: MemoryDriver, mechanism: str, password: str) -> None:
    """As a client does it: RFC 5802 §3, with the salt and iterations it is told."""
    accounts = service(driver)
    salt, iterations = accounts.upgrade_parameters(mechanism)
    digest = {SHA_1: "sha1", SHA_256: "sha256", SHA_512: "sha512"}[mechanism]
    salted = hashlib.pbkdf2_hmac(digest, password.encode(), salt, iterations)
    turn = driver.server.kernel.new_turn()
    accounts.store_salted(await romeo(driver), mechanism, salted, salt, iterations, turn)
    await driver.server.kernel.settled(turn)


async def test_an_account_of_a_table_with_sha_1_gets_the_others(driver: MemoryDriver) -> None:
    await bring(driver, scram("wherefore", SHA_1))
    accounts = service(driver)
    assert list(accounts.upgrades_offered()) == [SHA_256, SHA_512]
    assert set(accounts.missing_keys(await romeo(driver))) == {SHA_256, SHA_512}
    for mechanism in (SHA_256, SHA_512):
        await upgrade(driver, mechanism, "wherefore")
        keys = await accounts.scram_keys(driver.domain, "romeo", mechanism)
        assert keys == derive_keys(mechanism, "wherefore", keys.salt, keys.iterations)
        assert keys.iterations == 10_000
    assert accounts.missing_keys(await romeo(driver)) == set()
    assert {row.mechanism for row in await rows(driver, schema.credentials)} == {SHA_1, SHA_256, SHA_512}
    driver.server.kernel.directory.forget(f"romeo@{driver.domain}")
    assert await accounts.check_password(driver.domain, "romeo", "wherefore")
    assert not await accounts.check_password(driver.domain, "romeo", "Wherefore")
    component: Any = accounts
    await component.look()  # as it does every hour
    assert list(accounts.upgrades_offered()) == [], "nobody needs one any more"


async def test_nothing_is_offered_where_nobody_needs_it(driver: MemoryDriver) -> None:
    await driver.create_account("romeo", "wherefore")
    await bring(driver, {"account": "juliet", "bcrypt": hashed("wherefore")})
    accounts = service(driver)
    assert list(accounts.upgrades_offered()) == []
    assert not accounts.missing_keys(await romeo(driver))


async def test_nothing_weaker_is_made(driver: MemoryDriver) -> None:
    await bring(driver, scram("wherefore", SHA_256))
    accounts = service(driver)
    assert list(accounts.upgrades_offered()) == [SHA_512]
    with pytest.raises(ValueError, match="needs no keys for SCRAM-SHA-1"):
        await upgrade(driver, SHA_1, "wherefore")


async def test_the_offer_is_there_from_the_start(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    await bring(driver, scram("wherefore", SHA_1))
    await driver.stop()
    driver = MemoryDriver(tmp_path)
    await driver.start()
    assert list(service(driver).upgrades_offered()) == [SHA_256, SHA_512]
    await driver.stop()


async def test_keys_that_are_there_stay(driver: MemoryDriver) -> None:
    """Not even the owner's other device, a moment later, puts another password in their place."""
    await bring(driver, scram("wherefore", SHA_1))
    await upgrade(driver, SHA_256, "wherefore")
    with pytest.raises(ValueError, match="needs no keys for SCRAM-SHA-256"):
        await upgrade(driver, SHA_256, "another")
    with pytest.raises(ValueError, match="needs no keys for SCRAM-SHA-1"):
        await upgrade(driver, SHA_1, "another")


@pytest.mark.parametrize("salted", [b"", bytes(20), bytes(31), bytes(33), bytes(64)])
async def test_what_is_no_hash_of_that_kind_is_refused(driver: MemoryDriver, salted: bytes) -> None:
    await bring(driver, scram("wherefore", SHA_1))
    turn = driver.server.kernel.new_turn()
    with pytest.raises(ValueError, match="SCRAM-SHA-256 has 32 bytes"):
        service(driver).store_salted(await romeo(driver), SHA_256, salted, SALT, 4_096, turn)
    turn.commit()
    assert SHA_256 in service(driver).missing_keys(await romeo(driver))


async def test_each_client_gets_a_salt_of_its_own(driver: MemoryDriver) -> None:
    accounts = service(driver)
    assert len({accounts.upgrade_parameters(SHA_256)[0] for _ in range(20)}) == 20
