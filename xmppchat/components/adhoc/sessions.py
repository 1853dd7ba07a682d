"""Command sessions (XEP-0050 §3.3): between the form that was asked for and the one that comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from xmppchat.core.commands import CommandSpec
from xmppchat.jid import JID

#: How long a form waits to be filled in, s; how many do for one account and in all (limit 57). The oldest goes.
LIFETIME: Final = 600.0
MAX_PER_ACCOUNT: Final = 10
MAX_OPEN: Final = 10_000
#: Sessions that ended, remembered to tell "expired" from "never heard of".
_MAX_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class CommandSession:
    """A form that waits: of which command, for which full JID, at which of our hosts, until when (monotonic, s)."""

    id: str
    spec: CommandSpec
    owner: JID
    domain: str
    ends_at: float


class CommandSessions:
    """The open sessions, oldest first. All live equally long, so those that have expired stand in front."""

    def __init__(self, now: Callable[[], float], new_id: Callable[[], str]) -> None:
        self._now = now
        self._new_id = new_id
        self._open: dict[str, CommandSession] = {}
        self._by_account: dict[str, dict[str, None]] = {}
        self._ended: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, spec: CommandSpec, owner: JID, domain: str) -> CommandSession:
        """A new session with an unguessable id (reliability.md V-24)."""
        self._expire()
        mine = self._by_account.get(owner.bare, {})
        if len(mine) >= MAX_PER_ACCOUNT:
            self.end(next(iter(mine)))
        if len(self._open) >= MAX_OPEN:
            self.end(next(iter(self._open)))
        session = CommandSession(self._new_id(), spec, owner, domain, self._now() + LIFETIME)
        self._open[session.id] = session
        self._by_account.setdefault(owner.bare, {})[session.id] = None
        return session

    def find(self, session_id: str, spec: CommandSpec, owner: JID, domain: str) -> CommandSession | None:
        """The open session of that id, if it is this owner's for this command at this host."""
        self._expire()
        session = self._open.get(session_id)
        if session is None or (session.spec, session.owner, session.domain) != (spec, owner, domain):
            return None
        return session

    def has_ended(self, session_id: str, owner: JID) -> bool:
        """Whether `owner` had a session of that id not long ago."""
        return self._ended.get(session_id) == owner.full

    def end(self, session_id: str) -> None:
        """The session is over. Idempotent."""
        session = self._open.pop(session_id, None)
        if session is None:
            return
        mine = self._by_account[session.owner.bare]
        del mine[session_id]
        if not mine:
            del self._by_account[session.owner.bare]
        if len(self._ended) >= _MAX_ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[session_id] = session.owner.full

    def end_all(self, owner: JID) -> None:
        """Whoever had the full JID is gone; so are its sessions."""
        for session_id in list(self._by_account.get(owner.bare, ())):
            if self._open[session_id].owner == owner:
                self.end(session_id)

    def _expire(self) -> None:
        now = self._now()
        while self._open:
            oldest = next(iter(self._open.values()))
            if oldest.ends_at > now:
                return
            self.end(oldest.id)
