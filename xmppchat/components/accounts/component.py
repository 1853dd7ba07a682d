"""Accounts: who may log in, and with what (SCRAM keys of RFC 5802, RFC 7677; passwords are never stored).

At every password set, keys for all three hashes are written. Names that do not exist get keys too, derived from a
secret of the server, so that nothing in a login, neither answer nor time, tells them apart (reliability.md V-15, V-17).
A password that came with a bcrypt hash of another system works with PLAIN; at its first use it gets its SCRAM keys.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Sequence

import structlog
from pydantic import Field

from xmppchat.components.accounts import store
from xmppchat.components.accounts.passwords import Passwords, bcrypt_cost
from xmppchat.components.accounts.store import CREDENTIALS, IMPORTED, Credentials
from xmppchat.core import events, lookalikes
from xmppchat.core.account import Account
from xmppchat.core.component import Component, ComponentConfig, Rfc
from xmppchat.core.services import AccountService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.errors import Conflict, NotAcceptable, StreamNotAuthorized
from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys

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


class Accounts(Component[AccountsConfig]):
    """Accounts and their credentials; provides :class:`AccountService`."""

    name = "accounts"
    implements = (Rfc(5802), Rfc(7677))
    Config = AccountsConfig
    provides = (AccountService,)
    account_parts = (CREDENTIALS, IMPORTED)

    async def start(self) -> None:
        """Read or make the secret behind keys of unknown names; see what was imported."""
        self.passwords = Passwords(self.config.iterations)
        secret, costs = await self.kernel.reader.fetch_many([(store.SECRET, None), (store.IMPORTED_COSTS, None)])
        self.passwords.bcrypt_cost = max((int(row.cost) for row in costs), default=0)
        self._secret = secret[0][0] if secret else secrets.token_bytes(32)
        if not secret:
            turn = self.kernel.new_turn()
            turn.write(None, store.INSERT_SECRET, {"name": "unknown-accounts", "value": self._secret})
            turn.commit()

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

    async def scram_keys(self, domain: str, localpart: str, hash_name: str) -> ScramKeys:
        """See :class:`AccountService`."""
        keys = self.scram_keys_at_hand(domain, localpart, hash_name)
        if keys is None:
            jid = _account_jid(localpart, domain)
            assert jid is not None, "what is no address needs no looking up"
            keys = self._keys_of(await self.kernel.directory.get(jid), hash_name)
        return keys

    def scram_keys_at_hand(self, domain: str, localpart: str, hash_name: str) -> ScramKeys | None:
        """See :class:`AccountService`."""
        jid = _account_jid(localpart, domain)
        if jid is None:
            return self._fake_keys(f"{localpart}@{domain}", hash_name)
        account = self.kernel.directory.peek(jid.bare)
        return None if account is None else self._keys_of(account, hash_name)

    async def check_password(self, domain: str, localpart: str, password: str) -> bool:
        """See :class:`AccountService`."""
        keys = await self.scram_keys(domain, localpart, SCRAM_HASHES[0])
        jid = _account_jid(localpart, domain)
        account = None if jid is None else self.kernel.directory.peek(jid.bare)
        may_log_in = account is not None and account.exists and not account.is_disabled
        imported = account[IMPORTED] if account is not None and may_log_in else ""
        is_right = await self.passwords.check(password, keys, imported)
        if is_right and account is not None and imported and not account[CREDENTIALS]:
            await self._upgrade(account, password)
        return is_right

    async def _upgrade(self, account: Account, password: str) -> None:
        """The first login with an imported password: from now on there are SCRAM keys for it."""
        try:
            keys = await self.passwords.derive(password)
        except NotAcceptable:
            log.info("an imported password cannot be used with SCRAM, so it stays as it is", account=account.jid.bare)
            return
        if account[CREDENTIALS] or not account.exists:
            return  # another device was faster, or the account is gone
        turn = self.kernel.new_turn()
        store.write_keys(account, account.id, keys, turn)
        account.parts[CREDENTIALS] = keys
        if not self.config.keep_bcrypt:
            store.delete_imported(account, turn)
            account.parts[IMPORTED] = ""
        turn.commit()

    # --- changes ---------------------------------------------------------------------------------------------------

    async def resembles(self, jid: JID) -> str:
        """See :class:`AccountService`."""
        query = {"domain": jid.domain, "skeleton": lookalikes.skeleton(jid.local)}
        rows = await self.kernel.reader.fetch(store.ALIKE, query)
        return next((row.localpart for row in rows if lookalikes.may_be_mistaken(jid.local, row.localpart)), "")

    async def create(self, jid: JID, password: str, turn: Turn) -> int:
        """See :class:`AccountService`."""
        account = await self.kernel.directory.get(jid)
        if account.exists:
            raise Conflict(_TAKEN)
        query = {"domain": jid.domain, "localparts": [jid.local]}
        if await self.kernel.reader.fetch(store.TOMBSTONES, query):
            raise Conflict(_TAKEN)  # as if it were there: who was here is nobody's business
        keys = await self.passwords.derive(password)
        account_id = self.kernel.ids.sortable()
        store.write_account(account, account_id, self.kernel.clock.now(), turn)
        store.write_keys(account, account_id, keys, turn)
        turn.effect(self.kernel.directory.forget, jid.bare)
        return account_id

    async def set_password(self, account: Account, password: str, turn: Turn) -> None:
        """See :class:`AccountService`."""
        keys = await self.passwords.derive(password)
        self.set_keys(account, keys, "", turn)
        self.kernel.emit(events.PasswordChanged(account))

    def set_keys(self, account: Account, keys: Credentials, imported: str, turn: Turn) -> None:
        """Put keys, or a hash of another system's, in the place of what `account` has."""
        store.delete_passwords(account, turn)
        store.write_keys(account, account.id, keys, turn)
        if imported:
            store.write_imported(account, account.id, imported, turn)
            self.imports(imported)
        account.parts[CREDENTIALS] = keys
        account.parts[IMPORTED] = imported

    def imports(self, hashed: str) -> None:
        """A hash of another system's is stored: from now on every check takes its time."""
        self.passwords.bcrypt_cost = max(self.passwords.bcrypt_cost, bcrypt_cost(hashed))

    def delete(self, account: Account, turn: Turn) -> None:
        """See :class:`AccountService`."""
        self.kernel.emit(events.AccountDeleted(account, turn))
        store.delete_account(account, self.kernel.clock.now(), turn)
        turn.effect(self.kernel.directory.forget, account.jid.bare)
        # Behind the answer to who asked for it, which is another effect of this turn (XEP-0077 §3.2).
        loop = asyncio.get_running_loop()
        turn.effect(loop.call_soon, self.end_sessions, account, "this account was deleted")

    def end_sessions(self, account: Account, reason: str) -> None:
        """End all sessions of `account`, with `reason` for their owner."""
        for session in list(account.sessions.values()):
            session.close(StreamNotAuthorized(reason))

    # --- keys ------------------------------------------------------------------------------------------------------

    def _keys_of(self, account: Account, hash_name: str) -> ScramKeys:
        keys = account[CREDENTIALS].get(hash_name) if account.exists and not account.is_disabled else None
        return keys or self._fake_keys(account.jid.bare, hash_name)

    def _fake_keys(self, name: str, hash_name: str) -> ScramKeys:
        def derived(what: str) -> bytes:
            return hmac.digest(self._secret, f"{what}\0{hash_name}\0{name}".encode(), "sha512")

        size = {"SCRAM-SHA-1": 20, "SCRAM-SHA-256": 32, "SCRAM-SHA-512": 64}[hash_name]
        stored, server = derived("stored")[:size], derived("server")[:size]
        return ScramKeys(derived("salt")[:16], self.config.iterations, stored, server)


def _account_jid(localpart: str, domain: str) -> JID | None:
    """The account a login name means, None where it can be none (a name with "@" or "/" must not smuggle a host)."""
    try:
        jid = JID.parse(f"{localpart}@{domain}")
    except InvalidJID:
        return None
    return jid if jid.domain == domain and jid.local and not jid.resource else None
