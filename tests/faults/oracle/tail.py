"""A client that only follows an archive, always asking for what is behind the last id it saw.

Where a row can become visible behind a later one, this client misses it for ever: its union must be the whole archive.
"""

from __future__ import annotations

import asyncio

from . import namespaces as ns
from .client import Client, Unknown
from .connection import Lost, Refused
from .log import Log
from .plan import ClientPlan, Plan


class Tail(Client):
    """See the module."""

    def __init__(self, plan: Plan, client: ClientPlan, log: Log) -> None:
        super().__init__(plan, client, log)
        self.drain = asyncio.Event()
        self.drained = asyncio.Event()
        self.finish = asyncio.Event()
        self._last = ""

    async def run(self) -> None:
        """Follow until told to finish, then to the end."""
        while True:
            await self.connect()
            try:
                async with asyncio.TaskGroup() as group:
                    reading = group.create_task(self.read())
                    await self._follow()
                    reading.cancel()
                await self.connection.close()
                return
            except* (Lost, Refused) as errors:
                error = errors.exceptions[0]
                if isinstance(error, Refused):
                    self.violation(str(error))
                if isinstance(error, Unknown):
                    self._last = ""
                self.disconnected(str(error))

    async def _follow(self) -> None:
        resource = self.client.resource
        await self.request("set", f"<bind xmlns='{ns.BIND}'><resource>{resource}</resource></bind>")
        while True:
            is_last = self.finish.is_set()
            page = await self.page(self.random.choice((1, 3, 10, 50)), after=self._last)
            for archive_id, message, _ in page.rows:
                self.record(message, "tail", archive_id)
                self._last = archive_id
            if self.drain.is_set():
                self.drained.set()
            if not page.rows:
                if is_last:
                    return
                await asyncio.sleep(0.05)
