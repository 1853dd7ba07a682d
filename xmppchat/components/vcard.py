"""vCards (XEP-0054): a profile at the server, written by its owner, read by contacts or, as an option, by everybody.

Example::

    [Client] romeo

    romeo sends:
        <iq type="set" id="v1"><vCard xmlns="vcard-temp"><FN>Romeo</FN></vCard></iq>
        <iq type="get" id="v2"><vCard xmlns="vcard-temp"/></iq>
    romeo receives:
        <iq type="result" id="v1" from="{romeo.bare}" to="{romeo.full}"/>
        <iq type="result" id="v2" from="{romeo.bare}" to="{romeo.full}">
            <vCard xmlns="vcard-temp"><FN>Romeo</FN></vCard>
        </iq>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from sqlalchemy import bindparam, delete, insert, select

from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import (
    ACCOUNT,
    SERVER,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Who,
    Xep,
    iq_get,
    iq_set,
    on,
)
from xmppchat.core.services import RosterService
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound, PolicyViolation, ServiceUnavailable
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.storage import schema

_vcards = schema.vcards.c
_FETCH = select(_vcards.xml).where(_vcards.account_id == bindparam("account"))
_INSERT = insert(schema.vcards)
_DELETE = delete(schema.vcards).where(_vcards.account_id == bindparam("account"))


class VcardConfig(ComponentConfig):
    """Options of vCards."""

    visibility: Literal["subscribers", "everyone"] = Field(
        "subscribers",
        description='who may read a vCard: "subscribers" contacts that see the presence, "everyone" strangers, too',
    )


class Vcard(Component[VcardConfig]):
    """Keeps a vCard for each account (XEP-0054 §3)."""

    name = "vcard"
    implements = (Xep(54, "1.3.0"),)
    features = (Feature(NS.VCARD, at=SERVER | ACCOUNT),)
    Config = VcardConfig
    requires = (RosterService,)

    def setup(self) -> None:
        """Find the rosters."""
        self._roster = self.kernel.services.get(RosterService)

    @iq_get(NS.VCARD, "vCard", at=ACCOUNT, who=Who.ANYONE)
    async def show(self, request: IqRequest) -> Element:
        """The vCard. To others, an account without one looks as one that is not there (§3.3)."""
        account = request.account
        assert account is not None
        vcard = await self._vcard(account) if self._may_see(request, account) else None
        if vcard is not None:
            return vcard
        if request.is_owner:
            raise ItemNotFound("you have no vCard yet")
        raise ServiceUnavailable("")

    def _may_see(self, request: IqRequest, account: Account) -> bool:
        if request.is_owner or self.config.visibility == "everyone":
            return True
        item = self._roster.item(account, request.sender.to_bare())
        return item is not None and item.sends_presence

    async def _vcard(self, account: Account) -> Element | None:
        await self.kernel.gate.committed(account.last_ticket)  # readers see committed rows only
        rows = await self.kernel.reader.fetch(_FETCH, {"account": account.id})
        return parse_stored(rows[0].xml) if rows else None

    @iq_set(NS.VCARD, "vCard", at=ACCOUNT)
    def store(self, request: IqRequest) -> None:
        """Replace one's own vCard (§3.2); one without content takes it away."""
        account, limits = request.account, self.kernel.limits
        assert account is not None
        text = request.payload.to_xml()
        if len(text.encode()) > limits.stored_xml_bytes:
            self.kernel.limit_counters.fired("stored_xml_bytes")
            raise PolicyViolation(f"a vCard has at most {limits.stored_xml_bytes} bytes; make the photo smaller")
        request.turn.write(account, _DELETE, {"account": account.id})
        if request.payload.children:
            request.turn.write(account, _INSERT, {"account_id": account.id, "xml": text})

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """It goes with the account."""
        event.turn.write(event.account, _DELETE, {"account": event.account.id})

    async def export(self, account: Account) -> Sequence[Element]:
        """The ``<vCard/>`` (XEP-0227 §4.7)."""
        vcard = await self._vcard(account)
        return [] if vcard is None else [vcard]


__all__ = ["Vcard"]
