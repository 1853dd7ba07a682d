"""The first and the last row of an archive, which whoever logs in is told (XEP-0386 §3.2, XEP-0313 §4.4).

They are kept in memory once they were read: to look them up cost more than the rest of a login.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from xmppchat.components.archive.store import Archives
from xmppchat.core.commit_gate import CommitGate

#: Archives whose ends are remembered, those asked for last.
MAX_KNOWN: Final = 20_000
#: Looks at an archive to which somebody writes all the time.
MAX_LOOKS: Final = 10


class _Entry:
    """What is known of one archive. `ends` are good while `generation` is that of :class:`Ends`."""

    __slots__ = ("ends", "generation", "moves")

    def __init__(self) -> None:
        self.ends: tuple[int, int] | None = None
        self.generation = -1
        self.moves = 0  # rows that set out, or that came while the ends were not known


class Ends:
    """Ends of archives, by the id of their account."""

    def __init__(self, archives: Archives, gate: CommitGate) -> None:
        self._archives = archives
        self._gate = gate
        self._known: OrderedDict[int, _Entry] = OrderedDict()
        self._generation = 0

    def coming(self, account: int) -> None:
        """A row sets out for the disk; to whom it is delivered is decided now, too."""
        entry = self._known.get(account)
        if entry is not None:
            entry.moves += 1

    def added(self, account: int, number: int) -> None:
        """A row is on disk."""
        entry = self._known.get(account)
        if entry is None:
            return
        if entry.generation != self._generation:
            entry.moves += 1  # somebody may be reading, and have missed it
        else:
            first, last = entry.ends or (number, number)
            entry.ends = (min(first, number), max(last, number))

    def deleted(self) -> None:
        """Rows were deleted, of whatever archives."""
        self._generation += 1

    async def of(self, account: int) -> tuple[tuple[int, int] | None, bool]:
        """The ids of the first and the last row (None: there is none), and whether nothing more is on its way.

        That is so up to the moment at which the caller goes on. Raises :class:`StorageUnavailable`.
        """
        entry = self._entry(account)
        for _ in range(MAX_LOOKS):
            moves, generation = entry.moves, self._generation
            await self._gate.committed(self._gate.last)
            if entry.generation != generation:
                ends = await self._archives.ends(account)
                if entry.moves == moves and self._generation == generation:
                    entry.ends, entry.generation = ends, generation
            if entry.moves == moves and entry.generation == self._generation:
                return entry.ends, True
        return entry.ends, False

    def _entry(self, account: int) -> _Entry:
        entry = self._known.get(account)
        if entry is None:
            entry = self._known[account] = _Entry()
            if len(self._known) > MAX_KNOWN:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(account)
        return entry
