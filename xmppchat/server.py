"""The composition root: reads the configuration, builds everything, starts, stops. Only this module knows all."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import signal
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import structlog

from xmppchat.components import BUILTIN
from xmppchat.components.accounts import ACCOUNT_COUNTS, ACCOUNT_QUERY
from xmppchat.core import commands, events, logs
from xmppchat.core.authentication import Authenticator
from xmppchat.core.callers import operator
from xmppchat.core.commands import CommandError
from xmppchat.core.config import ConfigError, ServerConfig, load_config
from xmppchat.core.kernel import Kernel
from xmppchat.core.limits import Limits
from xmppchat.core.reload import plan
from xmppchat.core.runtime import Clock, SystemClock
from xmppchat.core.services import AccountService, DeviceService, ReloadService
from xmppchat.core.tables import DeclarationError
from xmppchat.network import certificate_findings
from xmppchat.network.admission import Admission
from xmppchat.network.certificates import CertificateFault, CertificateFiles
from xmppchat.network.component_port import ComponentPort
from xmppchat.network.connections import Connections
from xmppchat.network.control import ControlServer
from xmppchat.network.listener import Listener
from xmppchat.network.notify import Notifier
from xmppchat.network.slow_peers import SlowPeers
from xmppchat.network.tls import TlsContexts
from xmppchat.protocol import sasl
from xmppchat.protocol.errors import SystemShutdown
from xmppchat.protocol.stream_features import CORE_FEATURES, bind_2
from xmppchat.protocol.stream_settings import StreamSettings
from xmppchat.storage.database import Database

if TYPE_CHECKING:
    from xmppchat.network.metrics import MetricsServer

log = structlog.get_logger(__name__)

#: How long a graceful stop waits for clients to take what was written for them, s.
GOODBYE_SECONDS = 5.0


class Server:
    """A whole server. ``listen=False`` builds all but the ports: for commands while no server runs, and for tests.

    `notifier` is told of reloads.
    """

    def __init__(
        self, config: ServerConfig, *, clock: Clock | None = None, listen: bool = True, notifier: Notifier | None = None
    ) -> None:
        self.config = config
        self._clock = clock or SystemClock()
        self._listen = listen
        self._listeners: list[Listener | ComponentPort] = []
        self._metrics: MetricsServer | None = None
        self._control: ControlServer | None = None
        self._notifier = notifier or Notifier()
        self._reloading = asyncio.Lock()
        self._admission: Admission
        self._slow_peers = SlowPeers(config.limits.unread_bytes)
        self.database: Database
        self.kernel: Kernel
        self.connections: Connections
        self.component_port: ComponentPort
        self.contexts: TlsContexts | None = None

    async def start(self) -> None:
        """Open everything, inside out: certificates, database, components, control socket, ports."""
        config = self.config
        if self._listen:
            self.contexts = TlsContexts(_certificates(config))
            self._judge_certificates()
        self.database = await Database.open(config.storage.full_url)
        try:
            self.kernel = Kernel(
                config, config.component_classes or BUILTIN, reader=self.database, writer=self.database.writer,
                clock=self._clock, account_query=ACCOUNT_QUERY,
            )
            self.database.writer.on_settled = self.kernel.gate.on_settled
            if self._listen:
                self.kernel.services.provide(ReloadService, self)
            await self.kernel.start()
            self.connections = self._connections()
            self.component_port = ComponentPort(self.kernel)
            self.connections.watch()
            if self._listen:
                await self._open_ports()
                self.serving()
        except BaseException:
            await self._close_ports()
            await self.database.close()
            raise

    def serving(self) -> None:
        """Let components begin with what they do by themselves. Said by who builds a server without ports, if it
        shall work all the same."""
        self.kernel.emit(events.Serving())

    async def stop(self) -> None:
        """Close the ports, tell the clients, let open writes settle, close the rest."""
        await self._close_ports()
        self.connections.close_all(SystemShutdown("the server is stopped; it will be back"))
        await self.connections.gone(GOODBYE_SECONDS)
        # Behind the clients, so that components still hear who has gone.
        self.component_port.close_all(SystemShutdown("the server is stopped; it will be back"))
        await self.component_port.gone(GOODBYE_SECONDS)
        await self.kernel.stop()
        await self.database.close()

    async def execute(self, name: str, arguments: dict[str, Any]) -> object:
        """Run an operator's command."""
        return await commands.execute(self.kernel, name, arguments, operator(self.kernel.hosts))

    def reload_soon(self) -> None:
        """Reload in the background; what comes of it is logged."""

        async def reload() -> None:
            with contextlib.suppress(CommandError):  # logged already
                await self.reload()

        self.kernel.tasks.spawn(reload(), name="reload")

    async def reload(self) -> Mapping[str, object]:
        """See :class:`ReloadService`. Open streams go on, under the new limits."""
        async with self._reloading:
            self._notifier.reloading()
            try:
                return await self._reload()
            except CommandError as refusal:
                log.error("reload refused, everything stays as it was", faults=str(refusal))
                raise
            finally:
                self._notifier.ready()

    async def _reload(self) -> Mapping[str, object]:
        if self.config.path is None or self.contexts is None:
            raise CommandError("this server was started without a configuration file")
        try:
            wanted = await asyncio.to_thread(load_config, self.config.path, BUILTIN)
            change = plan(self.config, wanted)
            self.contexts.reload(_certificates(change.config))
        except (ConfigError, DeclarationError, CertificateFault) as error:
            raise CommandError(f"nothing was changed:\n{error}") from None
        if change.config.logging != self.config.logging:
            logs.configure(change.config.logging.level, change.config.logging.format)
        self.config = change.config
        self._judge_certificates()
        failed = self.kernel.reconfigure(change.config)
        self.connections.reconfigure(self._settings())
        self.connections.authenticator.set_limits(change.config.limits)
        self._admission.set_limits(**_admission_limits(change.config.limits))
        self._slow_peers.most = change.config.limits.unread_bytes
        self.component_port.reconfigure()
        try:
            await self.component_port.listen(self._admission, self._slow_peers)
        except OSError as error:
            log.error("the port for external components cannot be opened", error=str(error))
            failed.append(f"port for external components: {error}")
        log.info("reloaded", changed=change.changed, needs_restart=change.restart)
        result: dict[str, object] = {"changed": change.changed, "certificates": "read again"}
        if change.restart:
            result["needs a restart"] = change.restart
        if failed:
            result["failed (the log says why)"] = failed
        return result

    # --- parts ---------------------------------------------------------------------------------------------------

    def _judge_certificates(self) -> None:
        for files in _certificates(self.config):
            for finding in certificate_findings.check(files):
                if finding.severity == "error":
                    log.warning("certificate", finding=finding.text, next_step="xmppchat check")

    def _settings(self) -> StreamSettings:
        kernel, limits = self.kernel, self.config.limits
        features = (*CORE_FEATURES, *(f for component in kernel.components for f in component.stream_features))
        inline = (bind_2(kernel.tables.inline_names),
                  *(f for component in kernel.components for f in component.inline_features))
        accounts = kernel.services.get(AccountService)
        hosts = frozenset(self.config.hosts)
        return StreamSettings(
            is_served=hosts.__contains__,
            new_id=kernel.ids.token,
            mechanisms=lambda bindings: accounts.offered(sasl.mechanisms(secure=True, channel_bindings=bindings)),
            token_mechanisms=kernel.services.get(DeviceService).token_mechanisms,
            upgrades=lambda: tuple(accounts.upgrades_offered()),
            features=features,
            inline=inline,
            trusted_limits=limits.reader_trusted(),
            untrusted_limits=limits.reader_untrusted(),
            nonzas=frozenset(kernel.tables.nonzas),
            untrusted_total=limits.untrusted_total_bytes,
        )

    def _connections(self) -> Connections:
        kernel = self.kernel
        accounts = kernel.services.get(AccountService)
        authenticator = Authenticator(
            accounts, kernel.services.get(DeviceService), self.config.limits, kernel.limit_counters, self._clock,
            kernel.ids.token,
        )
        return Connections(kernel, self._settings(), authenticator, self.contexts)

    async def _open_ports(self) -> None:
        config = self.config
        self._control = ControlServer(config.control_socket, self.execute)
        await self._control.start()
        self._admission = Admission(refused=self.kernel.limit_counters.fired, **_admission_limits(config.limits))
        for address in config.listen.addresses:
            for port, mode in ((config.listen.starttls_port, "starttls"), (config.listen.direct_tls_port, "direct")):
                if port:
                    listener = Listener(
                        address, port, mode=mode, factory=self.connections.new,  # type: ignore[arg-type]
                        contexts=self.contexts, admission=self._admission, slow_peers=self._slow_peers,
                    )
                    await listener.start()
                    self._listeners.append(listener)

        self._listeners.append(self.component_port)
        await self.component_port.listen(self._admission, self._slow_peers)
        if config.metrics.port:
            from xmppchat.network.metrics import Figures, MetricsServer  # its library: only for whoever wants figures

            figures = Figures(self.kernel, self.connections, self.database.writer)
            self._metrics = MetricsServer(
                config.metrics.address, config.metrics.port, figures, self.kernel, ACCOUNT_COUNTS
            )
            await self._metrics.start()

    async def _close_ports(self) -> None:
        if self._metrics is not None:
            await self._metrics.stop()
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
        ready = f"xmppchat is ready: {', '.join(self.config.hosts)} on {addresses}, {ports}"
        if self.config.external_components:
            ready += f"; external components on {', '.join(listen.component_addresses)}, port {listen.component_port}"
        return ready


def _certificates(config: ServerConfig) -> list[CertificateFiles]:
    return [CertificateFiles(name, host.certificate, host.key) for name, host in config.hosts.items()]


def _admission_limits(limits: Limits) -> dict[str, Any]:
    """See :meth:`Admission.set_limits`."""
    if not limits.connections_per_address:
        return {"exempt": ("0.0.0.0/0", "::/0")}
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return {
        "per_address": limits.connections_per_address, "per_network": limits.connections_per_network,
        # Strangers never take more than a fifth of the descriptors.
        "total": max(100, min(descriptors, 1_000_000) // 5),
        "members": limits.authenticated_per_address, "rate": limits.connection_rate,
        "burst": limits.connection_burst, "exempt": limits.exempt_networks,
    }  # fmt: skip


async def run(config: ServerConfig, ready: Callable[[str], None]) -> None:
    """Run a server until SIGTERM or SIGINT; SIGHUP reloads as the command does."""
    notifier = Notifier.from_environment()
    server = Server(config, notifier=notifier)
    await server.start()
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stopped.set)
    loop.add_signal_handler(signal.SIGHUP, server.reload_soon)
    # What start-up made stays for good: the garbage collector need not look at it again.
    gc.collect()
    gc.freeze()
    ready(server.describe())
    notifier.ready()
    await stopped.wait()
    notifier.stopping()
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


