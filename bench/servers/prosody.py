"""Prosody, as Debian packages it."""

from __future__ import annotations

import datetime
import hashlib
import sqlite3
import uuid
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from string import Template
from typing import ClassVar

from bench.population import BODY, PREFIX, ArchivedMessage, Population, verifier
from bench.servers.base import Server, debian_version

_TEMPLATE = Path(__file__).with_name("prosody.cfg.lua")
#: Everything is kept, a million messages an account (else 10,000).
_ARCHIVE = """\
default_archive_policy = true
archive_expires_after = "never"
storage_archive_item_limit = 1000000"""


class ProsodyServer(Server):
    """Prosody.  `extra` stands within the VirtualHost: `modules_enabled = { "mam" }` adds a module."""

    name = "prosody"
    title = "Prosody"
    family = "prosody"
    tuning: ClassVar[str] = "-- as Debian configures it"
    storage: ClassVar[str] = 'storage = "internal"'
    module: ClassVar[str] = ""

    @classmethod
    def version(cls) -> str:
        """Debian's version of the package."""
        return debian_version("prosody")

    @property
    def _config_file(self) -> Path:
        return self.directory / "prosody.cfg.lua"

    @property
    def _host_data(self) -> Path:
        return self.directory / "data" / "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in self.domain)

    def prepare(self) -> None:
        """Writes the configuration and the data folder."""
        (self.directory / "data").mkdir(exist_ok=True)
        self._config_file.write_text(self.config_text())

    def populate(self, population: Population) -> None:
        """Writes the files of Prosody's internal storage."""
        keys = verifier()
        account = (
            f'return {{ ["iteration_count"] = {keys.iterations}; ["salt"] = "{keys.salt.decode()}"; '
            f'["stored_key"] = "{keys.stored_key.hex()}"; ["server_key"] = "{keys.server_key.hex()}"; }};\n'
        )
        host = self._host_data
        for folder in ("accounts", "roster"):
            (host / folder).mkdir(parents=True, exist_ok=True)
        for number, name in enumerate(population.names()):
            (host / "accounts" / f"{name}.dat").write_text(account)
            if population.contacts:
                (host / "roster" / f"{name}.dat").write_text(self._roster(population.contacts_of(number)))

    def _roster(self, contacts: Iterable[str]) -> str:
        items = "".join(
            f'["{name}@{self.domain}"] = {{ ["subscription"] = "both"; ["groups"] = {{ }}; }}; ' for name in contacts
        )
        return f'return {{ [false] = {{ ["version"] = 1; ["pending"] = {{ }}; }}; {items}}};\n'

    def command(self) -> Sequence[str]:
        """Prosody in the foreground."""
        return ["prosody", "-F", "--config", str(self._config_file)]

    def config_text(self) -> str:
        """The template beside this file, filled in."""
        return Template(_TEMPLATE.read_text()).substitute(
            directory=self.directory,
            host=self.host,
            port=self.port,
            direct_tls_port=self.direct_tls_port,
            s2s_port=self.s2s_port,
            domain=self.domain,
            certificate=self.certificate.certificate,
            key=self.certificate.key,
            extra=self.extra,
            tuning=self.tuning,
            storage=self.storage,
            module=self.module,
        )


class TunedProsodyServer(ProsodyServer):
    """Prosody with two documented settings that make it faster.

    The default garbage collection saves memory at a high price in CPU; Lua 5.4 has another.  Without the
    Nagle algorithm, a small packet need not wait for the acknowledgement of the one before.
    """

    name = "prosody-tuned"
    title = "Prosody, tuned"
    tuning = 'gc = { mode = "generational" }\nnetwork_settings = { nagle = false }'


def _random_key(message: ArchivedMessage) -> str:
    """As long and as scattered as the ones that Prosody gives."""
    return str(uuid.UUID(hashlib.md5(message.id.encode()).hexdigest()))


class ArchivingProsodyServer(ProsodyServer):
    """Prosody with archives in its internal storage: a file for each account, which is not synced to the disk."""

    name = "prosody-archive"
    title = "Prosody, internal storage"
    archives = "internal"
    storage = f'storage = "internal"\n{_ARCHIVE}'
    module = ' "mam";'

    def populate(self, population: Population) -> None:
        """Writes the archives, too."""
        super().populate(population)
        folder = self._host_data / "archive"
        folder.mkdir(exist_ok=True)
        for owner, messages in groupby(population.archive(by_owner=True), lambda message: message.owner):
            (folder / f"{PREFIX}{owner}.list").write_text("".join(map(self._item, messages)))

    def _item(self, message: ArchivedMessage) -> str:
        sender, to = message.addresses(self.domain)
        stamp = datetime.datetime.fromtimestamp(message.at // 1000, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return (
            f'item({{ {{ "{BODY}"; ["attr"] = {{}}; ["name"] = "body"; }}; '
            f'{{ ["attr"] = {{ ["xmlns"] = "urn:xmpp:sid:0"; ["id"] = "{message.id}"; }}; ["name"] = "origin-id"; }}; '
            f'["attr"] = {{ ["id"] = "{message.id}"; ["type"] = "chat"; ["stamp"] = "{stamp}"; ["to"] = "{to}"; '
            f'["from"] = "{sender}"; }}; ["with"] = "{message.peer(self.domain)}"; ["when"] = {message.at // 1000}; '
            f'["key"] = "{_random_key(message)[:24]}"; ["name"] = "message"; }});\n'
        )


#: As mod_storage_sql makes it when first used; what is there already, it leaves alone.
_SCHEMA = """
CREATE TABLE "prosodyarchive" ("sort_id" INTEGER PRIMARY KEY AUTOINCREMENT, "host" TEXT NOT NULL,
    "user" TEXT NOT NULL, "store" TEXT NOT NULL, "key" TEXT NOT NULL, "when" INTEGER NOT NULL,
    "with" TEXT NOT NULL, "type" TEXT NOT NULL, "value" TEXT NOT NULL);
CREATE UNIQUE INDEX "prosodyarchive_index" ON "prosodyarchive" ("host", "user", "store", "key");
CREATE INDEX "prosodyarchive_with_when" ON "prosodyarchive" ("host", "user", "store", "with", "when");
CREATE INDEX "prosodyarchive_when" ON "prosodyarchive" ("host", "user", "store", "when");
CREATE INDEX "prosodyarchive_sort" ON "prosodyarchive" ("host", "user", "store", "sort_id");
"""


class SqliteProsodyServer(ProsodyServer):
    """Prosody with archives in SQLite, everything else as before."""

    name = "prosody-sqlite"
    title = "Prosody, SQLite"
    archives = "sqlite"
    storage = f"""\
storage = {{ archive = "sql" }}
default_storage = "internal"
sql = {{ driver = "SQLite3"; database = "prosody.sqlite" }}
{_ARCHIVE}"""
    module = ' "mam";'

    def populate(self, population: Population) -> None:
        """Makes the table of the archives as Prosody would, and fills it."""
        super().populate(population)
        connection = sqlite3.connect(self.directory / "data" / "prosody.sqlite")
        connection.executescript(_SCHEMA)
        with connection:
            connection.executemany(
                'INSERT INTO prosodyarchive (host, user, store, "when", "with", key, type, value) '
                "VALUES (?, ?, 'archive', ?, ?, ?, 'xml', ?)",
                (
                    (self.domain, f"{PREFIX}{m.owner}", m.at // 1000, m.peer(self.domain), _random_key(m),
                     m.xml(self.domain))
                    for m in population.archive()
                ),
            )  # fmt: skip
        connection.close()
