"""What is asked and answered in an ad-hoc command: parameters as a form, a form as arguments, results as a form.

Pure: specifications and values in, forms out.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from xmppchat.core.commands import CommandSpec, ParameterSpec
from xmppchat.jid import JID
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.forms import Field, FieldType, Form, FormError, Option, boolean, form_type, is_true, table
from xmppchat.protocol.namespaces import NS

#: What is shown of a list or table; the command line shows all. And how many may be named where each is done.
MAX_ROWS: Final = 1_000
MAX_EACH: Final = 100

Arguments = dict[str, object]


def asked(spec: CommandSpec) -> list[ParameterSpec]:
    """The parameters that a form asks for; a host is the one that is asked."""
    return [parameter for parameter in spec.parameters if parameter.in_form and not parameter.is_host]


def form_of(spec: CommandSpec) -> Form:
    """The form for a command's parameters. The title is what it does, the rest of its description how to use it."""
    fields: list[Field] = [form_type(spec_form_type(spec))] if spec_form_type(spec) else []
    for parameter in asked(spec):
        fields.append(_field(parameter))
        if parameter.again:
            fields.append(Field(parameter.again, "text-private", (), f"{_label(parameter.help)}, again"))
    rest = spec.description.partition("\n")[2]
    instructions = tuple(" ".join(part.split()) for part in rest.split("\n\n") if part.strip())
    return Form("form", tuple(fields), spec.help.rstrip("."), instructions)


def spec_form_type(spec: CommandSpec) -> str:
    """The FORM_TYPE of a command's forms, "" for none. For service administration it is prescribed (XEP-0133)."""
    return spec.form_type or (NS.ADMIN if spec.node.startswith(NS.ADMIN + "#") else "")


def arguments_of(spec: CommandSpec, submitted: Form) -> list[Arguments]:
    """The arguments of each run that `submitted` asks for. Raises FormError."""
    values = form_of(spec).check(submitted)
    common: Arguments = {}
    each: list[tuple[str, tuple[str, ...]]] = []
    for parameter in asked(spec):
        found = values.get(parameter.field)
        if parameter.again and (values.get(parameter.again) or ()) != (found or ()):
            raise FormError(f"{parameter.field} and {parameter.again} differ")
        if parameter.is_each and found:
            if len(found) > MAX_EACH:
                raise FormError(f"{parameter.field} has more than {MAX_EACH} values")
            each.append((parameter.name, found))
        elif found is not None and (found or parameter.type is bool):
            common[parameter.name] = _argument(parameter, found)
    names = [name for name, _ in each]
    return [
        {**common, **dict(zip(names, combination, strict=True))}
        for combination in itertools.product(*(found for _, found in each))
    ]  # fmt: skip


def payload_of(spec: CommandSpec, results: Sequence[object]) -> list[Element]:
    """What the runs of a command gave, as payload of ``<command status='completed'/>`` (XEP-0050 §2.4)."""
    result = _merged(results)
    if isinstance(result, Mapping) and spec.changes and spec_form_type(spec) == NS.ADMIN:
        # For what changes something no fields of a result are registered (XEP-0133 §8.2): it is told in words.
        return [note(f"{name}: {_joined(value)}") for name, value in result.items()]
    if isinstance(result, Mapping):
        fields = [form_type(spec_form_type(spec))] if spec_form_type(spec) else []
        what = spec.help.rstrip(".") if len(result) == 1 else ""
        fields += [_result_field(str(name), value, what or str(name)) for name, value in result.items()]
        return [Form("result", tuple(fields)).to_element()]
    if isinstance(result, list):
        return _listed(result, spec)
    return [note("done" if result is None else _text(result))]


def note(text: str, kind: str = "info") -> Element:
    """``<note/>``: "info", "warn" or "error" (XEP-0050 §4.3)."""
    return text_element("note", NS.COMMANDS, text, {"type": kind})


def _listed(rows: list[Any], spec: CommandSpec) -> list[Element]:
    if not rows:
        return [note("none")]
    shown = rows[:MAX_ROWS]
    more = [note(f"{len(rows) - MAX_ROWS} more are not shown here", "warn")] if len(rows) > MAX_ROWS else []
    if not all(isinstance(row, Mapping) for row in shown):
        field = Field("items", "text-multi", tuple(_text(row) for row in shown), spec.help.rstrip("."))
        return [Form("result", (field,)).to_element(), *more]
    columns = {str(name): _label(str(name)) for row in shown for name in row}
    cells = [{str(name): _text(value) for name, value in row.items()} for row in shown]
    return [table(columns, cells, title=spec.help.rstrip(".")).to_element(), *more]


def _merged(results: Sequence[object]) -> object:
    """One result of several runs: tables one below the other, values of the same name side by side."""
    if len(results) == 1:
        return results[0]
    if all(isinstance(result, list) for result in results):
        return [row for result in results for row in result]  # type: ignore[attr-defined]
    if all(isinstance(result, Mapping) for result in results):
        merged: dict[str, list[object]] = {}
        for result in results:
            for name, value in result.items():  # type: ignore[attr-defined]
                merged.setdefault(name, []).extend(value if isinstance(value, list) else [value])
        return merged
    return [_text(result) for result in results if result is not None] or None


def _field(parameter: ParameterSpec) -> Field:
    kind, options = _type(parameter), ()
    if issubclass(parameter.type, Enum):
        options = tuple(Option(str(member.value)) for member in parameter.type)  # type: ignore[assignment]
    default: tuple[str, ...] = ()
    if parameter.type is bool:
        default = boolean(bool(parameter.default))
    elif parameter.default is not None and not parameter.secret:
        default = tuple(_text(parameter.default).split("\n"))
    # A flag has always a value, and False is one.
    is_required = parameter.is_required and parameter.type is not bool
    return Field(parameter.field, kind, default, _label(parameter.help), "", is_required, options)


def _type(parameter: ParameterSpec) -> FieldType:
    if parameter.secret:
        return "text-private"
    if parameter.type is bool:
        return "boolean"
    if issubclass(parameter.type, Enum):
        return "list-single"
    if parameter.type is JID:
        return "jid-multi" if parameter.is_each else "jid-single"
    return "text-multi" if parameter.has_lines or parameter.is_each else "text-single"


def _argument(parameter: ParameterSpec, values: tuple[str, ...]) -> object:
    if parameter.type is bool:
        return is_true(values)
    return "\n".join(values) if parameter.has_lines else values[0]


def _result_field(name: str, value: object, label: str) -> Field:
    if isinstance(value, bool):
        return Field(name, "boolean", boolean(value), _label(label))
    if isinstance(value, list):
        return Field(name, "text-multi", tuple(_text(item) for item in value[:MAX_ROWS]), _label(label))
    lines = tuple(_text(value).split("\n"))
    return Field(name, "text-single" if len(lines) == 1 else "text-multi", lines, _label(label))


def _joined(value: object) -> str:
    return ", ".join(_text(item) for item in value) if isinstance(value, list) else _text(value)


def _label(text: str) -> str:
    return text[:1].upper() + text[1:]


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value.value if isinstance(value, Enum) else value)
