"""Power that fails: what a process wrote and did not sync is there in part, or not at all (F-02).

A killed process leaves its writes with the operating system, which brings them to the disk. A machine without power
does not. So each write to the database is recorded until the next sync (``unsynced.c``), and taken back at will.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import struct
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

_HEAD = struct.Struct("=QQ")
_SOURCE = Path(__file__).with_name("unsynced.c")

#: A write: where it began, and what it wrote over.
_Write = tuple[int, bytes]


def may_build() -> bool:
    """Whether there is a compiler."""
    return shutil.which("gcc") is not None


class UnsyncedWrites:
    """Records the writes of one server to its SQLite database that were not synced yet."""

    def __init__(self, directory: Path) -> None:
        self._folder = directory / "unsynced"
        self._folder.mkdir()
        self._library = directory / "unsynced.so"
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE, "-ldl"], check=True)

    def environment(self) -> Mapping[str, str]:
        """What the server's environment needs."""
        return {"LD_PRELOAD": str(self._library), "XC_UNSYNCED": str(self._folder)}

    def lose_power(self, random: Random) -> int:
        """Take back writes of a server that is dead: all that were not synced, or some; how many."""
        lost = 0
        for undo in sorted(self._folder.iterdir()):
            file = Path(undo.name.replace("%", "/"))
            chosen = _chosen(_records(undo.read_bytes()), random)
            if file.exists():
                _take_back(file, chosen, random)
                lost += len(chosen)
            undo.unlink()
            if file.suffix == ".db":
                file.with_name(f"{file.name}-shm").unlink(missing_ok=True)  # it was in memory only
        return lost


def is_stopped(pid: int) -> bool:
    """Whether all of a process stands still after SIGSTOP."""
    states = [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(state in "Tt" for state in states)


def check_database(file: Path) -> None:
    """AssertionError where the database of a server that is dead is damaged. A copy is opened: that alone mends it."""
    with tempfile.TemporaryDirectory() as folder:
        for part in file.parent.glob(f"{file.name}*"):
            shutil.copy(part, folder)
        connection = sqlite3.connect(Path(folder) / file.name)
        problems = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
    assert problems == [("ok",)], problems


def _records(data: bytes) -> list[_Write]:
    """The writes that were recorded, the oldest first; one whose record is not complete was not made."""
    found: list[_Write] = []
    place = 0
    while place + _HEAD.size <= len(data):
        offset, size = _HEAD.unpack_from(data, place)
        place += _HEAD.size
        if place + size > len(data):
            break
        found.append((offset, data[place : place + size]))
        place += size
    return found


def _chosen(writes: list[_Write], random: Random) -> list[_Write]:
    """Those to be taken back, the newest first: all or any, but none below one that stays."""
    if random.random() < 0.5:
        return writes[::-1]
    chosen: list[_Write] = []
    kept: list[tuple[int, int]] = []
    for offset, before in reversed(writes):
        end = offset + len(before)
        if random.random() < 0.5 and not any(start < end and offset < stop for start, stop in kept):
            chosen.append((offset, before))
        else:
            kept.append((offset, end))
    return chosen


def _take_back(file: Path, writes: list[_Write], random: Random) -> None:
    """One of them is torn: its beginning is on the disk."""
    torn = random.randrange(len(writes)) if writes else -1
    handle = os.open(file, os.O_WRONLY)
    try:
        for number, (offset, before) in enumerate(writes):
            begin = random.randrange(len(before)) // 512 * 512 if number == torn else 0
            os.pwrite(handle, before[begin:], offset + begin)
    finally:
        os.close(handle)
