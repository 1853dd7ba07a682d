"""What is remembered of the ends of archives is what is on disk, and nothing is on its way when they are told."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from xmppchat.components.archive.ends import MAX_KNOWN, MAX_LOOKS, Ends
from xmppchat.components.archive.store import Archives
from xmppchat.core.commit_gate import CommitGate


class FakeArchives:
    """Rows by account; `reading` is called while a read is under way, once."""

    def __init__(self) -> None:
        self.rows: dict[int, list[int]] = {}
        self.reads = 0
        self.reading: Any = None

    async def ends(self, account: int) -> tuple[int, int] | None:
        self.reads += 1
        rows = self.rows.get(account)
        found = (min(rows), max(rows)) if rows else None
        if self.reading is not None:
            self.reading()
        return found


class FakeGate:
    """Everything is on disk at once; `waited` is called by whoever waits, every time."""

    last = 0
    waited: Any = None

    async def committed(self, ticket: int) -> None:
        await asyncio.sleep(0)
        if self.waited is not None:
            self.waited()


class Archive:
    """Ends over fakes."""

    def __init__(self) -> None:
        self.stored = FakeArchives()
        self.gate = FakeGate()
        self.ends = Ends(cast(Archives, self.stored), cast(CommitGate, self.gate))

    def add(self, account: int, number: int) -> None:
        self.stored.rows.setdefault(account, []).append(number)
        self.ends.added(account, number)


@pytest.fixture
def archive() -> Archive:
    return Archive()


async def test_ends_are_read_once_and_follow_what_is_added(archive: Archive) -> None:
    assert await archive.ends.of(1) == (None, True)
    assert await archive.ends.of(1) == (None, True)
    for number in (5, 9, 7):
        archive.ends.coming(1)
        archive.add(1, number)
    assert await archive.ends.of(1) == ((5, 9), True)
    assert archive.stored.reads == 1


async def test_what_is_added_to_one_archive_is_of_no_other(archive: Archive) -> None:
    await archive.ends.of(1)
    archive.add(2, 9)
    assert await archive.ends.of(1) == (None, True)
    assert await archive.ends.of(2) == ((9, 9), True)


async def test_a_row_that_comes_while_the_ends_are_read_is_not_missed(archive: Archive) -> None:
    archive.add(1, 5)

    def come() -> None:
        archive.stored.reading = None
        archive.add(1, 6)

    archive.stored.reading = come
    assert await archive.ends.of(1) == ((5, 6), True)
    assert await archive.ends.of(1) == ((5, 6), True)


async def test_a_row_that_sets_out_while_somebody_waits_is_waited_for(archive: Archive) -> None:
    await archive.ends.of(1)
    waits = 0

    def wait() -> None:
        nonlocal waits
        waits += 1
        if waits == 1:
            archive.ends.coming(1)
        else:
            archive.add(1, 6)

    archive.gate.waited = wait
    assert await archive.ends.of(1) == ((6, 6), True)
    assert waits == 2


async def test_where_somebody_writes_all_the_time_that_is_said(archive: Archive) -> None:
    waits = 0

    def wait() -> None:
        nonlocal waits
        waits += 1
        archive.ends.coming(1)

    archive.gate.waited = wait
    assert (await archive.ends.of(1))[1] is False
    assert waits == MAX_LOOKS


async def test_after_a_deletion_all_is_read_again(archive: Archive) -> None:
    archive.add(1, 5)
    archive.add(1, 9)
    assert await archive.ends.of(1) == ((5, 9), True)
    archive.stored.rows[1] = [9]
    archive.ends.deleted()
    assert await archive.ends.of(1) == ((9, 9), True)
    archive.stored.rows[1] = []

    archive.gate.waited = archive.ends.deleted  # in the midst of a look, too
    assert (await archive.ends.of(1))[1] is False
    archive.gate.waited = None
    assert await archive.ends.of(1) == (None, True)


async def test_the_archives_asked_for_last_are_remembered(archive: Archive) -> None:
    for account in range(MAX_KNOWN + 1):
        await archive.ends.of(account)
    reads = archive.stored.reads
    await archive.ends.of(MAX_KNOWN)
    await archive.ends.of(1)
    assert archive.stored.reads == reads
    await archive.ends.of(0)
    assert archive.stored.reads == reads + 1
