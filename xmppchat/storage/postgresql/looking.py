"""A look at a database from outside, for ``xmppchat check``: nothing is changed, no lock is taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from xmppchat.jid import JID
from xmppchat.storage.postgresql.address import Address, check_server
from xmppchat.storage.postgresql.database import current_revision
from xmppchat.storage.postgresql.link import Link
from xmppchat.storage.postgresql.ownership import holder


class Found(NamedTuple):
    """What there is: the database's `name` without a password, its schema's `revision`, who has it, what is unsafe."""

    name: str
    version: str
    revision: str | None
    holder: str
    dangers: list[str]


async def look(url: str) -> Found:
    """Look at the database at `url`. Raises :class:`~xmppchat.storage.faults.DatabaseError` where none can be used."""
    address = Address.parse(url)
    link = Link(address, default_transaction_read_only="on")
    connection = await link.open()
    try:
        dangers = await check_server(connection, address.name)
        version = connection.get_server_version()  # of "15.4" asyncpg calls 4 the micro version
        found = await holder(connection)
        who = "" if found is None else found[2] or "another program"
        revision = await current_revision(connection)
        return Found(address.name, f"PostgreSQL {version.major}.{version.micro}", revision, who, dangers)
    finally:
        await link.close()


async def accounts(url: str, addresses: Iterable[JID]) -> set[JID]:
    """Those of `addresses` that are accounts in the database at `url`. Raises as :func:`look`."""
    link = Link(Address.parse(url), default_transaction_read_only="on")
    connection = await link.open()
    try:
        if await current_revision(connection) is None:
            return set()
        query = "SELECT 1 FROM accounts WHERE domain = $1 AND localpart = $2"
        return {jid for jid in addresses if await connection.fetchrow(query, jid.domain, jid.local)}
    finally:
        await link.close()
