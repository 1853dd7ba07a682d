"""What a query of an archive asks for (XEP-0313 §4): read once, checked, and turned into a range of ids.

Ids of messages are numbers inside and opaque texts outside: a text that is none of ours is one that no archive has.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from xmppchat.components.archive.store import HIGHEST, LOWEST, Selection
from xmppchat.core.runtime import TIME_SHIFT
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, FeatureNotImplemented, ItemNotFound
from xmppchat.protocol.forms import FORM_TYPE, Field, Form, FormError, form_type
from xmppchat.protocol.moments import parse_timestamp
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.rsm import PageRequest

#: Messages that may be asked for by their ids at once, and characters of a query's own id that are repeated.
MAX_IDS: Final = 250
MAX_QUERY_ID: Final = 1_000

_ID: Final = re.compile("[1-9][0-9]{0,18}")
_SINGLE: Final = frozenset({"with", "start", "end", "before-id", "after-id"})


def parse_id(text: str) -> int:
    """The number of an id. Raises :class:`ItemNotFound` for a text that we never made."""
    if not _ID.fullmatch(text) or int(text) > HIGHEST:
        raise ItemNotFound("there is no such message in this archive")
    return int(text)


@dataclass(frozen=True, slots=True)
class Query:
    """A query: which messages (`selection`), which page of them, in which order they are sent.

    `query_id` goes back with each result; `required` are ids that have to exist.
    """

    selection: Selection
    page: PageRequest
    after: int | None
    before: int | None
    required: tuple[int, ...]
    query_id: str
    is_flipped: bool

    @property
    def is_whole(self) -> bool:
        """Whether a complete page is all there is: it begins, or ends, where the selection does."""
        return self.after is None and self.before in (None, HIGHEST)

    @classmethod
    def from_element(cls, element: Element, owner: JID) -> Query:
        """Read a ``<query/>`` to the archive of `owner` (a bare JID).

        Raises :class:`BadRequest` for what is malformed, :class:`FeatureNotImplemented` for what is unknown (§4.1.5),
        :class:`ItemNotFound` for ids that cannot exist.
        """
        if element.get("node"):
            raise ItemNotFound("an account's archive has no nodes")  # XEP-0442
        query_id = element.get("queryid")
        if len(query_id) > MAX_QUERY_ID:
            raise BadRequest(f"a 'queryid' has at most {MAX_QUERY_ID} characters")
        forms = element.find_all("x", NS.FORM)
        if len(forms) > 1:
            raise BadRequest("a query has one form")
        fields = _fields(forms[0]) if forms else {}
        selection, required = _selection(fields, owner)
        page = PageRequest.find(element)
        after = None if page.after is None else parse_id(page.after)
        before = None if page.before is None else (parse_id(page.before) if page.before else HIGHEST)
        is_flipped = element.find("flip-page") is not None
        return cls(selection, page, after, before, required, query_id, is_flipped)


def _fields(element: Element) -> dict[str, tuple[str, ...]]:
    try:
        form = Form.from_element(element)
    except FormError as error:
        raise BadRequest(error.text) from None
    if form.type != "submit" or form.form_type != NS.ARCHIVE:
        raise BadRequest(f"a query's form is of type 'submit', and its FORM_TYPE is {NS.ARCHIVE}")
    fields = {field.var: field.values for field in form.fields if field.var != FORM_TYPE}
    for name, values in fields.items():
        if name not in _SINGLE and name != "ids":
            raise FeatureNotImplemented("a field of the form is unknown here; ask for the form to see which there are")
        if name in _SINGLE and len(values) > 1:
            raise BadRequest(f"the field {name} has more than one value")
    return {name: values for name, values in fields.items() if values}


def _selection(fields: dict[str, tuple[str, ...]], owner: JID) -> tuple[Selection, tuple[int, ...]]:
    peer = resource = ""
    if "with" in fields:
        try:
            jid = JID.parse(fields["with"][0])
        except InvalidJID:
            raise BadRequest("the field with has a value that is no address") from None
        peer = jid.bare
        # To oneself: any resource, as both ends are the same account (§4.1.1).
        resource = "" if peer == owner.bare else jid.resource
    low, high = LOWEST, HIGHEST
    if "start" in fields:
        low = _clamped((_moment("start", fields["start"][0], up=True) << TIME_SHIFT) - 1)
    if "end" in fields:
        high = _clamped(_moment("end", fields["end"][0], up=False) + 1 << TIME_SHIFT)
    ids = fields.get("ids")
    if ids is not None and len(ids) > MAX_IDS:
        raise BadRequest(f"ask for at most {MAX_IDS} ids at once")
    numbers = None if ids is None else tuple(dict.fromkeys(parse_id(text) for text in ids))
    required = list(numbers or ())
    if "after-id" in fields:
        required.append(parse_id(fields["after-id"][0]))
        low = max(low, required[-1])
    if "before-id" in fields:
        required.append(parse_id(fields["before-id"][0]))
        high = min(high, required[-1])
    return Selection(peer, resource, numbers, low, high), tuple(required)


def _moment(name: str, text: str, *, up: bool) -> int:
    try:
        return parse_timestamp(text, up=up)
    except (ValueError, OverflowError):
        raise BadRequest(f"the field {name} has a value that is no moment of XEP-0082: 2026-01-31T12:00:00Z") from None


def _clamped(number: int) -> int:
    return min(max(number, LOWEST), HIGHEST)


def form() -> Element:
    """The form with all fields (§4.1.5)."""
    fields = (
        form_type(NS.ARCHIVE), Field("with", "jid-single"), Field("start"), Field("end"), Field("before-id"),
        Field("after-id"),
    )
    element = Form("form", fields=fields).to_element()
    # Any value is good: the list of all ids would be endless (XEP-0122 §3.2).
    is_open = Element("validate", NS.FORM_VALIDATION, {"datatype": "xs:string"}, (Element("open", NS.FORM_VALIDATION),))
    ids = Element("field", NS.FORM, {"var": "ids", "type": "list-multi"}, (is_open,))
    return Element("query", NS.ARCHIVE, None, (element.append(ids),))
