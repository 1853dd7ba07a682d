"""Accounts: who may log in, and with what (SCRAM keys of RFC 5802, RFC 7677; passwords are never stored).

At every password set, keys for all three hashes are written. Names that do not exist get keys too, derived from a
secret of the server, so that nothing in a login, neither answer nor time, tells them apart (reliability.md V-15, V-17).
A password that came with a bcrypt hash of another system works with PLAIN; at its first use it gets its SCRAM keys.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Sequence

import structlog
from pydantic import Field

from xmppchat.components.accounts import store
from xmppchat.components.accounts.fakes import Fakes
from xmppchat.components.accounts.passwords import BCRYPT_BYTES, Effort, Passwords
from xmppchat.components.accounts.store import CREDENTIALS, IMPORTED, Credentials
from xmppchat.core import events, lookalikes
from xmppchat.core.account import Account, login_address
from xmppchat.core.component import Component, ComponentConfig, Rfc, Xep, every
from xmppchat.core.services import AccountService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.errors import (
    Conflict,
    NotAcceptable,
    ResourceConstraint,
    StreamError,
    StreamNotAuthorized,
    StreamReset,
)
from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys, keys_of_salted

log = structlog.get_logger(__name__)

_TAKEN = "this name is taken; choose another"


class AccountsConfig(ComponentConfig):
    """Options of the accounts."""

    iterations: int = Field(
        10_000, ge=4_096, le=1_000_000, description="PBKDF2 iterations of newly stored SCRAM keys (RFC 7677 §4)"
    )
    keep_bcrypt: bool = Field(
        False, description="keep an imported bcrypt hash once there are SCRAM keys, for another system that reads it"
    )
    only_plain: bool = Field(
        False,
        description="offer no login but PLAIN, while clients that never go back from SCRAM have imported passwords; "
        "for the time of a migration only: such clients remember the weaker login",
    )
    downgrade_protection: bool = Field(
        True,
        description="let SCRAM vouch for the mechanisms and channel bindings that are offered, so that nobody in "
        "between can take some away (XEP-0474); false for clients that stumble over it",
    )


class Accounts(Component[AccountsConfig]):
    """Accounts and their credentials; provides :class:`AccountService`."""

    name = "accounts"
    implements = (Rfc(5802), Rfc(7677), Xep(474, "0.5.0"), Xep(480, "0.2.0"))
    Config = AccountsConfig
    provides = (AccountService,)
    account_parts = (CREDENTIALS, IMPORTED)

    async def start(self) -> None:
        """Read or make the secret behind keys of unknown names, see what accounts have; new ids are above theirs."""
        self.passwords = Passwords(self.config.iterations)
        stored, last = await self.kernel.reader.fetch_many([(store.SECRET, None), (store.LAST, None)])
        self.kernel.ids.not_below(last[0][0] or 0)
        self._secret = stored[0][0] if stored else secrets.token_bytes(32)
        if not stored:
            turn = self.kernel.new_turn()
            turn.write(None, store.INSERT_SECRET, {"name": "unknown-accounts", "value": self._secret})
            turn.commit()
        await self.look()

    @every(3600)
    async def look(self) -> None:
        """See what checks must cost and what made-up keys must look like: both fall as imported passwords go."""
        effort, fakes = Effort(self.config.iterations), Fakes(self._secret, self.config.iterations)
        shapes, costs = await self.kernel.reader.fetch_many([(store.SHAPES, None), (store.IMPORTED_COSTS, None)])
        self._upgrades: set[str] = set()
        for row in shapes:
            iterations = {name: row._mapping[name] for name in SCRAM_HASHES if row._mapping[name]}
            effort.include(iterations)
            self._upgrades |= _stronger(iterations)
            for name, number in iterations.items():
                fakes.count_shape(name, number, row.salt, row.accounts)
        effort.bcrypt_cost = max((int(row.cost) for row in costs), default=0)
        self.passwords.effort, self._fakes = effort, fakes

    def reconfigured(self) -> None:
        """The next password is stored with the iterations of now."""
        self.passwords.iterations = self.config.iterations

    async def stop(self) -> None:
        """End the hashing thread."""
        self.passwords.close()

    # --- login -----------------------------------------------------------------------------------------------------

    def offered(self, mechanisms: Sequence[str]) -> Sequence[str]:
        """See :class:`AccountService`."""
        return [name for name in mechanisms if name == "PLAIN"] if self.config.only_plain else mechanisms

    @property
    def vouches_for_offer(self) -> bool:
        """See :class:`AccountService`."""
        return self.config.downgrade_protection

    async def scram_keys(self, domain: str, localpart: str, hash_name: str) -> ScramKeys:
        """See :class:`AccountService`."""
        keys = self.scram_keys_at_hand(domain, localpart, hash_name)
        if keys is None:
            jid = login_address(localpart, domain)
            assert jid is not None, "what is no address needs no looking up"
            keys = self._keys_of(await self.kernel.directory.get(jid), hash_name)
        return keys

    def scram_keys_at_hand(self, domain: str, localpart: str, hash_name: str) -> ScramKeys | None:
        """See :class:`AccountService`."""
        jid = login_address(localpart, domain)
        if jid is None:
            return self._fakes.keys(f"{localpart}@{domain}", hash_name)
        account = self.kernel.directory.peek(jid.bare)
        return None if account is None else self._keys_of(account, hash_name)

    async def check_password(self, domain: str, localpart: str, password: str) -> bool:
        """See :class:`AccountService`."""
        jid = login_address(localpart, domain)
        account = None if jid is None else await self.kernel.directory.get(jid)
        if account is None or not account.exists:
            return await self.passwords.check(password, {}, "")
        imported = account[IMPORTED]
        is_right = await self.passwords.check(password, account[CREDENTIALS], imported)
        if is_right and len(account[CREDENTIALS]) < len(SCRAM_HASHES):
            await self._complete(account, password, imported)
        return is_right

    def is_disabled(self, domain: str, localpart: str) -> bool:
        """See :class:`AccountService`."""
        jid = login_address(localpart, domain)
        account = None if jid is None else self.kernel.directory.peek(jid.bare)
        return account is not None and account.is_disabled

    async def _complete(self, account: Account, password: str, imported: str) -> None:
        """The first login with an imported password: from now on there are SCRAM keys for it, of all kinds."""
        if imported and len(password.encode()) > BCRYPT_BYTES:
            # Nobody ever looked at the rest of it: keys would make a law of what may be a slip.
            log.info("an imported password is longer than bcrypt sees, so it stays as it is", account=account.jid.bare)
            return
        try:
            keys = await self.passwords.derive(password)
        except (NotAcceptable, ResourceConstraint) as error:
            log.info("an imported password stays as it is", account=account.jid.bare, reason=error.text)
            return
        if self.kernel.directory.peek(account.jid.bare) is not account or account[IMPORTED] != imported:
            return  # meanwhile it was deleted, or has another password
        known = account[CREDENTIALS]
        missing = {name: keys[name] for name in keys if name not in known}
        if not missing:
            return  # another device was faster
        turn = self.kernel.new_turn()
        self._store_keys(account, account.id, missing, turn)
        account.parts[CREDENTIALS] = {**known, **missing}
        if imported and not self.config.keep_bcrypt:
            store.delete_imported(account, turn)
            account.parts[IMPORTED] = ""
        turn.commit()

    # --- upgrades (XEP-0480) ---------------------------------------------------------------------------------------

    def upgrades_offered(self) -> Sequence[str]:
        """See :class:`AccountService`."""
        return [name for name in SCRAM_HASHES if name in self._upgrades]

    def missing_keys(self, account: Account) -> Collection[str]:
        """See :class:`AccountService`."""
        known: Credentials = account[CREDENTIALS] if account.exists else {}
        return _stronger(known)

    def upgrade_parameters(self, mechanism: str) -> tuple[bytes, int]:
        """See :class:`AccountService`."""
        return secrets.token_bytes(16), self.config.iterations

    def store_salted(
        self, account: Account, mechanism: str, salted: bytes, salt: bytes, iterations: int, turn: Turn
    ) -> None:
        """See :class:`AccountService`."""
        if mechanism not in self.missing_keys(account):
            raise ValueError(f"this account needs no keys for {mechanism}")
        keys = {mechanism: keys_of_salted(mechanism, salted, salt, iterations)}
        known = account[CREDENTIALS]
        self._store_keys(account, account.id, keys, turn)
        account.parts[CREDENTIALS] = {**known, **keys}

    # --- changes ---------------------------------------------------------------------------------------------------

    async def resembles(self, jid: JID) -> str:
        """See :class:`AccountService`."""
        query = {"domain": jid.domain, "skeleton": lookalikes.skeleton(jid.local)}
        rows = await self.kernel.reader.fetch(store.ALIKE, query)
        return next((row.localpart for row in rows if lookalikes.may_be_mistaken(jid.local, row.localpart)), "")

    async def create(self, jid: JID, password: str | None, turn: Turn, *, reuse: bool = False) -> int:
        """See :class:`AccountService`. With `reuse` the name may be that of a deleted account."""
        account = await self.kernel.directory.get(jid)
        if account.exists:
            raise Conflict(_TAKEN)
        if await self.tombstone(jid) and not reuse:
            raise Conflict(_TAKEN)  # as if it were there: who was here is nobody's business
        keys = {} if password is None else await self.passwords.derive(password)
        if reuse:
            store.delete_tombstone(account, turn)
        return self.insert(account, keys, "", turn)

    def insert(self, account: Account, keys: Credentials, imported: str, turn: Turn) -> int:
        """Make `account`, which does not exist yet, with keys or a hash of another system's; returns its id."""
        account_id = self.kernel.ids.sortable()
        store.write_account(account, account_id, self.kernel.clock.now(), turn)
        self._store_keys(account, account_id, keys, turn)
        self._upgrades |= _stronger(keys)
        if imported:
            store.write_imported(account, account_id, imported, turn)
            self.passwords.effort.include({}, imported)
        turn.effect(self.kernel.directory.forget, account.jid.bare)
        return account_id

    async def tombstone(self, jid: JID) -> int:
        """When the account of this name was deleted, in ms; 0 where the name is free to take."""
        rows = await self.kernel.reader.fetch(store.TOMBSTONES, {"domain": jid.domain, "localparts": [jid.local]})
        return int(rows[0].deleted_at) if rows else 0

    async def set_password(self, account: Account, password: str, turn: Turn) -> None:
        """See :class:`AccountService`."""
        keys = await self.passwords.derive(password)
        self.set_keys(account, keys, "", turn)
        turn.effect(self.end_sessions, account, StreamReset("the password was changed; log in with it"), turn.origin)

    def set_keys(self, account: Account, keys: Credentials, imported: str, turn: Turn) -> None:
        """Put keys, or a hash of another system's, in the place of what `account` has."""
        store.delete_passwords(account, turn)
        self._store_keys(account, account.id, keys, turn)
        self._upgrades |= _stronger(keys)
        if imported:
            store.write_imported(account, account.id, imported, turn)
            self.passwords.effort.include({}, imported)
        account.parts[CREDENTIALS] = keys
        account.parts[IMPORTED] = imported
        account.access += 1
        self.kernel.emit(events.PasswordChanged(account, turn))

    def _store_keys(self, account: Account, account_id: int, keys: Credentials, turn: Turn) -> None:
        store.write_keys(account, account_id, keys, turn)
        self._fakes.count(keys)
        self.passwords.effort.include({name: one.iterations for name, one in keys.items()})

    def delete(self, account: Account, turn: Turn) -> None:
        """See :class:`AccountService`."""
        self.kernel.emit(events.AccountDeleted(account, turn))
        store.delete_account(account, self.kernel.clock.now(), turn)
        account.invalidate()  # what comes for it from now on waits for the outcome, and leaves nothing behind
        turn.effect(self.kernel.directory.forget, account.jid.bare)
        loop = asyncio.get_running_loop()
        # Behind the answer to who asked for it, which is another effect of this turn (XEP-0077 §3.2).
        turn.effect(loop.call_soon, self.end_sessions, account, StreamNotAuthorized("this account was deleted"))

    def end_sessions(self, account: Account, error: StreamError, but: Session | None = None) -> None:
        """End all sessions of `account` with `error`, except `but`."""
        for session in list(account.sessions.values()):
            if session is not but:
                session.close(error)

    # --- keys ------------------------------------------------------------------------------------------------------

    def _keys_of(self, account: Account, hash_name: str) -> ScramKeys:
        keys = account[CREDENTIALS].get(hash_name) if account.exists else None
        return keys or self._fakes.keys(account.jid.bare, hash_name)


def _stronger(keys: Collection[str]) -> set[str]:
    """Mechanisms that there are no `keys` for, but for a weaker one: with none at all there is no login to upgrade."""
    has_weaker = False
    missing: set[str] = set()
    for name in SCRAM_HASHES:  # the weakest first
        if name in keys:
            has_weaker = True
        elif has_weaker:
            missing.add(name)
    return missing
