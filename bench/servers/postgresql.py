"""A private PostgreSQL for a server: own folder, the server's own loopback address, nothing of the system's cluster."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from bench.servers.base import ServerError, is_free

PORT = 5432
_DATABASE = "bench"
#: Everything else as Debian has it: what is committed is on the disk.
_SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB"}


class Postgresql:
    """A cluster below `directory`, reached at `host`; trusts whoever connects."""

    def __init__(self, directory: Path, host: str, cores: frozenset[int] | None) -> None:
        self.directory = directory
        self.host = host
        self.cores = cores
        self._data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its only database, as xmppchat's configuration names it."""
        return f"postgresql://postgres@{self.host}:{PORT}/{_DATABASE}"

    @property
    def pid(self) -> int:
        """The process whose descendants do the work."""
        if self._process is None:
            raise ServerError("PostgreSQL does not run")
        return self._process.pid

    def start(self, timeout: float = 30.0) -> None:
        """Starts it, after it was made where there is none; returns when it answers."""
        is_new = not self._data.exists()
        if is_new:
            self.directory.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0:  # PostgreSQL refuses to run as root
                shutil.chown(self.directory, "postgres", "postgres")
            self._run("initdb", "-D", str(self._data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N")
        if not is_free(self.host, PORT):
            raise ServerError(f"another server listens on {self.host}:{PORT}")
        own_cores = os.sched_getaffinity(0)
        with (self.directory / "postgresql.log").open("ab") as log:
            try:
                if self.cores:
                    os.sched_setaffinity(0, self.cores)
                self._process = subprocess.Popen(
                    [*_as_postgres("--pdeathsig", "INT"), _program("postgres"), "-D", str(self._data),
                     *(f"-c{name}={value}" for name, value in self._options().items())],
                    cwd=self.directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                )  # fmt: skip
            finally:
                os.sched_setaffinity(0, own_cores)
        try:
            self._wait_until_ready(self._process, timeout)
            if is_new:
                self._run("createdb", "-h", self.host, "-p", str(PORT), "-U", "postgres", _DATABASE)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 30.0) -> None:
        """Stops it in order; connections are cut."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait()

    def _options(self) -> dict[str, str]:
        return {"listen_addresses": self.host, "port": str(PORT), "unix_socket_directories": "", **_SETTINGS}

    def config_text(self) -> str:
        """What is set that is not PostgreSQL's default."""
        return "".join(f"# PostgreSQL: {name} = {value}\n" for name, value in _SETTINGS.items())

    def _wait_until_ready(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        until = time.monotonic() + timeout
        while _call("pg_isready", "-q", "-h", self.host, "-p", str(PORT)).returncode != 0:
            if process.poll() is not None or time.monotonic() > until:
                log = (self.directory / "postgresql.log").read_text(errors="replace")
                raise ServerError(f"PostgreSQL did not start:\n{log[-2000:]}")
            time.sleep(0.05)

    def _run(self, program: str, *arguments: str) -> None:
        done = _call(program, *arguments, cwd=self.directory)
        if done.returncode != 0:
            raise ServerError(f"{program} failed:\n{done.stderr}")


def is_installed() -> bool:
    """Whether there is a PostgreSQL on this machine, and somebody who may run it."""
    try:
        _program("postgres")
        return os.geteuid() != 0 or bool(pwd.getpwnam("postgres"))
    except (ServerError, KeyError):
        return False


def _program(name: str) -> str:
    """A program of the newest version; Debian has one folder for each."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: float(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which(name)
    if program is None:
        raise ServerError("PostgreSQL is not installed")
    return program


def _as_postgres(*options: str) -> Sequence[str]:
    user = ["--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    return ["setpriv", *user, *options, "--"] if user or options else []


def _call(program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [*_as_postgres(), _program(program), *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60)
