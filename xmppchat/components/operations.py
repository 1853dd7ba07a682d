"""Operations: commands that act on the running server as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from sqlalchemy import bindparam, delete

from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import Component, ComponentConfig, command
from xmppchat.core.services import ReloadService
from xmppchat.jid import JID
from xmppchat.protocol.errors import StanzaError
from xmppchat.storage import schema

_FORGET = delete(schema.tombstones).where(
    schema.tombstones.c.domain == bindparam("of_domain"), schema.tombstones.c.localpart == bindparam("of_localpart")
)


class Operations(Component[ComponentConfig]):
    """``xmppchat reload`` and ``xmppchat user release``."""

    name = "operations"

    @command("reload")
    async def reload(self) -> Mapping[str, object]:
        """Read the configuration and the certificates again; nobody is disconnected. A faulty file changes nothing."""
        try:
            service = self.kernel.services.get(ReloadService)
        except KeyError:
            raise CommandError("no server is running; the next start reads the configuration") from None
        return await service.reload()

    @command("user release")
    async def user_release(
        self, jid: Annotated[JID, Parameter("address of a deleted account")]
    ) -> dict[str, str]:
        """Let the name of a deleted account be taken again; whoever takes it gets what others still send there."""
        account = await self.kernel.directory.get(jid)
        if account.exists:
            raise CommandError(f"there is an account {jid.bare}; only the name of a deleted one can be released")
        turn = self.kernel.new_turn()
        failures: list[StanzaError] = []
        turn.on_failure = failures.append
        turn.write(None, _FORGET, {"of_domain": jid.domain, "of_localpart": jid.local})
        turn.commit()
        await self.kernel.gate.drained()
        if failures:
            raise CommandError(failures[0].text or failures[0].condition)
        return {"released": jid.bare}
