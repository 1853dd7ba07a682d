"""A mailbox runs work one at a time, in order, and is bounded."""

from __future__ import annotations

import asyncio

import pytest

from xmppchat.core.mailbox import CAPACITY, Mailbox, MailboxFull
from xmppchat.core.runtime import Tasks


async def test_one_at_a_time_and_in_order() -> None:
    mailbox, tasks, seen = Mailbox(), Tasks(), list[str]()
    gate = asyncio.Event()

    async def slow() -> None:
        seen.append("slow begins")
        await gate.wait()
        seen.append("slow ends")

    async def quick() -> None:
        seen.append("quick")

    mailbox.post(tasks, slow)
    mailbox.post(tasks, quick)
    await asyncio.sleep(0)
    assert seen == ["slow begins"]
    gate.set()
    while mailbox.is_busy:
        await asyncio.sleep(0)
    assert seen == ["slow begins", "slow ends", "quick"]


async def test_work_that_fails_does_not_stop_what_comes_behind() -> None:
    mailbox, tasks, seen = Mailbox(), Tasks(), list[str]()

    async def fails() -> None:
        raise ValueError("a bug")

    async def quick() -> None:
        seen.append("quick")

    mailbox.post(tasks, fails)
    mailbox.post(tasks, quick)
    while mailbox.is_busy:
        await asyncio.sleep(0)
    assert seen == ["quick"]


async def test_it_is_bounded() -> None:
    mailbox, tasks, gate = Mailbox(), Tasks(), asyncio.Event()

    async def slow() -> None:
        await gate.wait()

    for _ in range(CAPACITY):
        mailbox.post(tasks, slow)
    with pytest.raises(MailboxFull):
        mailbox.post(tasks, slow)
    gate.set()
    await tasks.stop()
