"""``xmppchat backup`` and ``xmppchat restore``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from xmppchat.cli import environment
from xmppchat.core import logs
from xmppchat.core.config import ServerConfig
from xmppchat.storage.transfer import Report, silent


def back_up(file: str, config: str, *, with_configuration: bool) -> None:
    """Write a backup of the configured database to `file`, whether a server runs or not."""
    from xmppchat.storage import backup

    loaded = load(config)
    text = loaded.path.read_text(encoding="utf-8") if with_configuration and loaded.path else ""
    with progress("backup") as report:
        url, hosts = loaded.storage.full_url, list(loaded.hosts)
        info = asyncio.run(backup.back_up(url, Path(file), hosts=hosts, configuration=text, report=report))
    print(f"{file}: {total(info.rows)} as of {info.taken_at:%Y-%m-%d %H:%M:%S} UTC, schema {info.schema}")


def restore(file: str, config: str, *, force: bool) -> None:
    """Put the backup in `file` into the configured database."""
    from xmppchat.storage import backup

    loaded = load(config)
    with progress("restore") as report:
        info = asyncio.run(backup.restore(Path(file), loaded.storage.full_url, force=force, report=report))
    print(f"restored {total(info.rows)} as of {info.taken_at:%Y-%m-%d %H:%M:%S} UTC")
    strangers = sorted(set(info.hosts) - set(loaded.hosts))
    if strangers:
        print(
            f"{', '.join(strangers)}: served by the server of the backup and not by this one; its accounts wait until "
            f"the configuration has [hosts.\"{strangers[0]}\"]", file=sys.stderr,
        )  # fmt: skip


def load(config: str) -> ServerConfig:
    """The configuration; its components bring their tables along."""
    loaded = environment.load(config)
    logs.configure("warning", loaded.logging.format)
    return loaded


def total(rows: Mapping[str, int]) -> str:
    """The rows of all tables, in words."""
    count = sum(rows.values())
    return f"{count} row{'' if count == 1 else 's'}"


@contextmanager
def progress(what: str) -> Iterator[Report]:
    """A bar on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield silent
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def report(part: str, done: int, of: int) -> None:
            bar.update(task, description=f"{what}: {part}", completed=done, total=of)

        yield report
