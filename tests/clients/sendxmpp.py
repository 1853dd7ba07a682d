"""go-sendxmpp: sends what it is given on its standard input, or listens and prints.

The version of Debian 12 knows no SCRAM: it logs in by PLAIN over checked TLS.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from live_server import DIRECT_TLS_PORT, STARTTLS_PORT, ServerProcess
from programs import need
from waiting import PATIENCE, until

_LINE = re.compile(r"^(?P<stamp>\S+Z) (?P<sender>\S+): (?P<body>.*)$", re.MULTILINE)


class GoSendxmpp:
    """One account at `server`; `ca` is the only authority it trusts, `home` a folder for its output."""

    def __init__(
        self,
        server: ServerProcess,
        jid: str,
        password: str,
        home: Path,
        *,
        ca: Path | None = None,
        direct_tls: bool = False,
    ) -> None:
        need("go-sendxmpp")
        port = DIRECT_TLS_PORT if direct_tls else STARTTLS_PORT
        self._command = ["go-sendxmpp", "-u", jid, "-p", password, "-j", f"{server.address}:{port}"]
        if direct_tls:
            self._command.append("-t")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "TZ": "UTC",
            "SSL_CERT_FILE": str(ca or server.certificates.ca),
            "SSL_CERT_DIR": str(home / "none"),
        }
        home.mkdir(parents=True, exist_ok=True)
        self._output = home / "heard"
        self._listener: subprocess.Popen[bytes] | None = None

    def send(self, to: str, body: str) -> subprocess.CompletedProcess[str]:
        """Logs in, sends one message and leaves; the caller judges the exit code."""
        return subprocess.run(
            [*self._command, to],
            input=body,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            env=self._environment,
        )

    def listen(self) -> None:
        """Logs in and prints messages until closed."""
        with self._output.open("wb") as output:
            self._listener = subprocess.Popen(
                [*self._command, "-l"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )

    async def hears(self, *lines: tuple[str, str]) -> list[str]:
        """Returns the stamps once as many (sender, body) were printed; they must be these, in order."""
        await until(lambda: len(self.heard()) >= len(lines), lambda: f"{lines} heard: {self._output.read_text()}")
        heard = self.heard()
        assert [(sender, body) for _, sender, body in heard] == list(lines)
        return [stamp for stamp, _, _ in heard]

    def heard(self) -> list[tuple[str, str, str]]:
        """(stamp, sender, body) of what was printed so far."""
        found = _LINE.finditer(self._output.read_text())
        return [(match["stamp"], match["sender"], match["body"]) for match in found]

    def close(self) -> None:
        """Ends the listener."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.kill()
            listener.wait()


MakeGoSendxmpp = Callable[..., GoSendxmpp]
