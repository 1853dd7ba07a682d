"""Administration: commands that look at the running server as a whole."""

from __future__ import annotations

from xmppchat.core.component import Component, ComponentConfig, command
from xmppchat.core.runtime import timestamp


class Administration(Component[ComponentConfig]):
    """``xmppchat sessions`` and ``xmppchat stages``."""

    name = "administration"

    @command("sessions")
    async def sessions(self) -> list[dict[str, object]]:
        """List who is connected."""
        return [
            {
                "session": session.jid.full,
                "priority": session.priority if session.presence is not None else "-",
                "since": timestamp(session.connected_at),
                "from": session.peer,
            }
            for session in sorted(self.kernel.directory.sessions(), key=lambda session: session.jid.full)
        ]

    @command("stages")
    async def stages(self) -> list[dict[str, object]]:
        """Show the stages a stanza goes through, and which components act in each."""
        return [
            {"stage": stage, "direction": direction, "components": ", ".join(names) or "-"}
            for stage, direction, names in self.kernel.tables.stage_names
        ]
