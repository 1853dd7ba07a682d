"""What all servers share: the place they run in, and how they start and stop."""

from __future__ import annotations

import datetime
import os
import random
import shutil
import signal
import socket
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from bench.population import Population


class ServerError(Exception):
    """A server did not start, or ended by itself; the text holds the end of its log."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Paths of a certificate, its key, and both in one file."""

    certificate: Path
    key: Path
    both: Path


def make_certificate(directory: Path, *domains: str) -> Certificate:
    """Writes a self-signed ECDSA P-256 certificate for `domains`, or returns the one that is there."""
    made = Certificate(directory / "certificate.pem", directory / "key.pem", directory / "both.pem")
    if made.both.exists():
        return made
    directory.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domains[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain) for domain in domains]), critical=False)
        .sign(key, hashes.SHA256())
    )
    certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for path, content in (
        (made.certificate, certificate_pem),
        (made.key, key_pem),
        (made.both, certificate_pem + key_pem),
    ):
        path.touch(mode=0o600)
        path.write_bytes(content)
    return made


def is_free(host: str, port: int) -> bool:
    """Whether a server can listen there."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def free_host(port: int = 5222) -> str:
    """A loopback address on which nobody listens at `port`, so that servers can share the standard ports."""
    while True:
        host = f"127.{random.randint(16, 250)}.{random.randint(0, 250)}.{random.randint(2, 250)}"
        if is_free(host, port):
            return host


class Server(ABC):
    """One server: constructed with the place to run in, then started and stopped, also more than once.

    Files in `directory` (accounts, rosters) stay between starts.  Registration by XEP-0077 is open, limits
    are off, nothing is archived unless the class says so.  `extra` is added to the configuration in the server's
    own language.
    `cores` pins the server's threads to these processors.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    family: ClassVar[str]
    """Servers of one family are one program; their configurations are told apart in the report."""
    archives: ClassVar[str] = ""
    """Name of the storage it keeps every message in; "" where it has no archive.  Servers of one family and archive
    can use the same folder and accounts, one after the other."""

    def __init__(
        self,
        directory: Path,
        host: str,
        port: int = 5222,
        *,
        domain: str = "bench.test",
        direct_tls_port: int = 5223,
        s2s_port: int = 5269,
        certificate: Certificate | None = None,
        cores: frozenset[int] | None = None,
        extra: str = "",
    ) -> None:
        self.directory = directory.resolve()
        self.host = host
        self.port = port
        self.direct_tls_port = direct_tls_port
        self.s2s_port = s2s_port
        self.domain = domain
        self.certificate = certificate or make_certificate(self.directory / "tls", domain)
        self.cores = cores
        self.extra = extra
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @classmethod
    @abstractmethod
    def version(cls) -> str:
        """The version of the software, or "" where it is not installed."""

    @abstractmethod
    def prepare(self) -> None:
        """Writes configuration and folders; called before each start."""

    @abstractmethod
    def populate(self, population: Population) -> None:
        """Puts accounts, rosters and archives into the database of a server that was prepared and never started."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command that runs the server in the foreground."""

    @abstractmethod
    def config_text(self) -> str:
        """The configuration as prepared."""

    def environment(self) -> Mapping[str, str]:
        """Environment variables added for the server."""
        return {}

    @property
    def pids(self) -> tuple[int, ...]:
        """All processes to measure, without their descendants; more than one where there is a database server."""
        return (self.pid,)

    @property
    def log_file(self) -> Path:
        """What the server printed; its own log may lie beside it."""
        return self.directory / "output.log"

    @property
    def pid(self) -> int:
        """The process to measure: itself and its descendants."""
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    def start(self, timeout: float = 60.0) -> None:
        """Returns once the server answers a stream header; raises ServerError after `timeout` seconds."""
        if self._process is not None:
            raise ServerError(f"{self.name} runs already")
        if not is_free(self.host, self.port):  # or its answer would be taken for this server's
            raise ServerError(f"another server listens on {self.host}:{self.port}")
        self.prepare()
        own_cores = os.sched_getaffinity(0)
        with self.log_file.open("ab") as log:
            try:
                if self.cores:
                    os.sched_setaffinity(0, self.cores)  # the child inherits it
                self._process = subprocess.Popen(
                    [*_end_with_us(), *self.command()],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.directory,
                    env={**os.environ, **self.environment()},
                    start_new_session=True,
                )
            finally:
                os.sched_setaffinity(0, own_cores)
        try:
            self._wait_until_ready(self._process, timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 30.0) -> None:
        """Asks the server to stop, and ends it after `timeout` s.  A stopped server may be stopped again."""
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(timeout)
        except subprocess.TimeoutExpired:
            pass
        try:  # helpers that outlived their parent, or all of it
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def _wait_until_ready(self, process: subprocess.Popen[bytes], timeout: float) -> None:
        until = time.monotonic() + timeout
        while not self._answers():
            if process.poll() is not None:
                raise ServerError(f"{self.name} ended with status {process.returncode}\n{self.log_tail()}")
            if time.monotonic() > until:
                raise ServerError(f"{self.name} was not ready within {timeout:.0f} s\n{self.log_tail()}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        header = (
            f"<stream:stream to='{self.domain}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        try:
            with socket.create_connection((self.host, self.port), timeout=2) as connection:
                connection.sendall(header.encode())
                answer = b""
                while b"features>" not in answer:
                    received = connection.recv(4096)
                    if not received:
                        return False
                    answer += received
                return True
        except OSError:
            return False

    def log_tail(self, length: int = 3000) -> str:
        """The end of what the server printed and logged."""
        texts = [path.read_text(errors="replace") for path in sorted(self.directory.glob("*.log"))]
        return "\n".join(text[-length:] for text in texts)


def _end_with_us() -> Sequence[str]:
    """A prefix by which the server stops when this process dies without having stopped it.

    The kernel sends that signal when the *thread* that started the server ends, hence only from the main one.
    """
    if threading.current_thread() is threading.main_thread() and shutil.which("setpriv"):
        return ["setpriv", "--pdeathsig", "TERM", "--"]
    return []


def debian_version(package: str) -> str:
    """Version of an installed Debian package, or ""."""
    try:
        found = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found.stdout.strip()
