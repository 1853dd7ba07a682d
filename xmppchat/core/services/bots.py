"""Bots for other components: accounts that the server itself reads and writes for.

A component hears of what is written to them with ``@on(events.BotMessage)`` and answers with :class:`BotService`::

    requires = (BotService,)

    @on(events.BotMessage)
    def answer(self, event: events.BotMessage) -> None:
        self.kernel.tasks.spawn(self._repeat(event), name="echo")

    async def _repeat(self, event: events.BotMessage) -> None:
        await self._bots.send(event.bot.jid, event.sender, event.body, encrypt=bool(event.encryption))

docs/admin/bots.md has it whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from xmppchat.jid import JID


@dataclass(frozen=True, slots=True)
class SentMessage:
    """What became of a message of a bot's: its `id`; namespaces it was encrypted by, none where it was not; how many
    `devices` of the recipient can read it; and for which it could not be encrypted, with the reason, by their ids.
    """

    id: str
    namespaces: tuple[str, ...] = ()
    devices: int = 0
    left_out: Mapping[int, str] = field(default_factory=dict)


class BotService(Protocol):
    """Writes in the name of bots."""

    def is_bot(self, jid: JID) -> bool:
        """Whether `jid` is the address of a bot."""

    async def send(self, bot: JID, to: JID, body: str, *, encrypt: bool = False) -> SentMessage:
        """Write to `to`; returns when it is on its way, and stored where it is.

        With `encrypt` (XEP-0384) it leaves encrypted or not at all. Raises the :class:`StanzaError` that says why it
        did not leave, or what the recipient's server, if it is this one, answered.
        """


__all__ = ["BotService", "SentMessage"]
