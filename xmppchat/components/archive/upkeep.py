"""Upkeep of archives: what is too old, too much, or of accounts that are gone is deleted, a little at a time.

Each chunk is a ticket like any other, and the next one begins when it is on disk: whoever writes meanwhile waits for
one chunk at most. The oldest rows go first, so that no archive ever has a hole (XEP-0313 §3.3).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import structlog

from xmppchat.components.archive import store
from xmppchat.core.clock_guard import DAY, ClockGuard
from xmppchat.core.kernel import Kernel
from xmppchat.core.runtime import TIME_SHIFT, time_of

log = structlog.get_logger(__name__)



class Upkeep:
    """Deletes rows of archives."""

    def __init__(self, kernel: Kernel, on_deleted: Callable[[], None] = lambda: None) -> None:
        self._kernel = kernel
        self._on_deleted = on_deleted  # after each chunk
        self._guard = ClockGuard()
        self._gone: deque[int] = deque()
        self._is_removing = False

    # --- accounts that are gone ----------------------------------------------------------------------------------

    def remove(self, *accounts: int) -> None:
        """Delete the archives of accounts (their ids) that do not exist any more, in the background."""
        self._gone.extend(accounts)
        if self._gone and not self._is_removing:
            self._is_removing = True
            self._kernel.tasks.spawn(self._remove(), name="archives of deleted accounts")

    async def remove_orphans(self) -> None:
        """Begin with what an earlier run of the server did not come to."""
        self.remove(*(row[0] for row in await self._kernel.reader.fetch(store.ORPHANS)))

    async def _remove(self) -> None:
        try:
            while self._gone:
                account = {"account": self._gone[0]}
                # Twice: what its sessions sent in their last moment may be on its way to the disk.
                for _ in range(2):
                    await self._kernel.gate.committed(self._kernel.gate.last)
                    await self._delete(store.OLDEST_OF_ACCOUNT, store.DELETE_OF_ACCOUNT, store.HIGHEST, account)
                self._gone.popleft()
        finally:
            self._is_removing = False

    # --- too old, too many ---------------------------------------------------------------------------------------

    async def tidy(self, days: int, messages: int) -> int:
        """Delete what is older than `days`, and of each account all but the newest `messages`; 0: no such bound.

        Returns how many rows went.
        """
        kernel = self._kernel
        now, newest = kernel.clock.now(), (await kernel.reader.fetch(store.NEWEST))[0][0] or 0
        refusal = self._guard.refusal(now, kernel.clock.monotonic(), time_of(newest))
        if refusal:
            log.warning("archives are not tidied up", reason=refusal)
            return 0
        deleted = 0
        if days:
            before = max(0, now - days * DAY) << TIME_SHIFT
            deleted += await self._delete(store.OLDEST, store.DELETE_OLDEST, before, {})
        if messages:
            for (account,) in await kernel.reader.fetch(store.OWNERS):
                deleted += await self._shorten(account, messages)
        if deleted:
            log.info("archives tidied up", messages=deleted)
        return deleted

    async def _shorten(self, account: int, messages: int) -> int:
        excess = await self._kernel.reader.fetch(store.BEYOND, {"account": account, "messages": messages})
        if not excess:
            return 0
        before = excess[0][0] + 1
        return await self._delete(store.OLDEST_OF_ACCOUNT, store.DELETE_OF_ACCOUNT, before, {"account": account})

    async def _delete(self, query: Any, statement: Any, before: int, parameters: Mapping[str, int]) -> int:
        """Delete the rows that `query` finds below `before`, a chunk a ticket. Raises StanzaError if it fails."""
        deleted = 0
        while rows := await self._kernel.reader.fetch(query, {"before": before, **parameters}):
            turn = self._kernel.new_turn()
            turn.write(None, statement, {"up_to": rows[-1][0], **parameters})
            await self._kernel.settled(turn)
            self._on_deleted()
            deleted += len(rows)
        return deleted
