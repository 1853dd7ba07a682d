"""V-15, V-17: neither time nor what SCRAM shows tells whether an account is there, and what its password is kept as."""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from accounts_support import bring, hashed, refusal, run
from test_accounts_import import scram_text

from xmppchat.components.accounts import passwords as passwords_module
from xmppchat.components.accounts.fakes import Fakes
from xmppchat.components.accounts.passwords import Passwords
from xmppchat.core.services import AccountService
from xmppchat.protocol.sasl import ScramKeys
from xmppchat.testing.memory import MemoryDriver

ROUNDS = 60
Check = Callable[[], Awaitable[object]]


def rank_sum_z(first: list[float], second: list[float]) -> float:
    """The statistic of Mann and Whitney as a standard normal one: beyond ±4, the two differ."""
    ranked = sorted([(value, 0) for value in first] + [(value, 1) for value in second])
    rank_sum = sum(rank for rank, (_, group) in enumerate(ranked, 1) if group == 0)
    n, m = len(first), len(second)
    return (rank_sum - n * (n + m + 1) / 2) / (n * m * (n + m + 1) / 12) ** 0.5


async def times(cases: dict[str, Check], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Seconds of CPU that each case takes the whole process, interleaved: others on the machine do not count.

    Each round has another order, so that no case always comes behind the same one.
    """
    found: dict[str, list[float]] = {name: [] for name in cases}
    order = list(cases.items())
    for _ in range(rounds):
        random.shuffle(order)
        for name, check in order:
            began = time.process_time()
            await check()
            found[name].append(time.process_time() - began)
    return found


def differ(found: dict[str, list[float]], tolerance: float = 1.05) -> list[tuple[str, str]]:
    """Pairs of cases whose times tell them apart: by rank, and by more than a twentieth of the median (V-15)."""
    names = list(found)
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]

    def apart(a: str, b: str) -> bool:
        medians = statistics.median(found[a]), statistics.median(found[b])
        return abs(rank_sum_z(found[a], found[b])) > 4 and max(medians) > tolerance * min(medians)

    return [pair for pair in pairs if apart(*pair)]


async def differ_always(cases: dict[str, Check], rounds: int = ROUNDS, tolerance: float = 1.05) -> set[tuple[str, str]]:
    """Pairs of cases that differ in three samples out of three: what the machine did in one of them tells nothing."""
    found = set(differ(await times(cases, rounds), tolerance))
    for _ in range(2):
        if found:
            found &= set(differ(await times(cases, rounds), tolerance))
    return found


@pytest.fixture
async def crowd(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    """Accounts of all kinds."""
    driver = MemoryDriver(tmp_path, accounts={"iterations": 8_192})
    await driver.start()
    for name in ("juliet", "disabled"):
        await driver.create_account(name, "balcony")
    await run(driver, "user disable", jid="disabled@chat.example")
    await bring(
        driver, {"account": "cheap", "bcrypt": hashed("a", cost=4)}, {"account": "dear", "bcrypt": hashed("a", cost=6)},
        {"account": "sha1", "scram": scram_text("SCRAM-SHA-1", "a")},
        {"account": "sha256", "scram": scram_text("SCRAM-SHA-256", "a")},
    )
    yield driver
    await driver.stop()


NAMES = ("juliet", "disabled", "cheap", "dear", "sha1", "sha256", "nobody", "no@body")


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_time_does_not_tell_whether_and_how_an_account_is_there(crowd: MemoryDriver, is_restarted: bool) -> None:
    if is_restarted:
        await crowd.stop()
        await crowd.start()
    accounts = crowd.server.kernel.services.get(AccountService)

    def check(name: str) -> Check:
        return lambda: accounts.check_password(crowd.domain, name, "wrong password")

    assert await differ_always({name: check(name) for name in NAMES}) == set()


async def test_time_does_not_tell_whether_an_account_must_be_loaded(crowd: MemoryDriver) -> None:
    """Nobody of these is in memory when SCRAM asks for their keys, which costs nothing else: it was thrice as long."""
    accounts = crowd.server.kernel.services.get(AccountService)
    directory = crowd.server.kernel.directory

    def cold(name: str) -> Check:
        async def check() -> None:
            directory.forget(f"{name}@{crowd.domain}")
            await accounts.scram_keys(crowd.domain, name, "SCRAM-SHA-256")

        return check

    cases = {name: cold(name) for name in ("juliet", "cheap", "sha1", "nobody")}
    assert await differ_always(cases, rounds=300, tolerance=1.3) == set()


def logins(driver: MemoryDriver) -> dict[str, Check]:
    """Whole logins with PLAIN that are refused, from the first byte to the last."""

    def attempt(name: str) -> Check:
        return lambda: refusal(driver, name, "wrong password")

    return {name: attempt(name) for name in ("juliet", "cheap", "dear", "sha1", "nobody")}


async def test_time_of_a_whole_login_does_not_tell_it_either(crowd: MemoryDriver) -> None:
    assert await differ_always(logins(crowd)) == set()


async def test_a_dummy_that_is_left_out_would_be_seen(crowd: MemoryDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fault is mostly: no work is done for what is not there."""
    check_bcrypt = passwords_module._check_bcrypt

    def check_only_what_is_there(password: str, imported: str, highest: int) -> bool:
        return bool(imported) and check_bcrypt(password, imported, highest)

    monkeypatch.setattr(passwords_module, "_check_bcrypt", check_only_what_is_there)
    told_apart = await differ_always(logins(crowd), rounds=30)
    assert {("juliet", "dear"), ("dear", "nobody"), ("cheap", "nobody")} <= told_apart


async def test_keys_that_are_dearer_than_all_would_be_seen() -> None:
    """Half as many iterations again, which nobody counted in: that is what is left out when an import forgets it."""
    passwords = Passwords(8_192)
    passwords.effort.include({}, hashed("a", cost=4))
    keys = ScramKeys(b"0123456789abcdef", 8_192, b"", b"")
    more = ScramKeys(b"0123456789abcdef", 12_288, b"", b"")
    leaky: dict[str, Check] = {
        "as all": lambda: passwords.check("x", {"SCRAM-SHA-256": keys}, ""),
        "half as many more": lambda: passwords.check("x", {"SCRAM-SHA-256": more}, ""),
    }
    assert await differ_always(leaky) == {("as all", "half as many more")}
    passwords.close()


async def test_what_scram_shows_of_nobody_is_what_it_shows_of_somebody() -> None:
    fakes = Fakes(b"secret", 10_000)
    assert fakes.keys("nobody@chat.example", "SCRAM-SHA-256").iterations == 10_000
    fakes.count_shape("SCRAM-SHA-256", 10_000, 16, 300)
    fakes.count_shape("SCRAM-SHA-256", 4_096, 36, 100)
    names = [f"name{n}@chat.example" for n in range(1_000)]
    before = {name: fakes.keys(name, "SCRAM-SHA-256") for name in names}
    seen = Counter((keys.iterations, len(keys.salt)) for keys in before.values())
    assert seen.keys() == {(10_000, 16), (4_096, 36)}
    assert 200 < seen[4_096, 36] < 300
    assert len({keys.salt for keys in before.values()}) == len(names)
    fakes.count_shape("SCRAM-SHA-256", 10_000, 16, 1)
    moved = [name for name in names if fakes.keys(name, "SCRAM-SHA-256") != before[name]]
    assert len(moved) < 10, "an account more changes hardly anybody's"


async def test_other_iterations_tell_older_accounts_from_nobody_neither_before_nor_after_a_restart(
    tmp_path: Path
) -> None:
    """An option that changes shows in what is made up as fast as in what accounts have."""
    driver = MemoryDriver(tmp_path, accounts={"iterations": 8_192})
    await driver.start()
    try:
        for number in range(20):
            await driver.create_account(f"old{number}", "balcony")

        async def shown(name: str) -> int:
            keys = await driver.server.kernel.services.get(AccountService).scram_keys(
                driver.domain, name, "SCRAM-SHA-256"
            )
            return keys.iterations

        config = replace(driver.server.config, component_options={"accounts": {"iterations": 16_384}})
        assert driver.server.kernel.reconfigure(config) == []
        for _ in range(2):
            assert {await shown(f"nobody{number}") for number in range(200)} == {8_192} == {await shown("old1")}
            await driver.stop()
            driver = MemoryDriver(tmp_path, accounts={"iterations": 16_384})
            await driver.start()
        for number in range(20):
            await driver.create_account(f"new{number}", "balcony")
        found = Counter([await shown(f"nobody{number}") for number in range(200)])
        assert found.keys() == {8_192, 16_384}
        assert 60 < found[8_192] < 140, "half of the accounts have them"
    finally:
        await driver.stop()


async def test_the_effort_falls_when_the_last_imported_hash_is_gone(crowd: MemoryDriver) -> None:
    accounts = crowd.server.kernel.services.get(AccountService)
    effort = accounts.passwords.effort  # type: ignore[attr-defined]
    assert (effort.bcrypt_cost, effort.iterations) == (6, {"SCRAM-SHA-256": 8_192, "SCRAM-SHA-1": 5_000})
    for name in ("dear", "sha1"):
        assert await accounts.check_password(crowd.domain, name, "a")
    await crowd.settle([])
    await accounts.look()  # type: ignore[attr-defined]
    effort = accounts.passwords.effort  # type: ignore[attr-defined]
    assert (effort.bcrypt_cost, effort.iterations) == (4, {"SCRAM-SHA-256": 8_192})
