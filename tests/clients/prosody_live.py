"""Prosody in the place of xmppchat: what passes against it, too, is no invention of these tests."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path

from live_server import DIRECT_TLS_PORT, STARTTLS_PORT, ServerProcess, User

_CONFIG = """\
daemonize = false
run_as_root = true -- everything lies in a private folder
pidfile = "{directory}/prosody.pid"
data_path = "{directory}/data"
log = {{ info = "*console" }}
interfaces = {{ "{address}" }}
local_interfaces = {{ "{address}" }}
c2s_ports = {{ {starttls} }}
c2s_direct_tls_ports = {{ {direct_tls} }}
s2s_ports = {{ }}
s2s_direct_tls_ports = {{ }}
http_ports = {{ }}
https_ports = {{ }}
ssl = {{ certificate = "{chain}"; key = "{key}" }}
c2s_direct_tls_ssl = ssl
c2s_require_encryption = true
authentication = "internal_hashed"
storage = "internal"
-- Debian's default modules, less those of servers, HTTP and administration
modules_enabled = {{
    "disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "csi_simple"; "lastactivity"; "pep";
    "ping"; "posix"; "private"; "register"; "smacks"; "time"; "uptime"; "vcard4"; "vcard_legacy"; "version";
}}
modules_disabled = {{ "s2s" }}
VirtualHost "{domain}"
"""


class ProsodyLive(ServerProcess):
    """Prosody of Debian."""

    mechanisms = ("SCRAM-SHA-1", "PLAIN")

    @property
    def config_file(self) -> Path:
        """Written by `prepare`."""
        return self.directory / "prosody.cfg.lua"

    def prepare(self) -> None:
        """Writes the configuration."""
        (self.directory / "data").mkdir()
        self.config_file.write_text(
            _CONFIG.format(
                directory=self.directory,
                address=self.address,
                starttls=STARTTLS_PORT,
                direct_tls=DIRECT_TLS_PORT,
                chain=self.certificates.chain,
                key=self.certificates.key,
                domain=self.domain,
            )
        )

    def add_user(self, user: str, password: str) -> User:
        """Adds an account by `prosodyctl`; returns it."""
        done = subprocess.run(
            ["prosodyctl", "--config", str(self.config_file), "register", user, self.domain, password],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return User(f"{user}@{self.domain}", password)

    def _command(self) -> Sequence[str]:
        return ["prosody", "-F", "--config", str(self.config_file)]

    def _is_ready(self, printed: str) -> bool:
        """Answering means more than listening: it handles signals by then."""
        try:
            with socket.create_connection((self.address, STARTTLS_PORT), timeout=2) as connection:
                connection.sendall(b"</stream:stream>")
                return bool(connection.recv(1))
        except OSError:
            return False
