"""Account: the in-memory state of a bare JID, and the parts that components keep there.

A part is declared by its component (:attr:`Component.account_parts`) and loaded for many accounts in one query. An
account with sessions stays; others are a bounded cache (see :mod:`xmppchat.core.directory`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from xmppchat.core.mailbox import Mailbox
from xmppchat.jid import JID, InvalidJID

if TYPE_CHECKING:
    from xmppchat.core.rates import Rates
    from xmppchat.core.session import Session
    from xmppchat.protocol.stanza import Stanza

PartT = TypeVar("PartT")


class AccountPart(Generic[PartT]):
    """A piece of account state: a `statement` that selects its rows and a function that builds it from them.

    `statement` is an SQLAlchemy select whose first column is ``account_id`` and which has an expanding parameter
    ``accounts`` (a list of account ids); ``build(account, rows)`` gets the rows of one account, none for a new one.
    The instance itself is the key: ``account[ROSTER]``.
    """

    __slots__ = ("build", "name", "statement")

    def __init__(self, name: str, statement: Any, build: Callable[[Account, Sequence[Any]], PartT]) -> None:
        self.name = name
        self.statement = statement
        self.build = build


class Unbegun:
    """A stanza of `session` that came and is not begun: something looks at it, or its recipient is being loaded.

    `number` is its number in a managed stream, else 0. `is_ready`: the recipient is there, or cannot be loaded, for
    which it `is_refused`.
    """

    __slots__ = ("_over", "is_ready", "is_refused", "number", "session", "stanza")

    def __init__(self, session: Session, stanza: Stanza, number: int) -> None:
        self.session = session
        self.stanza = stanza
        self.number = number
        self.is_ready = False
        self.is_refused = False
        self._over: asyncio.Event | None = None  # made where somebody waits
        account = session.account
        if account.unbegun is None:
            account.unbegun = {self}
        else:
            account.unbegun.add(self)

    def end(self) -> None:
        """It is begun (its writes are on their way), or never will be."""
        account = self.session.account
        if account.unbegun is not None:
            account.unbegun.discard(self)
            if not account.unbegun:
                account.unbegun = None  # as nearly always
        if self._over is not None:
            self._over.set()

    async def over(self) -> None:
        """Return when it is no more. Who is unbegun itself waits for those before it only."""
        if self in (self.session.account.unbegun or ()):
            if self._over is None:
                self._over = asyncio.Event()
            await self._over.wait()


class Account:
    """State of one bare JID. `id` is the key in the database, 0 where no such account exists; `created_at` when it was
    made, ms since 1970. Addresses in domains of components are such, too (:mod:`xmppchat.core.domains`).

    `access` is another number each time the password is another one: who proved an old one has proved nothing.

    `sessions` are the bound resources; `last_ticket` the newest ticket that changes this account. While it
    `is_draining`, stored messages are being handed out, and new ones wait behind them (`Session.behind`). `rates`
    bounds what all its sessions together send, from the first one on; None where nothing does. `unbegun`: see there; as
    many as its sessions may have under way.
    """

    __slots__ = (
        "access", "created_at", "id", "is_disabled", "is_draining", "is_stale", "jid", "last_ticket", "mailbox",
        "parts", "rates", "sessions", "unbegun",
    )  # fmt: skip

    def __init__(self, jid: JID, account_id: int, *, is_disabled: bool = False) -> None:
        self.jid = jid
        self.id = account_id
        self.created_at = 0
        self.access = 0
        self.is_disabled = is_disabled
        self.is_stale = False
        self.is_draining = False
        self.last_ticket = 0
        self.sessions: dict[str, Session] = {}
        self.parts: dict[AccountPart[Any], Any] = {}
        self.mailbox = Mailbox()
        self.rates: Rates | None = None
        self.unbegun: set[Unbegun] | None = None

    @property
    def exists(self) -> bool:
        """Whether there is such an account."""
        return self.id != 0

    @property
    def is_at_work(self) -> bool:
        """Whether something is under way for it that needs this very object."""
        return self.is_draining or self.mailbox.is_busy

    def __getitem__(self, part: AccountPart[PartT]) -> PartT:
        return cast(PartT, self.parts[part])

    def invalidate(self) -> None:
        """The state in memory is not what is on disk (a write failed): load it again before the next use."""
        self.is_stale = True

    def available_sessions(self) -> list[Session]:
        """Sessions that take messages to the bare JID: available, with non-negative priority (RFC 6121 §8.5.2)."""
        return [session for session in self.sessions.values() if session.takes_messages]

    def present_sessions(self) -> list[Session]:
        """Sessions that sent initial presence, whatever their priority."""
        return [session for session in self.sessions.values() if session.presence is not None]

    def __repr__(self) -> str:
        return f"<Account {self.jid} id={self.id} sessions={len(self.sessions)}>"


def login_address(localpart: str, domain: str) -> JID | None:
    """The account a login name means, None where it can be none (a name with "@" or "/" must not smuggle a host)."""
    try:
        jid = JID.parse(f"{localpart}@{domain}")
    except InvalidJID:
        return None
    return jid if jid.domain == domain and jid.local and not jid.resource else None
