"""The component: which accounts are bots, the operator's commands, and the service for other components."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import Enum
from typing import Annotated

import structlog
from pydantic import Field, field_validator

from xmppchat.components.bots import encryption, store
from xmppchat.components.bots.bot import Bot
from xmppchat.components.bots.capabilities import IDENTITY, SERVER_HELD
from xmppchat.components.bots.encryption import MISSING, Device, KnownDevice, StartDevice
from xmppchat.components.bots.session import BotSession
from xmppchat.components.bots.store import Values
from xmppchat.components.bots.thread import LoopThread
from xmppchat.components.bots.vault import FILE, Vault, read_or_make
from xmppchat.core import events, key_file
from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import (
    INBOUND,
    Component,
    ComponentConfig,
    IqRequest,
    Stage,
    Xep,
    command,
    every,
    on,
    stage,
)
from xmppchat.core.pipeline import PASS, Passage, Refuse
from xmppchat.core.runtime import timestamp
from xmppchat.core.secret import Secret
from xmppchat.core.services import AccountService, BotService, RosterService, SentMessage
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound, ResourceConstraint, StanzaError
from xmppchat.protocol.namespaces import NS

log = structlog.get_logger(__name__)

#: How often it is looked whether a bot is to be connected again, s.
RETRY_SECONDS = 30.0

#: How often it is looked whether their devices' keys are to be exchanged, s.
ROTATION_SECONDS = 21_600.0

BotJid = Annotated[JID, Parameter("address of the bot")]


class Decision(Enum):
    """What an admin says of a device."""

    YES = "yes"
    NO = "no"


class BotsConfig(ComponentConfig):
    """Options of bots."""

    key: Secret | None = Field(
        None, description=f"what the keys of bots are encrypted with in the database; default: {FILE} in data_dir, "
        "made when it is first needed",
    )  # fmt: skip
    blind_trust: bool = Field(
        True, description="encrypt for devices of contacts that nobody verified, as long as none of the contact is "
        "verified; false: only for those that an admin trusts",
    )  # fmt: skip
    accept_contacts: bool = Field(True, description="show who asks that a bot is there (presence subscriptions)")
    waiting: int = Field(
        100, ge=1, le=10_000, description="messages that may wait to be read by a bot; more are refused",
        json_schema_extra={"unit": "messages"},
    )  # fmt: skip

    _check_key = field_validator("key")(key_file.check)


class Bots(Component[BotsConfig]):
    """Keeps bots connected; provides :class:`BotService`."""

    name = "bots"
    implements = (Xep(420, "0.5.0", note="for devices of bots (XEP-0384), with the extra `omemo`"),)
    Config = BotsConfig
    restart_options = ("key",)
    provides = (BotService,)
    requires = (AccountService, RosterService)

    def setup(self) -> None:
        """No bot is known yet."""
        self._accounts = self.kernel.services.get(AccountService)
        self._bots: dict[str, Bot] = {}  # by bare JID: as many as an admin made
        self._values: dict[int, Values] = {}  # by the id of the account
        self._is_serving = False
        self._vault: Vault | None = None
        self._opening = asyncio.Lock()
        self._thread: LoopThread
        self._start_device: StartDevice | None = None

    async def start(self) -> None:
        """Find out which accounts are bots. They connect when the server serves."""
        self._thread = LoopThread("bots")
        rows = await self.kernel.reader.fetch(store.ALL)
        if rows:
            self._start_device = await encryption.find()
        for row in rows:
            self._remember(JID.parse(f"{row.localpart}@{row.domain}"), row.created_at)

    async def stop(self) -> None:
        """They are gone before the database is."""
        self._is_serving = False
        for bot in self._bots.values():
            await bot.stop()
        await self._thread.stop()

    @on(events.Serving)
    def serve(self, event: events.Serving) -> None:
        """They come; before, nobody could be answered."""
        self._is_serving = True
        for bot in self._bots.values():
            self.kernel.tasks.spawn(self._connect(bot), name=f"connect {bot.jid.bare}")

    @every(RETRY_SECONDS)
    async def return_all(self) -> None:
        """Those that were sent away, or could not come, try again."""
        for bot in list(self._bots.values()):
            if self._is_serving and not bot.is_available:
                await self._connect(bot)

    @every(ROTATION_SECONDS)
    async def rotate(self) -> None:
        """Their devices exchange the keys that are in use for long."""
        for bot in list(self._bots.values()):
            if bot.device is not None and bot.is_connected:
                await bot.device.rotate()

    async def _connect(self, bot: Bot) -> None:
        try:
            await bot.connect(is_available=True)
        except StanzaError:
            pass  # logged, and in the list

    def _remember(self, jid: JID, created_at: int) -> Bot:
        bot = self._bots[jid.bare] = Bot(
            self.kernel, jid, created_at, self._make_device, most_waiting=lambda: self.config.waiting,
            accepts=lambda: self.config.accept_contacts, encrypts=self._start_device is not None,
        )
        return bot

    async def _make_device(self, session: BotSession) -> Device | None:
        if self._start_device is None:
            return None
        account_id = session.session.account.id
        values = self._values[account_id] = Values(self.kernel, account_id)
        vault = await self._opened()
        return await self._start_device(session, values, vault, self._thread, lambda: self.config.blind_trust)

    async def _opened(self) -> Vault:
        """The vault. Raises :class:`Sealed`, `OSError`."""
        async with self._opening:
            if self._vault is None:
                if (given := self.config.key) is not None:
                    self._vault = Vault(given.reveal())
                else:
                    (row,) = await self.kernel.reader.fetch(store.COUNT)
                    path = self.kernel.config.data_dir / FILE
                    self._vault = await asyncio.to_thread(read_or_make, path, is_needed=row[0] > 0)
            return self._vault

    # --- what comes for them -----------------------------------------------------------------------------------------

    @stage(Stage.SCREEN, INBOUND, kinds=("message",))
    def screen(self, passage: Passage) -> Refuse | None:
        """Who writes more than a bot can read is told so, before anything is stored."""
        bot = self._bots.get(passage.account.jid.bare) if self._bots else None
        if bot is None or not bot.is_full or passage.stanza.type == "error":
            return PASS
        error = ResourceConstraint("this bot has too much to read at the moment; try again later")
        return Refuse(error, "a bot has too much to read")

    def disco_account(self, request: IqRequest) -> Sequence[Element]:
        """A bot says that it is one, and who holds its key."""
        bot = self._bots.get(request.account.jid.bare) if request.account is not None else None
        if bot is None:
            return ()
        attributes = {"category": IDENTITY.category, "type": IDENTITY.type, "name": IDENTITY.name}
        identity = Element("identity", NS.DISCO_INFO, attributes)
        feature = Element("feature", NS.DISCO_INFO, {"var": SERVER_HELD})
        return (identity, feature) if bot.device is not None else (identity,)

    @on(events.AccountDeleted)
    def deleted(self, event: events.AccountDeleted) -> None:
        """With the account go its keys, and nothing is stored behind them."""
        store.delete_all(event.account, event.turn)
        if (values := self._values.pop(event.account.id, None)) is not None:
            values.is_closed = True
        bot = self._bots.pop(event.account.jid.bare, None)
        if bot is not None:
            self.kernel.tasks.spawn(bot.stop(), name=f"stop {bot.jid.bare}")

    # --- BotService --------------------------------------------------------------------------------------------------

    def is_bot(self, jid: JID) -> bool:
        """See :class:`BotService`."""
        return jid.bare in self._bots

    async def send(self, bot: JID, to: JID, body: str, *, encrypt: bool = False) -> SentMessage:
        """See :class:`BotService`."""
        return await self._bot(bot).send(to, body, encrypt=encrypt)

    # --- commands ----------------------------------------------------------------------------------------------------

    @command("bot add")
    async def bot_add(
        self, jid: Annotated[JID, Parameter("address of the new bot, such as news@example.org")]
    ) -> dict[str, str]:
        """Add a bot: an account that the server itself reads and writes for. It has no password."""
        if not jid.local or jid.resource or jid.domain not in self.kernel.hosts:
            raise CommandError(f"{jid} is no address of an account here; it looks like news@{self.kernel.hosts[0]}")
        if self.is_bot(jid):
            raise CommandError(f"{jid} is a bot already")
        self._start_device = self._start_device or await encryption.find()
        turn = self.kernel.new_turn()
        account_id = await self._accounts.create(jid, None, turn)
        now = self.kernel.clock.now()
        store.mark(account_id, now, turn)
        await self.kernel.settled(turn)
        bot = self._remember(jid, now)
        await bot.connect(is_available=self._is_serving)
        return {"added": jid.bare, "encryption": self._encryption(bot)}

    @command("bot list", changes=False)
    async def bot_list(self, caller: Caller) -> list[dict[str, str]]:
        """List bots, and who holds the keys of their devices."""
        return [
            {
                "bot": bot.jid.bare, "since": timestamp(bot.created_at)[:16],
                "connected": "yes" if bot.is_available else f"no: {bot.problem or 'it is about to'}",
                "encryption": self._encryption(bot),
            }
            for _, bot in sorted(self._bots.items()) if bot.jid.domain in caller.hosts
        ]

    @command("bot remove")
    async def bot_remove(self, jid: BotJid) -> dict[str, str]:
        """Delete a bot, with its account and its keys. There is no way back; its name stays reserved."""
        bot = self._bot(jid)
        account = await self.kernel.directory.get(bot.jid)
        turn = self.kernel.new_turn()
        self._accounts.delete(account, turn)
        await self.kernel.settled(turn)
        return {"removed": bot.jid.bare}

    @command("bot devices", changes=False)
    async def bot_devices(
        self, jid: BotJid,
        contact: Annotated[JID | None, Parameter("only devices of this contact", elsewhere=True)] = None,
    ) -> list[dict[str, object]]:
        """List the devices that a bot encrypts for, and whether it trusts them; the first is its own."""
        device = await self._device_of(jid)
        return [_row(one) for one in await device.known("" if contact is None else contact.bare)]

    @command("bot trust")
    async def bot_trust(
        self, jid: BotJid,
        contact: Annotated[JID, Parameter("address of the contact", elsewhere=True)],
        device: Annotated[int, Parameter("number of the device, as `bot devices` shows it")],
        decision: Annotated[Decision, Parameter("whether it is the contact's")],
    ) -> dict[str, object]:
        """Trust a device of a contact, or do not. From then on new devices of that contact wait for such a decision."""
        its_own = await self._device_of(jid)
        found = await its_own.trust(contact.bare, device, is_trusted=decision is Decision.YES)
        if found is None:
            text = f"{contact.bare} has no device {device} that {jid} knows; `xmppchat bot devices {jid}` shows them"
            raise CommandError(text, ItemNotFound(text))
        return _row(found)

    @command("send")
    async def send_message(
        self, bot: BotJid,
        to: Annotated[JID, Parameter("who gets it", elsewhere=True)],
        text: Annotated[str, Parameter(
            "what the bot says; others on this machine may see it", private=True, lines=True
        )],
        encrypt: Annotated[bool, Parameter("encrypt it (OMEMO), or send nothing")] = False,
    ) -> dict[str, object]:
        """Send a message in the name of a bot."""
        sent = await self._bot(bot).send(to, text, encrypt=encrypt)
        outcome: dict[str, object] = {"sent to": to.full, "id": sent.id, "encrypted": "no"}
        if sent.namespaces:
            outcome["encrypted"] = f"for {sent.devices} device(s), by {' and '.join(sent.namespaces)}"
        if sent.left_out:
            outcome["cannot read it"] = [f"device {number}: {why}" for number, why in sorted(sent.left_out.items())]
        return outcome

    # --- helpers -----------------------------------------------------------------------------------------------------

    def _bot(self, jid: JID) -> Bot:
        bot = self._bots.get(jid.bare)
        if bot is None:
            text = f"{jid.bare} is no bot, and the server writes in nobody else's name; `xmppchat bot list` shows them"
            raise ItemNotFound(text)
        return bot

    async def _device_of(self, jid: JID) -> Device:
        bot = self._bot(jid)
        await bot.connect(is_available=self._is_serving)
        if bot.device is None:
            raise CommandError(MISSING)
        return bot.device

    def _encryption(self, bot: Bot) -> str:
        if self._start_device is None:
            return f"none: {MISSING}"
        if bot.device is None:
            return "not started"
        return f"device {bot.device.device_id}, whose key this server holds: {_groups(bot.device.fingerprint)}"


def _row(device: KnownDevice) -> dict[str, object]:
    return {
        "account": device.owner, "device": device.device_id, "trust": device.trust,
        "active": "yes" if device.is_active else "no", "by": ", ".join(device.namespaces),
        "name": device.label or "-", "fingerprint": _groups(device.fingerprint),
    }  # fmt: skip


def _groups(fingerprint: str) -> str:
    return " ".join(fingerprint[at:at + 8] for at in range(0, len(fingerprint), 8))


__all__ = ["Bots"]
