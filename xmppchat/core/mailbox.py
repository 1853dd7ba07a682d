"""Mailbox: an account's (or room's) mutations that take time run one at a time, in order (ADR 0004).

What needs no waiting changes state in place, in the one thread of the worker, and needs no mailbox.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from xmppchat.core.runtime import Tasks

log = structlog.get_logger(__name__)

#: Work that may wait in one mailbox; more is refused with ``resource-constraint``.
CAPACITY = 1_000

Work = Callable[[], Coroutine[Any, Any, None]]


class MailboxFull(Exception):
    """Too much work waits for one account."""


class Mailbox:
    """A queue of coroutine functions; at most one runs. Costs nothing while empty."""

    __slots__ = ("_queue",)

    def __init__(self) -> None:
        self._queue: deque[Work] | None = None

    @property
    def is_busy(self) -> bool:
        """Whether work runs or waits."""
        return self._queue is not None

    def post(self, tasks: Tasks, work: Work) -> None:
        """Run `work` behind what was posted before. Raises :class:`MailboxFull`."""
        if self._queue is None:
            self._queue = deque((work,))
            tasks.spawn(self._run(), name="mailbox")
        elif len(self._queue) >= CAPACITY:
            raise MailboxFull
        else:
            self._queue.append(work)

    async def _run(self) -> None:
        queue = self._queue
        assert queue is not None
        try:
            while queue:
                try:
                    await queue[0]()
                except Exception:
                    log.exception("work in a mailbox failed")
                queue.popleft()
        finally:
            self._queue = None
