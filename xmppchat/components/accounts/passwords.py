"""The slow part of passwords: hashing in threads, and checks that take as long whatever the account (V-15)."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

import bcrypt

from xmppchat.components.accounts.store import Credentials
from xmppchat.protocol.errors import NotAcceptable, ResourceConstraint
from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys, check_password, derive_keys, saslprep

P = ParamSpec("P")
T = TypeVar("T")

#: Hashing that may wait; more logins with PLAIN at once are told to come back (reliability.md, limit 53).
MAX_WAITING = 64
#: What bcrypt looks at: the rest of a longer password never mattered to the system that hashed it.
BCRYPT_BYTES = 72
#: The hashes that are understood, of costs that a login can wait for: 16 takes four seconds.
BCRYPT = re.compile(r"\$2[aby]\$(0[4-9]|1[0-6])\$[./A-Za-z0-9]{53}")
#: Keys that a password is checked with, the first ones that an account has.
PREFERENCE = ("SCRAM-SHA-256", "SCRAM-SHA-512", "SCRAM-SHA-1")

_BCRYPT_DIGITS = "./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
#: Keys that no password has: only their work is wanted.
_NO_KEYS = ScramKeys(bytes(16), 0, b"", b"")


def preferred(mechanisms: Mapping[str, object]) -> str:
    """The mechanism whose keys a password is checked with, "" where there are none."""
    return next((name for name in PREFERENCE if name in mechanisms), "")


def bcrypt_cost(hashed: str) -> int:
    """The cost of a bcrypt hash: it takes twice as long for each one more."""
    return int(hashed[4:6])


def canonical_bcrypt(hashed: str) -> str:
    """The same hash without the bits that mean nothing, which some libraries fill and others do not take.

    16 bytes of salt are 21 characters and two bits of the next one, 23 bytes of hash 30 characters and four bits.
    """
    return hashed[:28] + _cleared(hashed[28], 0b110000) + hashed[29:59] + _cleared(hashed[59], 0b111100)


def _cleared(digit: str, bits: int) -> str:
    return _BCRYPT_DIGITS[_BCRYPT_DIGITS.index(digit) & bits]


class Effort:
    """What every check costs: that of the dearest account, so that time tells nothing about the one that is asked for.

    `iterations` has, for each mechanism that some account is checked with, the most of them; `bcrypt_cost` is the
    highest cost among imported hashes, 0 while there are none: then nothing of bcrypt is done.
    """

    __slots__ = ("bcrypt_cost", "iterations")

    def __init__(self, iterations: int) -> None:
        self.iterations = {PREFERENCE[0]: iterations}
        self.bcrypt_cost = 0

    def include(self, iterations: Mapping[str, int], hashed: str = "") -> None:
        """There is an account with keys of so many `iterations`, or with a hash of another system's."""
        name = preferred(iterations)
        if name:
            self.iterations[name] = max(self.iterations.get(name, 0), iterations[name])
        if hashed:
            self.bcrypt_cost = max(self.bcrypt_cost, bcrypt_cost(hashed))


class Passwords:
    """Runs what is slow on half of the cores: PBKDF2 and bcrypt release the GIL, so they do not hold up the loop.

    `iterations` are those of the next password that is set; `effort` is what a check costs.
    """

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        threads = max(1, len(os.sched_getaffinity(0)) // 2)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="password")
        self._waiting = 0
        self.effort = Effort(iterations)

    def close(self) -> None:
        """End the threads; what waits is not done."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def derive(self, password: str) -> Credentials:
        """Keys for all mechanisms. Raises :class:`NotAcceptable` with a text for who chose the password."""
        try:
            saslprep(password)
        except ValueError as error:
            raise NotAcceptable(f"this password cannot be used: {error}") from None
        return {
            name: await self._run(derive_keys, name, password, secrets.token_bytes(16), self.iterations)
            for name in SCRAM_HASHES
        }

    async def check(self, password: str, credentials: Credentials, imported: str) -> bool:
        """Whether `password` is that of `credentials`, or that of the bcrypt hash `imported` ("": none).

        It takes the same time for every account of the server, whatever that has of the two.
        """
        effort = self.effort
        return await self._run(_check, password, credentials, imported, dict(effort.iterations), effort.bcrypt_cost)

    async def _run(self, function: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        if self._waiting >= MAX_WAITING:
            raise ResourceConstraint("too many passwords are being checked; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1


def _check(
    password: str, credentials: Credentials, imported: str, iterations: Mapping[str, int], highest_cost: int
) -> bool:
    own = preferred(credentials)
    is_right = False
    for mechanism, most in iterations.items():
        keys = credentials[mechanism] if mechanism == own else _NO_KEYS
        is_right |= _check_scram(mechanism, password, keys, most)
    if highest_cost:
        is_right |= _check_bcrypt(password, imported, highest_cost)
    return is_right


def _check_scram(mechanism: str, password: str, keys: ScramKeys, most: int) -> bool:
    """The work of `most` iterations: what the account's own ones leave of it is filled up."""
    is_right = bool(keys.iterations) and check_password(mechanism, password, keys)
    if most > keys.iterations:
        check_password(mechanism, password, ScramKeys(_NO_KEYS.salt, most - keys.iterations, b"", b""))
    return is_right


def _check_bcrypt(password: str, imported: str, highest_cost: int) -> bool:
    """The work of a hash with the highest cost: 2**c for a lower one is filled up with 2**c + 2**(c+1) + …"""
    secret = password.encode(errors="replace")[:BCRYPT_BYTES]
    cost = bcrypt_cost(imported) if imported else highest_cost
    is_right = bcrypt.checkpw(secret, (imported or _dummy(highest_cost)).encode()) and bool(imported)
    for more in range(cost, highest_cost):
        bcrypt.checkpw(secret, _dummy(more).encode())
    return is_right and b"\0" not in secret  # to bcrypt "a" and "a\0a" are the same


def _dummy(cost: int) -> str:
    """A hash that no password has: only its work is wanted."""
    return f"$2b${cost:02d}${'.' * 53}"
