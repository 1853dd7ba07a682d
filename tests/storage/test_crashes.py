"""The process dies: what was acknowledged is on disk, and a ticket is there whole or not at all (reliability.md C1)."""

from __future__ import annotations

import random

import pytest
from storage_support import DEADLINE, MARKS, NOTES, child, finish, values

from xmppchat.storage.database import Database


async def stored(url: str) -> list[int]:
    """The tickets that are on disk; both rows of each must be."""
    database = await Database.open(url)
    notes, marks = await values(database, NOTES), await values(database, MARKS)
    assert notes == marks
    assert await database.integrity_check() == []
    await database.close()
    numbers = [number for number, _ in notes]
    assert numbers == list(range(1, len(numbers) + 1)), "a ticket is missing though a later one is there"
    return numbers


def acknowledged(out: str) -> list[int]:
    lines = out.splitlines()
    assert lines[0] == "ready"
    return [int(line) for line in lines[1:]]


@pytest.mark.parametrize(("width", "batch"), [(1, 1), (1, 3), (20, 1), (20, 3)])
async def test_death_before_commit(url: str, width: int, batch: int) -> None:
    process = child("writing_child.py", url, width, 0, environment={"XC_CRASHPOINT": f"before-commit:{batch}"})
    status, out, err = finish(process)
    assert status == 137, err
    assert acknowledged(out) == await stored(url), "the batch that died is not there, all before it are"
    assert len(acknowledged(out)) == width * (batch - 1)


@pytest.mark.parametrize(("width", "batch"), [(1, 1), (1, 3), (20, 1), (20, 3)])
async def test_death_after_commit(url: str, width: int, batch: int) -> None:
    point = f"after-commit-before-release:{batch}"
    status, out, err = finish(child("writing_child.py", url, width, 0, environment={"XC_CRASHPOINT": point}))
    assert status == 137, err
    numbers = await stored(url)
    assert numbers[: len(acknowledged(out))] == acknowledged(out)
    assert len(acknowledged(out)) == width * (batch - 1), "it was told before the release"
    assert len(numbers) == width * batch, "what was not acknowledged is there all the same"


@pytest.mark.parametrize("run", range(5))
async def test_death_at_any_moment(url: str, run: int) -> None:
    process = child("writing_child.py", url, random.choice([1, 7, 100]), 0)
    assert process.stdout is not None
    for _ in range(random.randint(2, 2_000)):
        process.stdout.readline()
    process.kill()
    rest, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == -9, err
    # The first may be the end of a line, the last its beginning.
    told = [int(line) for line in rest.splitlines(keepends=True)[1:] if line.endswith("\n")]
    numbers = await stored(url)
    assert not told or numbers[-1] >= told[-1]


async def test_an_orderly_end_keeps_all(url: str) -> None:
    status, out, err = finish(child("writing_child.py", url, 50, 500))
    assert (status, err.count("error")) == (0, 0), err
    assert acknowledged(out)[:500] == list(range(1, 501))
    assert await stored(url) == acknowledged(out)
