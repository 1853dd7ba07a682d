"""xmppchat itself, through its own command line."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path

from sqlalchemy import Table, create_engine, insert

from bench.population import Population, verifier
from bench.servers.base import Server, ServerError, debian_version
from bench.servers.postgresql import Postgresql, is_installed
from xmppchat.storage import schema
from xmppchat.storage.database import Database

#: Flags of a row of the archive.
_SENT, _RECEIVED, _READABLE = 1, 2, 4


def _table(name: str) -> Table:
    try:
        return schema.metadata.tables[name]
    except KeyError:
        raise ServerError(f"xmppchat has no table {name}") from None


async def _close(url: str) -> None:
    await (await Database.open(url)).close()


def with_limits_profile(config: str, profile: str | None) -> str:
    """The configuration with `profile` in its `[limits]` section; None takes it out.

    The only place that knows how xmppchat's limits are switched off.
    """
    without = re.sub(r"(?m)^(\[limits\]\n(?:(?!\[).*\n)*?)profile *=.*\n", r"\1", config)
    if profile is None:
        return without
    line = f'profile = "{profile}"\n'
    if re.search(r"(?m)^\[limits\]\s*$", without):
        return re.sub(r"(?m)^\[limits\]\s*$\n?", f"[limits]\n{line}", without, count=1)
    return f"{without.rstrip()}\n\n[limits]\n{line}"


class XmppchatServer(Server):
    """xmppchat of this tree, on its standard ports.  `extra` is TOML added at the end.

    It always has an archive; accounts that `populate` makes want nothing archived, those that register archive all.
    """

    name = "xmppchat"
    title = "xmppchat"
    family = "xmppchat"
    limits_profile: str | None = "benchmark"

    @classmethod
    def version(cls) -> str:
        """Version of the package, and the commit where the tree is a git one."""
        try:
            version = importlib.metadata.version("xmppchat")
        except importlib.metadata.PackageNotFoundError:
            return ""
        try:
            commit = subprocess.run(
                ["git", "describe", "--always", "--dirty"],
                cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            return version
        return f"{version} ({commit})"

    @property
    def _program(self) -> str:
        return str(Path(sys.executable).with_name("xmppchat"))

    @property
    def _config_file(self) -> Path:
        return self.directory / "xmppchat.toml"

    def prepare(self) -> None:
        """Runs `xmppchat init` the first time, and sets the limits."""
        if (self.port, self.direct_tls_port) != (5222, 5223):
            raise ServerError("xmppchat runs on the standard ports; give it an address of its own")
        if not self._config_file.exists():
            self._init()
        text = with_limits_profile(self._config_file.read_text(), self.limits_profile)
        if self.extra and self.extra not in text:
            text = f"{text.rstrip()}\n\n{self.extra}\n"
        self._config_file.write_text(text)

    def _init(self) -> None:
        command = [
            self._program, "init", self.domain, "--dir", str(self.directory), "--listen", self.host,
            "--registration", "open", "--certificate", str(self.certificate.certificate),
            "--key", str(self.certificate.key),
        ]  # fmt: skip
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except OSError as error:
            raise ServerError(f"xmppchat is not installed: {error}") from None
        except subprocess.CalledProcessError as error:
            raise ServerError(f"xmppchat init failed:\n{error.stdout}{error.stderr}") from None

    @property
    def _sqlite_url(self) -> str:
        return f"sqlite:///{self.directory / 'data' / 'xmppchat.db'}"

    def populate(self, population: Population) -> None:
        """Makes the database as the first start would, and writes its rows."""
        url = self._sqlite_url
        asyncio.run(_close(url))  # migrated, empty
        mechanisms = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
        keys = {mechanism: verifier(name) for mechanism, name in mechanisms.items()}
        engine = create_engine(url)
        with engine.begin() as connection:
            for number, name in enumerate(population.names(), 1):
                connection.execute(insert(schema.accounts), {
                    "id": number, "localpart": name, "domain": self.domain, "created_at": 0, "skeleton": name,
                })
                connection.execute(insert(schema.credentials), [
                    {"account_id": number, "mechanism": mechanism, "salt": k.salt, "iterations": k.iterations,
                     "stored_key": k.stored_key, "server_key": k.server_key}
                    for mechanism, k in keys.items()
                ])  # fmt: skip
                if population.contacts:
                    connection.execute(insert(schema.roster_items), [
                        {"account_id": number, "contact": f"{contact}@{self.domain}", "name": "", "groups": "[]",
                         "subscription": "both", "ask": False, "approved": False, "request": "", "is_listed": True,
                         "version": 0}
                        for contact in population.contacts_of(number - 1)
                    ])  # fmt: skip
            for rows in self._archive_rows(population):
                connection.execute(insert(_table("archive")), rows)
            if not self.archives and "archive_preferences" in schema.metadata.tables:  # XEP-0441
                connection.execute(insert(_table("archive_preferences")), [
                    {"account_id": number + 1, "behaviour": "never", "always": "[]", "never": "[]"}
                    for number in range(population.accounts)
                ])  # fmt: skip
        engine.dispose()

    def _archive_rows(self, population: Population) -> Iterator[list[dict[str, object]]]:
        """In pieces, as the archive component writes them."""
        messages = population.archive()
        while part := list(islice(messages, 10_000)):
            yield [
                {"id": m.at << 22 | m.owner, "account_id": m.owner + 1,
                 "flags": (_RECEIVED if m.is_incoming else _SENT) | _READABLE, "peer": m.peer(self.domain),
                 "resource": "phone" if m.is_incoming else "", "message_id": m.id,
                 "stanza": m.xml(self.domain).replace('"', "'").encode()}
                for m in part
            ]  # fmt: skip

    def command(self) -> Sequence[str]:
        """xmppchat in the foreground."""
        return [self._program, "serve", "--config", str(self._config_file)]

    def config_text(self) -> str:
        """The file that `init` wrote, as changed here."""
        return self._config_file.read_text() if self._config_file.exists() else ""


class DefaultLimitsXmppchatServer(XmppchatServer):
    """The same with the limits it has by default."""

    name = "xmppchat-limits"
    title = "xmppchat, default limits"
    limits_profile = None


class ArchivingXmppchatServer(XmppchatServer):
    """The same; its accounts archive everything, which is the default."""

    name = "xmppchat-archive"
    title = "xmppchat, SQLite"
    archives = "sqlite"


class PostgresqlXmppchatServer(XmppchatServer):
    """The same with PostgreSQL, which runs on the same core and is measured with it."""

    name = "xmppchat-postgresql"
    title = "xmppchat, PostgreSQL"
    archives = "postgresql"

    @classmethod
    def version(cls) -> str:
        """Versions of both."""
        own, theirs = super().version(), debian_version("postgresql")
        return f"{own}, PostgreSQL {theirs}" if own and theirs and is_installed() else ""

    @cached_property
    def _postgresql(self) -> Postgresql:
        return Postgresql(self.directory / "postgresql", self.host, self.cores)

    def prepare(self) -> None:
        """Names the database in the configuration."""
        super().prepare()
        text = self._config_file.read_text()
        if "[storage]" not in text:
            text = f'{text.rstrip()}\n\n[storage]\nurl = "{self._postgresql.url}"\n'
        self._config_file.write_text(text)

    def populate(self, population: Population) -> None:
        """Copies a filled SQLite database with xmppchat's own command."""
        super().populate(population)
        command = [self._program, "db", "copy", "--from", self._sqlite_url, "--config", str(self._config_file)]
        self._postgresql.start()
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=900)
        finally:
            self._postgresql.stop()
        if done.returncode != 0:
            raise ServerError(f"xmppchat db copy failed:\n{done.stdout}{done.stderr}")

    @property
    def pids(self) -> tuple[int, ...]:
        """Both servers."""
        return (self.pid, self._postgresql.pid)

    def start(self, timeout: float = 60.0) -> None:
        """Starts both."""
        self._postgresql.start()
        try:
            super().start(timeout)
        except BaseException:
            self._postgresql.stop()
            raise

    def stop(self, timeout: float = 30.0) -> None:
        """Stops both."""
        super().stop(timeout)
        self._postgresql.stop(timeout)

    def config_text(self) -> str:
        """The file, and what is set in PostgreSQL."""
        return super().config_text() + self._postgresql.config_text()
