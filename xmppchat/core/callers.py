"""Callers: who runs a command, and what may be touched with it. All permission is decided here (reliability.md V-30).

What is not allowed here is refused: a caller is nobody until an own session of this server says otherwise, an address
or host that a command names has to be the caller's to administer, and a command that neither names one nor asks who
calls is only for who administers everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xmppchat.core.component import IqRequest, Role
from xmppchat.jid import JID

if TYPE_CHECKING:
    from xmppchat.core.account import Account
    from xmppchat.core.commands import CommandSpec
    from xmppchat.core.config import ServerConfig

#: How the machine's own operator is called in logs.
COMMAND_LINE = "command line"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who runs a command.

    `name` is for logs: a bare JID, or "command line". `account` is the account that asks and `domain` the host it
    asks; None and "" on the command line. `hosts` are the hosts that may be administered in this call: for an
    account that is the host it asks, or none. `is_operator`: it administers all there are. `superiors` are the bare
    JIDs that administer a host which it does not: whoever could set their passwords would be an admin there, too.
    """

    name: str
    hosts: frozenset[str]
    account: Account | None = None
    domain: str = ""
    is_operator: bool = False
    superiors: frozenset[str] = frozenset()

    @property
    def role(self) -> Role | None:
        """Its role at the host that is asked; None is nobody, who may nothing."""
        if self.hosts:
            return Role.ADMIN
        return Role.USER if self.is_member else None

    @property
    def is_command_line(self) -> bool:
        """Whether it is the machine's own operator, who may do anything."""
        return self.is_operator and self.account is None

    @property
    def is_member(self) -> bool:
        """Whether it is an account of the host that is asked."""
        return self.account is not None and self.account.jid.domain == self.domain


def operator(hosts: Iterable[str]) -> Caller:
    """Whoever may use the command line on this machine."""
    return Caller(COMMAND_LINE, frozenset(hosts), is_operator=True)


def caller_of(config: ServerConfig, request: IqRequest) -> Caller:
    """Who asks the host of `request`. Only the host's configuration makes an admin; who is elsewhere is nobody."""
    session, domain = request.session, request.domain
    nobody = Caller(request.sender.bare, frozenset(), None, domain)
    if session is None or session.jid != request.sender or domain not in config.hosts:
        return nobody
    account = session.account
    if not account.exists or account.is_disabled or account.jid.domain not in config.hosts:
        return nobody
    administered = {name for name, host in config.hosts.items() if account.jid in host.admins}
    hosts = frozenset({domain} & administered)
    is_operator = bool(hosts) and administered == set(config.hosts)
    others = (host for name, host in config.hosts.items() if name not in administered)
    superiors = frozenset(admin.bare for host in others for admin in host.admins)
    return Caller(account.jid.bare, hosts, account, domain, is_operator, superiors)


def is_admin(config: ServerConfig, jid: JID) -> bool:
    """Whether `jid` names an admin of any host, with or without an account: who makes that account is an admin."""
    return any(jid in host.admins for host in config.hosts.values())


def refusal(spec: CommandSpec, caller: Caller) -> str:
    """Why `caller` may not run the command at all; "" where it may."""
    if spec.by is Role.USER:
        if caller.is_member or caller.is_command_line:
            return ""
        return "this is for accounts of this host"
    if not caller.hosts:
        return "only admins may do this"
    if not spec.is_scoped and not caller.is_operator:
        return "this concerns all hosts of the server; only who administers all of them may do it"
    return ""


def refusal_of_values(spec: CommandSpec, values: Mapping[str, Any], caller: Caller) -> str:
    """Why `caller` may not name what is in `values`, the converted arguments; "" where it may."""
    if caller.is_command_line:
        return ""
    own = ""
    if spec.by is Role.USER and caller.is_member and caller.account is not None:
        own = caller.account.jid.bare  # a user's command is about the user's own account and host
    for parameter in spec.parameters:
        value = values.get(parameter.name)
        if isinstance(value, JID) and not parameter.is_elsewhere:
            if value.domain not in caller.hosts and value.bare != own:
                return _not_here(value.domain)
            if spec.changes and value.bare in caller.superiors and value.bare != own:
                return f"{value.bare} is an admin of other hosts, too; only who administers those may do this"
        elif parameter.is_host and value not in caller.hosts and not (own and value == caller.domain):
            return _not_here(str(value))
    return ""


def _not_here(domain: str) -> str:
    return f"{domain} is not yours to administer from here; ask that host, if you are its admin"
