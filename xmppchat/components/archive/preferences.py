"""Archiving preferences (XEP-0441): an account says what of its messages is archived.

Example::

    [Client] romeo

    romeo sends:
        <iq type="set" id="p1">
            <prefs xmlns="urn:xmpp:mam:2" default="roster"><never><jid>{romeo.bare}</jid></never></prefs>
        </iq>
    romeo receives:
        <iq type="result" id="p1" from="{romeo.bare}" to="{romeo.full}">
            <prefs xmlns="urn:xmpp:mam:2" default="roster"><always/><never><jid>{romeo.bare}</jid></never></prefs>
        </iq>
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any, cast, get_args

from sqlalchemy import bindparam, delete, insert, select

from xmppchat.components.archive.policy import EVERYTHING, Default, Preferences
from xmppchat.core import events
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.component import ACCOUNT, Component, ComponentConfig, IqRequest, Xep, iq_get, iq_set, on
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import BadRequest, PolicyViolation
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import schema


class Wishes:
    """The preferences of an account, as they are now."""

    __slots__ = ("now",)

    def __init__(self, now: Preferences) -> None:
        self.now = now


def _build(account: Account, rows: Sequence[Any]) -> Wishes:
    if not rows:
        return Wishes(EVERYTHING)
    row = rows[0]
    return Wishes(Preferences(row.behaviour, frozenset(json.loads(row.always)), frozenset(json.loads(row.never))))


_columns = schema.archive_preferences.c
PREFERENCES: AccountPart[Wishes] = AccountPart(
    "archive_preferences",
    select(_columns.account_id, _columns.behaviour, _columns.always, _columns.never)
    .where(_columns.account_id.in_(bindparam("accounts", expanding=True))),
    _build,
)
_INSERT = insert(schema.archive_preferences)
_DELETE = delete(schema.archive_preferences).where(_columns.account_id == bindparam("account"))


class ArchivePreferences(Component[ComponentConfig]):
    """Stores what an account wants archived; :class:`Archive` asks for it."""

    name = "archive_preferences"
    implements = (Xep(441, "0.2.0"),)
    account_parts = (PREFERENCES,)

    @iq_get(NS.ARCHIVE, "prefs", at=ACCOUNT)
    def show(self, request: IqRequest) -> Element:
        """The preferences (§2.1)."""
        assert request.account is not None
        self._uses_archive(request)
        return _element(request.account[PREFERENCES].now)

    @iq_set(NS.ARCHIVE, "prefs", at=ACCOUNT)
    def change(self, request: IqRequest) -> Element:
        """Put others in their place; what was not said is empty (§2.2, §2.3)."""
        account = request.account
        assert account is not None
        self._uses_archive(request)
        wanted = self._read(request.payload)
        wishes = account[PREFERENCES]
        if wanted != wishes.now:
            wishes.now = wanted
            request.turn.write(account, _DELETE, {"account": account.id})
            if wanted != EVERYTHING:
                request.turn.write(account, _INSERT, {
                    "account_id": account.id, "behaviour": wanted.default,
                    "always": json.dumps(sorted(wanted.always)), "never": json.dumps(sorted(wanted.never)),
                })  # fmt: skip
        return _element(wanted)

    def _read(self, element: Element) -> Preferences:
        default = element.get("default")
        if default not in get_args(Default):
            raise BadRequest("the attribute 'default' is always, never or roster")
        always, never = _addresses(element, "always"), _addresses(element, "never")
        if always & never:
            raise BadRequest("an address is archived either always or never")
        limit = self.kernel.limits.archive_addresses
        if len(always) + len(never) > limit:
            self.kernel.limit_counters.fired("archive_addresses")
            raise PolicyViolation(f"the lists have at most {limit} addresses")
        return Preferences(cast(Default, default), always, never)

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """They go with the account."""
        event.turn.write(event.account, _DELETE, {"account": event.account.id})

    def _uses_archive(self, request: IqRequest) -> None:
        if request.session is not None and not request.session.fetches_up_to:
            request.session.fetches_up_to = self.kernel.ids.sortable()


def _addresses(prefs: Element, name: str) -> frozenset[str]:
    found = prefs.find(name)
    if found is None:
        return frozenset()
    try:
        return frozenset(JID.parse(child.text.strip()).full for child in found.find_all("jid"))
    except InvalidJID:
        raise BadRequest(f"<{name}/> has a <jid/> that is no address") from None


def _element(preferences: Preferences) -> Element:
    def jids(addresses: Collection[str]) -> list[Element]:
        return [text_element("jid", NS.ARCHIVE, address) for address in sorted(addresses)]

    lists = [Element("always", NS.ARCHIVE, None, jids(preferences.always)),
             Element("never", NS.ARCHIVE, None, jids(preferences.never))]
    return Element("prefs", NS.ARCHIVE, {"default": preferences.default}, lists)
