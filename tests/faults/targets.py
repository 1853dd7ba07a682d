"""The servers that can be put to the test, each run by its own command line with an archive that keeps everything."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from clients.prosody_live import ProsodyLive
from live_server import DIRECT_TLS_PORT, Certificates, LiveServer, ServerProcess

from .oracle.connection import Endpoint


def endpoint(server: ServerProcess) -> Endpoint:
    """Where the clients of a run connect."""
    return Endpoint(server.address, DIRECT_TLS_PORT, server.domain, str(server.certificates.ca))


class FaultyXmppchat(LiveServer):
    """xmppchat without rates: all clients share an address. With a `database` URL it is not SQLite."""

    def __init__(
        self,
        directory: Path,
        certificates: Certificates,
        *,
        database: str = "",
        limits: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, certificates, environment=environment)
        self._database = database
        self._limits = dict(limits or {})
        self._prefix = prefix

    def prepare(self) -> None:
        """The limits are those of the tests' profile (counts as in operation, no rates), but for the given ones."""
        super().prepare()
        text = self.config_file.read_text().rstrip() + '\n\n[limits]\nprofile = "test"\n'
        text += "".join(f"{name} = {value}\n" for name, value in self._limits.items())
        if self._database:
            text += f'\n[storage]\nurl = "{self._database}"\n'
        self.config_file.write_text(text)

    def add_accounts(self, names: Sequence[str], password: str) -> None:
        """Add accounts before or while it runs."""
        lines = (json.dumps({"account": f"{name}@{self.domain}", "password": password}) for name in names)
        self.run("user", "import", "-", "--config", str(self.config_file), given="\n".join(lines) + "\n")

    @property
    def database_name(self) -> str:
        """The database in PostgreSQL."""
        return urlsplit(self._database).path.lstrip("/")

    def _command(self) -> Sequence[str]:
        return [*self._prefix, *super()._command()]


class FaultyProsody(ProsodyLive):
    """Prosody: what it is found to do shows what this harness can see."""

    #: "internal" or "sql"
    storage = "internal"

    def prepare(self) -> None:
        """With mod_mam, and quick sockets."""
        super().prepare()
        text = self.config_file.read_text().replace('"carbons"', '"carbons"; "mam"')
        text = text.replace("VirtualHost", "max_archive_query_results = 250\nVirtualHost")
        text = text.replace("VirtualHost", "network_settings = { nagle = false }\nVirtualHost")
        if self.storage == "sql":
            sql = 'sql = { driver = "SQLite3"; database = "prosody.sqlite" }\nstorage = { archive = "sql" }'
            text = text.replace('storage = "internal"', sql)
        self.config_file.write_text(text)

    def add_accounts(self, names: Sequence[str], password: str) -> None:
        """Add accounts, one command each."""
        for name in names:
            self.add_user(name, password)


class FaultyProsodySql(FaultyProsody):
    """Prosody with its archive in SQLite."""

    storage = "sql"
