"""Operations: commands that act on the running server as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version

from xmppchat.core.commands import CommandError
from xmppchat.core.component import Component, ComponentConfig, command
from xmppchat.core.runtime import timestamp
from xmppchat.core.services import ReloadService


class Operations(Component[ComponentConfig]):
    """``xmppchat reload`` and ``xmppchat status``."""

    name = "operations"

    async def start(self) -> None:
        """The server runs from now on."""
        self._started_at = self.kernel.clock.now()

    @command("status", hidden=True, adhoc=None, changes=False)
    async def status(self) -> dict[str, object]:
        """Tell what runs, and since when."""
        return {
            "version": version("xmppchat"),
            "hosts": self.kernel.hosts,
            "since": timestamp(self._started_at),
            "sessions": sum(1 for _ in self.kernel.directory.sessions()),
            "waiting for the disk": self.kernel.gate.last - self.kernel.gate.settled,
        }

    @command("reload")
    async def reload(self) -> Mapping[str, object]:
        """Read the configuration and the certificates again; nobody is disconnected. A faulty file changes nothing."""
        try:
            service = self.kernel.services.get(ReloadService)
        except KeyError:
            raise CommandError("no server is running; the next start reads the configuration") from None
        return await service.reload()
