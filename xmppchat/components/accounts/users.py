"""Operator's commands on accounts: ``xmppchat user …``."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Annotated, Any, cast

from xmppchat.components.accounts import portable, records, store
from xmppchat.components.accounts.component import Accounts
from xmppchat.components.accounts.importing import Policy, import_part
from xmppchat.components.accounts.store import CREDENTIALS, IMPORTED
from xmppchat.core import events, lookalikes
from xmppchat.core.account import Account
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import PARTIAL, Component, ComponentConfig, Xep, command
from xmppchat.core.services import AccountService
from xmppchat.jid import JID
from xmppchat.protocol.errors import Conflict, ItemNotFound, StreamNotAuthorized
from xmppchat.protocol.namespaces import NS

#: Rows of one list; `--after` goes on. More would keep the event loop from everything else.
MAX_LIST = 10_000
#: Rows that are read at once.
_PAGE = 500

# The names of the fields are those of XEP-0133.
AccountJid = Annotated[JID, Parameter("address of the account", field="accountjid")]
AccountJids = Annotated[JID, Parameter("address of the account", field="accountjids", each=True)]


class Users(Component[ComponentConfig]):
    """Adds, lists, changes, imports, exports and deletes accounts."""

    name = "users"
    implements = (Xep(227, "1.1", PARTIAL, note="export of one account"),)
    requires = (AccountService,)

    def setup(self) -> None:
        """Find the accounts, which are of this package."""
        self._accounts = cast(Accounts, self.kernel.services.get(AccountService))

    # --- one account ------------------------------------------------------------------------------------------------

    @command("user add", adhoc=f"{NS.ADMIN}#add-user")
    async def user_add(
        self,
        jid: Annotated[JID, Parameter("address of the new account, such as juliet@example.org", field="accountjid")],
        password: Annotated[str, Parameter("password of the new account", secret=True, again="password-verify")],
        reuse: Annotated[bool, Parameter("take the name of an account that was deleted", form=False)] = False,
    ) -> dict[str, str]:
        """Add an account."""
        address = self._address(jid)
        deleted_at = 0 if reuse else await self._accounts.tombstone(address)
        if deleted_at:
            text = f"this name is taken: its account was deleted on {_date(deleted_at)}; --reuse takes it all the same"
            raise CommandError(text, Conflict(text))
        notes = []
        if resembled := await self._accounts.resembles(address):
            notes.append(f"it looks like {resembled}, who is here too")
        if lookalikes.is_mixed(address.local):
            notes.append("it mixes letters of several scripts, as names do that pass for others")
        turn = self.kernel.new_turn()
        await self._accounts.create(address, password, turn, reuse=reuse)
        await self.kernel.settled(turn)
        return {"added": address.bare} | ({"note": "; ".join(notes)} if notes else {})

    @command("user passwd", adhoc=f"{NS.ADMIN}#change-user-password")
    async def user_passwd(
        self, jid: AccountJid, password: Annotated[str, Parameter("new password", secret=True)]
    ) -> dict[str, str]:
        """Set an account's password. Its devices are logged out."""
        account = await self._existing(jid)
        turn = self.kernel.new_turn()
        await self._accounts.set_password(account, password, turn)
        await self.kernel.settled(turn)
        return {"password set": account.jid.bare}

    @command("user disable", adhoc=f"{NS.ADMIN}#disable-user")
    async def user_disable(
        self, jid: AccountJids, enable: Annotated[bool, Parameter("let it log in again instead", form=False)] = False
    ) -> dict[str, str]:
        """Keep an account from logging in; what it owns stays, and messages to it wait. Its sessions end."""
        account = await self._existing(jid)
        account.is_disabled = not enable
        turn = self.kernel.new_turn()
        turn.write(account, store.DISABLE, {"account": account.id, "is_disabled": not enable})
        if not enable:
            self.kernel.emit(events.AccountDisabled(account, turn))
            turn.effect(self._accounts.end_sessions, account, StreamNotAuthorized("this account is disabled"))
        await self.kernel.settled(turn)
        return {"enabled" if enable else "disabled": account.jid.bare}

    @command("user enable", adhoc=f"{NS.ADMIN}#reenable-user")
    async def user_enable(self, jid: AccountJids) -> dict[str, str]:
        """Let an account that was disabled log in again."""
        return await self.user_disable(jid, enable=True)

    @command("user delete", adhoc=f"{NS.ADMIN}#delete-user")
    async def user_delete(self, jid: AccountJids) -> dict[str, str]:
        """Delete an account and everything it owns. There is no way back; its name stays reserved."""
        account = await self._existing(jid)
        turn = self.kernel.new_turn()
        self._accounts.delete(account, turn)
        await self.kernel.settled(turn)
        return {"deleted": account.jid.bare}

    @command("user forget")
    async def user_forget(self, jid: AccountJids) -> dict[str, str]:
        """Let the name of a deleted account be taken again. Old contacts may write to whoever takes it."""
        account = await self.kernel.directory.get(self._address(jid))
        if not await self._accounts.tombstone(account.jid):
            raise CommandError(f"no account {account.jid} was deleted; its name is not reserved")
        turn = self.kernel.new_turn()
        store.delete_tombstone(account, turn)
        await self.kernel.settled(turn)
        return {"forgotten": account.jid.bare}

    @command("user show", changes=False)
    async def user_show(self, jid: AccountJid) -> dict[str, object]:
        """Show an account, or when it was deleted."""
        address = self._address(jid)
        if deleted_at := await self._accounts.tombstone(address):
            return {"account": address.bare, "deleted": _date(deleted_at), "name": "reserved; `user forget` frees it"}
        account = await self._existing(jid)
        (row,) = await self.kernel.reader.fetch(store.SHOW, {"account": account.id})
        return {
            "account": account.jid.bare, "created": _date(row.created_at), "disabled": account.is_disabled,
            "password": _password_state(has_keys=bool(account[CREDENTIALS]), has_import=bool(account[IMPORTED])),
            "devices": ", ".join(sorted(account.sessions)) or "none connected",
            "last seen": "now" if account.sessions else _date(row.seen_at),
        }

    @command("user export", adhoc=None)  # it changes nothing, but who takes all of an account along leaves a trace
    async def user_export(
        self,
        jid: AccountJid,
        with_credentials: Annotated[bool, Parameter("with what its password is checked with; keep that file safe")]
        = False,
    ) -> str:
        """Print everything an account owns as XML, for its owner or for another server (XEP-0227)."""
        account = await self._existing(jid)
        return await portable.export(self.kernel, account, with_credentials=with_credentials)

    # --- many accounts ----------------------------------------------------------------------------------------------

    @command("user list", changes=False)
    async def user_list(
        self,
        domain: Annotated[str, Parameter("only accounts of this host", host=True)] = "",
        match: Annotated[str, Parameter("only accounts with this in their address")] = "",
        imported: Annotated[bool, Parameter("only accounts whose password is still another system's")] = False,
        after: Annotated[str, Parameter("only accounts behind this address, to go on where a list ended")] = "",
        limit: Annotated[int, Parameter(f"at most so many, and {MAX_LIST:,} at the very most")] = 1_000,
    ) -> list[dict[str, object]]:
        """List accounts by host and name. "imported" passwords: the owners have not logged in since the import."""
        localpart, _, behind = after.partition("@")
        query: dict[str, Any] = {
            "domain": domain, "pattern": _pattern(match), "only_imported": imported, "after_domain": behind,
            "after_localpart": localpart,
        }
        found: list[dict[str, object]] = []
        limit = min(limit, MAX_LIST)
        while len(found) < limit:
            query["limit"] = min(_PAGE, limit - len(found))
            rows = await self.kernel.reader.fetch(store.LIST, query)
            found += [self._listed(row) for row in rows]
            if len(rows) < query["limit"]:
                break
            query |= {"after_domain": rows[-1].domain, "after_localpart": rows[-1].localpart}
        return found

    def _listed(self, row: Any) -> dict[str, object]:
        bare = f"{row.localpart}@{row.domain}"
        account = self.kernel.directory.peek(bare)
        return {
            "account": bare, "disabled": bool(row.disabled),
            "password": "imported" if row.is_waiting else "set" if row.has_keys else "none",
            "sessions": 0 if account is None else len(account.sessions),
        }

    @command("user count", changes=False)
    async def user_count(self) -> list[dict[str, object]]:
        """Count accounts: all, disabled ones, and those whose imported password awaits its first use."""
        rows = await self.kernel.reader.fetch(store.COUNT)
        return [
            {"host": row.domain, "accounts": row.accounts, "disabled": int(row.disabled), "imported": int(row.imported)}
            for row in rows
        ]

    @command("user import-part", hidden=True, adhoc=None)
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
            self._address(one.account)
        turn = self.kernel.new_turn()
        policy = Policy(skip_existing, replace_passwords, dry_run)
        report = await import_part(self._accounts, found, policy, turn)
        await self.kernel.settled(turn)
        return report.plain()

    # --- helpers ----------------------------------------------------------------------------------------------------

    def _address(self, jid: JID) -> JID:
        if not jid.local or jid.resource:
            raise CommandError(f"{str(jid)!r} is not an account's address; it looks like name@{self.kernel.hosts[0]}")
        if jid.domain not in self.kernel.hosts:
            served = ", ".join(self.kernel.hosts)
            raise CommandError(f"{jid.domain} is not served here; the hosts in the configuration are: {served}")
        return jid

    async def _existing(self, jid: JID) -> Account:
        account = await self.kernel.directory.get(self._address(jid))
        if not account.exists:
            text = f"there is no account {account.jid}; `xmppchat user list` shows those there are"
            raise CommandError(text, ItemNotFound(text))
        return account


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
