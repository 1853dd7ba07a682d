"""xmppchat run as its user runs it: from outside, by its command line, on the standard ports of an own address.

Example::

    with LiveServer(tmp_path, make_certificates(tmp_path / "tls")) as server:
        server.add_user("romeo", "secret")
        connect(server.address, 5222, ca=server.certificates.ca)
        server.kill()
        server.start()
"""

from __future__ import annotations

import os
import random
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self, TypeVar

import trustme

from xmppchat.network import control

STARTTLS_PORT = 5222
DIRECT_TLS_PORT = 5223
COMPONENT_PORT = 5347
DOMAIN = "chat.test"

#: How long a server may take to open its ports, and to stop when asked to, s.
START_SECONDS = 30.0
STOP_SECONDS = 15.0

#: What no log may hold, whatever a client did: signs of an exception that nobody meant.
_FAULTS = re.compile(r"traceback|was never retrieved|was never awaited|ResourceWarning", re.IGNORECASE)

T = TypeVar("T")


def wait_for(condition: Callable[[], T], seconds: float, what: str | Callable[[], str]) -> T:
    """The first true value of `condition`, asked again and again; AssertionError telling `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {seconds:g} s: {text}")
        time.sleep(0.02)


@dataclass(frozen=True, slots=True)
class Certificates:
    """A server's certificate, the authority that signed it, and one that clients must not take for it."""

    ca: Path
    chain: Path
    key: Path
    foreign_ca: Path
    foreign_chain: Path
    foreign_key: Path


@dataclass(frozen=True, slots=True)
class User:
    """An account: its bare JID and password."""

    jid: str
    password: str


#: Makes an account whose localpart begins with the given name.
NewUser = Callable[[str], User]


def make_certificates(directory: Path, domain: str = DOMAIN) -> Certificates:
    """Writes new certificates for `domain` below `directory`; the foreign ones are for the same name."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for name in ("", "foreign-"):
        authority = trustme.CA()
        leaf = authority.issue_cert(domain)
        ca, chain, key = (directory / f"{name}{file}.pem" for file in ("ca", "chain", "key"))
        authority.cert_pem.write_to_path(str(ca))
        leaf.private_key_pem.write_to_path(str(key))
        key.chmod(0o600)
        chain.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        paths += [ca, chain, key]
    return Certificates(*paths)


class LoopbackAddress:
    """An address in 127.0.0.0/8 that is ours until released: several runs may share a machine.

    A listening socket on a port that nobody else wants marks it as taken.
    """

    _MARK = 5221

    def __init__(self) -> None:
        while True:
            self.text = ".".join(["127", *(str(random.randint(16, 250)) for _ in range(3))])
            self._mark = socket.socket()
            try:
                self._mark.bind((self.text, self._MARK))
                self._mark.listen()
                for port in (STARTTLS_PORT, DIRECT_TLS_PORT, COMPONENT_PORT):
                    with socket.socket() as probe:
                        probe.bind((self.text, port))
            except OSError:
                self._mark.close()
                continue
            return

    def release(self) -> None:
        """Gives the address back."""
        self._mark.close()


class ServerProcess(ABC):
    """A server as a process; its files in `directory` stay between starts, so that it can be killed and started again.

    `environment` is added to the server's own. What it prints is appended to `stdout_file` and `stderr_file`.
    """

    #: SASL mechanisms that need no channel binding, the strongest first.
    mechanisms: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        directory: Path,
        certificates: Certificates,
        *,
        domain: str = DOMAIN,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = directory.resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.certificates = certificates
        self.domain = domain
        self.environment = dict(environment or {})
        self.stdout_file = self.directory / "stdout.log"
        self.stderr_file = self.directory / "stderr.log"
        self._address = LoopbackAddress()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._process is not None:
                self.stop()
        finally:
            self._end_by_force()
            self._address.release()

    @abstractmethod
    def prepare(self) -> None:
        """Writes the configuration; called before the first start, or earlier by a test that edits it."""

    @abstractmethod
    def add_user(self, user: str, password: str) -> User:
        """Adds an account while the server runs; returns it."""

    @property
    @abstractmethod
    def config_file(self) -> Path:
        """The configuration."""

    @abstractmethod
    def _command(self) -> Sequence[str]:
        """The command that serves in the foreground."""

    @abstractmethod
    def _is_ready(self, printed: str) -> bool:
        """Whether the ports are open, judged by what this start `printed` on stdout if the server tells."""

    @property
    def address(self) -> str:
        """The loopback address the server listens on, standard ports."""
        return self._address.text

    @property
    def pid(self) -> int:
        """The running process."""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Starts the server and returns once its ports are open."""
        assert self._process is None, "the server runs already"
        if not self.config_file.exists():
            self.prepare()
        before = len(self._read(self.stdout_file))
        with self.stdout_file.open("ab") as stdout, self.stderr_file.open("ab") as stderr:
            self._process = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.directory,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )
        try:
            wait_for(
                lambda: self._has_ended() or self._is_ready(self._read(self.stdout_file)[before:]),
                START_SECONDS,
                lambda: f"ready to serve\n{self.log()}",
            )
            assert not self._has_ended(), f"the server ended by itself\n{self.log()}"
        except BaseException:
            self._end_by_force()
            raise

    def kill(self) -> None:
        """Ends the server as a crash does (SIGKILL): it cannot say or write anything more."""
        assert not self._has_ended(), f"the server ended before it was killed\n{self.log()}"
        self._end_by_force()

    def stop(self) -> None:
        """Asks the server to stop (SIGTERM): it must do so in time, with status 0 and a clean log."""
        process = self._process
        assert process is not None, "the server does not run"
        assert not self._has_ended(), f"the server ended before it was stopped\n{self.log()}"
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"did not stop within {STOP_SECONDS:g} s\n{self.log()}") from None
        finally:
            self._end_by_force()
        assert status == 0, f"stopped with status {status}\n{self.log()}"
        self.check_log()

    def restart(self) -> None:
        """Stops the server as an admin does, and starts it again."""
        self.stop()
        self.start()

    def check_log(self) -> None:
        """The log gate: whatever a client sends, no exception that nobody meant may stand in the log."""
        log = self.log()
        fault = _FAULTS.search(log)
        assert fault is None, f"the server's log holds {fault and fault.group()!r}:\n{log}"

    def log(self) -> str:
        """All that the server printed so far."""
        return f"{self._read(self.stdout_file)}{self._read(self.stderr_file)}"

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _end_by_force(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        try:  # helpers that outlived their parent, or all of it
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    @staticmethod
    def _read(path: Path) -> str:
        return path.read_text(errors="replace") if path.exists() else ""


class LiveServer(ServerProcess):
    """xmppchat of this tree. `init` holds more arguments of `xmppchat init`."""

    program = Path(sys.executable).with_name("xmppchat")
    mechanisms = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN")

    def __init__(
        self,
        directory: Path,
        certificates: Certificates,
        *,
        domain: str = DOMAIN,
        environment: Mapping[str, str] | None = None,
        init: Sequence[str] = (),
    ) -> None:
        super().__init__(directory, certificates, domain=domain, environment=environment)
        self._init_arguments = init

    @property
    def config_file(self) -> Path:
        """What `xmppchat init` wrote."""
        return self.directory / "xmppchat.toml"

    def prepare(self) -> None:
        """Runs `xmppchat init`."""
        self.run("init", self.domain, "--dir", str(self.directory), "--listen", self.address,
                 "--certificate", str(self.certificates.chain), "--key", str(self.certificates.key),
                 *self._init_arguments)  # fmt: skip

    def add_user(self, user: str, password: str) -> User:
        """Adds an account as `xmppchat user add` does, which needs a process only where no server runs; returns it."""
        jid = f"{user}@{self.domain}"
        try:
            control.call(self.directory / "data" / "control.sock", "user add", {"jid": jid, "password": password})
        except control.ServerNotRunning:
            self.run("user", "add", jid, "--password-stdin", "--config", str(self.config_file), given=f"{password}\n")
        return User(jid, password)

    def add_component(self, domain: str) -> str:
        """Names an external component in the configuration, for the next start or reload; returns its secret.

        It connects to the server's own address, port :data:`COMPONENT_PORT`.
        """
        if not self.config_file.exists():
            self.prepare()
        secret = self.directory / f"{domain}.secret"
        secret.write_text(f"{secrets.token_hex(24)}\n")
        config = self.config_file.read_text()
        if "component_addresses" not in config:
            assert "[listen]\n" in config
            config = config.replace("[listen]\n", f'[listen]\ncomponent_addresses = ["{self.address}"]\n')
        table = f'[external_components."{domain}"]\nsecret = {{file = "{secret.name}"}}\n'
        self.config_file.write_text(f"{config}\n{table}")
        return secret.read_text().strip()

    def run(self, *arguments: str, given: str = "") -> str:
        """Runs an `xmppchat` command with `given` on its standard input; returns what it printed."""
        done = subprocess.run(
            [self.program, *arguments], input=given, capture_output=True, text=True, timeout=60, cwd=self.directory
        )
        assert done.returncode == 0, f"xmppchat {' '.join(arguments)}: {done.returncode}\n{done.stdout}{done.stderr}"
        assert not _FAULTS.search(done.stderr), done.stderr
        return done.stdout

    def _command(self) -> Sequence[str]:
        return [str(self.program), "serve", "--config", str(self.config_file)]

    def _is_ready(self, printed: str) -> bool:
        return "ready" in printed
