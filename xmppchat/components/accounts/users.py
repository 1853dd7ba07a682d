"""Operator's commands on accounts: ``xmppchat user …``."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from xmppchat.components.accounts import records, store
from xmppchat.components.accounts.component import Accounts
from xmppchat.components.accounts.records import Record
from xmppchat.components.accounts.store import CREDENTIALS, IMPORTED
from xmppchat.core.account import Account
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import Component, ComponentConfig, Xep, command
from xmppchat.core.services import AccountService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import StanzaError
from xmppchat.protocol.namespaces import NS

Jid = Annotated[str, Parameter("address of the account")]


class Users(Component[ComponentConfig]):
    """Adds, lists, changes, imports, exports and deletes accounts."""

    name = "users"
    implements = (Xep(227, "1.1", note="export"),)
    requires = (AccountService,)

    def setup(self) -> None:
        """Find the accounts, which are of this package."""
        self._accounts = cast(Accounts, self.kernel.services.get(AccountService))

    # --- one account ------------------------------------------------------------------------------------------------

    @command("user add")
    async def user_add(
        self,
        jid: Annotated[str, Parameter("address of the new account, such as juliet@example.org")],
        password: Annotated[str, Parameter("password of the new account", secret=True)],
        reuse: Annotated[bool, Parameter("take the name of an account that was deleted")] = False,
    ) -> dict[str, str]:
        """Add an account."""
        address = self._address(jid)
        resembled = await self._accounts.resembles(address)
        if reuse:
            await self.user_forget(jid)
        turn = self.kernel.new_turn()
        await self._do(self._accounts.create(address, password, turn), turn)
        return {"added": address.bare} | ({"note": f"it looks like {resembled}, who is here too"} if resembled else {})

    @command("user passwd")
    async def user_passwd(
        self, jid: Jid, password: Annotated[str, Parameter("new password", secret=True)]
    ) -> dict[str, str]:
        """Set an account's password. Devices that are logged in stay so."""
        account = await self._existing(jid)
        turn = self.kernel.new_turn()
        await self._do(self._accounts.set_password(account, password, turn), turn)
        return {"password set": account.jid.bare}

    @command("user disable")
    async def user_disable(
        self, jid: Jid, enable: Annotated[bool, Parameter("let it log in again instead")] = False
    ) -> dict[str, str]:
        """Keep an account from logging in; what it owns stays, and messages to it wait. Its sessions end."""
        account = await self._existing(jid)
        account.is_disabled = not enable
        turn = self.kernel.new_turn()
        turn.write(account, store.DISABLE, {"account": account.id, "is_disabled": not enable})
        if not enable:
            turn.effect(self._accounts.end_sessions, account, "this account is disabled")
        await self._settled(turn)
        return {"enabled" if enable else "disabled": account.jid.bare}

    @command("user delete")
    async def user_delete(self, jid: Jid) -> dict[str, str]:
        """Delete an account and everything it owns. There is no way back; its name stays reserved."""
        account = await self._existing(jid)
        turn = self.kernel.new_turn()
        self._accounts.delete(account, turn)
        await self._settled(turn)
        return {"deleted": account.jid.bare}

    @command("user forget")
    async def user_forget(self, jid: Jid) -> dict[str, str]:
        """Let the name of a deleted account be taken again. Old contacts may write to whoever takes it."""
        account = await self.kernel.directory.get(self._address(jid))
        turn = self.kernel.new_turn()
        store.delete_tombstone(account, turn)
        await self._settled(turn)
        return {"forgotten": account.jid.bare}

    @command("user show")
    async def user_show(self, jid: Jid) -> dict[str, object]:
        """Show an account."""
        account = await self._existing(jid)
        (row,) = await self.kernel.reader.fetch(store.SHOW, {"account": account.id})
        return {
            "account": account.jid.bare, "created": _date(row.created_at), "disabled": account.is_disabled,
            "password": _password_state(has_keys=bool(account[CREDENTIALS]), has_import=bool(account[IMPORTED])),
            "devices": ", ".join(sorted(account.sessions)) or "none connected",
            "last seen": "now" if account.sessions else _date(row.seen_at),
        }

    @command("user export")
    async def user_export(
        self,
        jid: Jid,
        with_credentials: Annotated[bool, Parameter("with what its password is checked with; keep that file safe")]
        = False,
    ) -> str:
        """Print everything an account owns as XML, for its owner or for another server (XEP-0227)."""
        account = await self._existing(jid)
        children: list[Element] = []
        if with_credentials:
            children += [_scram_element(name, keys) for name, keys in account[CREDENTIALS].items()]
        for component in self.kernel.components:
            children += await component.export(account)
        user = Element("user", NS.PORTABLE_EXPORT, {"name": account.jid.local}, children)
        host = Element("host", NS.PORTABLE_EXPORT, {"jid": account.jid.domain}, (user,))
        return "<?xml version='1.0' encoding='UTF-8'?>\n" + Element(
            "server-data", NS.PORTABLE_EXPORT, None, (host,)
        ).to_xml()

    # --- many accounts ----------------------------------------------------------------------------------------------

    @command("user list")
    async def user_list(
        self,
        domain: Annotated[str, Parameter("only accounts of this host")] = "",
        match: Annotated[str, Parameter("only accounts with this in their address")] = "",
        limit: Annotated[int, Parameter("at most so many")] = 1_000,
    ) -> list[dict[str, object]]:
        """List accounts. "imported" passwords are those of another system whose owners have not logged in yet."""
        rows = await self.kernel.reader.fetch(
            store.LIST, {"domain": domain, "pattern": _pattern(match), "limit": max(0, min(limit, 1_000_000))}
        )
        found: list[dict[str, object]] = []
        for row in rows:
            bare = f"{row.localpart}@{row.domain}"
            account = self.kernel.directory.peek(bare)
            found.append({
                "account": bare, "disabled": bool(row.disabled),
                "password": "imported" if row.imported is not None else "set",
                "sessions": 0 if account is None else len(account.sessions),
            })
        return found

    @command("user import-part", hidden=True)
    async def user_import_part(
        self,
        accounts: Annotated[str, Parameter("JSON list of accounts", secret=True)],
        skip_existing: Annotated[bool, Parameter("leave accounts that exist alone")] = False,
        replace_passwords: Annotated[bool, Parameter("give accounts that exist these passwords")] = False,
        dry_run: Annotated[bool, Parameter("change nothing")] = False,
    ) -> dict[str, object]:
        """Import some accounts, all in one step; ``xmppchat user import`` sends a file in such parts."""
        try:
            found = [records.record(values, self.kernel.hosts[0]) for values in json.loads(accounts)]
        except (ValueError, TypeError, AttributeError) as error:
            raise CommandError(f"accounts: {error}") from None
        for one in found:
            self._address(one.account.bare)
        buried = await self._buried(found)
        report: dict[str, list[str]] = {"added": [], "replaced": [], "skipped": [], "exist": [], "reserved": []}
        turn = self.kernel.new_turn()
        for one in found:
            account = await self.kernel.directory.get(one.account)
            bare = account.jid.bare
            if bare in buried:
                report["reserved"].append(bare)
            elif not account.exists:
                report["added"].append(bare)
                if not dry_run:
                    await self._do_now(self._import(account, one, turn))
            elif replace_passwords:
                report["replaced"].append(bare)
                if not dry_run:
                    keys = await self._keys(one)
                    self._accounts.set_keys(account, keys, one.bcrypt, turn)
            else:
                report["skipped" if skip_existing else "exist"].append(bare)
        await self._settled(turn)
        return {**{name: len(names) for name, names in report.items()},
                "names": [*report["exist"], *report["reserved"]]}  # fmt: skip

    async def _buried(self, found: list[Record]) -> set[str]:
        by_domain: dict[str, list[str]] = {}
        for one in found:
            by_domain.setdefault(one.account.domain, []).append(one.account.local)
        buried: set[str] = set()
        for domain, names in by_domain.items():
            rows = await self.kernel.reader.fetch(store.TOMBSTONES, {"domain": domain, "localparts": names})
            buried.update(f"{row.localpart}@{domain}" for row in rows)
        return buried

    async def _import(self, account: Account, one: Record, turn: Turn) -> None:
        account_id = self.kernel.ids.sortable()
        store.write_account(account, account_id, self.kernel.clock.now(), turn)
        store.write_keys(account, account_id, await self._keys(one), turn)
        if one.bcrypt:
            store.write_imported(account, account_id, one.bcrypt, turn)
            self._accounts.imports(one.bcrypt)
        turn.effect(self.kernel.directory.forget, account.jid.bare)

    async def _keys(self, one: Record) -> store.Credentials:
        return await self._accounts.passwords.derive(one.password) if one.password else one.keys

    # --- helpers ----------------------------------------------------------------------------------------------------

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

    async def _do_now(self, work: Coroutine[Any, Any, object]) -> None:
        try:
            await work
        except StanzaError as error:
            raise CommandError(error.text) from None

    async def _do(self, work: Coroutine[Any, Any, object], turn: Turn) -> None:
        await self._do_now(work)
        await self._settled(turn)

    async def _settled(self, turn: Turn) -> None:
        failures: list[StanzaError] = []
        turn.on_failure = failures.append
        turn.commit()
        await self.kernel.gate.drained()
        if failures:
            raise CommandError(failures[0].text or failures[0].condition)


def _password_state(*, has_keys: bool, has_import: bool) -> str:
    if has_import and not has_keys:
        return "imported (bcrypt); set at the first login with PLAIN"
    return "set" if has_keys else "none: nobody can log in; `xmppchat user passwd` sets one"


def _pattern(part: str) -> str:
    """What LIKE calls a text with `part` in it."""
    return "%" + re.sub(r"([\\%_])", r"\\\1", part.lower()) + "%"


def _date(milliseconds: int) -> str:
    if not milliseconds:
        return "-"
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _scram_element(mechanism: str, keys: Any) -> Element:
    """XEP-0227 §4.3."""
    def encoded(name: str, value: bytes) -> Element:
        return text_element(name, NS.PORTABLE_SCRAM, base64.b64encode(value).decode())

    return Element("scram-credentials", NS.PORTABLE_SCRAM, {"mechanism": mechanism}, [
        text_element("iter-count", NS.PORTABLE_SCRAM, str(keys.iterations)), encoded("salt", keys.salt),
        encoded("server-key", keys.server_key), encoded("stored-key", keys.stored_key),
    ])
