"""Service administration (XEP-0133): the questions about accounts that have forms of their own there.

What changes something is declared where it belongs ("user add" in the accounts, "announce" in the administration).
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import Annotated

from sqlalchemy import bindparam, func, select

from xmppchat.core.account import Account
from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import PARTIAL, Component, ComponentConfig, Xep, command
from xmppchat.core.runtime import timestamp
from xmppchat.core.services import RosterService
from xmppchat.core.session import Session
from xmppchat.jid import JID
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema

#: What a list holds if no number is given.
MOST = 1_000

_accounts = schema.accounts.c
_IS_OURS = _accounts.domain.in_(bindparam("domains", expanding=True))
_NUMBER = select(func.count()).select_from(schema.accounts).where(_IS_OURS)
_NUMBER_DISABLED = _NUMBER.where(_accounts.disabled)
_LIST = (
    select(_accounts.localpart, _accounts.domain).where(_IS_OURS)
    .order_by(_accounts.domain, _accounts.localpart).limit(bindparam("most"))
)  # fmt: skip
_LIST_DISABLED = _LIST.where(_accounts.disabled)
_SEEN = select(_accounts.seen_at).where(_accounts.id == bindparam("account"))


class MaxItems(Enum):
    """How many a list shows (XEP-0133 §4.18)."""

    N25, N50, N75, N100, N150, N200, NONE = "25", "50", "75", "100", "150", "200", "none"


Most = Annotated[MaxItems, Parameter("maximum number of items to show", field="max_items")]
AccountJid = Annotated[JID, Parameter("address of the account", field="accountjid")]
AccountJids = Annotated[JID, Parameter("address of the account", field="accountjids", each=True)]


class ServiceAdministration(Component[ComponentConfig]):
    """Numbers and lists of accounts, for admins with any client."""

    name = "service_administration"
    implements = (
        Xep(133, "1.3.1", PARTIAL, "no black and white lists, messages of the day and welcome, restart"),
    )
    requires = (RosterService,)

    # --- one account (§4.9, §4.10) -----------------------------------------------------------------------------------

    @command("admin last login", adhoc=f"{NS.ADMIN}#get-user-lastlogin", changes=False, hidden=True)
    async def last_login(self, jid: AccountJids) -> dict[str, str]:
        """Show when an account was here."""
        account = await self._existing(jid)
        seen_at = max((session.connected_at for session in account.sessions.values()), default=0)
        if not seen_at:
            rows = await self.kernel.reader.fetch(_SEEN, {"account": account.id})
            seen_at = rows[0].seen_at if rows else 0
        return {"accountjids": account.jid.bare, "lastlogin": timestamp(seen_at) if seen_at else ""}

    @command("admin user statistics", adhoc=f"{NS.ADMIN}#user-stats", changes=False, hidden=True)
    async def user_statistics(self, jid: AccountJid) -> dict[str, object]:
        """Show an account's devices and the size of its roster."""
        account = await self._existing(jid)
        items = self.kernel.services.get(RosterService).items(account)
        sessions = sorted(account.sessions.values(), key=lambda session: session.jid.resource)
        return {
            "ipaddresses": list(dict.fromkeys(session.peer for session in sessions)),
            "rostersize": sum(item.is_listed for item in items),
            "onlineresources": [session.jid.resource for session in sessions],
        }

    # --- numbers (§4.13 to §4.17) ------------------------------------------------------------------------------------

    @command("admin registered number", adhoc=f"{NS.ADMIN}#get-registered-users-num", changes=False, hidden=True)
    async def registered_number(self, caller: Caller) -> dict[str, int]:
        """Count the accounts."""
        return {"registeredusersnum": await self._number(_NUMBER, caller)}

    @command("admin disabled number", adhoc=f"{NS.ADMIN}#get-disabled-users-num", changes=False, hidden=True)
    async def disabled_number(self, caller: Caller) -> dict[str, int]:
        """Count the accounts that are disabled."""
        return {"disabledusersnum": await self._number(_NUMBER_DISABLED, caller)}

    @command("admin online number", adhoc=f"{NS.ADMIN}#get-online-users-num", changes=False, hidden=True)
    async def online_number(self, caller: Caller) -> dict[str, int]:
        """Count the accounts that are online."""
        return {"onlineusersnum": len(self._online(caller))}

    @command("admin active number", adhoc=f"{NS.ADMIN}#get-active-users-num", changes=False, hidden=True)
    async def active_number(self, caller: Caller) -> dict[str, int]:
        """Count the accounts that are online and not away."""
        return {"activeusersnum": len(self._active(caller))}

    @command("admin idle number", adhoc=f"{NS.ADMIN}#get-idle-users-num", changes=False, hidden=True)
    async def idle_number(self, caller: Caller) -> dict[str, int]:
        """Count the accounts that are online but away."""
        return {"idleusersnum": len(self._idle(caller))}

    # --- lists (§4.18 to §4.22) --------------------------------------------------------------------------------------

    @command("admin registered list", adhoc=f"{NS.ADMIN}#get-registered-users-list", changes=False, hidden=True)
    async def registered_list(self, caller: Caller, most: Most = MaxItems.NONE) -> dict[str, list[str]]:
        """List the accounts."""
        return {"registereduserjids": await self._list(_LIST, caller, most)}

    @command("admin disabled list", adhoc=f"{NS.ADMIN}#get-disabled-users-list", changes=False, hidden=True)
    async def disabled_list(self, caller: Caller, most: Most = MaxItems.NONE) -> dict[str, list[str]]:
        """List the accounts that are disabled."""
        return {"disableduserjids": await self._list(_LIST_DISABLED, caller, most)}

    @command("admin online list", adhoc=f"{NS.ADMIN}#get-online-users-list", changes=False, hidden=True)
    async def online_list(self, caller: Caller, most: Most = MaxItems.NONE) -> dict[str, list[str]]:
        """List the accounts that are online."""
        return {"onlineuserjids": self._online(caller)[: _number(most)]}

    @command("admin active list", adhoc=f"{NS.ADMIN}#get-active-users", changes=False, hidden=True)
    async def active_list(self, caller: Caller, most: Most = MaxItems.NONE) -> dict[str, list[str]]:
        """List the accounts that are online and not away."""
        return {"activeuserjids": self._active(caller)[: _number(most)]}

    @command("admin idle list", adhoc=f"{NS.ADMIN}#get-idle-users", changes=False, hidden=True)
    async def idle_list(self, caller: Caller, most: Most = MaxItems.NONE) -> dict[str, list[str]]:
        """List the accounts that are online but away."""
        # The example of §4.22 names it so, too.
        return {"activeuserjids": self._idle(caller)[: _number(most)]}

    # --- behind them -------------------------------------------------------------------------------------------------

    async def _existing(self, jid: JID) -> Account:
        account = await self.kernel.directory.get(jid.to_bare())
        if not account.exists:
            text = f"there is no account {account.jid}"
            raise CommandError(text, ItemNotFound(text))
        return account

    async def _number(self, statement: object, caller: Caller) -> int:
        rows = await self.kernel.reader.fetch(statement, {"domains": sorted(caller.hosts)})
        return int(rows[0][0])

    async def _list(self, statement: object, caller: Caller, most: MaxItems) -> list[str]:
        parameters = {"domains": sorted(caller.hosts), "most": _number(most)}
        rows = await self.kernel.reader.fetch(statement, parameters)
        return [f"{row.localpart}@{row.domain}" for row in rows]

    def _sessions(self, caller: Caller) -> Iterator[Session]:
        return (session for session in self.kernel.directory.sessions() if session.jid.domain in caller.hosts)

    def _online(self, caller: Caller) -> list[str]:
        return sorted({session.jid.bare for session in self._sessions(caller)})

    def _active(self, caller: Caller) -> list[str]:
        return sorted({session.jid.bare for session in self._sessions(caller) if _is_active(session)})

    def _idle(self, caller: Caller) -> list[str]:
        return sorted(set(self._online(caller)) - set(self._active(caller)))


def _is_active(session: Session) -> bool:
    """Whether somebody is there: available and neither away nor busy (RFC 6121 §4.7.2.1)."""
    if session.presence is None:
        return False
    show = next((child.text for child in session.presence.elements() if child.name == "show"), "")
    return show in ("", "chat")


def _number(most: MaxItems) -> int:
    return MOST if most is MaxItems.NONE else int(most.value)
