"""Directory: which accounts are in memory, and loading of those that are not, many in one query.

Accounts with sessions, work or open tickets stay; the others are a bounded cache, names without an account included.
There is one object for an account as long as it is in memory, and its sessions are found there: it must not be dropped
while somebody may yet bind one to it.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import structlog

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.commit_gate import CommitGate, StorageUnavailable
from xmppchat.core.domains import Domains
from xmppchat.core.runtime import Tasks
from xmppchat.core.services import Reader
from xmppchat.core.session import Session
from xmppchat.jid import JID

log = structlog.get_logger(__name__)

#: Accounts without sessions that are kept in memory.
CACHE_SIZE = 10_000
#: Accounts loaded by one query.
BATCH = 500
#: Accounts that are looked at behind each such load, whether they can go: more than it brought, so it keeps up.
_LOOKS = 2 * BATCH

OnLoaded = Callable[[Account | None], object]


class Directory:
    """Accounts by bare JID (text).

    `account_query` selects ``id, localpart, disabled, created_at`` by the parameters ``domain`` and (expanding)
    ``localparts``; in `domains` of components it is their `address_query` that does so.
    """

    def __init__(
        self, reader: Reader, gate: CommitGate, tasks: Tasks, account_query: Any, parts: Sequence[AccountPart[Any]],
        domains: Domains,
    ) -> None:
        self._reader = reader
        self._gate = gate
        self._tasks = tasks
        self._account_query = account_query
        self._address_queries = {domain: owner.address_query for domain, owner in domains.items()}
        self._parts = tuple(parts)
        self._accounts: dict[str, Account] = {}
        self._idle: OrderedDict[str, Account] = OrderedDict()  # those without sessions, the longest so first
        self._wanted: dict[str, tuple[JID, list[OnLoaded]]] = {}
        self._is_loading = False
        self._forgotten: set[str] = set()  # while a batch was being read

    def peek(self, bare: str) -> Account | None:
        """The account if its state is in memory and sound. It may be one that does not exist."""
        account = self._accounts.get(bare)
        return None if account is None or account.is_stale else account

    def find(self, bare: str) -> Account | None:
        """The account if it is in memory, sound or not: enough to reach its sessions."""
        return self._accounts.get(bare)

    def load(self, jid: JID, on_loaded: OnLoaded) -> None:
        """Call `on_loaded` with the account of `jid`, now or when it is loaded; with None if the database fails.

        Calls for one account come in the order in which they were asked for.
        """
        wanted = self._wanted.get(jid.bare)
        if wanted is not None:
            wanted[1].append(on_loaded)
            return
        account = self.peek(jid.bare)
        if account is not None:
            self._touch(account)
            on_loaded(account)
            return
        self._wanted[jid.bare] = (jid.to_bare(), [on_loaded])
        if not self._is_loading:
            self._is_loading = True
            self._tasks.spawn(self._load_wanted(), name="load accounts")

    async def get(self, jid: JID) -> Account:
        """The account of `jid`, loaded if need be. Raises :class:`StorageUnavailable`."""
        account = self.peek(jid.bare)
        if account is not None:
            self._touch(account)
            return account
        future: asyncio.Future[Account | None] = asyncio.get_running_loop().create_future()

        def loaded_now(account: Account | None) -> None:
            if not future.done():
                future.set_result(account)

        self.load(jid, loaded_now)
        loaded = await future
        if loaded is None:
            raise StorageUnavailable("the database does not answer")
        return loaded

    def accounts(self) -> list[Account]:
        """All accounts in memory."""
        return list(self._accounts.values())

    def sessions(self) -> Iterator[Session]:
        """All sessions of this worker."""
        for account in list(self._accounts.values()):
            yield from list(account.sessions.values())

    def _touch(self, account: Account) -> None:
        """Who asked for it may bind a session to it a moment later: it is not the next to go."""
        if account.jid.bare in self._idle:
            self._idle.move_to_end(account.jid.bare)

    def attach(self, session: Session) -> None:
        """`session` is one of its account's from now on."""
        account = session.account
        account.sessions[session.jid.resource] = session
        self._idle.pop(account.jid.bare, None)

    def detach(self, session: Session) -> None:
        """`session` has ended; where another one has its resource, that one stays."""
        account = session.account
        if account.sessions.get(session.jid.resource) is session:
            del account.sessions[session.jid.resource]
            if not account.sessions and self._accounts.get(account.jid.bare) is account:
                self._idle[account.jid.bare] = account

    def forget(self, bare: str) -> None:
        """The account was created or deleted: what is known of it is void."""
        self._accounts.pop(bare, None)
        self._idle.pop(bare, None)
        self._forgotten.add(bare)

    async def _load_wanted(self) -> None:
        try:
            while self._wanted:
                batch = dict(list(self._wanted.items())[:BATCH])
                try:
                    loaded = await self._load_until_sound([jid for jid, _ in batch.values()])
                except Exception:
                    log.exception("accounts could not be loaded")
                    loaded = {}
                for bare in batch:
                    _, callbacks = self._wanted.pop(bare)
                    account = loaded.get(bare)
                    for callback in callbacks:
                        _call(callback, account)
                # Only now: who binds a session to one of these has done so.
                self._trim(batch)
        finally:
            self._is_loading = False

    async def _load_until_sound(self, jids: Sequence[JID]) -> dict[str, Account]:
        while True:
            self._forgotten.clear()
            loaded = await self._load_batch(jids)
            if self._forgotten.isdisjoint(loaded):
                return loaded

    async def _load_batch(self, jids: Sequence[JID]) -> dict[str, Account]:
        # What is not yet committed must not be missed: readers see committed data only.
        open_tickets = [self._accounts[jid.bare].last_ticket for jid in jids if jid.bare in self._accounts]
        await self._gate.committed(max(open_tickets, default=0))
        by_domain: dict[str, list[str]] = {}
        for jid in jids:
            by_domain.setdefault(jid.domain, []).append(jid.local)
        found = await self._reader.fetch_many([
            (self._address_queries.get(domain, self._account_query), {"domain": domain, "localparts": names})
            for domain, names in by_domain.items()
        ])
        rows = {
            f"{row.localpart}@{domain}" if row.localpart else domain: row
            for domain, of_domain in zip(by_domain, found, strict=True) for row in of_domain
        }
        loaded = {jid.bare: self._place(jid, rows.get(jid.bare)) for jid in jids}
        await self._load_parts([account for account in loaded.values() if account.exists])
        for bare, account in loaded.items():
            account.is_stale = False
            self._accounts[bare] = account
            if not account.sessions and (account.jid.local or not account.exists):  # a component's domain stays
                self._idle[bare] = account
                self._idle.move_to_end(bare)
        return loaded

    def _place(self, jid: JID, row: Any) -> Account:
        account = self._accounts.get(jid.bare)  # a stale one keeps its sessions
        if account is None:
            account = Account(jid, 0)
        account.id = 0 if row is None else row.id
        account.is_disabled = row is not None and bool(row.disabled)
        account.created_at = 0 if row is None else row.created_at
        return account

    async def _load_parts(self, accounts: Sequence[Account]) -> None:
        # Asked for nobody, too: who names an account must not see by the time whether it is there (V-17).
        ids = [account.id for account in accounts] or [0]
        queries = [(part.statement, {"accounts": ids}) for part in self._parts]
        tables = await self._reader.fetch_many(queries)
        for part, rows in zip(self._parts, tables, strict=False):
            by_account: dict[int, list[Any]] = {}
            for row in rows:
                by_account.setdefault(row[0], []).append(row)
            for account in accounts:
                account.parts[part] = part.build(account, by_account.get(account.id, ()))

    def _trim(self, just_loaded: Collection[str]) -> None:
        idle = self._idle
        for _ in range(min(_LOOKS, len(idle))):
            if len(idle) <= CACHE_SIZE:
                return
            bare, account = idle.popitem(last=False)
            if account.sessions:
                continue  # it comes back here with the end of the last one
            if bare in just_loaded or account.is_at_work or account.last_ticket > self._gate.settled:
                idle[bare] = account
            else:
                del self._accounts[bare]


def _call(on_loaded: OnLoaded, account: Account | None) -> None:
    try:
        on_loaded(account)
    except Exception:  # a bug: the others, who wait for the same load, go on
        log.exception("what waited for an account failed", account=repr(account))
