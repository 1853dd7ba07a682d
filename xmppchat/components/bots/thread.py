"""A thread with an event loop of its own: what takes tens of milliseconds of CPU must not hold up the server's."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


class LoopThread:
    """The thread, and the way there and back. Made on the server's loop; it runs from the first use to :meth:`stop`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._home = asyncio.get_running_loop()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def run(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run `work` there, and wait for it on the server's loop."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name=self._name, daemon=True)
            self._thread.start()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def at_home(self, work: Coroutine[Any, Any, ResultT]) -> ResultT:
        """Run `work` on the server's loop, and wait for it on the thread's."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._home))

    async def stop(self) -> None:
        """Cancel what runs there, and end the thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        await self.run(_cancel_others())
        self._loop = self._thread = None
        loop.call_soon_threadsafe(loop.stop)
        await asyncio.to_thread(thread.join)
        loop.close()


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
