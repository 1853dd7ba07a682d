"""The slow part of passwords: hashing in a thread, and checks that take as long whatever the account (V-15)."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Callable
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


def bcrypt_cost(hashed: str) -> int:
    """The cost of a bcrypt hash: it takes twice as long for each one more."""
    return int(hashed[4:6])


class Passwords:
    """Runs what is slow on one thread: PBKDF2 and bcrypt release the GIL, so it keeps a core busy and not the loop.

    `iterations` are those of the next password that is set. `bcrypt_cost` is the highest cost among imported hashes, 0
    while there are none: then nothing of bcrypt is done.
    """

    def __init__(self, iterations: int) -> None:
        self.iterations = iterations
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._waiting = 0
        self.bcrypt_cost = 0

    def close(self) -> None:
        """End the thread; what waits is not done."""
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

    async def check(self, password: str, keys: ScramKeys, imported: str) -> bool:
        """Whether `password` is that of `keys` or that of the bcrypt hash `imported` ("": none).

        It takes the same time for every account of the server, whichever of the two an account has.
        """
        return await self._run(_check, password, keys, imported, self.bcrypt_cost)

    async def _run(self, function: Callable[P, T], *arguments: P.args, **_: P.kwargs) -> T:
        if self._waiting >= MAX_WAITING:
            raise ResourceConstraint("too many passwords are being checked; try again in a moment")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._waiting -= 1


def _check(password: str, keys: ScramKeys, imported: str, highest_cost: int) -> bool:
    is_right = check_password(SCRAM_HASHES[0], password, keys)
    if highest_cost:
        is_right |= _check_bcrypt(password, imported, highest_cost)
    return is_right


def _check_bcrypt(password: str, imported: str, highest_cost: int) -> bool:
    """The work of a hash with the highest cost: 2**c for a lower one is filled up with 2**c + 2**(c+1) + …"""
    secret = password.encode()[:BCRYPT_BYTES]
    cost = bcrypt_cost(imported) if imported else highest_cost
    is_right = bcrypt.checkpw(secret, (imported or _dummy(highest_cost)).encode()) and bool(imported)
    for more in range(cost, highest_cost):
        bcrypt.checkpw(secret, _dummy(more).encode())
    return is_right


def _dummy(cost: int) -> str:
    """A hash that no password has: only its work is wanted."""
    return f"$2b${cost:02d}${'.' * 53}"
