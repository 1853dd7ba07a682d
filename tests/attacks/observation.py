"""What the system tells of a process: memory, CPU time, descriptors."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Process:
    """A running process."""

    pid: int

    @property
    def rss(self) -> int:
        """Resident memory, bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE

    @property
    def cpu(self) -> float:
        """CPU time used so far, user and system, s."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICK

    @property
    def descriptors(self) -> int:
        """Open file descriptors."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return Path(f"/proc/{self.pid}/stat").exists()


@contextlib.contextmanager
def stopwatch() -> Iterator[Callable[[], float]]:
    """Seconds since entry, or between entry and exit."""
    begin = time.monotonic()
    end: list[float] = []
    yield lambda: (end[0] if end else time.monotonic()) - begin
    end.append(time.monotonic())
