"""The component: commands that look after people's keys, and the policy on what is not encrypted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

import structlog
from pydantic import Field, ValidationInfo, field_validator

from xmppchat.components.omemo import findings, health, overview, policy, report, snapshot
from xmppchat.components.omemo.health import Yardstick
from xmppchat.components.omemo.policy import Policy
from xmppchat.components.omemo.removal import Removal
from xmppchat.components.omemo.versions import BY_LIST_NODE, MAX_ID
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import (
    INBOUND,
    OUTBOUND,
    Component,
    ComponentConfig,
    Role,
    Stage,
    Xep,
    command,
    on,
    stage,
)
from xmppchat.core.config_tables import domain_of
from xmppchat.core.pipeline import PASS, Passage, Refuse
from xmppchat.core.services import NodeService
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import text_element
from xmppchat.protocol.errors import ItemNotFound, PolicyViolation
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

log = structlog.get_logger(__name__)

#: Devices that one log record names.
_NAMED: Final = 10
#: Elements that count as one stanza sent on: about what that costs.
_CHARGED: Final = 4


class OmemoConfig(ComponentConfig):
    """Options of end-to-end encryption."""

    policy: Policy = Field(
        "off", description='messages without encryption: "off" they pass, "encourage" their senders are reminded once '
        'a day, "require" they are refused',
    )  # fmt: skip
    hosts: dict[str, Policy] = Field(
        default_factory=dict, max_length=1_000, description='the same for single hosts: {"chat.example"="require"}'
    )
    exempt: tuple[str, ...] = Field(
        default=(), max_length=1_000,
        description="addresses and domains whose messages need no encryption, both ways: bots, gateways, rooms",
    )  # fmt: skip
    few_prekeys: int = Field(
        20, ge=1, le=100, description="with fewer one-time keys than these a device is told to have few",
        json_schema_extra={"unit": "keys"},
    )  # fmt: skip
    unseen_days: int = Field(
        90, ge=1, le=3_650, description="a device that has published nothing for so long is told to be unseen",
        json_schema_extra={"unit": "days"},
    )  # fmt: skip

    @field_validator("hosts")
    @classmethod
    def _prepare_hosts(cls, value: Mapping[str, Policy], info: ValidationInfo) -> dict[str, Policy]:
        served = (info.context or {}).get("hosts")
        prepared = {domain_of(name): wanted for name, wanted in value.items()}
        for name in prepared:
            if served is not None and name not in served:
                raise ValueError(f"{name} is not served here; the hosts are: {', '.join(sorted(served))}")
        return prepared

    @field_validator("exempt")
    @classmethod
    def _prepare_exempt(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(JID.parse(address).bare for address in value)
        except InvalidJID as error:
            raise ValueError(f'{error}; an address looks like "bot@chat.example" or "gateway.example"') from None


class Omemo(Component[OmemoConfig]):
    """Tells what is wrong with the keys of accounts, and sees to it that messages are encrypted where they must be."""

    name = "omemo"
    implements = (
        Xep(384, "0.9.1", note="the server's part: it keeps keys and looks after them; only bots of its own encrypt"),
    )
    Config = OmemoConfig
    requires = (NodeService,)

    def setup(self) -> None:
        """Nobody was reminded yet."""
        self._nodes: NodeService
        self._reminders = policy.Reminders()
        self._removals: set[Removal] = set()
        self.reconfigured()

    async def start(self) -> None:
        """Find the nodes: whoever has them may be set up later than this."""
        self._nodes = self.kernel.services.get(NodeService)

    def reconfigured(self) -> None:
        """Hosts with a policy are few or none: then a message costs one look."""
        config = self.config
        wanted = {host: config.hosts.get(host, config.policy) for host in self.kernel.hosts}
        self._policies = {host: one for host, one in wanted.items() if one != "off"}
        self._exempt = frozenset(config.exempt)

    # --- policy ------------------------------------------------------------------------------------------------------

    @stage(Stage.SCREEN, OUTBOUND, kinds=("message",))
    def screen_sent(self, passage: Passage) -> Refuse | None:
        """What people of a host send that wants encryption."""
        if not self._policies:
            return PASS
        sender, to = passage.account.jid, passage.stanza.to or passage.account.jid
        wanted = self._policies.get(sender.domain)
        if wanted is None or self._is_exempt(sender, to) or not policy.is_readable(passage.stanza):
            return PASS
        counts = self.kernel.counts.unencrypted
        if wanted == "require":
            counts["refused"] += 1
            text = (f"{sender.domain} wants messages encrypted. This one was not, so it was not sent: switch on OMEMO "
                    "(end-to-end encryption) for this conversation, and send it again.")
            return Refuse(PolicyViolation(text), "a message without encryption")
        if self._policies.get(to.domain) != "require":  # else it is refused where it arrives
            counts["passed"] += 1
            self._remind(passage, sender, to)
        return PASS

    @stage(Stage.SCREEN, INBOUND, kinds=("message",))
    def screen_received(self, passage: Passage) -> Refuse | None:
        """What comes from elsewhere to people of a host that requires encryption."""
        if not self._policies:
            return PASS
        stanza, to = passage.stanza, passage.account.jid
        sender = stanza.from_
        if self._policies.get(to.domain) != "require" or sender is None or stanza.type == "groupchat":
            return PASS  # what a room says was said to many; a refusal might make it throw its member out
        if self._policies.get(sender.domain) == "require" or self._is_exempt(sender, to):
            return PASS  # it was looked at as it was sent
        if not policy.is_readable(stanza):
            return PASS
        self.kernel.counts.unencrypted["refused"] += 1
        text = (f"{to.domain} takes encrypted messages only, so this one was not delivered: switch on OMEMO "
                "(end-to-end encryption) for this conversation, and send it again.")
        return Refuse(PolicyViolation(text), "a message without encryption")

    def _is_exempt(self, one: JID, other: JID) -> bool:
        """Whether a conversation needs no encryption: one side is a server or service itself, or named as such."""
        if not one.local or not other.local:
            return True
        exempt = self._exempt
        return bool(exempt) and not exempt.isdisjoint((one.bare, one.domain, other.bare, other.domain))

    def _remind(self, passage: Passage, sender: JID, to: JID) -> None:
        """Tell who has just sent it, and no other device: that is where the switch is."""
        session = passage.turn.origin
        if session is None or not self._reminders.is_due(sender.bare, to.bare, self.kernel.clock.now()):
            return
        text = (f"Your message to {to.bare} was sent, but not encrypted: the servers on its way can read it. If your "
                "app and theirs have OMEMO (end-to-end encryption), switch it on for this conversation.")
        reminder = Stanza(
            "message", from_=JID.parse(sender.domain), to=session.jid, id=self.kernel.ids.token(), type="headline",
            children=(text_element("body", NS.CLIENT, text),),
        )
        passage.turn.effect(session.deliver, reminder)

    @on(events.AccountDeleted)
    def forget(self, event: events.AccountDeleted) -> None:
        """Who takes the name next was reminded of nothing."""
        self._reminders.forget(event.account.jid.bare)

    # --- what clients publish ----------------------------------------------------------------------------------------

    @on(events.ItemPublished)
    def published(self, event: events.ItemPublished) -> None:
        """A device list that leaves out a device with recent keys is worth a line in the log: whose doing it was is not
        seen later."""
        version = BY_LIST_NODE.get(event.node)
        if version is None or event.is_ours:
            return
        for removal in self._removals:
            if removal.account is event.account:
                removal.published(event.node, event.item_id, event.payload)
        listed = version.read_list(event.payload).devices
        yardstick = self._yardstick()
        places, _ = version.places(self._nodes.describe(event.account))
        dropped = [
            device for device, place in places.items()
            if device not in listed and yardstick.is_recent(place.published_at)
        ]
        if dropped:
            session = event.turn.origin
            by = "" if session is None else session.jid.resource
            event.turn.effect(self._tell_dropped, event.account, version.name, dropped, by)

    def _tell_dropped(self, account: Account, version: str, dropped: list[int], by: str) -> None:
        log.info(
            "a device list leaves out devices that have keys", account=account.jid.bare, version=version,
            devices=dropped[:_NAMED], number=len(dropped), published_by=by,
        )

    # --- for the owner -----------------------------------------------------------------------------------------------

    @command("omemo check own", by=Role.USER, changes=False, hidden=True)
    async def check_own(self, caller: Caller) -> list[dict[str, object]]:
        """Check my encryption."""
        account = self._own(caller)
        budget = snapshot.Budget()
        examined = await self._examined(account, budget)
        if account.rates is not None:  # what is much to look at is on its owner's account (reliability.md V-44)
            account.rates.fan_out(self.kernel.clock.monotonic(), budget.spent // _CHARGED)
        return report.for_owner(account, *examined)

    @command("omemo remove own", by=Role.USER, hidden=True)
    async def remove_own(
        self,
        caller: Caller,
        device: Annotated[int, Parameter('its number, as "Check my encryption" and your contacts\' apps show it')],
    ) -> dict[str, object]:
        """Remove a lost device.

        Your contacts do not encrypt to it any more. It can still log in: change your password, too, if somebody else
        has it now.
        """
        return await self._remove(self._own(caller), device)

    def _own(self, caller: Caller) -> Account:
        if caller.account is None:
            raise CommandError("this is for accounts, by their clients")
        return caller.account

    # --- for the admin -----------------------------------------------------------------------------------------------

    @command("omemo check", changes=False)
    async def check(
        self, jid: Annotated[JID, Parameter("address of the account", field="accountjid")]
    ) -> list[dict[str, object]]:
        """Tell what is wrong with the keys of an account, and what its owner and you can do about it."""
        account = await self._existing(jid)
        return report.for_admin(account, *await self._examined(account, snapshot.Budget()))

    @command("omemo check-all", changes=False)
    async def check_all(
        self,
        domain: Annotated[str, Parameter("only accounts of this host", host=True)] = "",
        after: Annotated[str, Parameter("only accounts behind this address, to go on where a list ended")] = "",
        limit: Annotated[int, Parameter(f"look at so many accounts, {overview.MOST:,} at the very most")] = 1_000,
    ) -> list[dict[str, object]]:
        """List the accounts whose keys have errors or warnings, by host and name. Those without keys are left out."""
        found: list[dict[str, object]] = []
        async for jid in overview.accounts(self.kernel.reader, domain, after, limit):
            account = await self.kernel.directory.get(jid)
            if account.exists:
                row = report.in_overview(account, (await self._examined(account, snapshot.Budget()))[1])
                found += [row] if row else []
        return found

    @command("omemo remove")
    async def remove(
        self,
        jid: Annotated[JID, Parameter("address of the account", field="accountjid")],
        device: Annotated[int, Parameter("number of the device, as `xmppchat omemo check` shows it")],
    ) -> dict[str, object]:
        """Remove a device from the lists of an account, and its keys: nobody encrypts to it any more."""
        return await self._remove(await self._existing(jid), device)

    async def _existing(self, jid: JID) -> Account:
        account = await self.kernel.directory.get(jid.to_bare())
        if not account.exists:
            text = f"there is no account {account.jid}"
            raise CommandError(text, ItemNotFound(text))
        return account

    # --- behind them -------------------------------------------------------------------------------------------------

    def _yardstick(self) -> Yardstick:
        config = self.config
        return Yardstick(self.kernel.clock.now(), config.few_prekeys, config.unseen_days)

    async def _examined(
        self, account: Account, budget: snapshot.Budget
    ) -> tuple[list[snapshot.Published], list[findings.Finding]]:
        published = await snapshot.take(self._nodes, account, budget)
        return published, health.examine(published, self._yardstick())

    async def _remove(self, account: Account, device: int) -> dict[str, object]:
        if not 0 < device <= MAX_ID:
            raise CommandError(f"{device} is no number of a device; those go from 1 to {MAX_ID}")
        removal = Removal(self._nodes, account, device)
        self._removals.add(removal)
        try:
            lists = await removal.read()
        finally:
            self._removals.discard(removal)
        turn = self.kernel.new_turn()
        removed = removal.carry_out(lists, turn)
        if not removed:
            text = f"{account.jid} has no device {device}, neither on a list nor with keys"
            raise CommandError(text, ItemNotFound(text))
        await self.kernel.settled(turn)
        return {
            "removed": removed,
            "note": "an app that is still in use there puts itself on the list again; it can also still log in, until "
            "its access is ended or the password is another",
        }  # fmt: skip
