"""Tokens (XEP-0484): given, used, rotated, counted, and what ends them. With each kind of database."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from devices_support import DAY, ENDP, NONE, Phone, account, change_password, devices, given, phone, service
from sqlalchemy import select, text

from xmppchat.components.devices.component import DevicesConfig
from xmppchat.components.devices.keys import TokenKey
from xmppchat.core.limits import Limits
from xmppchat.core.secret import Secret
from xmppchat.core.services import LoggedIn
from xmppchat.protocol.errors import NotAuthorized
from xmppchat.protocol.moments import parse_timestamp
from xmppchat.protocol.sasl import Failure, Success
from xmppchat.protocol.sasl2 import LoginRequest, TokenUse, UserAgent
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryDriver, settle

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    """Start a server, or start it again."""
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        for driver in drivers:
            await driver.stop()
        before = drivers[0].clock if drivers else None
        drivers[:] = [MemoryDriver(tmp_path, storage_url=storage_url, **options)]
        if before is not None:
            drivers[0].clock.advance(before.monotonic())
        await drivers[0].start()
        return drivers[0]

    yield start
    for driver in drivers:
        await driver.stop()


async def rows(driver: MemoryDriver) -> list[tuple[bool, str, int]]:
    """(is new, mechanism, counter) of all tokens on disk."""
    await settle(driver.server.kernel)
    found = await driver.server.database.fetch(select(schema.fast_tokens).order_by(schema.fast_tokens.c.is_new))
    return [(bool(row.is_new), row.mechanism, row.counter) for row in found]


async def test_a_token_is_given_to_who_asks_and_lets_it_in(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    assert len(owner.token) == 43
    outcome = await owner.with_token()
    assert isinstance(outcome, LoggedIn)
    assert outcome == LoggedIn(owner.device_id, None), "no other is due"
    assert given(await owner.with_password()) == "", "who does not ask gets none"
    assert given(await owner.with_password(token_for="HT-SHA-256-EXPR")) == "", "it is not offered"
    assert given(await owner.with_password(token_for="PLAIN")) == ""


async def test_who_does_not_say_which_client_it_is_gets_none(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    nobody = Phone(driver, id="")
    assert await nobody.with_password(token_for=NONE) == LoggedIn(0, None)
    assert await nobody.with_token(owner.token) == "not-authorized"


async def test_the_end_is_told(driver: MemoryDriver) -> None:
    outcome = await (await phone(driver)).with_password(token_for=NONE)
    assert outcome.token is not None
    assert parse_timestamp(outcome.token.get("expiry")) == driver.clock.now() + 60 * DAY * 1_000


async def test_a_token_is_good_until_the_next_one_is_used(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    first = owner.token
    assert given(await owner.with_token()) == ""
    second = given(await owner.with_token(token_for=NONE))
    assert second not in ("", first)
    assert given(await owner.with_token(first)) == "", "the answer with the second was lost"
    assert given(await owner.with_token(second)) == "", "and yet it was good"
    assert await owner.with_token(first) == "not-authorized", "until it was used"
    assert await rows(driver) == [(False, NONE, 0)]


async def test_a_token_that_was_never_used_goes_for_the_next(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    first = owner.token
    await owner.with_token()
    unused = given(await owner.with_token(first, token_for=NONE))
    third = given(await owner.with_token(first, token_for=NONE))
    assert await owner.with_token(unused) == "not-authorized"
    assert given(await owner.with_token(third)) == ""
    assert await rows(driver) == [(False, NONE, 0)]


async def test_a_token_is_rotated_when_a_third_of_its_life_has_passed(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    first = owner.token
    driver.clock.advance(19 * DAY)
    assert given(await owner.with_token(first)) == ""
    driver.clock.advance(2 * DAY)
    second = given(await owner.with_token(first))
    assert second, "20 of 60 days"
    assert given(await owner.with_token(second)) == ""
    assert await owner.with_token(first) == "not-authorized"


async def test_an_expired_token_says_so_to_its_owner_alone(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    driver.clock.advance(60 * DAY)
    assert await owner.with_token() == "credentials-expired"
    assert await owner.with_token("made up") == "not-authorized"
    assert await Phone(driver).with_token(owner.token) == "not-authorized"


async def test_a_token_is_for_its_mechanism_alone(driver: MemoryDriver) -> None:
    bound = await phone(driver, mechanism=ENDP)
    assert await bound.with_token(mechanism=NONE) == "not-authorized"
    assert isinstance(await bound.with_token(mechanism=ENDP), LoggedIn)
    free = await phone(driver, device="tablet")
    assert await free.with_token(mechanism=ENDP) == "not-authorized"
    other = given(await free.with_token(token_for=ENDP))
    assert await free.with_token(other) == "not-authorized"
    assert isinstance(await free.with_token(other, mechanism=ENDP), LoggedIn)
    assert await rows(driver) == [(False, ENDP, 0), (False, ENDP, 0)]


async def test_a_token_is_for_its_client_and_account_alone(driver: MemoryDriver) -> None:
    juliets, tablet, romeos = await phone(driver), await phone(driver, device="tablet"), await phone(driver, "romeo")
    assert await tablet.with_token(juliets.token) == "not-authorized"
    assert await romeos.with_token(juliets.token) == "not-authorized"
    romeos.id = juliets.id
    assert await romeos.with_token(juliets.token) == "not-authorized"
    thief = Phone(driver, id=juliets.id)
    assert await thief.with_token(juliets.token, username="romeo") == "not-authorized"


async def test_a_count_comes_once(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    assert isinstance(await owner.with_token(count=3), LoggedIn)
    assert await rows(driver) == [(False, NONE, 3)], "on disk before the client hears of it"
    for count in (3, 2, 1):
        assert await owner.with_token(count=count) == "not-authorized"
    assert isinstance(await owner.with_token(count=4), LoggedIn)
    assert isinstance(await owner.with_token(), LoggedIn), "without 0-RTT it need not come"
    assert await rows(driver) == [(False, NONE, 4)]


async def test_a_count_begins_again_with_each_token(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    await owner.with_token(count=7)
    second = given(await owner.with_token(count=8, token_for=NONE))
    assert isinstance(await owner.with_token(second, count=1), LoggedIn)
    assert await owner.with_token(second, count=1) == "not-authorized"


async def test_two_logins_at_once_have_one_count(driver: MemoryDriver) -> None:
    """Between the first one's proof and its place on the disk, a replay has no chance either."""
    owner = await phone(driver)
    service, known = devices(driver), await account(driver)
    token = owner.token.encode()
    assert [service.refusal(known, owner.id, token, TokenUse(5)) for _ in range(2)] == ["", "not-authorized"]


async def test_a_client_gives_its_token_back(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    driver.clock.advance(30 * DAY)
    assert given(await owner.with_token(is_last=True)) == "", "not even though one is due (XEP-0484 §3.6)"
    assert await owner.with_token() == "not-authorized"
    assert await rows(driver) == []


async def test_a_client_gives_its_token_back_for_another(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    first = owner.token
    second = given(await owner.with_token(is_last=True, token_for=NONE))
    assert await owner.with_token(first) == "not-authorized"
    assert isinstance(await owner.with_token(second), LoggedIn)


async def test_the_old_one_given_back_leaves_the_new_one(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    first = owner.token
    await owner.with_token()
    second = given(await owner.with_token(token_for=NONE))
    await owner.with_token(first, is_last=True)
    assert await owner.with_token(first) == "not-authorized"
    assert isinstance(await owner.with_token(second), LoggedIn)


async def test_everything_survives_a_restart(start: Start) -> None:
    driver = await start()
    owner = await phone(driver)
    first = owner.token
    await owner.with_token(count=5)
    second = given(await owner.with_token(count=6, token_for=ENDP))
    driver = owner.driver = await start()
    assert await owner.with_token(first, count=6) == "not-authorized"
    assert isinstance(await owner.with_token(first, count=7), LoggedIn)
    assert isinstance(await owner.with_token(second, mechanism=ENDP, count=1), LoggedIn)
    driver = owner.driver = await start()
    assert await owner.with_token(first, count=8) == "not-authorized"
    assert isinstance(await owner.with_token(second, mechanism=ENDP, count=2), LoggedIn)
    assert await rows(driver) == [(False, ENDP, 2)]


async def test_a_token_that_is_ended_after_its_proof_lets_nobody_in(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    proved = await owner.prove(owner.token.encode())
    assert isinstance(proved, Success)
    await change_password(driver)
    turn = driver.server.kernel.new_turn()
    request = LoginRequest(NONE, None, UserAgent(owner.id), token=TokenUse())
    with pytest.raises(NotAuthorized):
        devices(driver).logged_in(await account(driver), request, proved.token, {}, turn)
    assert not turn.has_writes


# --- what ends tokens ------------------------------------------------------------------------------------------------

async def test_another_password_ends_all_tokens(start: Start) -> None:
    driver = await start()
    owner, tablet, romeos = await phone(driver), await phone(driver, device="tablet"), await phone(driver, "romeo")
    unused = given(await owner.with_token(token_for=NONE))
    await change_password(driver)
    for token in (owner.token, unused):
        assert await owner.with_token(token) == "not-authorized"
    assert await tablet.with_token() == "not-authorized"
    assert isinstance(await romeos.with_token(), LoggedIn)
    owner.driver = await start()
    assert await owner.with_token() == "not-authorized"
    assert len(await rows(owner.driver)) == 1, "Romeo's"


async def test_a_password_that_cannot_be_stored_ends_no_tokens(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    kernel, known = driver.server.kernel, await account(driver)
    turn = kernel.new_turn()
    await service(driver).set_password(known, "another", turn)
    turn.write(known, text("INSERT INTO accounts (id) VALUES (NULL)"), {})
    assert await owner.with_token() == "not-authorized", "until it is known"
    errors: list[Any] = []
    turn.on_failure = errors.append
    turn.commit()
    await settle(kernel)
    assert errors
    assert isinstance(await owner.with_token(), LoggedIn)


async def test_a_disabled_account_has_no_tokens_when_it_is_enabled(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    for command in ("user disable", "user enable"):
        await driver.server.execute(command, {"jid": "juliet@chat.example"})
        assert await owner.with_token() == "not-authorized"


async def test_a_deleted_account_leaves_nothing(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    await driver.server.execute("user delete", {"jid": "juliet@chat.example"})
    await settle(driver.server.kernel)
    assert await rows(driver) == []
    assert await driver.server.database.fetch(select(schema.devices)) == []
    assert isinstance(await owner.prove(owner.token.encode()), Failure)
    await driver.server.execute("user add", {"jid": "juliet@chat.example", "password": "secret", "reuse": True})
    assert await owner.with_token() == "not-authorized"


async def test_a_lost_key_voids_tokens_and_nothing_else(start: Start, tmp_path: Path) -> None:
    driver = await start()
    owner = await phone(driver)
    (tmp_path / "token.key").unlink()
    driver = owner.driver = await start()
    assert await owner.with_token() == "not-authorized"
    assert isinstance(await owner.with_password(token_for=NONE), LoggedIn)
    assert isinstance(await owner.with_token(), LoggedIn)


@pytest.mark.parametrize("damage", ["", "short", "\xff\xfe"])
async def test_a_damaged_key_is_replaced(start: Start, tmp_path: Path, damage: str) -> None:
    await start()
    (tmp_path / "token.key").write_text(damage, encoding="latin-1")
    owner = await phone(await start())
    assert isinstance(await owner.with_token(), LoggedIn)
    assert len((tmp_path / "token.key").read_text().strip()) == 64


async def test_the_key_is_its_owners_alone(start: Start, tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        await start()
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600
    assert not list(tmp_path.glob("token.key.*"))


async def test_the_key_may_be_given_and_is_that_of_its_file(start: Start, tmp_path: Path) -> None:
    driver = await start()
    owner = await phone(driver)
    key = (tmp_path / "token.key").read_text().strip()
    (tmp_path / "token.key").unlink()
    driver = owner.driver = await start(devices={"key": Secret(key, "file token.key")})
    assert isinstance(await owner.with_token(), LoggedIn)
    assert not (tmp_path / "token.key").exists()


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 characters at least") as refusal:
        DevicesConfig(key=Secret("too short to be safe"))
    assert "too short" not in str(refusal.value).replace("32 characters", "")


# --- limits, costs ---------------------------------------------------------------------------------------------------

async def test_devices_are_bounded_and_those_that_are_here_stay(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", devices_per_account=3))
    first = await phone(driver)
    await first.connect()
    others: list[Phone] = []
    for number in range(3):
        driver.clock.advance(1)
        others.append(await phone(driver, device=f"tablet {number}"))
    assert isinstance(await first.with_token(), LoggedIn), "it is connected"
    assert await others[0].with_token() == "not-authorized", "the longest unused"
    assert isinstance(await others[1].with_token(), LoggedIn)
    assert isinstance(await others[2].with_token(), LoggedIn)
    assert driver.server.kernel.limit_counters.counts["devices_per_account"] == 1
    for number, other in enumerate(others[1:]):
        await other.connect(f"tablet{number}")
    assert await Phone(driver).with_password(token_for=NONE) == LoggedIn(0, None), "all are here"


async def test_a_known_client_writes_nothing_when_it_logs_in(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    await owner.with_token()
    kernel = driver.server.kernel
    await settle(kernel)
    before = kernel.gate.last
    await owner.with_token()
    await owner.with_password()
    assert kernel.gate.last == before


async def test_it_is_written_down_in_the_background_when_it_was_seen(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    begin = driver.clock.now()
    driver.clock.advance(30)
    await owner.with_token()
    column = schema.devices.c.last_seen
    assert [row[0] for row in await driver.server.database.fetch(select(column))] == [begin]
    driver.clock.advance(60)
    await settle(driver.server.kernel)
    assert [row[0] for row in await driver.server.database.fetch(select(column))] == [begin + 30_000]


async def test_a_stop_writes_down_who_was_here(start: Start) -> None:
    driver = await start()
    owner = await phone(driver)
    await owner.connect()
    driver.clock.advance(10)
    now = driver.clock.now()
    driver = await start()
    assert [row[0] for row in await driver.server.database.fetch(select(schema.devices.c.last_seen))] == [now]


async def test_who_does_not_come_back_is_forgotten(driver: MemoryDriver) -> None:
    owner, here, gone = await phone(driver), await phone(driver, device="desk"), await phone(driver, "romeo")
    await here.connect()
    driver.clock.advance(179 * DAY)
    await settle(driver.server.kernel)
    await owner.with_password(token_for=NONE)
    driver.clock.advance(2 * DAY)
    component: Any = devices(driver)
    await component.clean()  # as it does every hour
    await settle(driver.server.kernel)
    assert isinstance(await owner.with_token(), LoggedIn)
    assert isinstance(await here.with_password(), LoggedIn)
    known = {row.id for row in await driver.server.database.fetch(select(schema.devices))}
    assert known == {owner.device_id, here.device_id}
    assert await gone.with_token() == "not-authorized"


async def test_names_need_not_be_kept(start: Start) -> None:
    driver = await start(devices={"names": False})
    await phone(driver, software="Chat", device="Juliet's phone")
    [row] = await driver.server.database.fetch(select(schema.devices))
    assert (row.software, row.device) == ("", "")


async def test_names_are_those_of_the_last_login(driver: MemoryDriver) -> None:
    owner = await phone(driver)
    owner.software, owner.device = "Chat 2", ""
    await owner.with_token()
    [row] = await driver.server.database.fetch(select(schema.devices))
    assert (row.software, row.device) == ("Chat 2", "phone")


# --- resources -------------------------------------------------------------------------------------------------------

async def test_a_clients_part_of_its_resource(driver: MemoryDriver) -> None:
    owner, romeos = await phone(driver), await phone(driver, "romeo")
    service, juliet, romeo = devices(driver), await account(driver), await account(driver, "romeo")
    suffix = service.resource_suffix(juliet, owner.id)
    assert len(suffix) == 12
    assert service.resource_suffix(juliet, owner.id) == suffix
    assert service.resource_suffix(juliet, romeos.id) != suffix
    assert service.resource_suffix(romeo, owner.id) != suffix
    assert len({service.resource_suffix(juliet, "") for _ in range(10)}) == 10
    assert len(service.resource_suffix(juliet, "")) == 12


# --- what a thief of the database has (reliability.md A5, V-24) ------------------------------------------------------

async def test_a_stolen_database_lets_nobody_in(start: Start, tmp_path: Path, storage_url: str) -> None:
    """Every value of every table is tried as it is and as a key of what stands beside it; a backup has no more."""
    driver = await start()
    owner = await phone(driver)
    await owner.with_token()
    newer = given(await owner.with_token(token_for=NONE))
    await settle(driver.server.kernel)
    values: set[bytes] = set()
    for table in schema.metadata.sorted_tables:
        for row in await driver.server.database.fetch(select(table)):
            values |= {value if isinstance(value, bytes) else str(value).encode() for value in row}
    assert len(values) > 10
    tokens = {owner.token.encode(), newer.encode()}
    assert not values & tokens
    for value in values:
        assert not any(token in value for token in tokens)
        assert isinstance(await owner.prove(value), Failure)
    for key in values:
        for row in await driver.server.database.fetch(select(schema.fast_tokens)):
            made = TokenKey(key.decode(errors="replace")).token(row.account_id, row.device_id, row.mechanism, row.nonce)
            assert isinstance(await owner.prove(made), Failure)
    assert isinstance(await owner.prove(newer.encode()), Success), "the search was one"


async def test_the_database_file_and_a_backup_hold_no_token(tmp_path: Path) -> None:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    try:
        owner = await phone(driver)
        await owner.with_token()
        await settle(driver.server.kernel)
        key = (tmp_path / "token.key").read_text().strip()
        copy = tmp_path / "copy.db"
        with sqlite3.connect(tmp_path / "xmppchat.db") as database:
            database.execute("VACUUM INTO ?", (str(copy),))
        for secret in (owner.token.encode(), key.encode(), bytes.fromhex(key)):
            for file in (*tmp_path.glob("xmppchat.db*"), copy):
                assert secret not in file.read_bytes(), file
        assert owner.id.encode() not in copy.read_bytes(), "nor which client it is"
    finally:
        await driver.stop()
