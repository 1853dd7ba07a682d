"""A table to write to, and a gate that remembers how tickets ended."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import BigInteger, Column, MetaData, Table, Text, bindparam, delete, insert, select, update

from xmppchat.core.commit_gate import Write
from xmppchat.storage.database import Database
from xmppchat.storage.writer import GroupCommit

#: Nothing here may take longer, s.
DEADLINE = 20.0

metadata = MetaData()


def _table(name: str) -> Table:
    return Table(name, metadata, Column("id", BigInteger, primary_key=True), Column("value", Text, unique=True))


NOTES, MARKS = TABLES = (_table("notes"), _table("marks"))
INSERT = {table: insert(table) for table in TABLES}
UPDATE = {table: update(table).where(table.c.id == bindparam("of")).values(value=bindparam("new")) for table in TABLES}
DELETE = {table: delete(table).where(table.c.id == bindparam("of")) for table in TABLES}
ALL = {table: select(table).order_by(table.c.id) for table in TABLES}


def note(number: int, value: str | None = None, table: Table = NOTES) -> Write:
    """Write a row; `value` must be unique."""
    return Write(INSERT[table], {"id": number, "value": f"value {number}" if value is None else value})


async def until(condition: Callable[[], object]) -> None:
    """Return once `condition` holds; it must, in time."""
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.001)


class Gate:
    """Submits tickets, and remembers their ends (`results`) and the batches they came in."""

    def __init__(self) -> None:
        self.results: list[tuple[int, BaseException | None]] = []
        self.batches: list[list[int]] = []
        self.writer: GroupCommit
        self.last = 0

    def attach(self, writer: GroupCommit) -> None:
        self.writer = writer
        writer.on_settled = self.on_settled

    def on_settled(self, results: Sequence[tuple[int, BaseException | None]]) -> None:
        self.results += results
        self.batches.append([ticket for ticket, _ in results])

    def submit(self, *writes: Write) -> int:
        self.last += 1
        self.writer.submit(self.last, writes)
        return self.last

    async def settled(self, ticket: int | None = None) -> None:
        """Return once `ticket`, by default the last, has settled."""
        wanted = self.last if ticket is None else ticket
        await until(lambda: self.results and self.results[-1][0] >= wanted)

    def errors(self) -> dict[int, BaseException]:
        """What failed, and how."""
        return {ticket: error for ticket, error in self.results if error is not None}


async def values(database: Database, table: Table = NOTES) -> list[tuple[int, str]]:
    """What is in a table."""
    return [(row.id, row.value) for row in await database.fetch(ALL[table])]


class Heart:
    """Beats every 5 ms on the loop; `longest` is the longest pause between two beats, in seconds."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._handle = self._loop.call_soon(self._beat)
        self.beats = 0
        self.longest = 0.0

    def _beat(self) -> None:
        now = self._loop.time()
        self.longest = max(self.longest, now - self._last)
        self._last = now
        self.beats += 1
        self._handle = self._loop.call_later(0.005, self._beat)

    def stop(self) -> None:
        self._handle.cancel()


def child(script: str, *arguments: object, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Python with `script` (a file beside this one) as a process of its own; its output is read as text, by lines."""
    folder = Path(__file__).parent
    path = os.pathsep.join([str(folder), str(folder.parents[1])])
    return subprocess.Popen(
        [sys.executable, str(folder / script), *map(str, arguments)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": path, **(environment or {})},
    )  # fmt: skip


def finish(process: subprocess.Popen[str], *, given: str = "") -> tuple[int, str, str]:
    """Status, stdout and stderr of a child that ends by itself."""
    out, err = process.communicate(given, timeout=DEADLINE)
    return process.returncode, out, err


def expect(process: subprocess.Popen[str], line: str) -> Any:
    """The child's next line of output must be `line`."""
    assert process.stdout is not None
    got = process.stdout.readline()
    assert got == f"{line}\n", f"{got!r} instead of {line!r}"


def of_dialect(name: str) -> Callable[..., bool]:
    """For Alembic: leaves out the indexes that are made on other databases only."""

    def is_meant(thing: Any, *_: Any) -> bool:
        condition = getattr(thing, "_ddl_if", None)
        return condition is None or condition.dialect == name

    return is_meant
