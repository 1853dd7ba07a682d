"""A private Prosody: own address, own folder, gone at the end."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from xmppchat.testing.tcp import TcpDriver, free_port

CONFIG = """
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ debug = "{directory}/prosody.log" }}
interfaces = {{ "{address}" }}
c2s_ports = {{ {port} }}
s2s_ports = {{}}
c2s_direct_tls_ports = {{}}
use_libevent = false
network_backend = "epoll"
authentication = "internal_plain"
allow_registration = true
c2s_require_encryption = true
modules_enabled = {{ "roster", "saslauth", "tls", "disco", "ping", "register_ibr", "offline", "posix" }}
modules_disabled = {{ "s2s", "limits" }}
ssl = {{ certificate = "{certificate}", key = "{key}" }}
VirtualHost "{domain}"
"""


def is_installed() -> bool:
    """Whether there is a Prosody on this machine."""
    return shutil.which("prosody") is not None


class Prosody(TcpDriver):
    """Runs transcripts against Prosody."""

    def __init__(self, directory: Path, certificate: Path, key: Path, domain: str = "chat.example") -> None:
        self._directory = directory
        address = "127.0.6.20"
        port = free_port(address)
        super().__init__("prosody", address, port, domain)
        (directory / "data").mkdir(parents=True)
        self._config = directory / "prosody.cfg.lua"
        self._config.write_text(CONFIG.format(
            directory=directory, address=address, port=port, certificate=certificate, key=key, domain=domain,
        ))  # fmt: skip
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it, and wait until it answers."""
        self._process = await asyncio.create_subprocess_exec(
            "prosody", "-F", "--config", str(self._config),
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(20):
            while True:
                try:
                    client = await self._connect()
                except OSError:
                    if self._process.returncode is not None:
                        log = self._directory / "prosody.log"
                        raise RuntimeError(log.read_text() if log.exists() else "prosody ended") from None
                    await asyncio.sleep(0.05)  # a process that starts tells nobody when it listens
                else:
                    await client.close()
                    return

    async def stop(self) -> None:
        """Stop it."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
