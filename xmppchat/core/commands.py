"""Operators' commands: one declaration for the command line, and later for REST and ad-hoc commands.

A component's method with :func:`~xmppchat.core.component.command` is a command: its parameters come from the
signature, its help from the first line of its docstring. Example::

    @command("user add")
    async def user_add(
        self,
        jid: Annotated[str, Parameter("address of the new account")],
        password: Annotated[str, Parameter("its password", secret=True)],
    ) -> dict[str, str]:
        \"\"\"Add an account.\"\"\"

Parameters without default are positional on the command line, others options, and a `bool` is a flag. A
secret never stands on a command line, where every user of the machine could read it: it comes from standard
input.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmppchat.core import events
from xmppchat.core.component import CommandDeclaration, Component, declarations
from xmppchat.core.options import closest
from xmppchat.core.tables import DeclarationError
from xmppchat.jid import JID, InvalidJID

if TYPE_CHECKING:
    from xmppchat.core.kernel import Kernel

_TYPES = (str, int, bool, Path, JID)


class CommandError(Exception):
    """A command cannot be done; the text is for the operator and tells the next step."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What stands in a parameter's ``Annotated``: its help, and whether it is a secret."""

    help: str
    secret: bool = False


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A parameter of a command. `type` is str, int, bool, Path, JID or an Enum."""

    name: str
    type: type
    help: str
    secret: bool
    is_required: bool
    default: Any

    @property
    def option(self) -> str:
        """Its name as an option of the command line."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command: what it is called, what it takes, and which method of which component does it."""

    name: str
    help: str
    description: str
    parameters: tuple[ParameterSpec, ...]
    component: str
    method: str
    is_hidden: bool = False

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its name."""
        return tuple(self.name.split())


def command_specs(classes: Iterable[type[Component[Any]]]) -> dict[str, CommandSpec]:
    """All commands of component classes by name, in the order of declaration. Raises DeclarationError."""
    specs: dict[str, CommandSpec] = {}
    for cls in classes:
        for method_name, declaration in declarations(cls):
            if not isinstance(declaration, CommandDeclaration):
                continue
            spec = _spec(cls, method_name, declaration)
            other = specs.setdefault(spec.name, spec)
            if other is not spec:
                raise DeclarationError(
                    f"{_where(cls, method_name)}: command {spec.name!r} is declared by {other.component}, too"
                )
    return specs


async def execute(kernel: Kernel, name: str, arguments: Mapping[str, object], actor: str) -> object:
    """Run a command for `actor`; returns what JSON can say. Raises :class:`CommandError` for an operator's faults.

    Whatever comes of it is told as :class:`~xmppchat.core.events.CommandExecuted`.
    """
    by_name = {component.name: component for component in kernel.components}
    specs = command_specs(type(component) for component in by_name.values())
    spec = specs.get(name)
    if spec is None:
        guess = closest(name, specs)
        raise CommandError(f"there is no command {name!r}" + (f"; did you mean {guess!r}?" if guess else ""))
    open_names = {parameter.name for parameter in spec.parameters if not parameter.secret}
    shown = {key: value for key, value in arguments.items() if key in open_names}
    error = "the server failed at it"
    try:
        values = validate(spec, arguments)
        result = plain(await getattr(by_name[spec.component], spec.method)(**values))
        error = ""
    except CommandError as refusal:
        error = str(refusal)
        raise
    finally:
        kernel.emit(events.CommandExecuted(actor, name, shown, error))
    return result


def plain(value: object) -> object:
    """`value` as JSON can say it: objects of data as tables, choices as their values, anything else as text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value.value if isinstance(value, Enum) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    return plain(value.value) if isinstance(value, Enum) else str(value)


def validate(spec: CommandSpec, arguments: Mapping[str, object]) -> dict[str, Any]:
    """`arguments` in the types that the command takes. Raises :class:`CommandError` with all faults."""
    known = {parameter.name for parameter in spec.parameters}
    faults = [f"{spec.name}: there is no parameter {name!r}" for name in arguments if name not in known]
    values: dict[str, Any] = {}
    for parameter in spec.parameters:
        if parameter.name not in arguments:
            if parameter.is_required:
                faults.append(f"{spec.name}: {parameter.name} is missing ({parameter.help})")
            continue
        try:
            values[parameter.name] = _convert(parameter, arguments[parameter.name])
        except ValueError as error:
            faults.append(f"{spec.name}: {parameter.name}: {error}")
    if faults:
        raise CommandError("\n".join(faults))
    return values


def _convert(parameter: ParameterSpec, value: object) -> Any:
    """The value in the parameter's type. Never repeats the value of a secret."""
    wanted = parameter.type
    if value is None and not parameter.is_required and parameter.default is None:
        return None
    if isinstance(value, wanted) and not (wanted is int and isinstance(value, bool)):
        return value
    if issubclass(wanted, Enum):
        try:
            return wanted(value)
        except ValueError:
            choices = ", ".join(str(member.value) for member in wanted)
            raise ValueError(f"one of {choices} is wanted") from None
    if wanted is JID and isinstance(value, str):
        try:
            return JID.parse(value)
        except InvalidJID as error:
            raise ValueError(str(error)) from None
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if wanted is int and isinstance(value, str):
        try:
            return int(value)
        except ValueError:
            pass
    names = {str: "text", int: "a whole number", bool: "true or false", Path: "a path", JID: "an address"}
    raise ValueError(f"{names[wanted]} is wanted")


def _spec(cls: type[Component[Any]], method_name: str, declaration: CommandDeclaration) -> CommandSpec:
    name = declaration.name
    function = getattr(cls, method_name)
    where = _where(cls, method_name)
    if not inspect.iscoroutinefunction(function):
        raise DeclarationError(f"{where}: the command {name!r} has to be a coroutine method (async def)")
    description = inspect.getdoc(function) or ""
    if not description:
        raise DeclarationError(f"{where}: the command {name!r} needs a docstring; its first line is the help")
    hints = typing.get_type_hints(function, include_extras=True)
    parameters = tuple(
        _parameter(parameter, hints.get(parameter.name), f"{where}: command {name!r}")
        for parameter in list(inspect.signature(function).parameters.values())[1:]
    )
    return CommandSpec(
        name, description.splitlines()[0], description, parameters, cls.name, method_name, declaration.hidden
    )


def _parameter(parameter: inspect.Parameter, hint: Any, where: str) -> ParameterSpec:
    details = [item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Parameter)]
    if not details:
        raise DeclarationError(f"{where}: {parameter.name} needs Annotated[type, Parameter(help)]")
    wanted = _without_none(typing.get_args(hint)[0])
    if not (inspect.isclass(wanted) and (wanted in _TYPES or issubclass(wanted, Enum))):
        raise DeclarationError(
            f"{where}: {parameter.name} may be str, int, bool, Path, JID or an Enum, not {wanted}"
        )
    is_required = parameter.default is inspect.Parameter.empty
    default = None if is_required else parameter.default
    return ParameterSpec(parameter.name, wanted, details[0].help, details[0].secret, is_required, default)


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [item for item in typing.get_args(annotation) if item is not type(None)]
        return inner[0] if len(inner) == 1 else annotation
    return annotation


def _where(cls: type[Component[Any]], method_name: str) -> str:
    code = getattr(cls, method_name).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
