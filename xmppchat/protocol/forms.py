"""Data forms (XEP-0004), with the context that FORM_TYPE gives them (XEP-0068).

What is asked for is a :class:`Form` of type "form"; what comes back is read by :meth:`Form.from_element` and held
against it by :meth:`Form.check`::

    asked = Form("form", fields=(form_type("urn:example:quote"), Field("text", label="Quote", is_required=True)))
    values = asked.check(Form.from_element(payload))
    quote = values["text"][0]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast, get_args

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.errors import NotAcceptable
from xmppchat.protocol.namespaces import NS

FormKind = Literal["form", "submit", "cancel", "result"]
FieldType = Literal[
    "", "boolean", "fixed", "hidden", "jid-multi", "jid-single", "list-multi", "list-single", "text-multi",
    "text-private", "text-single",
]  # fmt: skip

#: What a form that is read may have (limit 55): fields in all, items of a table; values or options of a field.
MAX_FIELDS: Final = 500
MAX_VALUES: Final = 1_000
FORM_TYPE: Final = "FORM_TYPE"

_KINDS: Final = frozenset(get_args(FormKind))
_TYPES: Final = frozenset(get_args(FieldType))
#: Fields that may have more than one value (§3.2).
_MULTIPLE: Final = frozenset({"list-multi", "jid-multi", "text-multi", "hidden"})
_BOOLEANS: Final = {"1": True, "true": True, "0": False, "false": False}
_LONGEST_SHOWN: Final = 100


class FormError(NotAcceptable):
    """A form is not one, or not what was asked for; the text names the fields (XEP-0004 §4: not-acceptable)."""


@dataclass(frozen=True, slots=True)
class Option:
    """A choice of a list field; `label` is for people."""

    value: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """A field (§3.2). `type` "" stands where none was said, as in what is submitted.

    A "text-multi" has a value for each line; `desc` explains the field, `label` names it.
    """

    var: str
    type: FieldType = "text-single"
    values: tuple[str, ...] = ()
    label: str = ""
    desc: str = ""
    is_required: bool = False
    options: tuple[Option, ...] = ()

    @property
    def value(self) -> str:
        """The first value, "" where there is none."""
        return self.values[0] if self.values else ""

    @property
    def text(self) -> str:
        """All values as the lines of one text (§3.3, text-multi)."""
        return "\n".join(self.values)

    def to_element(self) -> Element:
        """``<field/>``."""
        children: list[Element] = [text_element("desc", NS.FORM, self.desc)] if self.desc else []
        if self.is_required:
            children.append(Element("required", NS.FORM))
        children += [text_element("value", NS.FORM, value) for value in self.values]
        for option in self.options:
            value = text_element("value", NS.FORM, option.value)
            children.append(Element("option", NS.FORM, {"label": option.label or None}, (value,)))
        attributes = {"var": self.var or None, "type": self.type or None, "label": self.label or None}
        return Element("field", NS.FORM, attributes, children)

    @classmethod
    def from_element(cls, element: Element) -> Field:
        """Read a ``<field/>``. Raises :class:`FormError`."""
        var, kind = element.get("var"), element.get("type")
        if not var and kind != "fixed":
            raise FormError("a field of the form has no 'var'")
        values = tuple(child.text for child in element.find_all("value"))
        options = tuple(
            Option(option.child_text("value") or "", option.get("label")) for option in element.find_all("option")
        )
        if len(values) > MAX_VALUES or len(options) > MAX_VALUES:
            raise FormError(f"{_shown(var)} has more than {MAX_VALUES} values")
        known = cast(FieldType, kind if kind in _TYPES else "text-single")  # §3.3: what is not understood
        return cls(
            var, known, values, element.get("label"), element.child_text("desc") or "",
            element.find("required") is not None, options,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Form:
    """A form, or data in the shape of one (§3.1). A table has `reported` and `items` in place of `fields` (§3.4)."""

    type: FormKind
    fields: tuple[Field, ...] = ()
    title: str = ""
    instructions: tuple[str, ...] = ()
    reported: tuple[Field, ...] = ()
    items: tuple[tuple[Field, ...], ...] = ()

    # --- reading -----------------------------------------------------------------------------------------------

    def field(self, var: str) -> Field | None:
        """The field `var`, None where there is none."""
        return next((field for field in self.fields if field.var == var), None)

    @property
    def form_type(self) -> str:
        """What FORM_TYPE says, "" for nothing. Only what is submitted may leave its type out (XEP-0068 §5)."""
        field = self.field(FORM_TYPE)
        if field is None or (field.type != "hidden" and not (self.type == "submit" and not field.type)):
            return ""
        return field.value

    def __getitem__(self, var: str) -> str:
        """The first value of `var`, "" where there is none."""
        field = self.field(var)
        return "" if field is None else field.value

    def check(self, submitted: Form) -> dict[str, tuple[str, ...]]:
        """The values of `submitted`, by this form's fields. Raises :class:`FormError` with all that is wrong.

        Fields that this form does not have are ignored (§3.1), so are repeated addresses (§3.3). A field that was
        not submitted is not in the result and keeps what it has (§3.5); one that was emptied has no values.
        """
        if submitted.type != "submit":
            raise FormError("a form of type 'submit' is wanted")
        wanted, given = self.form_type, submitted.form_type
        if wanted and given and given != wanted:
            raise FormError(f"this is a form of {_shown(given)}; one of {wanted} is wanted")
        values: dict[str, tuple[str, ...]] = {}
        faults: list[str] = []
        for field in self.fields:
            if field.type == "fixed" or field.var == FORM_TYPE:
                continue
            found = submitted.field(field.var)
            try:
                if found is not None:
                    values[field.var] = _checked(field, found.values)
                if field.is_required and not any(values.get(field.var, ())):
                    raise ValueError("is required")
            except ValueError as error:
                faults.append(f"{field.var} {error}")
        if faults:
            raise FormError("; ".join(faults))
        return values

    # --- elements ----------------------------------------------------------------------------------------------

    def to_element(self) -> Element:
        """``<x xmlns='jabber:x:data'/>``."""
        children = [text_element("title", NS.FORM, self.title)] if self.title else []
        children += [text_element("instructions", NS.FORM, line) for line in self.instructions]
        if self.reported:
            children.append(Element("reported", NS.FORM, None, [field.to_element() for field in self.reported]))
        children += [Element("item", NS.FORM, None, [field.to_element() for field in item]) for item in self.items]
        children += [field.to_element() for field in self.fields]
        return Element("x", NS.FORM, {"type": self.type}, children)

    @classmethod
    def from_element(cls, element: Element) -> Form:
        """Read an ``<x/>``. Raises :class:`FormError`: no form, a field twice, more than the limits allow."""
        kind = element.get("type")
        if not element.is_named("x", NS.FORM) or kind not in _KINDS:
            raise FormError("a form is an <x xmlns='jabber:x:data'/> of type form, submit, cancel or result")
        rows = element.find_all("item")
        if len(rows) > MAX_FIELDS:
            raise FormError(f"a form has at most {MAX_FIELDS} items")
        head = element.find("reported")
        return cls(
            cast(FormKind, kind), _fields(element), element.child_text("title") or "",
            tuple(child.text for child in element.find_all("instructions")),
            () if head is None else _fields(head), tuple(_fields(row) for row in rows),
        )  # fmt: skip

    @classmethod
    def find(cls, parent: Element) -> Form | None:
        """The first form among the children of `parent`. Raises as :meth:`from_element`."""
        element = parent.find("x", NS.FORM)
        return None if element is None else cls.from_element(element)


def form_type(namespace: str) -> Field:
    """The hidden field that says what the others mean (XEP-0068 §3.1)."""
    return Field(FORM_TYPE, "hidden", (namespace,))


def boolean(value: bool) -> tuple[str, ...]:
    """The values of a boolean field."""
    return ("1" if value else "0",)


def is_true(values: Sequence[str]) -> bool:
    """What the checked values of a boolean field say; none means no (§3.3)."""
    return bool(values) and _BOOLEANS[values[0]]


def table(columns: Mapping[str, str], rows: Iterable[Mapping[str, str]], **texts: str) -> Form:
    """A result of several items (§3.4): `columns` are labels by name; a row's missing cells are empty."""
    reported = tuple(Field(var, "text-single", (), label) for var, label in columns.items())
    items = tuple(tuple(Field(var, "", (row.get(var, ""),)) for var in columns) for row in rows)
    return Form("result", reported=reported, items=items, **texts)  # type: ignore[arg-type]


def _fields(parent: Element) -> tuple[Field, ...]:
    elements = parent.find_all("field")
    if len(elements) > MAX_FIELDS:
        raise FormError(f"a form has at most {MAX_FIELDS} fields")
    fields = tuple(Field.from_element(element) for element in elements)
    seen: set[str] = set()
    for field in fields:
        if field.var and field.var in seen:
            raise FormError(f"the field {_shown(field.var)} is there twice")
        seen.add(field.var)
    return fields


def _checked(field: Field, values: tuple[str, ...]) -> tuple[str, ...]:
    """`values` as the type of `field` has them. Raises ValueError with how the sentence goes on behind the name."""
    kind = field.type
    if kind in ("jid-multi", "jid-single"):
        values = _addresses(values)
    if len(values) > 1 and kind not in _MULTIPLE:
        raise ValueError("has more than one value")
    if kind == "boolean" and not set(values) <= _BOOLEANS.keys():
        raise ValueError("is either 1 or 0")
    if kind in ("list-single", "list-multi"):
        choices = [option.value for option in field.options]
        values = tuple(value for value in values if value or value in choices)
        for value in values:
            if value not in choices:
                raise ValueError(f"is not {_shown(value)} but one of {', '.join(choices)}")
    return values


def _addresses(values: tuple[str, ...]) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for value in values:
        if not value.strip():
            continue  # an empty one unsets the field (§3.6)
        try:
            found[JID.parse(value.strip()).full] = None
        except InvalidJID:
            raise ValueError(f"has {_shown(value)}, which is no address") from None
    return tuple(found)


def _shown(text: str) -> str:
    """What another wrote, for an error text: short."""
    return repr(text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…")
