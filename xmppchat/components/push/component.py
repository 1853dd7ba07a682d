"""The component: who wants to be woken, and which of what happens is worth it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from xmppchat.components.push import payload, registrations, report
from xmppchat.components.push.publisher import Publisher
from xmppchat.components.push.registrations import REGISTRATIONS, SHOWN_MS, Ending, Registration, is_live
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import (
    ACCOUNT,
    INBOUND,
    SERVER,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Stage,
    Xep,
    command,
    every,
    iq_set,
    on,
    stage,
)
from xmppchat.core.pipeline import PASS, Discard, Outcome, Passage
from xmppchat.core.runtime import time_of
from xmppchat.core.services import ChatSettingsService, PushService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.errors import ItemNotFound, NotAllowed, PolicyViolation
from xmppchat.protocol.importance import Importance, importance_of
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


class Push(Component[ComponentConfig]):
    """Wakes devices by notifications to the push services of their apps (XEP-0357)."""

    name = "push"
    implements = (Xep(357, "0.4.1", note="a notification says that there is something, and nothing of what"),)
    features = (Feature(NS.PUSH, at=SERVER | ACCOUNT),)  # COMPAT(Converse, 2026): it looks for it at the domain
    provides = (PushService,)
    requires = (ChatSettingsService,)
    account_parts = (REGISTRATIONS,)

    def setup(self) -> None:
        """Nothing is due yet."""
        self._chats = self.kernel.services.get(ChatSettingsService)
        self._publisher = Publisher(self.kernel)

    async def start(self) -> None:
        """Go on with what was due."""
        await self._publisher.start()

    async def stop(self) -> None:
        """Keep what is due."""
        await self._publisher.stop()

    # --- what clients want (§5, §6) ----------------------------------------------------------------------------------

    @iq_set(NS.PUSH, "enable", at=ACCOUNT)
    def enable(self, request: IqRequest) -> None:
        """Notify this device from now on (§5); the last request for a service and node counts."""
        account, session, turn = request.account, request.session, request.turn
        assert account is not None
        wish = payload.read(request.payload)
        self._check(account, wish)
        node = wish.node or ""
        known = registrations.find(account, wish.app_server, node)
        if known:
            # Its place is behind the others: those that are enabled seldom make room first.
            registration = account[REGISTRATIONS].pop(known[0].id)
            self._publisher.forget(registration)
        else:
            self._make_room(account, turn)
            registration = Registration(self.kernel.ids.sortable(), wish.app_server, node)
        registration.options = wish.options
        registration.device_id = session.device_id if session is not None else 0
        registration.resource = request.sender.resource
        registration.enabled_at = self.kernel.clock.now()
        registration.clear()
        if known:
            account[REGISTRATIONS][registration.id] = registration
            registrations.save(account, registration, turn)
        else:
            registrations.add(account, registration, turn)

    def _check(self, account: Account, wish: payload.Wish) -> None:
        app_server = wish.app_server
        if app_server.bare == account.jid.bare:
            raise NotAllowed("this is your own address; a push service is the app server of your client")
        if app_server.full in self.kernel.hosts:
            raise NotAllowed(f"{app_server} is no push service; name the app server of your client")
        if wish.size > self.kernel.limits.push_bytes:
            self.kernel.limit_counters.fired("push_bytes")
            most = self.kernel.limits.push_bytes
            raise PolicyViolation(f"address, node and options of a push service have {most} bytes together at most")

    def _make_room(self, account: Account, turn: Turn) -> None:
        """Limit 51. What is over goes first, then what was enabled longest ago: apps in use enable it at each login."""
        kept = account[REGISTRATIONS]
        while len(kept) >= self.kernel.limits.push_devices:
            self.kernel.limit_counters.fired("push_devices")
            ended = (one for one in kept.values() if one.disabled_at)
            registrations.remove(account, next(ended, None) or next(iter(kept.values())), turn)

    @iq_set(NS.PUSH, "disable", at=ACCOUNT)
    def disable(self, request: IqRequest) -> None:
        """Notify no more (§6): one node, or all of a service. What is not enabled is disabled already."""
        account = request.account
        assert account is not None
        wish = payload.read(request.payload)
        for registration in registrations.find(account, wish.app_server, wish.node):
            registrations.remove(account, registration, request.turn)

    @stage(Stage.SCREEN, INBOUND, kinds=("message",), only_with=REGISTRATIONS)
    def screen(self, passage: Passage) -> Discard | None:
        """A push service ends it itself (§8); that is for the server, not for clients."""
        stanza, account = passage.stanza, passage.account
        if stanza.from_ is None or stanza.find("pubsub", NS.PUBSUB) is None:
            return PASS
        ended = [
            registration for node in payload.ended_nodes(stanza, account.jid)
            for registration in registrations.find(account, stanza.from_, node or "") if not registration.disabled_at
        ]
        for registration in ended:
            registration.disable(Ending.SERVICE, self.kernel.clock.now())
            registrations.save(account, registration, passage.turn)
        return Discard("a push service ends a registration") if ended else PASS

    # --- what is worth it --------------------------------------------------------------------------------------------

    @stage(Stage.OBSERVE, INBOUND, only_with=REGISTRATIONS)
    def observe(self, passage: Outcome) -> None:
        """A message that can be fetched later wakes the devices that are not there; a call wakes all."""
        stanza, account = passage.stanza, passage.account
        importance = self._unless_muted(account, stanza, importance_of(stanza, account.jid))
        if importance is Importance.NONE:
            return
        is_urgent = importance is Importance.URGENT
        if is_urgent or passage.is_stored or stanza_ids.is_stamped(stanza.children, account.jid):
            passage.turn.effect(self._wake_absent, account, is_urgent)

    def _wake_absent(self, account: Account, is_urgent: bool) -> None:
        # For a call also those with a connection: it may be dead, and nobody waits half a minute to find out.
        for registration in list(account[REGISTRATIONS].values()):
            if is_urgent or not is_live(account, registration):
                self._publisher.wake(account, registration, is_urgent=is_urgent)

    @on(events.StanzaKept)
    def kept(self, event: events.StanzaKept) -> None:
        """A device that hibernates got something, perhaps what no archive has (a room's message, a call's request)."""
        session = event.session
        if session.account.parts.get(REGISTRATIONS):
            importance = self._importance(session, event.stanza)
            if importance is not Importance.NONE:
                for registration in registrations.of_session(session):
                    self._publisher.wake(session.account, registration, is_urgent=importance is Importance.URGENT)

    @on(events.SessionHibernated)
    def hibernated(self, event: events.SessionHibernated) -> None:
        """What was on its way when the connection was lost may not have arrived."""
        self._wake_for_outstanding(event.session, even_if_live=False)

    @on(events.AcknowledgementOverdue)
    def overdue(self, event: events.AcknowledgementOverdue) -> None:
        """The connection is there, and nobody seems to be at its other end."""
        self._wake_for_outstanding(event.session, even_if_live=True)

    def _wake_for_outstanding(self, session: Session, *, even_if_live: bool) -> None:
        """Notify of what was not acknowledged, unless there was a notification since."""
        account, management = session.account, session.management
        if not account.parts.get(REGISTRATIONS) or management is None:
            return
        newest = max(
            (time_of(at) for stanza, _, at in management.outstanding() if self._importance(session, stanza)), default=0
        )
        for registration in registrations.of_session(session):
            if newest > registration.published_at:
                self._publisher.wake(account, registration, even_if_live=even_if_live)

    def _importance(self, session: Session, stanza: Stanza) -> Importance:
        """What a stanza is to a session; what its account says in a room comes back from there, and is nothing new."""
        importance = importance_of(stanza, session.jid)
        if importance is not Importance.NONE and stanza.type == "groupchat" and stanza.from_ is not None:
            occupant = stanza.from_.full
            if any(occupant in (one.directed or ()) for one in session.account.sessions.values()):
                return Importance.NONE
        return self._unless_muted(session.account, stanza, importance)

    def _unless_muted(self, account: Account, stanza: Stanza, importance: Importance) -> Importance:
        """XEP-0492 is about messages: a call rings."""
        is_muted = importance is Importance.IMPORTANT and self._chats.is_muted(account, stanza)
        return Importance.NONE if is_muted else importance

    # --- PushService -------------------------------------------------------------------------------------------------

    def wakes(self, session: Session) -> bool:
        """See :class:`PushService`."""
        return any(not registration.disabled_at for registration in registrations.of_session(session))

    def forget_device(self, account: Account, device_id: int, turn: Turn) -> None:
        """See :class:`PushService`."""
        for registration in list(account[REGISTRATIONS].values()):
            if device_id and registration.device_id == device_id:
                registrations.remove(account, registration, turn)

    # --- what becomes of registrations -------------------------------------------------------------------------------

    @on(events.DeviceRevoked)
    def revoked(self, event: events.DeviceRevoked) -> None:
        """It gets nothing more from this account (XEP-0494 §4)."""
        self.forget_device(event.account, event.device_id, event.turn)

    @on(events.PasswordChanged)
    def password_changed(self, event: events.PasswordChanged) -> None:
        """Who does not know the new one is not told when messages come; the others enable it again as they log in."""
        by = event.turn.origin
        for registration in list(event.account.parts.get(REGISTRATIONS, {}).values()):
            if by is None or by.account is not event.account or not registration.is_of(by):
                registrations.remove(event.account, registration, event.turn)

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """They go with the account."""
        event.account[REGISTRATIONS].clear()
        registrations.remove_all(event.account, event.turn)

    @every(3_600)
    async def clean(self) -> None:
        """Forget registrations that ended long ago."""
        before = self.kernel.clock.now() - SHOWN_MS
        for row in await self.kernel.reader.fetch(registrations.ENDED, {"before": before}):
            account = await self.kernel.directory.get(JID.parse(f"{row.localpart}@{row.domain}"))
            registration = account[REGISTRATIONS].get(row.id) if account.exists else None
            if registration is not None and 0 < registration.disabled_at < before:
                turn = self.kernel.new_turn()
                registrations.remove(account, registration, turn)
                turn.commit()

    # --- for people --------------------------------------------------------------------------------------------------

    @command("push status", changes=False)
    async def status(
        self, jid: Annotated[JID, Parameter("address of the account")]
    ) -> list[dict[str, object]]:
        """Show the devices of an account that are woken by push notifications, and how that goes."""
        account = await self._existing(jid)
        now = self.kernel.clock.now()
        return [report.status(account, registration, now) for registration in account[REGISTRATIONS].values()]

    @command("push test")
    async def test(self, jid: Annotated[JID, Parameter("address of the account")]) -> list[dict[str, object]]:
        """Send a push notification to each device of an account now, and tell what its app server says."""
        account = await self._existing(jid)
        found = list(account[REGISTRATIONS].values())
        if not found:
            text = f"no device of {account.jid} has push notifications enabled; that is done in its app"
            raise CommandError(text, ItemNotFound(text))
        return list(await asyncio.gather(*(self._test(account, registration) for registration in found)))

    async def _test(self, account: Account, registration: Registration) -> dict[str, object]:
        if registration.ending is Ending.SERVICE:
            return report.outcome(registration, None, 0.0)
        answered: asyncio.Future[tuple[str, float]] = asyncio.get_running_loop().create_future()

        def done(failure: str, seconds: float) -> None:
            if not answered.done():
                answered.set_result((failure, seconds))

        self._publisher.publish(account, registration, self.kernel.ids.token()[:8], done)
        failure, seconds = await answered
        return report.outcome(registration, failure, seconds)

    async def _existing(self, jid: JID) -> Account:
        account = await self.kernel.directory.get(jid.to_bare())
        if not account.exists:
            text = f"there is no account {account.jid}"
            raise CommandError(text, ItemNotFound(text))
        return account
