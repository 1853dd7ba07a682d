"""Reports of spam and abuse (XEP-0377): read from a block request, stored for the admin. All their SQL is here."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, insert, select, update

from xmppchat.core.account import Account
from xmppchat.core.kernel import Kernel
from xmppchat.core.rates import TokenBucket
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema

#: What is kept of one report: characters of its text, of its reason and of an id, and how many ids.
MAX_TEXT, MAX_REASON, MAX_ID, MAX_IDS = 2_000, 200, 500, 20
#: Reports that are kept; the oldest make room.
MAX_REPORTS = 10_000
#: Reporters whose budget is remembered; the oldest are forgotten.
MAX_REPORTERS = 10_000

_DAY = 86_400.0
_reports = schema.abuse_reports.c
_INSERT = insert(schema.abuse_reports)
_COUNT = select(func.count(), func.max(_reports.id)).select_from(schema.abuse_reports)
_NEWEST = select(schema.abuse_reports).order_by(_reports.id.desc()).limit(bindparam("limit"))
_ONE = select(_reports.id).where(_reports.id == bindparam("report"))
_DELETE = delete(schema.abuse_reports).where(_reports.id == bindparam("report"))
_DELETE_OLDEST = delete(schema.abuse_reports).where(
    _reports.id == select(func.min(_reports.id)).scalar_subquery()
)
_ANONYMISE = update(schema.abuse_reports).where(_reports.reporter == bindparam("of")).values(reporter="")


@dataclass(frozen=True, slots=True)
class Report:
    """What somebody says of the address he blocks."""

    reported: JID
    reason: str
    text: str
    stanza_ids: tuple[tuple[str, str], ...]  # id, and who gave it ("by", XEP-0359 §3)
    consent: str


def read(item: Element, reported: JID) -> Report | None:
    """The report in an item of a block request; None where there is none, or none that says why.

    A faulty report is no reason to refuse the block (XEP-0377 §5), so it is left out.
    """
    element = item.find("report", NS.REPORTING)
    if element is None or not element.get("reason"):
        return None
    ids = element.find_all("stanza-id", NS.STANZA_IDS)[:MAX_IDS]
    return Report(
        reported,
        element.get("reason")[:MAX_REASON],
        (element.child_text("text") or "").strip()[:MAX_TEXT],
        tuple((stanza_id.get("id")[:MAX_ID], stanza_id.get("by")[:MAX_ID]) for stanza_id in ids),
        " ".join(name for name in ("report-origin", "third-party") if element.find(name) is not None),
    )


class Reports:
    """The stored reports. They are forwarded to nobody (XEP-0377 §4 asks for consent, which is stored)."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._budgets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._count = 0

    async def start(self) -> None:
        """Count what there is."""
        count, newest = (await self._kernel.reader.fetch(_COUNT))[0]
        self._count = count
        self._kernel.ids.not_below(newest or 0)

    def store(self, reporter: Account, report: Report, turn: Turn) -> None:
        """Add a report to `turn`, if its author may still report today."""
        if not self._may(reporter):
            self._kernel.limit_counters.fired("abuse_reports_per_day")
            return
        if self._count >= MAX_REPORTS:
            turn.write(None, _DELETE_OLDEST, {})
        else:
            self._count += 1
        turn.write(None, _INSERT, {
            "id": self._kernel.ids.sortable(), "reported_at": self._kernel.clock.now(), "reporter": reporter.jid.bare,
            "reported": report.reported.full, "reason": report.reason, "text": report.text,
            "stanza_ids": json.dumps(report.stanza_ids, ensure_ascii=False), "consent": report.consent,
        })  # fmt: skip

    def forget_budgets(self) -> None:
        """They are made of the limit, which is another now."""
        self._budgets.clear()

    def _may(self, reporter: Account) -> bool:
        bare, now = reporter.jid.bare, self._kernel.clock.monotonic()
        bucket = self._budgets.get(bare)
        if bucket is None:
            limit = self._kernel.limits.abuse_reports_per_day
            bucket = self._budgets[bare] = TokenBucket(limit / _DAY, limit, now)
            if len(self._budgets) > MAX_REPORTERS:
                self._budgets.popitem(last=False)
        if bucket.take(now, 1) > 0:
            bucket.take(now, -1)  # what is not stored costs nothing
            return False
        return True

    async def newest(self, limit: int) -> Sequence[Any]:
        """The newest reports, newest first."""
        return await self._kernel.reader.fetch(_NEWEST, {"limit": limit})

    async def has(self, report_id: int) -> bool:
        """Whether there is a report with this id."""
        return bool(await self._kernel.reader.fetch(_ONE, {"report": report_id}))

    def delete(self, report_id: int, turn: Turn) -> None:
        """Delete a report that is there."""
        turn.write(None, _DELETE, {"report": report_id})
        self._count -= 1

    def forget(self, reporter: Account, turn: Turn) -> None:
        """A deleted account: its reports stay, without its name."""
        turn.write(None, _ANONYMISE, {"of": reporter.jid.bare})
