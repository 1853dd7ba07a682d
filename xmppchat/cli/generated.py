"""Commands of the command line that are generated from the components' `@command` declarations."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from xmppchat.cli.app import ConfigOption
from xmppchat.core.commands import CommandSpec, ParameterSpec, command_specs
from xmppchat.core.component import Component
from xmppchat.jid import JID

_GROUPS = {
    "user": "Accounts: add, list, disable, delete them.",
    "archive": "Archives of messages: how large they are, who wrote to whom when.",
    "omemo": "Keys for end-to-end encryption: what is wrong with them, removal of lost devices.",
    "report": "Reports of spam and abuse that users sent.",
}


def add(app: typer.Typer, classes: Iterable[type[Component[Any]]]) -> None:
    """Add the commands of `classes` to `app`; "user add" is ``add`` in the group ``user``."""
    groups: dict[tuple[str, ...], typer.Typer] = {(): app}
    for spec in command_specs(classes).values():
        if spec.is_hidden:
            continue
        parent = _group(groups, spec.words[:-1])
        parent.command(spec.words[-1], help=spec.description)(command_function(spec))
    user = groups.get(("user",))
    if user is not None:
        user.command("import")(_user_import)


def _user_import(
    file: Annotated[Path, typer.Argument(help="CSV or JSON lines; - is standard input", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="check everything, change nothing")] = False,
    skip_existing: Annotated[bool, typer.Option("--skip-existing", help="leave accounts that exist alone")] = False,
    replace_passwords: Annotated[
        bool, typer.Option("--replace-passwords", help="give accounts that exist these passwords")
    ] = False,
    config: ConfigOption = "",
) -> None:
    """Import accounts from another system, with their passwords: plain, bcrypt, or SCRAM keys.

    A line for each account. Columns (CSV, with a head line) or keys (JSON): account, and one of password, bcrypt,
    scram. All lines are checked before anything is changed.
    """
    from xmppchat.cli import user_import

    raise typer.Exit(user_import.import_file(
        file, config, dry_run=dry_run, skip_existing=skip_existing, replace_passwords=replace_passwords
    ))


def _group(groups: dict[tuple[str, ...], typer.Typer], words: tuple[str, ...]) -> typer.Typer:
    found = groups.get(words)
    if found is None:
        found = groups[words] = typer.Typer(
            help=_GROUPS.get(" ".join(words)), no_args_is_help=True, rich_markup_mode=None
        )
        _group(groups, words[:-1]).add_typer(found, name=words[-1])
    return found


def command_function(spec: CommandSpec) -> Callable[..., None]:
    """A function with the signature from which typer makes this command."""

    def function(**given: Any) -> None:
        from xmppchat.cli import invoke

        config, as_json = given.pop("config"), given.pop("json")
        secrets = {parameter.name: given.pop(parameter.name) for parameter in spec.parameters if parameter.secret}
        arguments = {name: value for name, value in given.items() if value is not None}
        invoke.invoke(spec, arguments, secrets, config, as_json=as_json)

    parameters = [_typer_parameter(parameter) for parameter in spec.parameters]
    parameters.append(_keyword("config", ConfigOption, ""))
    json_option = Annotated[bool, typer.Option("--json", help="answer in JSON")]
    parameters.append(_keyword("json", json_option, False))
    signature: Any = inspect.Signature(parameters)
    function.__signature__ = signature  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    function.__doc__ = spec.description
    return function


def _typer_parameter(parameter: ParameterSpec) -> inspect.Parameter:
    annotation: Any
    if parameter.secret:
        # Never as an argument: the process list shows those to everybody.
        help_text = f"read the {parameter.help} from the first line of standard input instead of asking"
        annotation = Annotated[bool, typer.Option(f"{parameter.option}-stdin", help=help_text)]
        return _keyword(parameter.name, annotation, False)
    if parameter.is_required:
        argument = typer.Argument(help=parameter.help, metavar=parameter.name.upper(), show_default=False)
        annotation = Annotated[_typer_type(parameter), argument]
        return _keyword(parameter.name, annotation, inspect.Parameter.empty)
    option = typer.Option(parameter.option, help=parameter.help)
    wanted = _typer_type(parameter) if parameter.default is not None else _typer_type(parameter) | None
    annotation = Annotated[wanted, option]
    return _keyword(parameter.name, annotation, parameter.default)


def _typer_type(parameter: ParameterSpec) -> Any:
    # An address is checked where the command runs; typer does not know the type.
    return str if parameter.type is JID else parameter.type


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
