"""The audit log: who ran which command, when, and what came of it (reliability.md V-55)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final

import structlog
from pydantic import Field
from sqlalchemy import bindparam, delete, func, insert, or_, select

from xmppchat.core import events
from xmppchat.core.clock_guard import DAY, ClockGuard
from xmppchat.core.commands import Parameter
from xmppchat.core.component import Component, ComponentConfig, command, every, on
from xmppchat.core.logs import escaped
from xmppchat.core.runtime import timestamp
from xmppchat.storage import schema

log = structlog.get_logger(__name__)

#: Characters that are kept of one argument, and of all (limit 58).
MAX_VALUE: Final = 500
MAX_ARGUMENTS: Final = 4_000
MAX_ERROR: Final = 1_000
#: Rows that are kept, whatever their age.
MAX_ROWS: Final = 100_000
#: Of results, what is kept: never more, since some hold secrets.
OUTCOMES: Final[Mapping[str, tuple[str, ...]]] = {
    "user import-part": ("added", "replaced", "skipped", "exist", "reserved"),
    "reload": ("changed", "needs a restart"),
}

_log = schema.audit_log.c
_INSERT = insert(schema.audit_log)
_NEWEST = select(_log.at, _log.actor, _log.command, _log.arguments, _log.error).order_by(_log.id.desc())
_PAGE = _NEWEST.limit(bindparam("most"))
_LAST = select(func.max(_log.id))
_NEWEST_MOMENT = select(func.max(_log.at))
_LAST_KEPT = select(_log.id).order_by(_log.id.desc()).offset(MAX_ROWS - 1).limit(1)
_EXPIRE = delete(schema.audit_log).where(or_(_log.at < bindparam("before"), _log.id < bindparam("first")))


class AuditConfig(ComponentConfig):
    """Options of the audit log."""

    days: int = Field(365, ge=1, le=36_500, description="how long the audit log keeps what admins did, days")


class Audit(Component[AuditConfig]):
    """Logs every command, and keeps those that change something."""

    name = "audit"
    Config = AuditConfig

    def setup(self) -> None:
        """The clock is believed until it jumps."""
        self._guard = ClockGuard()

    async def start(self) -> None:
        """New ids are greater than any that is stored: the newest entry is the last one, whatever the clock says."""
        (row,) = await self.kernel.reader.fetch(_LAST)
        self.kernel.ids.not_below(row[0] or 0)

    @on(events.CommandExecuted)
    def record(self, event: events.CommandExecuted) -> None:
        """One line in the log; a row where something was, or might have been, changed. Never a secret."""
        outcome = {name: event.result[name] for name in OUTCOMES.get(event.command, ()) if name in event.result}
        arguments = shortened({**event.arguments, **outcome})
        log.info("command", actor=event.actor, command=event.command, arguments=arguments, error=event.error)
        if not event.changes:
            return
        turn = self.kernel.new_turn()
        turn.on_failure = lambda error: log.error("audit log not written", actor=event.actor, command=event.command)
        turn.write(None, _INSERT, {
            "id": self.kernel.ids.sortable(), "at": self.kernel.clock.now(), "actor": event.actor,
            "command": event.command, "arguments": arguments, "error": escaped(event.error[:MAX_ERROR]),
        })  # fmt: skip
        turn.commit()

    @every(3600)
    async def expire(self) -> None:
        """Delete what is older than the configuration says, or too much."""
        rows, newest = await self.kernel.reader.fetch(_LAST_KEPT), await self.kernel.reader.fetch(_NEWEST_MOMENT)
        now = self.kernel.clock.now()
        before = now - self.config.days * DAY
        # A clock that is wrong today must not cost what was done last year.
        if refusal := self._guard.refusal(now, self.kernel.clock.monotonic(), newest[0][0] or 0):
            log.warning("the audit log is not tidied up", reason=refusal)
            before = 0
        turn = self.kernel.new_turn()
        turn.write(None, _EXPIRE, {"before": before, "first": rows[0].id if rows else 0})
        turn.commit()

    @command("audit", changes=False, adhoc=None)
    async def audit(
        self, limit: Annotated[int, Parameter("at most so many, newest first")] = 50
    ) -> list[dict[str, str]]:
        """Show what admins did."""
        rows = await self.kernel.reader.fetch(_PAGE, {"most": max(0, min(limit, MAX_ROWS))})
        return [
            {
                "at": timestamp(row.at), "actor": escaped(row.actor), "command": row.command,
                "arguments": escaped(row.arguments), "error": escaped(row.error),
            }
            for row in rows
        ]  # fmt: skip


def shortened(arguments: Mapping[str, object]) -> str:
    """Arguments as JSON of a bounded size."""
    kept = {name: value if isinstance(value, bool | int) else _cut(str(value), MAX_VALUE)
            for name, value in arguments.items() if value is not None}
    text = json.dumps(kept, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= MAX_ARGUMENTS else json.dumps({"cut": text[:MAX_ARGUMENTS]}, ensure_ascii=False)


def _cut(text: str, size: int) -> str:
    return text if len(text) <= size else text[:size] + "…"
