"""ejabberd, as Debian packages it, without its start script: one Erlang system without distribution.

Nothing of the system's epmd, host name, cookie, user or service is needed that way.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

from bench.population import Population, verifier
from bench.servers.base import Server, ServerError, debian_version

_TEMPLATE = Path(__file__).with_name("ejabberd.yml")


class EjabberdServer(Server):
    """ejabberd.  `extra` ends the list of modules: `  mod_mam: {}` (with its two spaces) adds one."""

    name = "ejabberd"
    title = "ejabberd"
    family = "ejabberd"

    @classmethod
    def version(cls) -> str:
        """Debian's version of the package."""
        return debian_version("ejabberd")

    @property
    def _config_file(self) -> Path:
        return self.directory / "ejabberd.yml"

    def prepare(self) -> None:
        """Writes the configuration and the folder of the database."""
        (self.directory / "mnesia").mkdir(exist_ok=True)
        self._config_file.write_text(self.config_text())

    def populate(self, population: Population) -> None:
        """Has ejabberd write the rows of its own tables: to import accounts takes it 5 ms each."""
        keys = verifier()
        scram = ", ".join(f'<<"{keys.base64(field)}">>' for field in ("stored_key", "server_key", "salt"))
        rows = self.directory / "rows"
        with rows.open("w") as out:
            for number, name in enumerate(population.names()):
                us = f'{{<<"{name}">>, <<"{self.domain}">>}}'
                out.write(f"{{passwd, {us}, {{scram, {scram}, sha, {keys.iterations}}}}}.\n")
                for contact in population.contacts_of(number):
                    jid = f'{{<<"{contact}">>, <<"{self.domain}">>, <<>>}}'
                    key = f'{{<<"{name}">>, <<"{self.domain}">>, {jid}}}'
                    out.write(f"{{roster, {key}, {us}, {jid}, <<>>, both, none, [], <<>>, []}}.\n")
        work = (
            f'{{ok, Rows}} = file:consult("{rows}"), lists:foreach(fun mnesia:dirty_write/1, Rows), '
            'mnesia:sync_log(), io:format("ok~n"), init:stop()'
        )
        done = subprocess.run(
            [*self.command(), "-eval", work], env={**os.environ, **self.environment()}, cwd=self.directory,
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        if "ok" not in done.stdout.splitlines():
            raise ServerError(f"ejabberd did not write its rows:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}")
        rows.unlink()

    def command(self) -> Sequence[str]:
        """The options of Debian's script, and as many schedulers as there are cores."""
        schedulers: list[str] = []
        if self.cores:
            n = len(self.cores)
            schedulers = ["+S", f"{n}:{n}", "+SDcpu", f"{n}:{n}"]
        # Waiting in a loop for work saves some latency, but would count as work done here.
        idle = ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]
        return [
            "erl", "-noinput", "+K", "true", "+P", "250000", *schedulers, *idle,
            "-mnesia", "dir", f'"{self.directory / "mnesia"}"', "-s", "ejabberd",
        ]  # fmt: skip

    def environment(self) -> Mapping[str, str]:
        """Where ejabberd finds its libraries and its files."""
        found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin"))
        if not found:
            raise ServerError("ejabberd is not installed")
        return {
            "ERL_LIBS": str(found[0].parent.parent),
            "ERL_MAX_PORTS": "65536",
            "ERL_CRASH_DUMP_BYTES": "0",
            "ERL_MAX_ETS_TABLES": "1400",
            "EJABBERD_CONFIG_PATH": str(self._config_file),
            "EJABBERD_LOG_PATH": str(self.directory / "ejabberd.log"),
            "HOME": str(self.directory),
        }

    def config_text(self) -> str:
        """The template beside this file, filled in, and the command as a comment."""
        text = Template(_TEMPLATE.read_text()).substitute(
            host=self.host,
            port=self.port,
            direct_tls_port=self.direct_tls_port,
            s2s_port=self.s2s_port,
            domain=self.domain,
            both=self.certificate.both,
            extra=self.extra,
        )
        return f"# {' '.join(self.command())}\n{text}"
