"""``xmppchat db copy``."""

from __future__ import annotations

import asyncio

from xmppchat.cli import backup
from xmppchat.cli.faults import CliError


def copy(source: str, target: str, config: str) -> None:
    """Copy one database to another; the one that is not given is the configured one."""
    if not source and not target:
        raise CliError("say where to copy to: --to postgresql://user@host/database; or where from: --from URL")
    from xmppchat.storage.backup import copy_database

    loaded = backup.load(config)
    with backup.progress("copy") as report:
        configured = loaded.storage.full_url
        rows = asyncio.run(copy_database(source or configured, target or configured, report))
    print(f"copied {backup.total(rows)} in {len(rows)} tables, compared one by one")
    if target:
        print(f'to use it, set url = "{_without_password(target)}" in [storage], and start the server')


def _without_password(url: str) -> str:
    from sqlalchemy import make_url

    return make_url(url).render_as_string(hide_password=True)
