"""The composition root: reads the configuration, builds everything, starts, stops. Only this module knows all."""

from __future__ import annotations

import asyncio
import gc
import resource
import signal
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from xmppchat.components import BUILTIN
from xmppchat.components.accounts import ACCOUNT_QUERY
from xmppchat.core import commands
from xmppchat.core.authentication import Authenticator
from xmppchat.core.config import ServerConfig
from xmppchat.core.kernel import Kernel
from xmppchat.core.limits import LimitCounters, Limits
from xmppchat.core.runtime import Clock, SystemClock
from xmppchat.core.services import AccountService
from xmppchat.network import certificates
from xmppchat.network.admission import LOOPBACK, Admission
from xmppchat.network.c2s import Connections
from xmppchat.network.certificates import CertificateFault, CertificateFiles
from xmppchat.network.control import ControlServer
from xmppchat.network.listener import Listener
from xmppchat.network.tls import TlsContexts
from xmppchat.protocol import sasl
from xmppchat.protocol.errors import SystemShutdown
from xmppchat.protocol.stream import StreamSettings
from xmppchat.protocol.stream_features import CORE_FEATURES
from xmppchat.storage.database import Database

log = structlog.get_logger(__name__)

#: How long a graceful stop waits for clients to take what was written for them, s.
GOODBYE_SECONDS = 5.0


class Server:
    """A whole server. ``listen=False`` builds all but the ports: for commands while no server runs, and for tests."""

    def __init__(
        self, config: ServerConfig, *, clock: Clock | None = None, listen: bool = True
    ) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._listen = listen
        self._listeners: list[Listener] = []
        self._control: ControlServer | None = None
        self.database: Database
        self.kernel: Kernel
        self.connections: Connections
        self.contexts: TlsContexts | None = None

    async def start(self) -> None:
        """Open everything, inside out: certificates, database, components, control socket, ports."""
        config = self.config
        if self._listen:
            self.contexts = TlsContexts(self._certificates())
            for files in self._certificates():
                for finding in certificates.check(files):
                    if finding.severity == "error":
                        log.warning("certificate", finding=finding.text, next_step="xmppchat check")
        self.database = await Database.open(config.storage.full_url)
        try:
            self.kernel = Kernel(
                config, config.component_classes or BUILTIN, reader=self.database, writer=self.database.writer,
                clock=self._clock, account_query=ACCOUNT_QUERY,
            )
            self.database.writer.on_settled = self.kernel.gate.on_settled
            await self.kernel.start()
            self.connections = self._connections()
            self.connections.watch()
            if self._listen:
                await self._open_ports()
        except BaseException:
            await self._close_ports()
            await self.database.close()
            raise

    async def stop(self) -> None:
        """Close the ports, tell the clients, let open writes settle, close the rest."""
        await self._close_ports()
        self.connections.close_all(SystemShutdown("the server is stopped; it will be back"))
        await self.connections.gone(GOODBYE_SECONDS)
        await self.kernel.stop()
        await self.database.close()

    async def execute(self, name: str, arguments: dict[str, Any]) -> object:
        """Run an operator's command."""
        return await commands.execute(self.kernel, name, arguments, actor="command line")

    def reload_certificates(self) -> None:
        """Read the certificates again; open streams go on. A broken file changes nothing and is logged."""
        if self.contexts is not None:
            try:
                self.contexts.reload()
            except CertificateFault as error:
                log.error("certificates not reloaded, the old ones stay", error=str(error))
            else:
                log.info("certificates reloaded")

    # --- parts ---------------------------------------------------------------------------------------------------

    def _certificates(self) -> list[CertificateFiles]:
        return [CertificateFiles(name, host.certificate, host.key) for name, host in self.config.hosts.items()]

    def _connections(self) -> Connections:
        kernel, limits = self.kernel, self.config.limits
        features = (*CORE_FEATURES, *(f for component in kernel.components for f in component.stream_features))
        accounts = kernel.services.get(AccountService)
        hosts = frozenset(self.config.hosts)
        settings = StreamSettings(
            is_served=hosts.__contains__,
            new_id=kernel.ids.token,
            mechanisms=lambda bindings: accounts.offered(sasl.mechanisms(secure=True, channel_bindings=bindings)),
            features=features,
            trusted_limits=limits.reader_trusted(),
            untrusted_limits=limits.reader_untrusted(),
            untrusted_total=limits.untrusted_total_bytes,
        )
        authenticator = Authenticator(accounts, limits, kernel.limit_counters, self._clock, kernel.ids.token)
        return Connections(kernel, settings, authenticator, self.contexts)

    async def _open_ports(self) -> None:
        config = self.config
        self._control = ControlServer(config.control_socket, self.execute)
        await self._control.start()
        admission = _admission(config.limits, self.kernel.limit_counters)
        for address in config.listen.addresses:
            for port, mode in ((config.listen.starttls_port, "starttls"), (config.listen.direct_tls_port, "direct")):
                if port:
                    listener = Listener(
                        address, port, mode=mode, factory=self.connections.new,  # type: ignore[arg-type]
                        contexts=self.contexts, admission=admission,
                    )
                    await listener.start()
                    self._listeners.append(listener)

    async def _close_ports(self) -> None:
        for listener in self._listeners:
            await listener.stop()
        if self._control is not None:
            await self._control.stop()

    def describe(self) -> str:
        """One line: what runs where."""
        listen = self.config.listen
        addresses = ", ".join(listen.addresses)
        ports = f"port {listen.starttls_port} (STARTTLS)"
        if listen.direct_tls_port:
            ports = f"ports {listen.starttls_port} (STARTTLS) and {listen.direct_tls_port} (TLS)"
        return f"xmppchat is ready: {', '.join(self.config.hosts)} on {addresses}, {ports}"


def _admission(limits: Limits, counters: LimitCounters) -> Admission:
    if not limits.connections_per_address:
        return Admission(exempt=("0.0.0.0/0", "::/0"))
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Admission(
        per_address=limits.connections_per_address, per_network=limits.connections_per_network,
        total=max(100, min(descriptors, 1_000_000) // 5),  # strangers never take more than a fifth of the descriptors
        members=limits.authenticated_per_address, rate=limits.connection_rate, burst=limits.connection_burst,
        exempt=LOOPBACK, refused=counters.fired,
    )


async def run(config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Run a server until SIGTERM or SIGINT; SIGHUP reads the certificates again."""
    server = Server(config)
    await server.start()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload_certificates)
    # What start-up made stays for good: the garbage collector need not look at it again.
    gc.collect()
    gc.freeze()
    ready(server.describe())
    await stopped.wait()
    log.info("stopping")
    await server.stop()


def serve(config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Run a server in the foreground; blocks until it is stopped."""
    _raise_file_limit()
    try:
        import uvloop
    except ImportError:
        log.warning("uvloop is missing; the standard event loop is slower", next_step="pip install uvloop")
        asyncio.run(run(config, ready))
        return
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(config, ready))


def _raise_file_limit() -> None:
    """Each client is a file descriptor: take all that the system gives."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def run_commands(
    config: ServerConfig, name: str, requests: Iterable[dict[str, Any]], done: Callable[[Any], object]
) -> None:
    """Run an operator's command for each of `requests` while no server runs; `done` gets each result."""
    server = Server(config, listen=False)
    await server.start()
    try:
        for arguments in requests:
            done(await server.execute(name, arguments))
    finally:
        await server.stop()


