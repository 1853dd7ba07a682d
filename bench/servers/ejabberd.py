"""ejabberd, as Debian packages it, without its start script: one Erlang system without distribution.

Nothing of the system's epmd, host name, cookie, user or service is needed that way.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import ClassVar

from bench.population import BODY, PEERS, PREFIX, Population, verifier
from bench.servers.base import Server, ServerError, debian_version

_SCHEMA = Path("/usr/share/ejabberd/sql/lite.sql")
_TEMPLATE = Path(__file__).with_name("ejabberd.yml")


class EjabberdServer(Server):
    """ejabberd.  `extra` ends the list of modules: `  mod_mam: {}` (with its two spaces) adds one."""

    name = "ejabberd"
    title = "ejabberd"
    family = "ejabberd"
    sql: ClassVar[str] = ""
    mam: ClassVar[str] = ""

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
        self._evaluate(
            f'{{ok, Rows}} = file:consult("{rows}"), lists:foreach(fun mnesia:dirty_write/1, Rows), mnesia:sync_log()'
        )
        rows.unlink()

    def _evaluate(self, work: str) -> None:
        """Starts ejabberd to do some `work` in Erlang, and stops it."""
        done = subprocess.run(
            [*self.command(), "-eval", f'{work}, io:format("ok~n"), init:stop()'],
            env={**os.environ, **self.environment()}, cwd=self.directory, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        if "ok" not in done.stdout.splitlines():
            raise ServerError(f"ejabberd did not write its rows:\n{done.stdout[-2_000:]}{done.stderr[-2_000:]}")

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
            sql=Template(self.sql).substitute(directory=self.directory),
            mam=self.mam,
        )
        return f"# {' '.join(self.command())}\n{text}"


class ArchivingEjabberdServer(EjabberdServer):
    """ejabberd with archives in Mnesia, its own database."""

    name = "ejabberd-archive"
    title = "ejabberd, Mnesia"
    archives = "mnesia"
    mam = "  mod_mam:\n    assume_mam_usage: true\n    default: always\n"

    def populate(self, population: Population) -> None:
        """Writes the rows of the archives, too: all of an owner at once, as one by one they would take hours."""
        super().populate(population)
        if population.archived:
            self._evaluate(self._fill(population))

    def _fill(self, population: Population) -> str:
        host, peers = self.domain, PEERS
        first = next(population.archive()).at
        return f"""
            Row = fun(Owner, Number) ->
                User = <<"{PREFIX}", (integer_to_binary(Owner))/binary>>,
                Peer = <<"peer", (integer_to_binary(Number rem {peers}))/binary>>,
                Id = <<"a", (integer_to_binary(Owner))/binary, "-", (integer_to_binary(Number))/binary>>,
                At = {first} + Number * 1000 + Owner rem 1000,
                Time = {{At div 1000000000, At div 1000 rem 1000000, At rem 1000 * 1000}},
                {{From, To, Resource}} = case Number div {peers} rem 2 of
                    0 -> {{<<Peer/binary, "@{host}/phone">>, <<User/binary, "@{host}">>, <<"phone">>}};
                    1 -> {{<<User/binary, "@{host}/bench">>, <<Peer/binary, "@{host}">>, <<>>}}
                end,
                Packet = {{xmlel, <<"message">>,
                    [{{<<"xmlns">>, <<"jabber:client">>}}, {{<<"from">>, From}}, {{<<"to">>, To}},
                     {{<<"type">>, <<"chat">>}}, {{<<"id">>, Id}}],
                    [{{xmlel, <<"body">>, [], [{{xmlcdata, <<"{BODY}">>}}]}},
                     {{xmlel, <<"origin-id">>, [{{<<"xmlns">>, <<"urn:xmpp:sid:0">>}}, {{<<"id">>, Id}}], []}}]}},
                {{archive_msg, {{User, <<"{host}">>}}, integer_to_binary(At * 1000), Time,
                    {{Peer, <<"{host}">>, Resource}}, {{Peer, <<"{host}">>, <<>>}}, Packet, <<>>, chat}}
            end,
            lists:foreach(fun(Owner) ->
                ok = dets:insert(archive_msg, [Row(Owner, Number) || Number <- lists:seq(0, {population.archived - 1})])
            end, lists:seq(0, {population.accounts - 1})),
            ok = dets:sync(archive_msg)"""


class SqliteEjabberdServer(EjabberdServer):
    """ejabberd with archives in SQLite, everything else as before."""

    name = "ejabberd-sqlite"
    title = "ejabberd, SQLite"
    archives = "sqlite"
    sql = 'sql_type: sqlite\nsql_database: "$directory/ejabberd.sqlite"\n'
    mam = "  mod_mam:\n    db_type: sql\n    assume_mam_usage: true\n    default: always\n"

    def populate(self, population: Population) -> None:
        """Makes the tables by ejabberd's own file, and fills that of the archives."""
        super().populate(population)
        host = self.domain
        connection = sqlite3.connect(self.directory / "ejabberd.sqlite")
        connection.executescript(_SCHEMA.read_text())
        with connection:
            connection.executemany(
                "INSERT INTO archive (username, timestamp, peer, bare_peer, xml, txt, kind, nick) "
                "VALUES (?, ?, ?, ?, ?, ?, 'chat', '')",
                (
                    (f"{PREFIX}{m.owner}", m.at * 1000, f"{m.peer(host)}/phone" if m.is_incoming else m.peer(host),
                     m.peer(host), m.xml(host), BODY)
                    for m in population.archive()
                ),
            )  # fmt: skip
        connection.close()
