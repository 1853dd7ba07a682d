"""``xmppchat check --dns``: whether clients find this server (RFC 6120 §3.2, XEP-0368), with the records to add.

Only what DNS says is judged, seen from here: a name server inside a network may say something else than outside.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol

from xmppchat.cli.findings import ERROR, OK, WARNING, Line
from xmppchat.core.config import ServerConfig
from xmppchat.network.certificates import to_ascii

#: How long one question may take, s.
SECONDS = 5.0


class DnsTrouble(Exception):
    """A question was not answered; the text says how."""


@dataclass(frozen=True, slots=True, order=True)
class Srv:
    """An SRV record (RFC 2782); `target` is "" for ".": the service is not offered."""

    priority: int
    weight: int
    port: int
    target: str


class Dns(Protocol):
    """What is asked; an empty answer says that there is no such record. All raise :class:`DnsTrouble`."""

    async def srv(self, name: str) -> Sequence[Srv]:
        """SRV records."""

    async def addresses(self, name: str) -> Sequence[str]:
        """A and AAAA records, aliases followed."""

    async def alias(self, name: str) -> str:
        """The target of a CNAME record, "" where there is none."""

    async def authorities(self, name: str) -> Sequence[str]:
        """What CAA records say of "issue" (RFC 8659)."""


class SystemDns:
    """Asks the name servers of this machine."""

    def __init__(self) -> None:
        from dns.asyncresolver import Resolver

        self._resolver = Resolver()

    async def srv(self, name: str) -> Sequence[Srv]:
        """See :class:`Dns`."""
        rows = await self._ask(name, "SRV")
        return sorted(
            Srv(row.priority, row.weight, row.port, row.target.to_text(omit_final_dot=True).strip(".").lower())
            for row in rows
        )

    async def addresses(self, name: str) -> Sequence[str]:
        """See :class:`Dns`."""
        return [row.address for kind in ("A", "AAAA") for row in await self._ask(name, kind)]

    async def alias(self, name: str) -> str:
        """See :class:`Dns`."""
        rows = await self._ask(name, "CNAME")
        return rows[0].target.to_text(omit_final_dot=True).lower() if rows else ""

    async def authorities(self, name: str) -> Sequence[str]:
        """See :class:`Dns`."""
        return [row.value.decode("utf-8", "replace") for row in await self._ask(name, "CAA") if row.tag == b"issue"]

    async def _ask(self, name: str, kind: str) -> list[Any]:
        import dns.exception
        import dns.resolver

        try:
            answer = await self._resolver.resolve(f"{name}.", kind, lifetime=SECONDS, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return []
        except dns.resolver.LifetimeTimeout:
            raise DnsTrouble(f"{name} {kind}: no name server answered in {SECONDS:g} s") from None
        except dns.exception.DNSException as error:
            raise DnsTrouble(f"{name} {kind}: {type(error).__name__}: {error}") from None
        return list(answer) if answer.rrset is not None else []


@dataclass(frozen=True, slots=True)
class _Service:
    """A kind of connection: its SRV name, what it is for, and the port where this server takes it (0: it does not)."""

    name: str
    what: str
    port: int


async def find(config: ServerConfig, dns: Dns) -> list[Line]:
    """Lines for all hosts."""
    return [line for host in config.hosts async for line in _host(to_ascii(host), config, dns)]


async def _host(domain: str, config: ServerConfig, dns: Dns) -> AsyncIterator[Line]:
    listen = config.listen
    services = (
        _Service("_xmpps-client._tcp", "clients with direct TLS", listen.direct_tls_port),
        _Service("_xmpp-client._tcp", "clients with STARTTLS", listen.starttls_port),
        _Service("_xmpps-server._tcp", "other servers with direct TLS", 0),
        _Service("_xmpp-server._tcp", "other servers with STARTTLS", 0),
    )
    found: dict[str, list[Srv]] = {}
    for service in services:
        try:
            found[service.name] = list(await dns.srv(f"{service.name}.{domain}"))
        except DnsTrouble as trouble:
            yield Line(WARNING, f"DNS: {trouble}; try again, or ask another name server")
    for service in services:
        if service.name in found:
            async for line in _service(service, domain, found[service.name], config, dns):
                yield line
    has_client_records = found.get("_xmpp-client._tcp") or found.get("_xmpps-client._tcp")
    if not has_client_records and "_xmpp-client._tcp" in found:
        async for line in _without_records(domain, config, dns):
            yield line
    yield await _authorities(domain, dns)


async def _authorities(domain: str, dns: Dns) -> Line:
    """Who may issue certificates for `domain` (reliability.md V-20): its own CAA records, else a parent's."""
    labels = domain.split(".")
    try:
        for start in range(len(labels) - 1):
            name = ".".join(labels[start:])
            issuers = await dns.authorities(name)
            if issuers:
                break
        else:
            return Line(WARNING, f"DNS: {domain} has no CAA record: whoever controls its traffic for a moment gets a "
                                 f'certificate for it from any authority; add one with your account there, as\n'
                                 f'    {domain}. 3600 IN CAA 0 issue "AUTHORITY; accounturi=URL" (RFC 8657)')
    except DnsTrouble as trouble:
        return Line(WARNING, f"DNS: {trouble}; try again, or ask another name server")
    if not all("accounturi=" in issuer for issuer in issuers if issuer.strip(" ;")):
        return Line(WARNING, f"DNS: CAA of {name} lets anybody's account at {', '.join(issuers)} have certificates; "
                             "add accounturi=URL of your own account there (RFC 8657)")
    return Line(OK, f"DNS: CAA of {name}: only {', '.join(issuers)}")


async def _service(
    service: _Service, domain: str, records: list[Srv], config: ServerConfig, dns: Dns
) -> AsyncIterator[Line]:
    name = f"{service.name}.{domain}"
    targets = [record for record in records if record.target]
    if not service.port:
        if targets:
            yield Line(WARNING, f"DNS: {name} exists, but {service.what} are not served here; remove the record")
        return
    if not records:
        if service.name == "_xmpps-client._tcp":
            yield Line(WARNING, f"DNS: {name} is missing: clients cannot know of direct TLS; add\n"
                                f"    {name}. 3600 IN SRV 5 1 {service.port} {domain}.")
        return
    if len(targets) < len(records):
        if targets:
            yield Line(ERROR, f'DNS: {name} has "." beside real targets; remove the "." (RFC 2782)')
        else:
            yield Line(ERROR, f'DNS: {name} is ".": it tells clients that there is no such service; replace it by\n'
                              f"    {name}. 3600 IN SRV 5 1 {service.port} {domain}.")
    if len({(record.port, record.target) for record in targets}) < len(targets):
        yield Line(WARNING, f"DNS: {name} names the same target and port twice; remove one")
    for number, record in enumerate(targets):
        async for line in _target(name, record, service.port, config, dns, is_first=number == 0):
            yield line


async def _target(
    name: str, record: Srv, port: int, config: ServerConfig, dns: Dns, *, is_first: bool
) -> AsyncIterator[Line]:
    where = f"{record.target} port {record.port}"
    try:
        alias, addresses = await dns.alias(record.target), await dns.addresses(record.target)
    except DnsTrouble as trouble:
        yield Line(WARNING, f"DNS: {trouble}; try again, or ask another name server")
        return
    if alias:
        yield Line(ERROR, f"DNS: {name}: the target {record.target} is an alias (CNAME) of {alias}, which SRV forbids "
                          f"(RFC 2782) and some clients refuse; name {alias} itself")
    if not addresses:
        worse = "; clients try it first and lose time" if is_first else ""
        yield Line(ERROR, f"DNS: {name}: {record.target} has no address{worse}; add an A or AAAA record, or remove it")
        return
    if record.port != port:
        yield Line(WARNING, f"DNS: {name} sends clients to port {record.port}, and this server listens on {port}: "
                            "right only if something in between forwards it")
    problems = _addresses(record.target, addresses, config)
    for line in problems:
        yield line
    if not alias and not problems:
        yield Line(OK, f"DNS: {name}: {where}, priority {record.priority}, at {', '.join(addresses)}")


def _addresses(name: str, addresses: Sequence[str], config: ServerConfig) -> list[Line]:
    lines = []
    inside = [address for address in addresses if not ip_address(address).is_global]
    if inside:
        lines.append(Line(WARNING, f"DNS: {name} is at {', '.join(inside)}, which nobody outside can reach"))
    listen = [ip_address(address) for address in config.listen.addresses]
    takes_6 = any(one.version == 6 for one in listen)
    takes_4 = any(one.version == 4 or one.is_unspecified for one in listen)
    for version, is_taken, kind in ((6, takes_6, "AAAA"), (4, takes_4, "A")):
        if not is_taken and any(ip_address(address).version == version for address in addresses):
            lines.append(Line(WARNING, f"DNS: {name} has an {kind} record, but [listen] addresses have no IPv{version} "
                                       "address; add one there, or remove the record"))
    return lines


async def _without_records(domain: str, config: ServerConfig, dns: Dns) -> AsyncIterator[Line]:
    """RFC 6120 §3.2.2: without SRV records clients take the domain itself, and port 5222."""
    try:
        addresses = await dns.addresses(domain)
    except DnsTrouble as trouble:
        yield Line(WARNING, f"DNS: {trouble}; try again, or ask another name server")
        return
    port = config.listen.starttls_port
    if not addresses:
        yield Line(ERROR, f"DNS: {domain} has neither SRV records nor an address, so no client finds it; add\n"
                          f"    _xmpp-client._tcp.{domain}. 3600 IN SRV 5 1 {port or 5222} HOST.")
    elif port != 5222:
        yield Line(ERROR, f"DNS: without SRV records clients try port 5222 of {domain}, where nobody listens; add\n"
                          f"    _xmpp-client._tcp.{domain}. 3600 IN SRV 5 1 {port} {domain}.")
    else:
        problems = _addresses(domain, addresses, config)
        for line in problems:
            yield line
        if not problems:
            yield Line(OK, f"DNS: {domain} is at {', '.join(addresses)}, where clients try port 5222")
