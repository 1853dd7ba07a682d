"""Files that are written from what the code declares: ``python -m xmppchat.cli.generate [--check]``.

The annotated default configuration, the reference of options, commands and components, and the DOAP file.
``--check`` writes nothing and fails where a file is out of date, so that they cannot drift from the code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from xmppchat.cli.explain import type_and_bounds
from xmppchat.components import BUILTIN
from xmppchat.core.commands import CommandSpec, command_specs
from xmppchat.core.component import Component, Rfc, Xep
from xmppchat.core.config import explain
from xmppchat.core.options import Option, toml_value

ROOT = Path(__file__).parents[2]
_NOTE = "written by `python -m xmppchat.cli.generate`; change the declarations in the code, not this file"


def files() -> dict[str, str]:
    """The text of each generated file, by its path in the source tree."""
    from xmppchat.cli.doap import doap

    return {
        "config/xmppchat.toml": default_config(explain(BUILTIN)),
        "docs/reference/options.md": options_page(explain(BUILTIN)),
        "docs/reference/commands.md": commands_page(command_specs(BUILTIN).values()),
        "docs/reference/components.md": components_page(BUILTIN),
        "doap.xml": doap(BUILTIN),
    }


def main(arguments: Sequence[str], root: Path = ROOT) -> int:
    """Write the files under `root`, or with ``--check`` compare them; returns the exit status."""
    stale = []
    for name, text in files().items():
        path = root / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if stale and "--check" in arguments:
        print(f"out of date: {', '.join(stale)}; run python -m xmppchat.cli.generate", file=sys.stderr)
        return 1
    for name in stale:
        print(f"wrote {name}")
    return 0


def default_config(options: Iterable[Option]) -> str:
    """A configuration file with every option, its description and default; what has a default is commented out."""
    lines = ["# All options of xmppchat with their defaults. Paths count from this file.", f"# ({_NOTE})", ""]
    for table, group in groupby(options, key=lambda option: option.table):
        is_wanted = table not in _EXAMPLES_OF_NEEDLESS
        if table:
            lines += ["", f"{'' if is_wanted else '# '}[{_example_table(table)}]"]
        for option in group:
            lines.append(f"# {option.description} ({type_and_bounds(option)})")
            if option.is_required and is_wanted:
                lines.append(f"{option.name} = {toml_value(f'certificates/chat.example.{_SUFFIX[option.name]}')}")
            else:
                lines.append(f"# {option.name} = {_example(option)}")
    return "\n".join(lines) + "\n"


def _example(option: Option) -> str:
    if option.default is not None:
        return toml_value(option.default)
    return '{file = "PATH"}' if option.type == "secret" else "…"


_SUFFIX = {"certificate": "pem", "key": "key"}


#: Tables that a server need not have, by what they are called; with an example of a name.
_EXAMPLES_OF_NEEDLESS = {"external_components.DOMAIN": 'external_components."gateway.chat.example"'}


def _example_table(table: str) -> str:
    return _EXAMPLES_OF_NEEDLESS.get(table) or table.replace("hosts.DOMAIN", 'hosts."chat.example"')


def options_page(options: Iterable[Option]) -> str:
    """The reference of options."""
    lines = ["# Options", "", f"<!-- {_NOTE} -->", "", "`xmppchat config explain OPTION` tells the same."]
    for table, group in groupby(options, key=lambda option: option.table):
        lines += ["", f"## `[{table}]`" if table else "## At the top", ""]
        lines += ["| option | may be | default | what it does |", "|---|---|---|---|"]
        for option in group:
            default = "required" if option.is_required else f"`{toml_value(option.default)}`"
            row = (f"`{option.name}`", type_and_bounds(option), default, option.description)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(lines) + "\n"


def commands_page(specs: Iterable[CommandSpec]) -> str:
    """The reference of commands that components declare."""
    lines = ["# Commands", "", f"<!-- {_NOTE} -->", ""]
    lines.append(
        "Beside these there are `init`, `serve`, `check`, `config explain`, `backup`, `restore` and `db copy`; see"
    )
    lines.append("`xmppchat --help`. Those here take `--config FILE` and `--json`, too. A running server is asked")
    lines.append("through its control socket.")
    for spec in sorted(specs, key=lambda spec: spec.name):
        if spec.is_hidden:
            continue
        arguments = "".join(f" {p.name.upper()}" for p in spec.parameters if p.is_required and not p.secret)
        lines += ["", f"## `xmppchat {spec.name}{arguments}`", "", spec.description, ""]
        for parameter in spec.parameters:
            if parameter.secret:
                lines.append(
                    f"- `{parameter.option}-stdin`: {parameter.help}, from standard input; else it is asked for"
                )
            elif parameter.is_required:
                lines.append(f"- `{parameter.name.upper()}`: {parameter.help}")
            else:
                lines.append(f"- `{parameter.option}`: {parameter.help}")
        if not spec.parameters:
            lines.pop()
    return "\n".join(lines) + "\n"


def components_page(classes: Iterable[type[Component[Any]]]) -> str:
    """The reference of components: what each does, implements, and offers."""
    lines = ["# Components", "", f"<!-- {_NOTE} -->"]
    for cls in sorted(classes, key=lambda cls: cls.name):
        lines += ["", f"## {cls.name}", "", _plain((cls.__doc__ or "").splitlines()[0])]
        details = [
            ("implements", [_specification(item) for item in cls.implements]),
            ("features", [f"`{feature.namespace}`" for feature in cls.features]),
            ("options", [f"`components.{cls.name}.{name}`" for name in cls.Config.model_fields]),
            ("commands", [f"`{name}`" for name, spec in command_specs([cls]).items() if not spec.is_hidden]),
            ("ad-hoc nodes", [f"`{spec.node}`" for spec in command_specs([cls]).values() if spec.node]),
            ("provides", [f"`{service.__name__}`" for service in cls.provides]),
            ("requires", [f"`{service.__name__}`" for service in cls.requires]),
        ]
        found = [f"- {title}: {', '.join(items)}" for title, items in details if items]
        lines += ["", *found] if found else []
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace(":class:", "").replace("``", "`")


def _specification(item: Xep | Rfc) -> str:
    note = "" if item.status == "complete" else f" ({item.status})"
    if isinstance(item, Xep):
        return f"[XEP-{item.number:04}](https://xmpp.org/extensions/xep-{item.number:04}.html) {item.version}{note}"
    return f"[RFC {item.number}](https://www.rfc-editor.org/rfc/rfc{item.number}){note}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
