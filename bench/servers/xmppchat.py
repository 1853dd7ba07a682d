"""xmppchat itself, through its own command line."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.servers.base import Server, ServerError


def with_limits_profile(config: str, profile: str | None) -> str:
    """The configuration with `profile` in its `[limits]` section; None takes it out.

    The only place that knows how xmppchat's limits are switched off.
    """
    without = re.sub(r"(?m)^(\[limits\]\n(?:(?!\[).*\n)*?)profile *=.*\n", r"\1", config)
    if profile is None:
        return without
    line = f'profile = "{profile}"\n'
    if re.search(r"(?m)^\[limits\]\s*$", without):
        return re.sub(r"(?m)^\[limits\]\s*$\n?", f"[limits]\n{line}", without, count=1)
    return f"{without.rstrip()}\n\n[limits]\n{line}"


class XmppchatServer(Server):
    """xmppchat of this tree, on its standard ports.  `extra` is TOML added at the end."""

    name = "xmppchat"
    title = "xmppchat"
    family = "xmppchat"
    limits_profile: str | None = "benchmark"

    @classmethod
    def version(cls) -> str:
        """Version of the package, and the commit where the tree is a git one."""
        try:
            version = importlib.metadata.version("xmppchat")
        except importlib.metadata.PackageNotFoundError:
            return ""
        try:
            commit = subprocess.run(
                ["git", "describe", "--always", "--dirty"],
                cwd=Path(__file__).parent, capture_output=True, text=True, check=True,
            ).stdout.strip()  # fmt: skip
        except (OSError, subprocess.CalledProcessError):
            return version
        return f"{version} ({commit})"

    @property
    def _program(self) -> str:
        return str(Path(sys.executable).with_name("xmppchat"))

    @property
    def _config_file(self) -> Path:
        return self.directory / "xmppchat.toml"

    def prepare(self) -> None:
        """Runs `xmppchat init` the first time, and sets the limits."""
        if (self.port, self.direct_tls_port) != (5222, 5223):
            raise ServerError("xmppchat runs on the standard ports; give it an address of its own")
        if not self._config_file.exists():
            self._init()
        text = with_limits_profile(self._config_file.read_text(), self.limits_profile)
        if self.extra and self.extra not in text:
            text = f"{text.rstrip()}\n\n{self.extra}\n"
        self._config_file.write_text(text)

    def _init(self) -> None:
        command = [
            self._program, "init", self.domain, "--dir", str(self.directory), "--listen", self.host,
            "--registration", "open", "--certificate", str(self.certificate.certificate),
            "--key", str(self.certificate.key),
        ]  # fmt: skip
        try:
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
        except OSError as error:
            raise ServerError(f"xmppchat is not installed: {error}") from None
        except subprocess.CalledProcessError as error:
            raise ServerError(f"xmppchat init failed:\n{error.stdout}{error.stderr}") from None

    def command(self) -> Sequence[str]:
        """xmppchat in the foreground."""
        return [self._program, "serve", "--config", str(self._config_file)]

    def config_text(self) -> str:
        """The file that `init` wrote, as changed here."""
        return self._config_file.read_text() if self._config_file.exists() else ""


class DefaultLimitsXmppchatServer(XmppchatServer):
    """The same with the limits it has by default."""

    name = "xmppchat-limits"
    title = "xmppchat, default limits"
    limits_profile = None
