"""A private PostgreSQL: own folder, own port, gone at the end; a database for each test."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

#: How long it may take to start, s.
_START_SECONDS = 30.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "on",  # what is acknowledged is on disk, here as in earnest
    "max_connections": "100",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "log_statement": "none",
}

#: What a test may have left behind, but for the tables of the schema, which are emptied.
_EMPTY = """
DO $$ DECLARE one text; BEGIN
    PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend';
    FOR one IN SELECT oid::regprocedure FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
        EXECUTE 'DROP FUNCTION ' || one || ' CASCADE';
    END LOOP;
    FOR one IN SELECT quote_ident(tablename) FROM pg_tables
        WHERE schemaname = 'public' AND tablename NOT IN ({kept}) LOOP
        EXECUTE 'DROP TABLE ' || one || ' CASCADE';
    END LOOP;
    FOREACH one IN ARRAY ARRAY[{emptied}] LOOP EXECUTE 'DELETE FROM ' || one; END LOOP;
    EXECUTE format('ALTER DATABASE %I RESET ALL', current_database());
END $$
"""


def _programs() -> Path | None:
    """Where the newest version keeps its programs; Debian has one folder for each."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    if found:
        return found[-1]
    postgres = shutil.which("postgres")
    return Path(postgres).parent if postgres else None


def is_installed() -> bool:
    """Whether there is a PostgreSQL on this machine."""
    return _programs() is not None


def require() -> None:
    """Skip the test where there is none; in CI that is a failure."""
    if not is_installed():
        missing = "there is no PostgreSQL here (Debian: apt-get install postgresql)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


class Postgresql:
    """A cluster below `directory`, whose path must be short: that of a socket is limited."""

    def __init__(self, directory: Path) -> None:
        programs = _programs()
        assert programs is not None
        self.directory = directory
        self.port = _free_port()
        self._programs = programs
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> None:
        """Make it, start it, wait until it answers."""
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self.directory, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N")
        access = self._data / "pg_hba.conf"
        # Who has a password must give it, by TCP; the others are let in.
        access.write_text(f"host all keyed 127.0.0.1/32 scram-sha-256\n{access.read_text()}")
        self.resume()
        self.sql("postgres", "CREATE ROLE keyed LOGIN PASSWORD 'right'")

    def resume(self) -> None:
        """Start it again."""
        options = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        with (self.directory / "log").open("ab") as log:
            # It ends with us, also when we are killed.
            self._process = subprocess.Popen(
                [*_as_postgres("--pdeathsig", "QUIT"), self._programs / "postgres", "-D", self._data, "-p",
                 str(self.port), f"-cunix_socket_directories={self.directory}", *options],
                cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.directory / "log").read_text())
            time.sleep(0.02)  # a process that starts tells nobody when it listens

    def stop(self) -> None:
        """Stop it as a crash would: nobody is told, nothing is written."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(3)  # QUIT: "immediate shutdown"
            self._process.wait(20)

    def url(self, database: str, *, port: int | None = None) -> str:
        """The URL of a database; with `port` by TCP, else by the socket."""
        if port is not None:
            return f"postgresql://postgres@127.0.0.1:{port}/{database}"
        return f"postgresql://postgres@/{database}?host={self.directory}&port={self.port}"

    def new_database(self, template: str = "template0", name: str = "") -> str:
        """Make a database that is like `template`; its name."""
        self._databases += 1
        name = name or f"test{self._databases}"
        self.sql("postgres", f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def empty(self, database: str, tables: Sequence[str]) -> None:
        """Make it as new, where a schema has these `tables`: ten times as fast as another one."""
        emptied = ", ".join(f"'{table}'" for table in tables)
        self.sql(database, _EMPTY.format(kept=f"{emptied}, 'alembic_version', 'writer_marks'", emptied=emptied))

    def drop(self, database: str) -> None:
        """Throw a database away, whoever uses it."""
        self.sql("postgres", f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")

    def sql(self, database: str, statement: str) -> str:
        """Run a statement; its rows, one a line, columns apart by "|"."""
        done = subprocess.run(
            [self._programs / "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", str(self.directory), "-p", str(self.port),
             "-U", "postgres", "-d", database, "-c", statement],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def psql(self, database: str) -> list[str]:
        """The command of a session that reads statements."""
        where = ["-h", str(self.directory), "-p", str(self.port), "-U", "postgres", "-d", database]
        return [str(self._programs / "psql"), "-XAtq", *where]

    def _answers(self) -> bool:
        return self._call("pg_isready", "-q", "-h", self.directory, "-p", self.port, "-d", "postgres") == 0

    def _run(self, program: str, *arguments: object) -> None:
        status = self._call(program, *arguments)
        assert status == 0, (program, status)

    def _call(self, program: str, *arguments: object) -> int:
        return subprocess.run(
            [*_as_postgres(), self._programs / program, *map(str, arguments)], cwd=self.directory,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        ).returncode  # fmt: skip


def _as_postgres(*options: str) -> list[str]:
    user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, *options] if user or options else []


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def private_postgresql() -> Iterator[Postgresql]:
    """A running one."""
    directory = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgresql(directory)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)
