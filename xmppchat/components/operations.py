"""Operations: commands that act on the running server as a whole."""

from __future__ import annotations

from collections.abc import Mapping

from xmppchat.core.commands import CommandError
from xmppchat.core.component import Component, ComponentConfig, command
from xmppchat.core.services import ReloadService


class Operations(Component[ComponentConfig]):
    """``xmppchat reload``."""

    name = "operations"

    @command("reload")
    async def reload(self) -> Mapping[str, object]:
        """Read the configuration and the certificates again; nobody is disconnected. A faulty file changes nothing."""
        try:
            service = self.kernel.services.get(ReloadService)
        except KeyError:
            raise CommandError("no server is running; the next start reads the configuration") from None
        return await service.reload()
