"""Where a PostgreSQL is, and connections to it."""

from __future__ import annotations

import os
import re
import socket
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

import asyncpg

from xmppchat.storage.faults import DatabaseError
from xmppchat.storage.postgresql.faults import reason, sqlstate

#: The oldest version of PostgreSQL that this program is meant for.
MIN_VERSION = 13
#: How long opening one connection may take, s.
CONNECT_SECONDS = 5.0

#: What every connection is set to. The server notices within half a minute that this machine is gone: until then it
#: keeps the lock of a server, and its last transaction.
_SETTINGS = {
    "application_name": f"xmppchat, process {os.getpid()} on {socket.gethostname()}"[:63],
    "jit": "off",  # the queries are short
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "client_min_messages": "error",
}
# Strict, as what is taken for a host or database is shown, and must not be a piece of a password.
_URL = re.compile(
    r"postgres(ql)?://((?P<user>[^:@/?#]*)(:[^@/?#]*)?@)?(?P<hosts>((\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d+)?,?)*)"
    r"/(?P<database>[^:@/?#]+)(\?(?P<query>.*))?"
)
_EXAMPLE = (
    "it looks like postgresql://user:password@host:5432/database, or postgresql://user@/database?host=/run/postgresql; "
    "special characters in a password are written as %XX, or give it by password = {file = …}"
)


@dataclass(frozen=True)
class Address:
    """A database on a server; `name` is its URL for people, without a password."""

    url: str = field(repr=False)
    name: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """The database that ``postgresql://…`` names. Raises :class:`DatabaseError`, which does not repeat it."""
        found = _URL.fullmatch(url)
        if found is None:
            raise DatabaseError(f"the URL of the database cannot be read; {_EXAMPLE}")
        host = parse_qs(found["query"] or "").get("host", [found["hosts"]])[0]
        user = f"{unquote(found['user'])}@" if found["user"] else ""
        return cls(url, f"postgresql://{user}{host}/{unquote(found['database'])}")

    async def connect(self, **settings: str) -> asyncpg.Connection:
        """Open a connection with these settings. Raises what asyncpg does, and OSError."""
        return await asyncpg.connect(
            self.url, timeout=CONNECT_SECONDS, server_settings={**_SETTINGS, **settings},
            statement_cache_size=500, max_cached_statement_lifetime=0,
        )  # fmt: skip

    def refused(self, error: BaseException) -> DatabaseError:
        """The error of a first :meth:`connect`, with what to do."""
        steps = {
            "28P01": "check user and password in [storage]",
            "28000": "check the user in [storage], and pg_hba.conf of the server",
            "3D000": "make it: createdb --encoding UTF8 --template template0 NAME",
        }
        step = steps.get(sqlstate(error), "check that PostgreSQL runs there, and host and port in [storage]")
        return DatabaseError(f"{self.name} cannot be opened: {reason(error)}; {step}")


async def check_server(connection: asyncpg.Connection, name: str) -> list[str]:
    """Look at the server; returns what is dangerous there. Raises :class:`DatabaseError` for what cannot be."""
    version = connection.get_server_version()
    if version.major < MIN_VERSION:
        raise DatabaseError(f"{name} is PostgreSQL {version.major}; this version needs {MIN_VERSION} or newer: upgrade")
    row = await connection.fetchrow(
        "SELECT current_setting('server_encoding'), current_setting('fsync'), pg_is_in_recovery(), "
        "coalesce(has_schema_privilege(current_schema(), 'CREATE'), false), current_user"
    )
    assert row is not None
    encoding, fsync, is_standby, may_create, user = row
    if encoding != "UTF8":
        raise DatabaseError(
            f"{name} has the encoding {encoding}; make one with: createdb --encoding UTF8 --template template0 NAME"
        )
    if is_standby:
        raise DatabaseError(f"{name} is a standby, which cannot be written; name the primary in [storage]")
    if not may_create:
        raise DatabaseError(
            f"{name}: {user} may not make tables there; as PostgreSQL's admin: ALTER DATABASE … OWNER TO {user}"
        )
    if fsync != "on":
        return ["fsync is off there: a power cut loses what was acknowledged, or the whole database; turn it on"]
    return []
