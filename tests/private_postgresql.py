"""A private PostgreSQL: own folder, a Unix socket, gone at the end."""

from __future__ import annotations

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg

_BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))


def is_installed() -> bool:
    """Whether there is a PostgreSQL on this machine."""
    return bool(_BINARIES)


class Postgres:
    """A cluster in `directory`, whose path must be short: sockets have no long ones."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._bin = _BINARIES[-1].parent
        self._data = directory / "data"
        self._databases = 0

    def start(self) -> None:
        """Make it and start it."""
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(self._directory, user.pw_uid, user.pw_gid)
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        options = f"-c listen_addresses='' -c unix_socket_directories={self._directory} -c fsync=off"
        self._run("pg_ctl", "-D", self._data, "-l", self._directory / "log", "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop it."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def _run(self, program: str, *arguments: object) -> None:
        prefix = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
        done = subprocess.run(
            [*prefix, str(self._bin / program), *map(str, arguments)], cwd=self._directory, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (program, done.returncode)

    def url(self, database: str) -> str:
        """The URL of a database."""
        return f"postgresql://postgres@/{database}?host={self._directory}"

    async def new_database(self) -> str:
        """Make an empty database; its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        connection = await asyncpg.connect(host=str(self._directory), user="postgres", database="postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()
        return self.url(name)

    def make_database(self) -> str:
        """The same, outside of a loop."""
        return asyncio.run(self.new_database())


@contextmanager
def private_postgres() -> Iterator[Postgres]:
    """A running one."""
    directory = Path(tempfile.mkdtemp(prefix="pg"))
    server = Postgres(directory)
    try:
        server.start()
        yield server
        server.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
