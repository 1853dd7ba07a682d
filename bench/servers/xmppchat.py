"""xmppchat itself, through its own command line."""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import create_engine, insert

from bench.population import Population, verifier
from bench.servers.base import Server, ServerError
from xmppchat.storage import schema
from xmppchat.storage.database import Database


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
    """xmppchat of this tree, on its standard ports.  `extra` is TOML added at the end."""

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

    def populate(self, population: Population) -> None:
        """Makes the database as the first start would, and writes its rows."""
        url = f"sqlite:///{self.directory / 'data' / 'xmppchat.db'}"
        asyncio.run(_close(url))  # migrated, empty
        mechanisms = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
        keys = {mechanism: verifier(name) for mechanism, name in mechanisms.items()}
        engine = create_engine(url)
        with engine.begin() as connection:
            for number, name in enumerate(population.names(), 1):
                connection.execute(
                    insert(schema.accounts),
                    {
                        "id": number,
                        "localpart": name,
                        "domain": self.domain,
                        "created_at": 0,
                        "skeleton": name,
                    },
                )
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
        engine.dispose()

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
