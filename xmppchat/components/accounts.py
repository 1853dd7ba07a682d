"""Accounts: who may log in, and with what (SCRAM keys of RFC 5802, RFC 7677; passwords are never stored).

At every password set, keys for all three hashes are written. Names that do not exist get keys too, derived from a
secret of the server, so that nothing in a login, neither answer nor time, tells them apart (reliability.md V-15, V-17).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any

from pydantic import Field
from sqlalchemy import bindparam, delete, insert, select, update

from xmppchat.core import events
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import Component, ComponentConfig, Rfc, command
from xmppchat.core.services import AccountService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.errors import (
    Conflict,
    NotAcceptable,
    ResourceConstraint,
    StanzaError,
    StreamNotAuthorized,
)
from xmppchat.protocol.sasl import SCRAM_HASHES, ScramKeys, check_password, derive_keys, saslprep
from xmppchat.storage import schema

Credentials = dict[str, ScramKeys]


class AccountsConfig(ComponentConfig):
    """Options of the accounts."""

    iterations: int = Field(
        10_000, ge=4_096, le=1_000_000, description="PBKDF2 iterations of newly stored SCRAM keys (RFC 7677 §4)"
    )


def _build(account: Account, rows: Sequence[Any]) -> Credentials:
    return {row.mechanism: ScramKeys(row.salt, row.iterations, row.stored_key, row.server_key) for row in rows}


_credentials = schema.credentials.c
CREDENTIALS: AccountPart[Credentials] = AccountPart(
    "credentials",
    select(
        _credentials.account_id, _credentials.mechanism, _credentials.salt, _credentials.iterations,
        _credentials.stored_key, _credentials.server_key,
    ).where(_credentials.account_id.in_(bindparam("accounts", expanding=True))),
    _build,
)

#: How the directory finds accounts (:class:`xmppchat.core.directory.Directory`).
ACCOUNT_QUERY = select(schema.accounts.c.id, schema.accounts.c.localpart, schema.accounts.c.disabled).where(
    schema.accounts.c.domain == bindparam("domain"),
    schema.accounts.c.localpart.in_(bindparam("localparts", expanding=True)),
)

_INSERT_ACCOUNT = insert(schema.accounts)
_INSERT_CREDENTIALS = insert(schema.credentials)
_DELETE_CREDENTIALS = delete(schema.credentials).where(_credentials.account_id == bindparam("account"))
_DELETE_ACCOUNT = delete(schema.accounts).where(schema.accounts.c.id == bindparam("account"))
_DISABLE = (
    update(schema.accounts)
    .where(schema.accounts.c.id == bindparam("account"))
    .values(disabled=bindparam("is_disabled"))
)
_LIST = select(
    schema.accounts.c.localpart, schema.accounts.c.domain, schema.accounts.c.disabled, schema.accounts.c.created_at
).order_by(schema.accounts.c.domain, schema.accounts.c.localpart)
_SECRET = select(schema.secrets.c.value).where(schema.secrets.c.name == "unknown-accounts")
_INSERT_SECRET = insert(schema.secrets)

#: Hashing that may wait; more logins with PLAIN at once are told to come back (reliability.md, limit 53).
_MAX_HASHING = 64


class Accounts(Component[AccountsConfig]):
    """Accounts and their credentials; provides :class:`AccountService`."""

    name = "accounts"
    implements = (Rfc(5802), Rfc(7677))
    Config = AccountsConfig
    provides = (AccountService,)
    account_parts = (CREDENTIALS,)

    async def start(self) -> None:
        """Read or make the secret behind keys of unknown names."""
        # PBKDF2 releases the GIL: one thread keeps a core busy without holding up the loop.
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="password")
        self._hashing = 0
        rows = await self.kernel.reader.fetch(_SECRET)
        self._secret = rows[0][0] if rows else secrets.token_bytes(32)
        if not rows:
            turn = self.kernel.new_turn()
            turn.write(None, _INSERT_SECRET, {"name": "unknown-accounts", "value": self._secret})
            turn.commit()

    async def stop(self) -> None:
        """End the hashing thread."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # --- AccountService ------------------------------------------------------------------------------------------

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
        hash_name = SCRAM_HASHES[0]
        keys = await self.scram_keys(domain, localpart, hash_name)
        return bool(await self._hash(check_password, hash_name, password, keys))

    async def create(self, jid: JID, password: str, turn: Turn) -> None:
        """See :class:`AccountService`."""
        account = await self.kernel.directory.get(jid)
        if account.exists:
            raise Conflict("this name is taken; choose another")
        keys = await self._derive(password)
        account_id = self.kernel.ids.sortable()
        turn.write(account, _INSERT_ACCOUNT, {
            "id": account_id, "localpart": jid.local, "domain": jid.domain, "created_at": self.kernel.clock.now(),
            "disabled": False, "roster_version": 0,
        })
        self._write_keys(account, account_id, keys, turn)
        turn.effect(self.kernel.directory.forget, jid.bare)

    async def set_password(self, account: Account, password: str, turn: Turn) -> None:
        """See :class:`AccountService`."""
        keys = await self._derive(password)
        turn.write(account, _DELETE_CREDENTIALS, {"account": account.id})
        self._write_keys(account, account.id, keys, turn)
        account.parts[CREDENTIALS] = keys
        self.kernel.emit(events.PasswordChanged(account))

    def delete(self, account: Account, turn: Turn) -> None:
        """See :class:`AccountService`."""
        self.kernel.emit(events.AccountDeleted(account, turn))
        turn.write(account, _DELETE_CREDENTIALS, {"account": account.id})
        turn.write(account, _DELETE_ACCOUNT, {"account": account.id})
        turn.effect(self.kernel.directory.forget, account.jid.bare)
        # Behind the answer to who asked for it, which is another effect of this turn (XEP-0077 §3.2).
        loop = asyncio.get_running_loop()
        turn.effect(loop.call_soon, self._end_sessions, account, "this account was deleted")

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

    async def _derive(self, password: str) -> Credentials:
        try:
            saslprep(password)
        except ValueError as error:
            raise NotAcceptable(f"this password cannot be used: {error}") from None
        if not password:
            raise NotAcceptable("a password has at least one character")
        return {
            name: await self._hash(derive_keys, name, password, secrets.token_bytes(16), self.config.iterations)
            for name in SCRAM_HASHES
        }

    async def _hash(self, function: Any, *arguments: Any) -> Any:
        if self._hashing >= _MAX_HASHING:
            raise ResourceConstraint("too many passwords are being checked; try again in a moment")
        self._hashing += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)
        finally:
            self._hashing -= 1

    def _write_keys(self, account: Account, account_id: int, credentials: Credentials, turn: Turn) -> None:
        for name, keys in credentials.items():
            turn.write(account, _INSERT_CREDENTIALS, {
                "account_id": account_id, "mechanism": name, "salt": keys.salt, "iterations": keys.iterations,
                "stored_key": keys.stored_key, "server_key": keys.server_key,
            })

    def _end_sessions(self, account: Account, reason: str) -> None:
        for session in list(account.sessions.values()):
            session.close(StreamNotAuthorized(reason))

    # --- commands ----------------------------------------------------------------------------------------------------

    @command("user add")
    async def user_add(
        self,
        jid: Annotated[str, Parameter("address of the new account, such as juliet@example.org")],
        password: Annotated[str, Parameter("password of the new account", secret=True)],
    ) -> dict[str, str]:
        """Add an account."""
        address = self._address(jid)
        turn = self.kernel.new_turn()
        await self._do(self.create(address, password, turn), turn)
        return {"added": address.bare}

    @command("user passwd")
    async def user_passwd(
        self,
        jid: Annotated[str, Parameter("address of the account")],
        password: Annotated[str, Parameter("new password", secret=True)],
    ) -> dict[str, str]:
        """Set an account's password."""
        account = await self._existing(jid)
        turn = self.kernel.new_turn()
        await self._do(self.set_password(account, password, turn), turn)
        return {"password set": account.jid.bare}

    @command("user list")
    async def user_list(self) -> list[dict[str, object]]:
        """List all accounts."""
        rows = await self.kernel.reader.fetch(_LIST)
        peek = self.kernel.directory.peek
        found = []
        for row in rows:
            account = peek(f"{row.localpart}@{row.domain}")
            found.append({
                "account": f"{row.localpart}@{row.domain}", "disabled": bool(row.disabled),
                "sessions": 0 if account is None else len(account.sessions),
            })
        return found

    @command("user disable")
    async def user_disable(
        self,
        jid: Annotated[str, Parameter("address of the account")],
        enable: Annotated[bool, Parameter("let it log in again instead")] = False,
    ) -> dict[str, str]:
        """Keep an account from logging in; what it owns stays. Its sessions end."""
        account = await self._existing(jid)
        account.is_disabled = not enable
        turn = self.kernel.new_turn()
        turn.write(account, _DISABLE, {"account": account.id, "is_disabled": not enable})
        if not enable:
            turn.effect(self._end_sessions, account, "this account is disabled")
        await self._settled(turn)
        return {"enabled" if enable else "disabled": account.jid.bare}

    @command("user delete")
    async def user_delete(self, jid: Annotated[str, Parameter("address of the account")]) -> dict[str, str]:
        """Delete an account and everything it owns. There is no way back."""
        account = await self._existing(jid)
        turn = self.kernel.new_turn()
        self.delete(account, turn)
        await self._settled(turn)
        return {"deleted": account.jid.bare}

    def _address(self, text: str) -> JID:
        try:
            jid = JID.parse(text)
        except InvalidJID as error:
            raise CommandError(str(error)) from None
        if not jid.local or jid.resource:
            raise CommandError(f"{text!r} is not an account's address; it looks like name@{self.kernel.hosts[0]}")
        if jid.domain not in self.kernel.hosts:
            served = ", ".join(self.kernel.hosts)
            raise CommandError(f"{jid.domain} is not served here; the hosts in the configuration are: {served}")
        return jid

    async def _existing(self, text: str) -> Account:
        account = await self.kernel.directory.get(self._address(text))
        if not account.exists:
            raise CommandError(f"there is no account {account.jid}; `xmppchat user list` shows those there are")
        return account

    async def _do(self, work: Any, turn: Turn) -> None:
        try:
            await work
        except StanzaError as error:
            raise CommandError(error.text) from None
        await self._settled(turn)

    async def _settled(self, turn: Turn) -> None:
        failures: list[StanzaError] = []
        turn.on_failure = failures.append
        turn.commit()
        await self.kernel.gate.drained()
        if failures:
            raise CommandError(failures[0].text or failures[0].condition)


def _account_jid(localpart: str, domain: str) -> JID | None:
    """The account a login name means, None where it can be none (a name with "@" or "/" must not smuggle a host)."""
    try:
        jid = JID.parse(f"{localpart}@{domain}")
    except InvalidJID:
        return None
    return jid if jid.domain == domain and jid.local and not jid.resource else None
