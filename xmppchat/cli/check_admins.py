"""Whether the admins that the configuration names have accounts: until then nobody can administer by a client."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from xmppchat.cli.findings import WARNING, Line
from xmppchat.core.config import ServerConfig
from xmppchat.jid import JID


def find(config: ServerConfig) -> Iterator[Line]:
    """A warning for each admin of a host here without an account. Nothing where the database cannot be looked at."""
    admins = {admin.bare: admin for host in config.hosts.values() for admin in host.admins}
    here = [admin for admin in admins.values() if admin.domain in config.hosts]
    if not here:
        return
    from xmppchat.storage.faults import DatabaseError

    try:
        existing = _existing(config.storage.full_url, here)
    except (DatabaseError, OSError, ModuleNotFoundError):
        return  # the line about the database says why
    for admin in here:
        if admin not in existing:
            text = f"{admin} is an admin by the configuration, and has no account: `xmppchat user add {admin}` makes it"
            yield Line(WARNING, text)


def _existing(url: str, addresses: Sequence[JID]) -> set[JID]:
    from xmppchat.storage.postgresql import is_postgresql

    if is_postgresql(url):
        from xmppchat.storage.postgresql import looking

        return asyncio.run(looking.accounts(url, addresses))
    return _in_file(url, addresses)


def _in_file(url: str, addresses: Sequence[JID]) -> set[JID]:
    from sqlalchemy import select
    from sqlalchemy.exc import DBAPIError

    from xmppchat.storage import faults, migrate, schema, sqlite

    path = sqlite.database_path(url)
    if not path.exists():
        return set()
    columns = schema.accounts.c
    found = select(columns.localpart, columns.domain)
    try:
        with sqlite.reading_engine(path, busy_timeout=1.0).connect() as connection:
            if migrate.current_revision(connection) is None:
                return set()
            return {
                admin for admin in addresses
                if connection.execute(found.where(columns.domain == admin.domain, columns.localpart == admin.local))
                .first()
            }  # fmt: skip
    except DBAPIError as error:
        raise faults.DatabaseError(f"{path}: {faults.reason(error) or error.orig}") from None
