"""One bot: its session, its device, and what waits to be read by it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn

import structlog

from xmppchat.components.bots.encryption import MISSING, Device, Unreadable
from xmppchat.components.bots.session import BotSession
from xmppchat.components.bots.vault import Sealed
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.commands import NOT_TEXT
from xmppchat.core.commit_gate import StorageUnavailable
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import SentMessage
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import NotAcceptable, ServiceUnavailable, StanzaError
from xmppchat.protocol.moments import parse_timestamp
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

log = structlog.get_logger(__name__)

#: Characters of what a bot says, at most.
MAX_BODY: Final = 10_000
#: Messages that were taken before it was seen that the bot has too many; more are left to its archive.
_SURPLUS: Final = 10

#: How long the message that is being read is waited for at the end, s.
STOP_SECONDS: Final = 5.0

_ENCRYPTED: Final = ((NS.OMEMO, "encrypted"), (NS.OMEMO_AXOLOTL, "encrypted"))
_LISTS: Final = frozenset({NS.OMEMO_DEVICES, NS.OMEMO_AXOLOTL_DEVICES})

MakeDevice = Callable[[BotSession], Awaitable[Device | None]]


class Bot:
    """The bot at `jid`, made at `created_at` (ms). `make_device` gives it its device, None where there is no
    encryption. `problem` says why it is not connected, "" where nothing is wrong.
    """

    def __init__(
        self, kernel: Kernel, jid: JID, created_at: int, make_device: MakeDevice, *, most_waiting: Callable[[], int],
        accepts: Callable[[], bool], encrypts: bool,
    ) -> None:
        self.jid = jid
        self.created_at = created_at
        self.problem = ""
        self.device: Device | None = None
        self._kernel = kernel
        self._make_device = make_device
        self._most_waiting = most_waiting
        self._accepts = accepts
        self._encrypts = encrypts
        self._session: BotSession | None = None
        self._connecting = asyncio.Lock()
        self._waiting: deque[Stanza] = deque()
        self._reading: asyncio.Task[None] | None = None
        self._is_stopped = False

    # --- coming and going --------------------------------------------------------------------------------------------

    @property
    def is_connected(self) -> bool:
        """Whether it can write."""
        return self._session is not None and not self._session.is_closed

    @property
    def is_available(self) -> bool:
        """Whether messages come to it."""
        return self._session is not None and self._session.session.takes_messages

    async def connect(self, *, is_available: bool) -> BotSession:
        """Make a session and start the device, where that is not done; with `is_available` messages come to it, too.

        Raises the :class:`StanzaError` that says what is in the way.
        """
        async with self._connecting:
            if not self.is_connected:
                await self._begin()
            session = self._session
            assert session is not None
            if is_available and not self.is_available:
                session.appear()
            return session

    async def _begin(self) -> None:
        try:
            account = await self._kernel.directory.get(self.jid)
            if self._is_stopped or not account.exists or account.is_disabled:
                raise ServiceUnavailable(f"{self.jid} is disabled, or gone")
            session = BotSession(
                self._kernel, account, self._received, accepts=self._accepts, encrypts=self._encrypts
            )
            try:
                if self.device is not None:
                    await self.device.stop()
                    self.device = None
                self.device = await self._make_device(session)
            except BaseException:
                session.end()
                raise
        except (Sealed, StorageUnavailable, OSError) as error:
            self._failed(str(error))
        except StanzaError as error:
            self._failed(error.text or error.condition)
        self._session, self.problem = session, ""

    def _failed(self, problem: str) -> NoReturn:
        if self.problem != problem:
            log.error("a bot is not connected", bot=self.jid.bare, reason=problem)
        self.problem = problem
        raise ServiceUnavailable(f"the bot {self.jid} is not connected: {problem}")

    async def stop(self) -> None:
        """Be gone; what is being read is read to its end."""
        self._is_stopped = True
        self._waiting.clear()
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=STOP_SECONDS)
        if self.device is not None:
            await self.device.stop()
        if self._session is not None and not self._session.is_closed:
            self._session.end()

    # --- writing -----------------------------------------------------------------------------------------------------

    async def send(self, to: JID, body: str, *, encrypt: bool) -> SentMessage:
        """See :class:`~xmppchat.core.services.BotService`."""
        if not body.strip() or len(body) > MAX_BODY or NOT_TEXT.search(body):
            raise NotAcceptable(f"a message has 1 to {MAX_BODY} characters, and no control characters")
        session = await self.connect(is_available=False)
        if not encrypt:
            return SentMessage(await session.say(to, [text_element("body", NS.CLIENT, body)]))
        if self.device is None:
            raise NotAcceptable(f"nothing was sent: {MISSING}")
        encrypted = await self.device.encrypt(to.to_bare(), body, self._kernel.clock.now())
        id = await session.say(to, encrypted.children)
        return SentMessage(id, encrypted.namespaces, encrypted.devices, encrypted.left_out)

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def is_full(self) -> bool:
        """Whether so much waits that nothing more should come."""
        return len(self._waiting) >= self._most_waiting()

    def _received(self, stanza: Stanza) -> None:
        if self._is_stopped or len(self._waiting) >= _SURPLUS * self._most_waiting():
            log.warning("a bot has too much to read: a message is in its archive only", bot=self.jid.bare,
                        sender=str(stanza.from_))
            return
        self._waiting.append(stanza)
        if self._reading is None or self._reading.done():
            self._reading = self._kernel.tasks.spawn(self._read(), name=f"bot {self.jid.bare}")

    async def _read(self) -> None:
        while self._waiting:
            stanza = self._waiting.popleft()
            try:
                await self._take(stanza)
            except Unreadable as error:
                log.warning("a message to a bot is left out", bot=self.jid.bare, sender=str(stanza.from_),
                            reason=str(error))
            except Exception:
                log.exception("a bot failed at a message", bot=self.jid.bare, stanza=repr(stanza))

    async def _take(self, stanza: Stanza) -> None:
        sender = stanza.from_
        if sender is None:
            return
        event = stanza.find("event", NS.PUBSUB_EVENT)
        if event is not None:
            await self._take_event(sender, event)
        elif sender.bare == self.jid.bare or stanza.message_type not in ("chat", "normal"):
            return  # what another client of the account says, it does not say to the bot
        else:
            await self._take_message(sender, stanza)

    async def _take_message(self, sender: JID, stanza: Stanza) -> None:
        account = await self._kernel.directory.get(self.jid)
        found = [stanza.find(name, namespace) for namespace, name in _ENCRYPTED]
        encrypted = [element for element in found if element is not None]
        if not encrypted:
            body = stanza.find("body")
            if body is not None and body.text:
                self._kernel.emit(events.BotMessage(account, sender, body.text, stanza.id))
            return
        if self.device is None:
            raise Unreadable(MISSING)
        # The text beside it, if there is one, is only for who cannot read the rest.
        message = await self.device.decrypt(sender.to_bare(), encrypted, self._sent_at(account, stanza))
        if message.body:
            self._kernel.emit(events.BotMessage(
                account, sender, message.body, stanza.id, message.namespace, message.is_verified
            ))

    async def _take_event(self, sender: JID, event: Element) -> None:
        items = event.find("items")
        node = "" if items is None else items.get("node")
        if items is None or self.device is None or node not in _LISTS:
            return
        for item in items.find_all("item"):
            for payload in item.elements():
                await self.device.list_changed(sender.to_bare(), node, payload)

    def _sent_at(self, account: Account, stanza: Stanza) -> int:
        """When the server got it (XEP-0203), ms since 1970."""
        for child in stanza.elements():
            if child.is_named("delay", NS.DELAY) and child.get("from") == account.jid.domain:
                try:
                    return parse_timestamp(child.get("stamp"))
                except ValueError:
                    break
        return self._kernel.clock.now()
