"""A fresh look at an archive: all of it, in both directions and pages of several sizes, which must all agree."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import namespaces as ns
from .client import Client, Page, key_of
from .connection import Refused
from .log import Log
from .plan import ClientPlan, Plan
from .xml import Node

#: Sizes of pages, and how many rows from either end are read with it at most; 0: all of them.
PAGES = ((250, 0), (50, 0), (7, 0), (1, 300))
#: The same for those archives that are read one by one from end to end, which takes long.
ALL_PAGES = (*PAGES[:-1], (1, 0))


@dataclass(frozen=True, slots=True)
class Row:
    """A row of an archive; `body` is empty where it is none of the harness's messages."""

    id: str
    body: str
    sender: str
    to: str
    mid: str
    origin_id: str
    stamp: str


class PagingError(Exception):
    """Two ways to read one archive gave different answers."""


class Reader(Client):
    """A client that logs in once, for its archive."""

    async def start(self) -> None:
        """Log in."""
        await self.connect()
        bind = f"<bind xmlns='{ns.BIND}'><resource>{self.client.resource}</resource></bind>"
        self._reading = asyncio.ensure_future(self.read())
        await self.request("set", bind)

    async def stop(self) -> None:
        """Log out."""
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        await self.connection.close()

    async def forwards(self, size: int, limit: int) -> list[Row]:
        """Rows from the oldest on, at least `limit` of them (0: all)."""
        rows: list[Row] = []
        last = ""
        while True:
            page = await self.page(size, after=last)
            last = page.last
            rows += _rows(page)
            if self._is_end(page, size) or (limit and len(rows) >= limit):
                return rows

    async def backwards(self, size: int, limit: int) -> list[Row]:
        """Rows from the newest on, oldest first."""
        rows: list[Row] = []
        first = ""
        while True:
            page = await self.page(size, before=first)
            first = page.first
            rows = _rows(page) + rows
            if self._is_end(page, size) or (limit and len(rows) >= limit):
                return rows

    def _is_end(self, page: Page, size: int) -> bool:
        if len(page.rows) > size:
            raise PagingError(f"{len(page.rows)} rows in a page of {size}")
        if page.is_complete and page.rows and page.count is not None and page.count < len(page.rows):
            raise PagingError(f"count {page.count} with {len(page.rows)} rows")
        return page.is_complete or not page.last


async def keep_nothing(plan: Plan, account: str, logs: Path) -> None:
    """Have an account archive nothing from now on (XEP-0441 §2)."""
    log = Log(logs / f"reader.{account}.jsonl", f"{account}.reader")
    reader = Reader(plan, ClientPlan(account, "reader", has_sm=False, has_carbons=False), log)
    await reader.start()
    try:
        answer = await reader.request("set", f"<prefs xmlns='{ns.MAM}' default='never'><always/><never/></prefs>")
        if answer.get("type") != "result":
            raise Refused(f"preferences: {answer!r}")
    finally:
        await reader.stop()
        log.close()


async def read_archive(
    plan: Plan, account: str, logs: Path, pages: Sequence[tuple[int, int]] = PAGES
) -> list[Row]:
    """The archive of an account; raises PagingError where page size or direction changes what it holds."""
    log = Log(logs / f"reader.{account}.jsonl", f"{account}.reader")
    reader = Reader(plan, ClientPlan(account, "reader", has_sm=False, has_carbons=False), log)
    await reader.start()
    try:
        whole: list[Row] | None = None
        for size, limit in pages:
            forwards, backwards = await reader.forwards(size, limit), await reader.backwards(size, limit)
            if whole is None:
                whole = forwards
            _same(account, f"forwards by {size}", forwards, whole[: len(forwards)], whole, limit)
            _same(account, f"backwards by {size}", backwards, whole[len(whole) - len(backwards) :], whole, limit)
        assert whole is not None
        return whole
    finally:
        await reader.stop()
        log.close()


def _same(account: str, how: str, rows: list[Row], expected: list[Row], whole: list[Row], limit: int) -> None:
    if rows == expected and (limit or len(rows) == len(whole)):
        return
    for index, row in enumerate(rows):
        if index >= len(expected) or row != expected[index]:
            raise PagingError(f"archive of {account}, {how}: row {index} is {row}, not {expected[index : index + 1]}")
    raise PagingError(f"archive of {account}, {how}: {len(rows)} rows, by 250 forwards {len(whole)}")


def _rows(page: Page) -> list[Row]:
    return [_row(archive_id, message, stamp) for archive_id, message, stamp in page.rows]


def _row(archive_id: str, message: Node, stamp: str) -> Row:
    origin = message.find("origin-id", ns.STANZA_ID)
    return Row(
        archive_id,
        key_of(message),
        message.get("from"),
        message.get("to"),
        message.get("id"),
        origin.get("id") if origin is not None else "",
        stamp,
    )
