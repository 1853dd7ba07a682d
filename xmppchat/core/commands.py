"""Commands: one declaration for the command line, for ad-hoc commands (XEP-0050), and later for REST.

A component's method with :func:`~xmppchat.core.component.command` is a command: its parameters come from the
signature, its help from the first line of its docstring. Example::

    @command("user add")
    async def user_add(
        self,
        jid: Annotated[JID, Parameter("address of the new account")],
        password: Annotated[str, Parameter("its password", secret=True)],
    ) -> dict[str, str]:
        \"\"\"Add an account.\"\"\"

Parameters without default are positional on the command line, others options, and a `bool` is a flag. A
secret never stands on a command line, where every user of the machine could read it: it comes from standard
input.

The same command is offered to the host's admins by ad-hoc: a form asks for its parameters, the result is a form
(dict), a table (list of dicts) or a text. A command for everybody is declared with ``by=Role.USER``; a parameter
annotated :class:`~xmppchat.core.callers.Caller` is who asks, and no argument::

    @command("invite", adhoc="urn:xmpp:invite#invite", by=Role.USER, form_type="urn:xmpp:invite#invitation")
    async def invite(
        self,
        caller: Caller,  # caller.account asks the host caller.domain; both are empty on the command line
        uses: Annotated[int, Parameter("how often it may be used", form=False)] = 1,
    ) -> dict[str, str]:
        \"\"\"Invite somebody.\"\"\"
        return {"uri": …, "landing-url": …, "expire": …}

Without parameters that a form asks for, a command is done at once. Addresses (`JID`) and hosts
(``Parameter(…, host=True)``, which is the host that is asked) have to be the caller's to administer, see
:mod:`xmppchat.core.callers`. What an admin of one host must not see of the others a command leaves out itself, by
``caller.hosts``. Faults are a :class:`CommandError` or a stanza error; both reach who asked.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xmppchat.core import events
from xmppchat.core.callers import Caller, refusal, refusal_of_values
from xmppchat.core.component import Component, Role, declarations
from xmppchat.core.declarations import CommandDeclaration
from xmppchat.core.options import closest
from xmppchat.core.tables import DeclarationError
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.errors import Forbidden, StanzaError

if TYPE_CHECKING:
    from xmppchat.core.kernel import Kernel

_TYPES = (str, int, bool, Path, JID)
#: What no XML document may hold (XML 1.0 §2.2).
NOT_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


class CommandError(Exception):
    """A command cannot be done; the text is for who runs it and tells the next step.

    `error` is the stanza error that says the same to who asks by XMPP, None where no condition fits.
    """

    def __init__(self, text: str, error: StanzaError | None = None) -> None:
        super().__init__(text)
        self.error = error


class InvalidArguments(CommandError):
    """The arguments are not what the command takes."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """What stands in a parameter's ``Annotated``: its help, and whether it is a secret. One that is `private` stands on
    the command line like others, but in no log.

    `host`: it names a host of this server. `elsewhere`: the address may be anybody's, not only one that the caller
    may administer. The rest is for the forms of ad-hoc commands. `field` is its name there, where a specification
    prescribes one, `again` that of a second field that has to say the same; `each`: several may be given, and the
    command is run for each; `lines`: a text of several lines; `form` False: it is not asked for and keeps its default.
    """

    help: str
    secret: bool = False
    private: bool = False
    host: bool = False
    elsewhere: bool = False
    field: str = ""
    again: str = ""
    each: bool = False
    lines: bool = False
    form: bool = True


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """A parameter of a command. `type` is str, int, bool, Path, JID or an Enum; for the others see Parameter."""

    name: str
    type: type
    help: str
    secret: bool
    is_required: bool
    default: Any
    is_host: bool = False
    is_elsewhere: bool = False
    field: str = ""
    again: str = ""
    is_each: bool = False
    has_lines: bool = False
    in_form: bool = True
    is_private: bool = False

    @property
    def is_logged(self) -> bool:
        """Whether its value may be in logs."""
        return not self.secret and not self.is_private

    @property
    def option(self) -> str:
        """Its name as an option of the command line."""
        return "--" + self.name.replace("_", "-")


@dataclass(frozen=True, slots=True)
class CommandSpec:
    """A command: what it is called, what it takes, and which method of which component does it.

    `node` is its ad-hoc node, "" where it is not offered there; `caller` the name of the parameter that gets the
    :class:`Caller`, "" for none. The others are as in :func:`~xmppchat.core.component.command`.
    """

    name: str
    help: str
    description: str
    parameters: tuple[ParameterSpec, ...]
    component: str
    method: str
    node: str = ""
    by: Role = Role.ADMIN
    changes: bool = True
    form_type: str = ""
    is_hidden: bool = False
    caller: str = ""

    @property
    def words(self) -> tuple[str, ...]:
        """The words of its name."""
        return tuple(self.name.split())

    @property
    def is_scoped(self) -> bool:
        """Whether it keeps to what its caller administers: it names an address or host, or asks who calls."""
        return bool(self.caller) or any(
            parameter.is_host or (parameter.type is JID and not parameter.is_elsewhere) for parameter in self.parameters
        )


@functools.lru_cache(maxsize=16)
def specs_of(classes: tuple[type[Component[Any]], ...]) -> Mapping[str, CommandSpec]:
    """As :func:`command_specs`, remembered."""
    return types.MappingProxyType(command_specs(classes))


def command_specs(classes: Iterable[type[Component[Any]]]) -> dict[str, CommandSpec]:
    """All commands of component classes by name, in the order of declaration. Raises DeclarationError."""
    specs: dict[str, CommandSpec] = {}
    nodes: dict[str, CommandSpec] = {}
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
            if spec.node and nodes.setdefault(spec.node, spec) is not spec:
                where, other = _where(cls, method_name), nodes[spec.node]
                raise DeclarationError(f"{where}: the node {spec.node} is that of {other.name!r}, too")
    return specs


async def execute(kernel: Kernel, name: str, arguments: Mapping[str, object], caller: Caller) -> object:
    """Run a command for `caller`; returns what JSON can say. Raises :class:`CommandError` for the caller's faults.

    Whatever comes of it is told as :class:`~xmppchat.core.events.CommandExecuted`.
    """
    by_name = {component.name: component for component in kernel.components}
    specs = specs_of(tuple(type(component) for component in kernel.components))
    spec = specs.get(name)
    if spec is None:
        guess = closest(name, specs)
        raise CommandError(f"there is no command {name!r}" + (f"; did you mean {guess!r}?" if guess else ""))
    open_names = {parameter.name for parameter in spec.parameters if parameter.is_logged}
    shown = {key: value for key, value in arguments.items() if key in open_names}
    error, is_allowed = "the server failed at it", False
    result: object = None
    try:
        values = permitted(spec, arguments, caller)
        is_allowed = True
        if spec.caller:
            values[spec.caller] = caller
        result = plain(await getattr(by_name[spec.component], spec.method)(**values))
        error = ""
    except CommandError as refused:
        error = str(refused)
        raise
    except StanzaError as refused:
        error = refused.text or refused.condition
        raise CommandError(error, refused) from None
    finally:
        table = result if isinstance(result, dict) else {}
        kernel.emit(events.CommandExecuted(caller.name, name, shown, error, spec.changes and is_allowed, table))
    return result


def permitted(spec: CommandSpec, arguments: Mapping[str, object], caller: Caller) -> dict[str, Any]:
    """`arguments` as the command takes them, if `caller` may run it with them. Raises :class:`CommandError`."""
    refused = refusal(spec, caller)
    values: dict[str, Any] = {}
    if not refused:
        values = validate(spec, arguments)
        if not caller.is_command_line:
            hosts = (parameter.name for parameter in spec.parameters if parameter.is_host)
            values = {**dict.fromkeys(hosts, caller.domain), **values}
        refused = refusal_of_values(spec, values, caller)
    if refused:
        raise CommandError(refused, Forbidden(refused))
    return values


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
    """`arguments` in the types that the command takes. Raises :class:`InvalidArguments` with all faults."""
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
        raise InvalidArguments("\n".join(faults))
    return values


def _convert(parameter: ParameterSpec, value: object) -> Any:
    """The value in the parameter's type. Never repeats the value of a secret."""
    wanted = parameter.type
    if value is None and not parameter.is_required and parameter.default is None:
        return None
    if isinstance(value, str) and NOT_TEXT.search(value):
        raise ValueError("text without control characters is wanted")
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


def _spec(cls: type[Component[Any]], method_name: str, declared: CommandDeclaration) -> CommandSpec:
    function = getattr(cls, method_name)
    name, where = declared.name, _where(cls, method_name)
    if not inspect.iscoroutinefunction(function):
        raise DeclarationError(f"{where}: the command {name!r} has to be a coroutine method (async def)")
    description = inspect.getdoc(function) or ""
    if not description:
        raise DeclarationError(f"{where}: the command {name!r} needs a docstring; its first line is the help")
    hints = typing.get_type_hints(function, include_extras=True)
    caller, parameters = "", []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if hints.get(parameter.name) is Caller:
            caller = parameter.name
        else:
            parameters.append(_parameter(parameter, hints.get(parameter.name), f"{where}: command {name!r}"))
    node = declared.adhoc or ""
    if node.endswith("#"):
        node += name.replace(" ", "-")
    if any(parameter.type is Path and parameter.in_form for parameter in parameters):
        node = ""  # a file of this machine cannot be named from elsewhere
    return CommandSpec(
        name, description.splitlines()[0], description, tuple(parameters), cls.name, method_name, node, declared.by,
        declared.changes, declared.form_type, declared.hidden, caller,
    )


def _parameter(parameter: inspect.Parameter, hint: Any, where: str) -> ParameterSpec:
    details = next((item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Parameter)), None)
    if details is None:
        raise DeclarationError(f"{where}: {parameter.name} needs Annotated[type, Parameter(help)]")
    wanted = _without_none(typing.get_args(hint)[0])
    if not (inspect.isclass(wanted) and (wanted in _TYPES or issubclass(wanted, Enum))):
        raise DeclarationError(
            f"{where}: {parameter.name} may be str, int, bool, Path, JID or an Enum, not {wanted}"
        )
    is_required = parameter.default is inspect.Parameter.empty
    if is_required and not details.form:
        raise DeclarationError(f"{where}: {parameter.name} needs a default, since no form asks for it")
    return ParameterSpec(
        parameter.name, wanted, details.help, details.secret, is_required, None if is_required else parameter.default,
        details.host, details.elsewhere, details.field or parameter.name, details.again, details.each, details.lines,
        details.form, details.private,
    )


def _without_none(annotation: Any) -> Any:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        inner = [item for item in typing.get_args(annotation) if item is not type(None)]
        return inner[0] if len(inner) == 1 else annotation
    return annotation


def _where(cls: type[Component[Any]], method_name: str) -> str:
    code = getattr(cls, method_name).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"
