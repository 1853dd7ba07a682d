"""What a server process can be surrounded with: a small disk, a clock that lies, a locked database."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path


@cache
def may_unshare() -> bool:
    """Whether mount namespaces can be made here without privileges."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode == 0


class SmallDisk:
    """A file system in memory for a server's data, seen by the server alone; it is gone when the server ends."""

    def __init__(self, directory: Path, size: str = "64m") -> None:
        self._directory = directory
        self._size = size

    def prefix(self) -> Sequence[str]:
        """What the server's command is to follow: mounts the disk and copies to it what was there."""
        script = (
            f'cp -a "$0" "$0.copy" && mount -t tmpfs -o size={self._size} tmpfs "$0" && cp -a "$0.copy/." "$0" '
            '&& cd "$0" && exec "$@"'
        )
        return ["unshare", "-rm", "sh", "-c", script, str(self._directory)]

    def _ballast(self, pid: int) -> Path:
        return Path(f"/proc/{pid}/root{self._directory}/ballast")

    def fill(self, pid: int) -> None:
        """Take all space that is left."""
        with self._ballast(pid).open("wb", buffering=0) as file:
            for size in (1 << 20, 4096):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self, pid: int) -> None:
        """Give the space back."""
        self._ballast(pid).unlink()


class FakeTime:
    """The wall clock of one process, moved while it runs (libfaketime); its monotonic clock is left alone."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "faketime"
        self.set(0)

    @staticmethod
    def library() -> str:
        """Where the library is; empty where it is not installed."""
        found = list(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
        return str(found[0]) if found else ""

    def environment(self) -> Mapping[str, str]:
        """What the server's environment needs."""
        return {
            "LD_PRELOAD": self.library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Move the clock to `seconds` from the real time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        os.replace(new, self._file)


@contextmanager
def sqlite_locked(directory: Path) -> Iterator[None]:
    """Hold the write lock of the database below `directory`."""
    connection = sqlite3.connect(next(directory.glob("**/*.db")), isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()
