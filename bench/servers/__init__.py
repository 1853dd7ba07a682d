"""XMPP servers run privately: own folder, own loopback address, no service of the system touched.

Example::

    with ProsodyServer(tmp_path, free_host(), domain="example.org") as server:
        connect(server.host, server.port)
"""

from bench.servers.base import Certificate, Server, ServerError, free_host, make_certificate
from bench.servers.ejabberd import ArchivingEjabberdServer, EjabberdServer, SqliteEjabberdServer
from bench.servers.prosody import ArchivingProsodyServer, ProsodyServer, SqliteProsodyServer, TunedProsodyServer
from bench.servers.xmppchat import (
    ArchivingXmppchatServer,
    DefaultLimitsXmppchatServer,
    PostgresqlXmppchatServer,
    XmppchatServer,
)

__all__ = [
    "ArchivingEjabberdServer",
    "ArchivingProsodyServer",
    "ArchivingXmppchatServer",
    "Certificate",
    "DefaultLimitsXmppchatServer",
    "EjabberdServer",
    "PostgresqlXmppchatServer",
    "ProsodyServer",
    "Server",
    "ServerError",
    "SqliteEjabberdServer",
    "SqliteProsodyServer",
    "TunedProsodyServer",
    "XmppchatServer",
    "free_host",
    "make_certificate",
]
