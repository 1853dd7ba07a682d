"""Private XML (XEP-0049): what clients keep at the server for themselves, bookmarks and settings of old.

Example::

    [Client] romeo

    romeo sends:
        <iq type="set" id="p1">
            <query xmlns="jabber:iq:private"><prefs xmlns="urn:example:prefs">dark</prefs></query>
        </iq>
        <iq type="get" id="p2"><query xmlns="jabber:iq:private"><prefs xmlns="urn:example:prefs"/></query></iq>
    romeo receives:
        <iq type="result" id="p1" from="{romeo.bare}" to="{romeo.full}"/>
        <iq type="result" id="p2" from="{romeo.bare}" to="{romeo.full}">
            <query xmlns="jabber:iq:private"><prefs xmlns="urn:example:prefs">dark</prefs></query>
        </iq>
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, delete, insert, select

from xmppchat.core import events
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.component import (
    ACCOUNT,
    SERVER,
    Component,
    ComponentConfig,
    Feature,
    IqRequest,
    Later,
    Xep,
    iq_get,
    iq_set,
    on,
)
from xmppchat.core.services import ContentView, PrivateXmlService
from xmppchat.core.turn import Turn
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import NotAcceptable, PolicyViolation, ResourceConstraint
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.xmlreader import parse_stored
from xmppchat.storage import schema

#: Namespaces that are the server's to keep (XEP-0049 §2.3).
_RESERVED = ("jabber:", "http://jabber.org/", NS.VCARD)

#: Bytes of each element that is stored, by (namespace, name).
Sizes = dict[tuple[str, str], int]


def _build(account: Account, rows: Sequence[Any]) -> Sizes:
    return {(row.namespace, row.name): row.size for row in rows}


_elements = schema.private_xml.c
SIZES: AccountPart[Sizes] = AccountPart(
    "private_xml",
    select(_elements.account_id, _elements.namespace, _elements.name, _elements.size)
    .where(_elements.account_id.in_(bindparam("accounts", expanding=True))),
    _build,
)
_INSERT = insert(schema.private_xml)
_FETCH = select(_elements.xml).where(
    _elements.account_id == bindparam("account"), _elements.namespace == bindparam("of_namespace"),
    _elements.name == bindparam("of_name"),
)
_FETCH_ALL = (
    select(_elements.xml).where(_elements.account_id == bindparam("account"))
    .order_by(_elements.namespace, _elements.name)
)
_DELETE = delete(schema.private_xml).where(
    _elements.account_id == bindparam("account"), _elements.namespace == bindparam("of_namespace"),
    _elements.name == bindparam("of_name"),
)
_DELETE_ALL = delete(schema.private_xml).where(_elements.account_id == bindparam("account"))


class PrivateXml(Component[ComponentConfig]):
    """Stores elements for their owner alone (XEP-0049 §2)."""

    name = "private_xml"
    implements = (Xep(49, "1.2"),)
    features = (Feature(NS.PRIVATE_XML, at=SERVER | ACCOUNT),)
    account_parts = (SIZES,)
    provides = (PrivateXmlService,)

    def setup(self) -> None:
        """All elements are what is stored, until somebody says otherwise."""
        self._views: dict[tuple[str, str], ContentView] = {}

    @iq_get(NS.PRIVATE_XML, "query", at=ACCOUNT)
    def answer(self, request: IqRequest) -> Later:
        """What is stored under the names asked for; the empty element where there is nothing."""
        account = request.account
        assert account is not None
        names = [(child.namespace, child.name) for child in _elements_of(request.payload)]
        return Later(self._answer(account, names), is_in_order=not self._views.keys().isdisjoint(names))

    async def _answer(self, account: Account, names: Sequence[tuple[str, str]]) -> Element:
        found = await self._stored(account, [name for name in names if name not in self._views])
        for name in names:
            shown = await self._views[name].read(account) if name in self._views else None
            if shown is not None:
                found[name] = shown
        answer = [found.get((namespace, name)) or Element(name, namespace) for namespace, name in names]
        return Element("query", NS.PRIVATE_XML, None, answer)

    async def _stored(self, account: Account, names: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Element]:
        stored = account[SIZES]
        queries = [
            (_FETCH, {"account": account.id, "of_namespace": namespace, "of_name": name})
            for namespace, name in names if (namespace, name) in stored
        ]
        found: dict[tuple[str, str], Element] = {}
        if queries:
            await self.kernel.gate.committed(account.last_ticket)  # readers see committed rows only
            for rows in await self.kernel.reader.fetch_many(queries):
                for row in rows:
                    element = parse_stored(row.xml)
                    found[element.namespace, element.name] = element
        return found

    @iq_set(NS.PRIVATE_XML, "query", at=ACCOUNT)
    def store(self, request: IqRequest) -> Later | None:
        """Put elements in the place of those of the same names; an empty one takes away what was there."""
        elements = _elements_of(request.payload)
        account = request.account
        assert account is not None
        if any((element.namespace, element.name) in self._views for element in elements):
            return Later(self._store_shown(account, elements, request.turn), is_in_order=True)
        self._store(account, elements, request.turn)
        return None

    async def _store_shown(self, account: Account, elements: Sequence[Element], turn: Turn) -> None:
        shown = [element for element in elements if (element.namespace, element.name) in self._views]
        self._store(account, [element for element in elements if element not in shown], turn)
        for element in shown:
            await self._views[element.namespace, element.name].write(account, element, turn)

    def _store(self, account: Account, elements: Sequence[Element], turn: Turn) -> None:
        sizes: Sizes = account[SIZES]
        changed = sizes.copy()
        texts: dict[tuple[str, str], str] = {}
        for element in elements:
            key = (element.namespace, element.name)
            changed.pop(key, None)
            if element.children or element.attributes:
                texts[key] = element.to_xml()
                changed[key] = len(texts[key].encode())
        self._check(sizes, changed)
        sizes.clear()
        sizes.update(changed)
        for element in elements:
            key = (element.namespace, element.name)
            row = {"account": account.id, "of_namespace": element.namespace, "of_name": element.name}
            turn.write(account, _DELETE, row)
            if key in texts:
                turn.write(account, _INSERT, {
                    "account_id": account.id, "namespace": element.namespace, "name": element.name,
                    "size": changed[key], "xml": texts[key],
                })

    def _check(self, before: Sizes, after: Sizes) -> None:
        """Limit 31. Who is above a limit that was lowered may still make things smaller."""
        limits, fired = self.kernel.limits, self.kernel.limit_counters.fired
        if any(size > limits.stored_xml_bytes for key, size in after.items() if size > before.get(key, 0)):
            fired("stored_xml_bytes")
            raise PolicyViolation(f"an element of private XML has at most {limits.stored_xml_bytes} bytes")
        if sum(after.values()) > max(limits.private_xml_bytes, sum(before.values())):
            fired("private_xml_bytes")
            raise ResourceConstraint(
                f"your private XML is full: {limits.private_xml_bytes} bytes; remove something first", type="cancel"
            )
        if len(after) > max(limits.private_xml_elements, len(before)):
            fired("private_xml_elements")
            raise ResourceConstraint(
                f"private XML has at most {limits.private_xml_elements} elements; remove one first", type="cancel"
            )

    # --- for other components ----------------------------------------------------------------------------------------

    def show(self, namespace: str, name: str, view: ContentView) -> None:
        """See :class:`PrivateXmlService`."""
        self._views[namespace, name] = view

    def has(self, account: Account, namespace: str, name: str) -> bool:
        """See :class:`PrivateXmlService`."""
        return (namespace, name) in account[SIZES]

    async def read(self, account: Account, namespace: str, name: str) -> Element | None:
        """See :class:`PrivateXmlService`."""
        return (await self._stored(account, [(namespace, name)])).get((namespace, name))

    def put(self, account: Account, element: Element, turn: Turn) -> None:
        """See :class:`PrivateXmlService`."""
        self._store(account, [element], turn)

    # --- with the account --------------------------------------------------------------------------------------------

    @on(events.AccountDeleted)
    def delete(self, event: events.AccountDeleted) -> None:
        """It goes with the account."""
        event.account[SIZES].clear()
        event.turn.write(event.account, _DELETE_ALL, {"account": event.account.id})

    async def export(self, account: Account) -> Sequence[Element]:
        """One ``<query/>`` with all of it (XEP-0227 §4.6)."""
        await self.kernel.gate.committed(account.last_ticket)
        rows = await self.kernel.reader.fetch(_FETCH_ALL, {"account": account.id})
        return [Element("query", NS.PRIVATE_XML, None, [parse_stored(row.xml) for row in rows])] if rows else []


def _elements_of(query: Element) -> list[Element]:
    """The elements asked for or given (XEP-0049 §2.3). Raises :class:`NotAcceptable`."""
    elements = list(query.elements())
    if not elements:
        raise NotAcceptable("put the element you mean into the query, in a namespace of its own")
    if len({element.namespace for element in elements}) > 1:
        raise NotAcceptable("a query has elements of one namespace only")
    if len({element.name for element in elements}) < len(elements):
        raise NotAcceptable("there is one element of each name; put what you have into one")
    namespace = elements[0].namespace
    if not namespace or namespace.startswith(_RESERVED):
        raise NotAcceptable("this namespace is not for private data; use one of your own")
    return elements


__all__ = ["PrivateXml"]
