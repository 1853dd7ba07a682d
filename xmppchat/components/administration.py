"""Administration: commands that look at the running server as a whole, or act on who is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Annotated

from sqlalchemy import bindparam, func, select

from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import Component, ComponentConfig, command
from xmppchat.core.runtime import timestamp
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.element import text_element
from xmppchat.protocol.errors import StreamPolicyViolation
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.storage import schema

#: Announcements that are routed before others have their turn on the loop.
_AT_ONCE = 100
MAX_ANNOUNCEMENT = 10_000

_COUNTS = (
    select(schema.accounts.c.disabled, func.count().label("number"))
    .where(schema.accounts.c.domain.in_(bindparam("domains", expanding=True)))
    .group_by(schema.accounts.c.disabled)
)


class Administration(Component[ComponentConfig]):
    """Lists and ends sessions, announces, counts (``xmppchat sessions``, ``user kick``, ``announce``, ``stats``)."""

    name = "administration"

    @command("sessions", changes=False)
    async def sessions(self, caller: Caller) -> list[dict[str, object]]:
        """List who is connected."""
        return [
            {
                "session": session.jid.full,
                "priority": session.priority if session.presence is not None else "-",
                "since": timestamp(session.connected_at),
                "from": session.peer,
            }
            for session in sorted(self._sessions(caller), key=lambda session: session.jid.full)
        ]

    @command("stats", changes=False)
    async def stats(self, caller: Caller) -> dict[str, int]:
        """Count accounts and sessions."""
        rows = await self.kernel.reader.fetch(_COUNTS, {"domains": sorted(caller.hosts)})
        numbers = {bool(row.disabled): int(row.number) for row in rows}
        sessions = list(self._sessions(caller))
        return {
            "accounts": sum(numbers.values()), "disabled": numbers.get(True, 0),
            "online": len({session.jid.bare for session in sessions}), "sessions": len(sessions),
        }

    @command("stages", changes=False)
    async def stages(self) -> list[dict[str, object]]:
        """Show the stages a stanza goes through, and which components act in each."""
        return [
            {"stage": stage, "direction": direction, "components": ", ".join(names) or "-"}
            for stage, direction, names in self.kernel.tables.stage_names
        ]

    @command("user kick", adhoc=f"{NS.ADMIN}#end-user-session")
    async def user_kick(
        self,
        jid: Annotated[JID, Parameter(
            "address of the account, or with a resource of one session", field="accountjids", each=True
        )],
    ) -> dict[str, list[str]]:  # fmt: skip
        """End an account's sessions, or one of them. It may log in again."""
        account = self.kernel.directory.peek(jid.bare)
        sessions = [] if account is None else [
            session for session in account.sessions.values() if jid.resource in ("", session.jid.resource)
        ]
        if not sessions:
            raise CommandError(f"{jid} is not connected; `xmppchat sessions` shows who is")
        # Behind the answer, which may be for one of them.
        asyncio.get_running_loop().call_soon(_end, sessions)
        return {"ended": sorted(session.jid.full for session in sessions)}

    @command("announce", adhoc=f"{NS.ADMIN}#announce")
    async def announce(
        self,
        caller: Caller,
        text: Annotated[str, Parameter("what to tell everybody who is online", field="announcement", lines=True)],
    ) -> dict[str, int]:
        """Send a message to everybody who is online. Nobody gets it later."""
        if not text.strip() or len(text) > MAX_ANNOUNCEMENT:
            raise CommandError(f"an announcement has 1 to {MAX_ANNOUNCEMENT} characters")
        recipients = dict.fromkeys(
            session.account.jid for session in self._sessions(caller) if session.presence is not None
        )
        subject = text_element("subject", NS.CLIENT, "Announcement")
        for number, to in enumerate(recipients, 1):
            # A headline is for all who take messages now, and not kept for later (RFC 6121 §8.5.2.1.1, §8.5.2.2.1).
            message = Stanza(
                "message", to=to, from_=JID.parse(to.domain), id=self.kernel.ids.token(), type="headline",
                children=(subject, text_element("body", NS.CLIENT, text)),
            )
            turn = self.kernel.new_turn()
            self.kernel.router.route(message, turn)
            turn.commit()
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return {"recipients": len(recipients)}

    def _sessions(self, caller: Caller) -> Iterator[Session]:
        """The sessions that `caller` may know of."""
        return (session for session in self.kernel.directory.sessions() if session.jid.domain in caller.hosts)


def _end(sessions: list[Session]) -> None:
    for session in sessions:
        session.close(StreamPolicyViolation("an admin ended this session; you may log in again"))
