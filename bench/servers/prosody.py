"""Prosody, as Debian packages it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

from bench.population import Population, verifier
from bench.servers.base import Server, debian_version

_TEMPLATE = Path(__file__).with_name("prosody.cfg.lua")


class ProsodyServer(Server):
    """Prosody.  `extra` stands within the VirtualHost: `modules_enabled = { "mam" }` adds a module."""

    name = "prosody"
    title = "Prosody"
    family = "prosody"
    tuning = "-- as Debian configures it"

    @classmethod
    def version(cls) -> str:
        """Debian's version of the package."""
        return debian_version("prosody")

    @property
    def _config_file(self) -> Path:
        return self.directory / "prosody.cfg.lua"

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
        host = self.directory / "data" / "".join(c if c.isalnum() else f"%{ord(c):02x}" for c in self.domain)
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
        )


class TunedProsodyServer(ProsodyServer):
    """Prosody with two documented settings that make it faster.

    The default garbage collection saves memory at a high price in CPU; Lua 5.4 has another.  Without the
    Nagle algorithm, a small packet need not wait for the acknowledgement of the one before.
    """

    name = "prosody-tuned"
    title = "Prosody, tuned"
    tuning = 'gc = { mode = "generational" }\nnetwork_settings = { nagle = false }'
