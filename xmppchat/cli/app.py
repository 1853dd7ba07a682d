"""The command line as a whole: builds the app that the arguments need, and turns faults into sentences."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

CONFIG_VARIABLE = "XMPPCHAT_CONFIG"

#: Commands for which those of the components need not be built.
_WITHOUT_COMPONENTS = ("init", "serve", "check", "status", "config", "backup", "restore", "db", "--version")

ConfigOption = Annotated[
    str,
    typer.Option(
        "--config",
        metavar="FILE",
        help=f"configuration file; default: ./xmppchat.toml, else ${CONFIG_VARIABLE}",
    ),
]


def run(arguments: Sequence[str]) -> int:
    """Run the command line; returns the exit status: 0, 1 for what went wrong, 2 for wrong arguments."""
    from xmppchat.cli.faults import sentence

    try:
        app = build(arguments)
        result = app(list(arguments), prog_name="xmppchat", standalone_mode=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough (`xmppchat user list | head`); Python must not complain at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        text = sentence(error)
        if text is None:
            raise
        print(text, file=sys.stderr)
        return 1
    return result if isinstance(result, int) else 0


def build(arguments: Sequence[str]) -> typer.Typer:
    """The app for these arguments. ``init`` and ``serve`` do without the other commands and start sooner."""
    app = typer.Typer(
        name="xmppchat",
        help="An XMPP server with the comfort of a modern messenger.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    app.callback()(_version_option)
    app.command("init")(_init)
    app.command("serve")(_serve)
    app.command("check")(_check)
    app.command("status")(_status)
    config = typer.Typer(help="What can be configured.", no_args_is_help=True)
    config.callback()(_config_group)
    config.command("explain")(_explain)
    app.add_typer(config, name="config")
    app.command("backup")(_backup)
    app.command("restore")(_restore)
    database = typer.Typer(help="The database.", no_args_is_help=True)
    database.callback()(_database_group)
    database.command("copy")(_copy_database)
    app.add_typer(database, name="db")
    if not arguments or arguments[0] not in _WITHOUT_COMPONENTS:
        from xmppchat.cli import generated
        from xmppchat.cli.environment import component_classes

        generated.add(app, component_classes(arguments))
    return app


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        from importlib.metadata import version

        print(version("xmppchat"))
        raise typer.Exit


def _version_option(
    version: Annotated[
        bool, typer.Option("--version", help="show the version and exit", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options that need no command."""


def _config_group() -> None:
    """A group even while it has one command."""


def _init(
    domain: Annotated[str, typer.Argument(help="the domain of your users' addresses, such as chat.example")],
    directory: Annotated[str, typer.Option("--dir", metavar="DIR", help="where to put everything")] = ".",
    listen: Annotated[
        list[str] | None,
        typer.Option("--listen", metavar="ADDRESS", help="IP address to listen on; default: all"),
    ] = None,
    registration: Annotated[
        str, typer.Option("--registration", metavar="closed|invite|open", help="who may make an account")
    ] = "closed",
    certificate: Annotated[
        str,
        typer.Option("--certificate", metavar="FILE", help="certificate chain; default: a self-signed one is made"),
    ] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="its private key")] = "",
    admin: Annotated[
        list[str] | None,
        typer.Option("--admin", metavar="JID", help="address that may administer the server"),
    ] = None,
) -> None:
    """Write a configuration, and a certificate where none is given. Asks nothing, overwrites nothing."""
    from xmppchat.cli import init

    init.init(
        domain, directory, listen=listen or (), registration=registration, certificate=certificate, key=key,
        admins=admin or (),
    )  # fmt: skip


def _serve(config: ConfigOption = "") -> None:
    """Run the server in the foreground; one line on standard output tells that it is ready."""
    from xmppchat.cli import serve

    serve.serve(config)


def _check(
    config: ConfigOption = "",
    dns: Annotated[bool, typer.Option("--dns", help="ask DNS, too, whether clients find this server")] = False,
    self_check: Annotated[
        bool, typer.Option("--self", help="log in to the running server and look for all that clients want")
    ] = False,
    ca: Annotated[str, typer.Option("--ca", metavar="FILE", help="authorities that --self trusts, too")] = "",
    at: Annotated[
        str, typer.Option("--at", metavar="HOST", help="where to connect; default: the addresses in [listen]")
    ] = "",
    json: Annotated[bool, typer.Option("--json", help="answer in JSON")] = False,
) -> None:
    """Check the configuration, the certificates and what they name, and tell all that is wrong."""
    from xmppchat.cli import check

    raise typer.Exit(check.check(config, dns=dns, self_check=self_check, ca=ca, at=at, as_json=json))


def _status(
    config: ConfigOption = "",
    json: Annotated[bool, typer.Option("--json", help="answer in JSON")] = False,
) -> None:
    """Tell whether the server runs and answers."""
    from xmppchat.cli import status

    raise typer.Exit(status.status(config, as_json=json))


def _explain(
    key: Annotated[str, typer.Argument(help="an option or table, such as limits.roster_items; default: all")] = "",
    config: ConfigOption = "",
    json: Annotated[bool, typer.Option("--json", help="answer in JSON")] = False,
) -> None:
    """Explain options: what they do, what they may be, what they are."""
    from xmppchat.cli import explain

    explain.explain(key, config, as_json=json)


def _backup(
    file: Annotated[str, typer.Argument(help="the file to write; it must not exist")],
    with_config: Annotated[
        bool, typer.Option("--with-config", help="put the text of the configuration file into it, too")
    ] = False,
    config: ConfigOption = "",
) -> None:
    """Back up the database into one file, while the server works on. Keep that file encrypted."""
    from xmppchat.cli import backup

    backup.back_up(file, config, with_configuration=with_config)


def _restore(
    file: Annotated[str, typer.Argument(help="a file that `xmppchat backup` wrote")],
    force: Annotated[
        bool, typer.Option("--force", help="replace a database that is not empty; it is kept aside")
    ] = False,
    config: ConfigOption = "",
) -> None:
    """Put a backup into the configured database. The server must be stopped."""
    from xmppchat.cli import backup

    backup.restore(file, config, force=force)


def _database_group() -> None:
    """A group even while it has one command."""


def _copy_database(
    to: Annotated[
        str, typer.Option("--to", metavar="URL", help="the new database, empty; default: the configured one")
    ] = "",
    source: Annotated[
        str, typer.Option("--from", metavar="URL", help="the database to copy; default: the configured one")
    ] = "",
    config: ConfigOption = "",
) -> None:
    """Copy everything to another database, such as from SQLite to PostgreSQL. The server must be stopped."""
    from xmppchat.cli import db

    db.copy(source, to, config)
