"""Configuration of a node: the fields of ``pubsub#node_config`` (XEP-0060 §17.4.4), as a form and as preconditions.

One table (:data:`FIELDS`) says of each field what it is called, what it may be, and where :class:`NodeConfig` has it.
What is not in the table is not offered, and as a precondition refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Final

from xmppchat.components.pubsub.faults import with_condition
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, Conflict, NotAcceptable, StanzaError
from xmppchat.protocol.forms import FORM_TYPE, Field, FieldType, Form, FormError, Option, boolean, form_type, is_true
from xmppchat.protocol.namespaces import NS

#: The value of a field that means "as much as the service allows" (§17.4.4).
MAX: Final = "max"
ACCESS_MODELS: Final = ("authorize", "open", "presence", "roster", "whitelist")
_NUMBER: Final = re.compile("[1-9][0-9]{0,8}")
#: Characters of a text of the configuration; names of groups in it, and characters of one.
MAX_TEXT, MAX_GROUPS, MAX_GROUP = 1_000, 50, 256


@dataclass(frozen=True, slots=True)
class NodeConfig:
    """What the owner wants of a node, by the names of §17.4.4. The defaults are those of personal eventing (XEP-0163
    §5). `max_items` and `max_payload_size` are 0 for :data:`MAX`."""

    title: str = ""
    description: str = ""
    type: str = ""
    access_model: str = "presence"
    roster_groups_allowed: tuple[str, ...] = ()
    publish_model: str = "publishers"
    persist_items: bool = True
    max_items: int = 1
    publish_node_full: str = "retract-oldest"
    item_expire: str = MAX
    max_payload_size: int = 0
    send_last_published_item: str = "on_sub_and_presence"
    deliver_notifications: bool = True
    deliver_payloads: bool = True
    notification_type: str = "headline"
    notify_config: bool = False
    notify_delete: bool = True
    notify_retract: bool = True
    notify_sub: bool = False
    itemreply: str = "none"

    def to_json(self) -> str:
        """What differs from the default."""
        own, default = asdict(self), asdict(DEFAULT)
        return json.dumps({name: value for name, value in own.items() if value != default[name]}, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> NodeConfig:
        """The other way. What another version of the server wrote and this one does not know is left out."""
        known = {field.name for field in fields(cls)}
        values = {name: value for name, value in json.loads(text).items() if name in known}
        if "roster_groups_allowed" in values:
            values["roster_groups_allowed"] = tuple(values["roster_groups_allowed"])
        return cls(**values)


DEFAULT: Final = NodeConfig()
#: What a node of a pubsub service of its own address is like (XEP-0060 §4.5: "open" SHOULD be the default there).
SERVICE_DEFAULT: Final = NodeConfig(access_model="open", max_items=10, send_last_published_item="on_sub")


@dataclass(frozen=True, slots=True)
class _Kind:
    """A field: how it is shown, and how what a form says becomes what :class:`NodeConfig` has."""

    type: FieldType
    label: str
    options: tuple[str, ...] = ()
    is_number: bool = False

    @property
    def may_be_empty(self) -> bool:
        """Whether nothing is a value, too."""
        return self.type in ("text-single", "text-multi") and not self.is_number


Fields = Mapping[str, _Kind]

FIELDS: Final[Fields] = {
    "title": _Kind("text-single", "A friendly name for the node"),
    "description": _Kind("text-single", "A description of the node"),
    "type": _Kind("text-single", "The namespace of the payloads; empty for any"),
    "access_model": _Kind("list-single", "Who may subscribe and retrieve items", ACCESS_MODELS),
    "roster_groups_allowed": _Kind("text-multi", 'Roster groups that may, with the access model "roster"'),
    "publish_model": _Kind("list-single", "Who may publish", ("publishers", "subscribers", "open")),
    "persist_items": _Kind("boolean", "Whether to keep items"),
    "max_items": _Kind("text-single", 'How many items to keep, or "max"', is_number=True),
    "publish_node_full": _Kind(
        "list-single", "What happens to an item that is one too many", ("retract-oldest", "discard-oldest", "reject")
    ),
    "item_expire": _Kind("list-single", 'How long to keep items; there is only "max"', (MAX,)),
    "max_payload_size": _Kind("text-single", 'Bytes of a payload, or "max"', is_number=True),
    "send_last_published_item": _Kind(
        "list-single", "When to send the last published item", ("never", "on_sub", "on_sub_and_presence")
    ),
    "deliver_notifications": _Kind("boolean", "Whether to notify subscribers"),
    "deliver_payloads": _Kind("boolean", "Whether notifications have the payload"),
    "notification_type": _Kind("list-single", "The type of messages that notify", ("normal", "headline")),
    "notify_config": _Kind("boolean", "Whether to notify subscribers of another configuration"),
    "notify_delete": _Kind("boolean", "Whether to notify subscribers when the node is deleted"),
    "notify_retract": _Kind("boolean", "Whether to notify subscribers when items are removed"),
    "notify_sub": _Kind("boolean", "Whether to notify the owner of new subscribers, and of those who leave"),
    "itemreply": _Kind("list-single", "Whether items tell who published them", ("none", "publisher")),
}
#: At a pubsub service of its own address, which has no roster and sees nobody's presence.
SERVICE_FIELDS: Final[Fields] = {
    **{name: field for name, field in FIELDS.items() if name != "roster_groups_allowed"},
    "access_model": replace(FIELDS["access_model"], options=("authorize", "open", "whitelist")),
    "send_last_published_item": replace(FIELDS["send_last_published_item"], options=("never", "on_sub")),
}
_PREFIX: Final = "pubsub#"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much a node may be configured to hold."""

    items: int
    payload_bytes: int


def items_kept(config: NodeConfig, bounds: Bounds) -> int:
    """How many items a node keeps. A limit that was lowered since counts, too."""
    return min(config.max_items or bounds.items, bounds.items)


def payload_bound(config: NodeConfig, bounds: Bounds) -> int:
    """How many bytes a payload of the node has at most."""
    return min(config.max_payload_size or bounds.payload_bytes, bounds.payload_bytes)


# --- forms ----------------------------------------------------------------------------------------------------------

def form(config: NodeConfig, kind: str = "form", fields: Fields = FIELDS) -> Element:
    """The configuration as a form to fill in, or with the `kind` "result" as what it is (§8.2.2, §8.2.5.3)."""
    found = [form_type(NS.PUBSUB_NODE_CONFIG)]
    for name, field in fields.items():
        values = _values(getattr(config, name))
        if kind == "result":
            found.append(Field(_PREFIX + name, "", values))
        else:
            options = tuple(Option(option) for option in field.options)
            found.append(Field(_PREFIX + name, field.type, values, field.label, options=options))
    return Form("result" if kind == "result" else "form", tuple(found)).to_element()


def _values(value: Any) -> tuple[str, ...]:
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, int):
        return (str(value) if value else MAX,)
    if isinstance(value, tuple):
        return value
    return (value,) if value else ()


def configured(config: NodeConfig, element: Element, bounds: Bounds, fields: Fields = FIELDS) -> NodeConfig:
    """`config` with what the form `element` says; fields that nobody knows are ignored (XEP-0004 §3.1).

    Raises :class:`NotAcceptable` with all that is wrong (§8.2.5.2).
    """
    submitted = Form.from_element(element)
    _refuse_access_model(submitted, fields)
    values = _checker(NS.PUBSUB_NODE_CONFIG, fields).check(submitted)
    return replace(config, **_parsed(values, bounds))


def preconditions(element: Element, bounds: Bounds, fields: Fields = FIELDS) -> Mapping[str, Any]:
    """What ``<publish-options/>`` demands (§7.1.5), as values of :class:`NodeConfig` by their names.

    Raises :class:`BadRequest` where it is no form of that kind, or has a field that is unknown here (§7.1.5: MUST be
    rejected); :class:`NotAcceptable` where a value cannot be.
    """
    found = element.find("x", NS.FORM)
    if found is None:
        raise _invalid_options("<publish-options/> has a form (XEP-0060 §7.1.5)")
    try:
        submitted = Form.from_element(found)
    except FormError as error:
        raise _invalid_options(error.text) from None
    if submitted.type != "submit" or submitted.form_type != NS.PUBSUB_OPTIONS:
        raise _invalid_options(f"the form of <publish-options/> is of type 'submit', and of {NS.PUBSUB_OPTIONS}")
    names = [field.var for field in submitted.fields if field.var != FORM_TYPE]
    if any(name.removeprefix(_PREFIX) not in fields or not name.startswith(_PREFIX) for name in names):
        raise _invalid_options("a field of <publish-options/> is unknown here, so it is no condition that can be met")
    _refuse_access_model(submitted, fields)
    wanted = {name.removeprefix(_PREFIX): fields[name.removeprefix(_PREFIX)] for name in names}
    values = _parsed(_checker(NS.PUBSUB_OPTIONS, wanted).check(submitted), bounds)
    if len(values) < len(wanted):
        raise _invalid_options("a field of <publish-options/> is empty, so it is no condition that can be met")
    return values


def of_options(options: Mapping[str, str], bounds: Bounds, before: NodeConfig = DEFAULT) -> NodeConfig:
    """The configuration that a component wants of a node, by the names of §17.4.4; the rest is as `before`."""
    values = {name: _parse(name, FIELDS[name], (value,), bounds) for name, value in options.items()}
    return replace(before, **values)


def require(config: NodeConfig, wanted: Mapping[str, Any], bounds: Bounds) -> None:
    """Raise :class:`Conflict` (``precondition-not-met``) unless `config` is what is `wanted` of it (§7.1.5)."""
    other = [name for name, value in wanted.items() if not _is_met(name, getattr(config, name), value, bounds)]
    if other:
        text = f"the node is configured otherwise: {', '.join(_PREFIX + name for name in other)}; configure it first"
        raise with_condition(Conflict(text), "precondition-not-met")


def _is_met(name: str, value: Any, wanted: Any, bounds: Bounds) -> bool:
    if name == "roster_groups_allowed":
        return set(value) == set(wanted)
    if name == "max_items":  # "max" is as many as that is
        return (value or bounds.items) == (wanted or bounds.items)
    if name == "max_payload_size":
        return (value or bounds.payload_bytes) == (wanted or bounds.payload_bytes)
    return bool(value == wanted)


def _invalid_options(text: str) -> BadRequest:
    return with_condition(BadRequest(text), "invalid-options")


def _checker(namespace: str, kinds: Mapping[str, _Kind]) -> Form:
    found = [
        Field(_PREFIX + name, kind.type, options=tuple(Option(option) for option in kind.options))
        for name, kind in kinds.items()
    ]
    return Form("form", (form_type(namespace), *found))


def _refuse_access_model(submitted: Form, fields: Fields) -> None:
    """§8.1.2: a model that is not supported has an error of its own."""
    field, models = submitted.field(_PREFIX + "access_model"), fields["access_model"].options
    if field is not None and field.value and field.value not in models:
        error: StanzaError = NotAcceptable(f"pubsub#access_model is one of {', '.join(models)}")
        raise with_condition(error, "unsupported-access-model")


def _parsed(values: Mapping[str, Sequence[str]], bounds: Bounds) -> dict[str, Any]:
    parsed: dict[str, Any] = {}
    faults: list[str] = []
    for var, given in values.items():
        name = var.removeprefix(_PREFIX)
        if not any(given) and not FIELDS[name].may_be_empty:
            continue  # what was left blank says nothing
        try:
            parsed[name] = _parse(name, FIELDS[name], given, bounds)
        except ValueError as error:
            faults.append(f"{var} {error}")
    if faults:
        raise NotAcceptable("; ".join(faults))
    return parsed


def _parse(name: str, kind: _Kind, given: Sequence[str], bounds: Bounds) -> Any:
    """One value. Raises ValueError with how the sentence goes on behind the name of the field."""
    if kind.type == "boolean":
        return is_true(given)
    if kind.type == "text-multi":
        return _groups(given)
    text = given[0].strip() if given else ""
    if kind.is_number:
        return _number(text, bounds.items if name == "max_items" else bounds.payload_bytes)
    if len(text) > MAX_TEXT:
        raise ValueError(f"has more than {MAX_TEXT} characters")
    return text


def _groups(given: Sequence[str]) -> tuple[str, ...]:
    groups = tuple(dict.fromkeys(group for group in given if group))
    if len(groups) > MAX_GROUPS or any(len(group) > MAX_GROUP for group in groups):
        raise ValueError(f"has more than {MAX_GROUPS} groups, or one with too long a name")
    return groups


def _number(text: str, most: int) -> int:
    if text == MAX:
        return 0
    if not _NUMBER.fullmatch(text) or int(text) > most:
        raise ValueError(f'is a number from 1 to {most}, or "{MAX}"')
    return int(text)

