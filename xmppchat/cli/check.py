"""``xmppchat check``: everything wrong with a configuration and what it names, before a start finds it."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

from xmppchat.cli import check_admins, environment, findings, probe
from xmppchat.cli.findings import ERROR, OK, WARNING, Line
from xmppchat.cli.probe import ProbeFailed
from xmppchat.core.config import ServerConfig
from xmppchat.network import certificate_findings, certificates, control


def check(config: str, *, dns: bool = False, self_check: bool = False, ca: str = "", at: str = "",
          as_json: bool = False) -> int:
    """Print what is found; returns the exit status, 1 where a start would fail or clients would refuse."""
    loaded = environment.load(config)
    authorities = Path(ca) if ca else None
    lines = findings.show(_all(loaded, dns=dns, at=at), as_json=as_json)
    if not self_check:
        if as_json:
            print(findings.as_json(lines, None))
        return findings.status(lines)
    from xmppchat.cli import selfcheck

    results = selfcheck.run(loaded, ca=authorities, at=at)
    if as_json:
        print(findings.as_json(lines, results))
    else:
        selfcheck.show(results)
    return max(findings.status(lines), selfcheck.status(results))


def _all(config: ServerConfig, *, dns: bool, at: str) -> Iterator[Line]:
    yield Line(OK, f"{config.path}: serves {', '.join(config.hosts)}")
    yield from find(config, at)
    if dns:
        from xmppchat.cli import check_dns

        yield from asyncio.run(check_dns.find(config, check_dns.SystemDns()))


def find(config: ServerConfig, at: str = "") -> Iterator[Line]:
    """A line for everything looked at, in the order of a start. Changes nothing. `at`: where a running one is asked."""
    yield from _certificates(config)
    yield from _data_dir(config.data_dir)
    try:
        is_running = control.is_running(config.control_socket)
    except control.ControlError as error:
        is_running = False
        yield Line(ERROR, str(error))
    yield from _database(config.storage.full_url, is_running=is_running)
    yield from check_admins.find(config)
    yield from _ports(config, is_running=is_running)
    if is_running:
        yield from asyncio.run(_presented(config, at))
    if config.metrics.port and not ip_address(config.metrics.address).is_loopback:
        text = f"metrics.address {config.metrics.address}: whoever reaches it can read the figures, unencrypted"
        yield Line(WARNING, text)
    if config.limits.profile != "default":
        text = f"limits.profile is {config.limits.profile!r}: not for a server that others can reach"
        yield Line(WARNING, text)


def _certificates(config: ServerConfig) -> Iterator[Line]:
    for name, host in config.hosts.items():
        found = certificate_findings.check(certificates.CertificateFiles(name, host.certificate, host.key))
        yield from (Line(finding.severity, finding.text) for finding in found)
        if all(finding.severity != ERROR for finding in found):
            end = certificates.describe(host.certificate).not_after
            yield Line(OK, f"{host.certificate}: covers {name}, its key fits, valid until {end:%Y-%m-%d}")


async def _presented(config: ServerConfig, at: str) -> list[Line]:
    """Whether the ports show the certificates on disk (reliability.md V-20)."""
    lines = []
    for name, host in config.hosts.items():
        for door in probe.doors(config, at):
            try:
                difference = probe.difference(await probe.look(door, name), name, host)
            except ProbeFailed as failure:
                lines.append(Line(ERROR, f"{name}: {failure}"))
                continue
            if difference:
                lines.append(Line(ERROR, f"{door}: {difference}"))
            else:
                lines.append(Line(OK, f"{door}: shows the certificate on disk for {name}"))
    return lines


def _data_dir(directory: Path) -> Iterator[Line]:
    existing = directory
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        yield Line(ERROR, f"{existing}: is no directory, so data_dir cannot be there")
    elif not os.access(existing, os.W_OK | os.X_OK):
        yield Line(ERROR, f"{existing}: the user who runs this may not write there; chown it, or change data_dir")
    elif existing is directory and directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Line(WARNING, f"{directory}: other users of this machine can look into it; chmod 700")


def _database(url: str, *, is_running: bool) -> Iterator[Line]:
    # SQLAlchemy takes a while to import: only where it is needed.
    from xmppchat.storage.faults import DatabaseError
    from xmppchat.storage.postgresql import is_postgresql

    try:
        if is_postgresql(url):
            yield from _postgresql(url, is_running=is_running)
        else:
            yield Line(OK, _sqlite(url, is_running=is_running))
    except DatabaseError as error:
        yield Line(ERROR, str(error))
    except OSError as error:
        yield Line(ERROR, f"{error.filename}: {error.strerror}")


def _sqlite(url: str, *, is_running: bool) -> str:
    """What is to be said of a file. Raises DatabaseError and OSError where it cannot be used."""
    from xmppchat.storage import sqlite

    path = sqlite.database_path(url)
    if is_running:
        return f"{path}: in use by the server, which is running"
    if not path.exists():
        return f"{path}: will be made at the first start"
    lock = sqlite.ProcessLock.take(path)
    try:
        return f"{path}: {_schema(path)}"
    finally:
        lock.release()


def _schema(path: Path) -> str:
    """What a start will do about the schema. Raises DatabaseError where it cannot."""
    from sqlalchemy.exc import DBAPIError

    from xmppchat.storage import faults, migrate, sqlite

    try:
        with sqlite.reading_engine(path, busy_timeout=1.0).connect() as connection:
            current = migrate.current_revision(connection)
    except DBAPIError as error:
        raise faults.DatabaseError(f"{path}: {faults.reason(error) or error.orig}") from None
    return _outlook(current, str(path))


def _outlook(revision: str | None, name: str) -> str:
    from xmppchat.storage import migrate

    if migrate.is_current(revision, name):
        return "can be opened"
    if revision is None:
        return "can be opened; the first start makes its tables"
    return "can be opened; the next start brings it to this version's schema, so back it up before"


def _postgresql(url: str, *, is_running: bool) -> Iterator[Line]:
    try:
        from xmppchat.storage.postgresql import looking
    except ModuleNotFoundError:
        yield Line(ERROR, "PostgreSQL needs a package more: pip install 'xmppchat[postgres]'")
        return
    from xmppchat.storage.faults import DatabaseInUse

    found = asyncio.run(looking.look(url))
    for danger in found.dangers:
        yield Line(WARNING, f"{found.name}: {danger}")
    if found.holder and is_running:
        yield Line(OK, f"{found.name} ({found.version}): in use by the server, which is running")
    elif found.holder:
        raise DatabaseInUse(f"{found.name} is in use by {found.holder}: stop that server first")
    else:
        yield Line(OK, f"{found.name} ({found.version}): {_outlook(found.revision, found.name)}")


def _ports(config: ServerConfig, *, is_running: bool) -> Iterator[Line]:
    ports = [port for port in (config.listen.starttls_port, config.listen.direct_tls_port) if port]
    if not ports:
        yield Line(ERROR, "both ports in [listen] are off, so nobody can connect; set one")
    for address in config.listen.addresses:
        for port in ports:
            yield _port(address, port, is_running=is_running)
    if config.metrics.port:
        yield _port(config.metrics.address, config.metrics.port, is_running=is_running)


def _port(address: str, port: int, *, is_running: bool) -> Line:
    where = f"{address} port {port}"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::" and socket.has_dualstack_ipv6()
    try:
        socket.create_server((address, port), family=family, dualstack_ipv6=both).close()
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            if is_running:
                return Line(OK, f"{where}: in use, and the server is running")
            return Line(ERROR, f"{where}: in use by another program (`ss -ltnp` tells which); stop it, or use another")
        if error.errno == errno.EADDRNOTAVAIL:
            return Line(ERROR, f"{where}: this machine does not have that address; change [listen] addresses")
        if error.errno == errno.EACCES:
            return Line(ERROR, f"{where}: ports below 1024 need root or CAP_NET_BIND_SERVICE; use another")
        return Line(ERROR, f"{where}: {error.strerror}")
    return Line(OK, f"{where}: free")
