"""The component: what a login does to the list of devices, and what ends the access of one."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Collection, Sequence
from typing import Annotated

import structlog
from pydantic import Field, field_validator

from xmppchat.components.devices import listing, store
from xmppchat.components.devices.keys import FILE, TokenKey, read_or_make
from xmppchat.components.devices.store import KNOWN, Device, Token
from xmppchat.components.devices.tokens import DAY_MS, Tokens
from xmppchat.core import events, key_file
from xmppchat.core.account import Account, login_address
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import (
    ACCOUNT,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Xep,
    command,
    every,
    iq_get,
    iq_set,
    on,
)
from xmppchat.core.secret import Secret
from xmppchat.core.services import DeviceService, LoggedIn
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.core.unsaved import Unsaved
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import (
    BadRequest,
    ItemNotFound,
    NotAuthorized,
    ServiceUnavailable,
    StreamNotAuthorized,
)
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.sasl import token_mechanisms
from xmppchat.protocol.sasl2 import LoginRequest, TokenUse, UserAgent
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_features import StreamFeature

log = structlog.get_logger(__name__)

#: How often it is written down who was seen, s; sooner where there are so many.
SAVE_SECONDS = 60.0
#: Devices that are forgotten in one go, at most.
_PAGE = 500


class DevicesConfig(ComponentConfig):
    """Options of devices and their tokens."""

    token_days: int = Field(
        60, ge=1, le=365, description="how long a token is good; a client gets another when a third of it has passed",
        json_schema_extra={"unit": "days"},
    )  # fmt: skip
    forget_days: int = Field(
        180, ge=1, le=3_650, description="how long a client that does not come back is remembered",
        json_schema_extra={"unit": "days"},
    )  # fmt: skip
    names: bool = Field(
        True, description="whether the names that clients give themselves and their devices are kept, for the owner"
    )
    key: Secret | None = Field(
        None, description=f"what tokens are made with, the same on all machines; default: {FILE} in data_dir, made at "
        "the first start",
    )  # fmt: skip

    _check_key = field_validator("key")(key_file.check)


def _fast(stream: Stream) -> Element:
    """XEP-0484 §3.1."""
    names = [text_element("mechanism", NS.FAST, name) for name in stream.token_mechanisms()]
    return Element("fast", NS.FAST, None, names)


class Devices(Component[DevicesConfig]):
    """Knows the clients of accounts, and gives them tokens; provides :class:`DeviceService`."""

    name = "devices"
    implements = (
        Xep(484, "0.2.0", note="HT-SHA-256-NONE and HT-SHA-256-ENDP; no TLS 0-RTT"),
        Xep(494, "0.1.0", note="clients log in with the password or with tokens; there are no grants"),
    )
    features = (Feature(NS.CLIENT_ACCESS, at=ACCOUNT),)
    inline_features = (StreamFeature("fast", _fast),)
    Config = DevicesConfig
    restart_options = ("key",)
    provides = (DeviceService,)
    account_parts = (KNOWN,)

    def setup(self) -> None:
        """Nobody was seen yet."""
        self._key: TokenKey
        self._unsaved: Unsaved[int] = Unsaved(self.kernel, store.SEEN, store.seen, what="when devices were last seen")

    async def start(self) -> None:
        """Read the key, or make it; new ids are above those there are."""
        given = self.config.key
        path = self.kernel.config.data_dir / FILE
        self._key = TokenKey(given.reveal()) if given is not None else await asyncio.to_thread(read_or_make, path)
        self._tokens = Tokens(self._key, self.kernel.clock)
        (row,) = await self.kernel.reader.fetch(store.LAST)
        self.kernel.ids.not_below(row[0] or 0)

    async def stop(self) -> None:
        """Write down who was here until now."""
        await self._unsaved.settle()

    # --- DeviceService: tokens of who logs in ---------------------------------------------------------------------

    def token_mechanisms(self, channel_bindings: Collection[str]) -> Sequence[str]:
        """See :class:`DeviceService`."""
        return token_mechanisms(channel_bindings)

    async def tokens(self, domain: str, localpart: str, client_id: str, mechanism: str) -> Sequence[bytes]:
        """See :class:`DeviceService`."""
        tokens = self.tokens_at_hand(domain, localpart, client_id, mechanism)
        if tokens is None:
            jid = login_address(localpart, domain)
            assert jid is not None, "what is no address needs no looking up"
            account = await self.kernel.directory.get(jid)
            tokens = self._tokens.candidates(account, _device(account, client_id), mechanism)
        return tokens

    def tokens_at_hand(self, domain: str, localpart: str, client_id: str, mechanism: str) -> Sequence[bytes] | None:
        """See :class:`DeviceService`."""
        jid = login_address(localpart, domain)
        if jid is None:
            return self._tokens.candidates(None, None, mechanism)
        account = self.kernel.directory.peek(jid.bare)
        return None if account is None else self._tokens.candidates(account, _device(account, client_id), mechanism)

    def refusal(self, account: Account, client_id: str, token: bytes, use: TokenUse) -> str:
        """See :class:`DeviceService`."""
        device = _device(account, client_id)
        used = None if device is None else self._tokens.used(account, device, token)
        return "not-authorized" if used is None else self._tokens.refusal(used, use)

    def resource_suffix(self, account: Account, client_id: str) -> str:
        """See :class:`DeviceService`."""
        return self._key.resource_suffix(account.id, client_id) if client_id else secrets.token_urlsafe(9)

    # --- DeviceService: who has logged in -------------------------------------------------------------------------

    def logged_in(
        self, account: Account, request: LoginRequest, token: bytes | None, channel_bindings: Collection[str],
        turn: Turn,
    ) -> LoggedIn:
        """See :class:`DeviceService`."""
        used: Token | None = None
        if token is not None:
            known = _device(account, request.user_agent.id)
            used = None if known is None else self._tokens.used(account, known, token)
            if used is None:
                raise NotAuthorized("the token was ended meanwhile; log in with the password")
        device = self._noted(account, request.user_agent, turn, has_password=token is None)
        if device is None:
            return LoggedIn(0, None)
        use, days = request.token or TokenUse(), self.config.token_days
        if used is not None:
            self._tokens.use(account, device, used, use, turn)
        mechanism = request.token_for
        if mechanism not in self.token_mechanisms(channel_bindings):
            # XEP-0484 §3.5, §3.6: due for rotation, but for who does not want it any more.
            is_due = used is not None and not use.is_last and self._tokens.is_due(used, days)
            mechanism = used.mechanism if used is not None and is_due else ""
        given = self._tokens.issue(account, device, mechanism, days, turn) if mechanism else None
        return LoggedIn(device.id, given)

    def _noted(self, account: Account, agent: UserAgent, turn: Turn, *, has_password: bool) -> Device | None:
        """The device of a client that is here now; None where it does not say which it is, or there is no room."""
        if not agent.id:
            return None
        now = self.kernel.clock.now()
        software, name = (agent.software, agent.device) if self.config.names else ("", "")
        device = _device(account, agent.id)
        if device is None:
            if not self._has_room(account, turn):
                return None
            device = Device(
                self.kernel.ids.sortable(), store.hash_of(agent.id), software, name, has_password=has_password,
                first_seen=now, last_seen=now,
            )
            store.insert_device(account, device, turn)
            return device
        new = (software or device.software, name or device.device, has_password or device.has_password)
        if new != (device.software, device.device, device.has_password):
            device.software, device.device, device.has_password = new
            store.update_device(account, device, turn)
        self._seen(device)
        return device

    def _has_room(self, account: Account, turn: Turn) -> bool:
        """Limit 15: of those that are not here, the longest unused makes room."""
        most = self.kernel.limits.devices_per_account
        while len(account[KNOWN]) >= most:
            self.kernel.limit_counters.fired("devices_per_account")
            here = {session.device_id for session in account.sessions.values()}
            away = [device for device in account[KNOWN].values() if device.id not in here]
            if not away:
                return False
            self._forget(account, min(away, key=lambda device: device.last_seen), turn)
        return True

    # --- when devices were seen -----------------------------------------------------------------------------------

    def _seen(self, device: Device) -> None:
        """It is here now; that is written down with that of others, as no login waits for it."""
        device.last_seen = self.kernel.clock.now()
        self._unsaved.put(device.id, device.last_seen)

    @every(SAVE_SECONDS)
    async def save(self) -> None:
        """Write down who was seen since the last time."""
        self._unsaved.save()

    @on(events.SessionEnded)
    def left(self, event: events.SessionEnded) -> None:
        """It was here until now."""
        self._was_here(event.session)

    @on(events.SessionHibernated)
    def lost(self, event: events.SessionHibernated) -> None:
        """Its connection was there until now."""
        self._was_here(event.session)

    def _was_here(self, session: Session) -> None:
        device = _by_id(session.account, session.device_id)
        if device is not None:
            self._seen(device)

    # --- what ends access -----------------------------------------------------------------------------------------

    @on(events.PasswordChanged)
    def password_changed(self, event: events.PasswordChanged) -> None:
        """All tokens are void, and nobody knows the password but the device that set it."""
        account, origin = event.account, event.turn.origin
        known = account[KNOWN]
        if not known:
            return
        keeper = origin.device_id if origin is not None and origin.account is account else 0
        store.forget_password(account, keeper, event.turn)
        for device in list(known.values()):
            if device.id != keeper:
                self.kernel.emit(events.DeviceRevoked(account, device.id, event.turn))

    @on(events.AccountDisabled)
    def disabled(self, event: events.AccountDisabled) -> None:
        """Whoever is let in again comes with the password."""
        if event.account[KNOWN]:
            store.drop_all_tokens(event.account, event.turn)

    @on(events.AccountDeleted)
    def deleted(self, event: events.AccountDeleted) -> None:
        """They go with the account."""
        store.delete_all(event.account, event.turn)

    @every(3_600)
    async def clean(self) -> None:
        """Forget who has not been here for long."""
        before = self.kernel.clock.now() - self.config.forget_days * DAY_MS
        for row in await self.kernel.reader.fetch(store.UNUSED, {"before": before, "most": _PAGE}):
            account = await self.kernel.directory.get(JID.parse(f"{row.localpart}@{row.domain}"))
            device = account[KNOWN].get(row.client_hash) if account.exists else None
            if device is None or device.last_seen >= before:
                continue
            if any(session.device_id == device.id for session in account.sessions.values()):
                self._seen(device)
                continue
            turn = self.kernel.new_turn()
            self._forget(account, device, turn)
            turn.commit()

    def _forget(self, account: Account, device: Device, turn: Turn) -> None:
        store.delete_device(account, device, turn)
        self.kernel.emit(events.DeviceRevoked(account, device.id, turn))

    async def _revoke(self, account: Account, entry: listing.Entry) -> None:
        """End what access `entry` has without the password, and its sessions; returns when that is on disk."""
        turn = self.kernel.new_turn()
        if (device := entry.device) is not None:
            if device.has_password:
                store.drop_tokens(account, device, turn)  # it stays in the list: it may come back
                self.kernel.emit(events.DeviceRevoked(account, device.id, turn))
            else:
                self._forget(account, device, turn)
        await self.kernel.settled(turn)
        error = StreamNotAuthorized("the access of this client was ended; it may log in with the password")
        for session in entry.sessions:  # behind the answer: it may be who asked
            asyncio.get_running_loop().call_soon(session.close, error)

    # --- what the owner is shown (XEP-0494) -----------------------------------------------------------------------

    def _entries(self, account: Account) -> list[listing.Entry]:
        return listing.entries(account, self._key, self.kernel.clock.now())

    @iq_get(NS.CLIENT_ACCESS, "list", at=ACCOUNT)
    def list_clients(self, request: IqRequest) -> Element:
        """All that has access to the account (§3.1)."""
        account = request.account
        assert account is not None
        request.turn.behind(account)
        return listing.clients_element(self._entries(account))

    @iq_set(NS.CLIENT_ACCESS, "revoke", at=ACCOUNT)
    async def revoke(self, request: IqRequest) -> None:
        """End the access of a client (§3.2).

        One that has shown the password loses its tokens and its sessions, too; the error says that it can come back.
        """
        account, wanted = request.account, request.payload.get("id")
        assert account is not None
        if not wanted:
            raise BadRequest("the 'id' of a client is missing; the list of clients has it (XEP-0494 §3.2)")
        entry = next((entry for entry in self._entries(account) if entry.id == wanted and entry.has_access), None)
        if entry is None:
            raise ItemNotFound("no client of this id has access; ask for the list again")
        await self._revoke(account, entry)
        if entry.has_password:
            raise ServiceUnavailable(
                "this client is logged out, but knows the password: change that to keep it out",
                details=(Element("password-reset-required", NS.CLIENT_ACCESS),),
            )

    async def export(self, account: Account) -> Sequence[Element]:
        """What the owner is shown."""
        found = self._entries(account)
        return [listing.clients_element(found)] if found else []

    # --- what the admin is shown ----------------------------------------------------------------------------------

    @command("devices", changes=False)
    async def devices(
        self, jid: Annotated[JID, Parameter("address of the account", field="accountjid")]
    ) -> list[dict[str, object]]:
        """List the clients of an account: those that are connected, and those that can come back."""
        return [listing.row(entry) for entry in self._entries(await self._account(jid))]

    @command("device revoke")
    async def device_revoke(
        self,
        jid: Annotated[JID, Parameter("address of the account", field="accountjid")],
        id: Annotated[str, Parameter("id of the client, as `xmppchat devices` shows it")],
    ) -> dict[str, str]:
        """Log a client out: its tokens are void, its sessions end."""
        account = await self._account(jid)
        entry = next((entry for entry in self._entries(account) if entry.id == id), None)
        if entry is None:
            raise CommandError(f"{account.jid} has no client {id}; `xmppchat devices {account.jid}` lists them")
        await self._revoke(account, entry)
        known = f"it knows the password; `xmppchat user passwd {account.jid}` keeps it out"
        return {"revoked": id} | ({"note": known} if entry.has_password else {})

    async def _account(self, jid: JID) -> Account:
        account = await self.kernel.directory.get(jid.to_bare())
        if not account.exists:
            raise CommandError(f"there is no account {jid.bare}; `xmppchat user list` shows those there are")
        return account


def _device(account: Account, client_id: str) -> Device | None:
    hashed = store.hash_of(client_id)  # whether it is of use or not: it costs
    return account[KNOWN].get(hashed) if account.exists and client_id else None


def _by_id(account: Account, device_id: int) -> Device | None:
    known = account.parts.get(KNOWN)
    return next((device for device in known.values() if device.id == device_id), None) if known and device_id else None
