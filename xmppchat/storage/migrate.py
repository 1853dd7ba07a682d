"""Migrations at start (Alembic): bring an older database to the schema of this version, refuse a newer one.

A migration is a file in ``migrations/versions`` whose name begins with its revision, four digits. Each is one
transaction with its version mark: after a crash in the middle it is done again from its beginning. To begin a new one,
change :mod:`xmppchat.storage.schema` and run ``python -m xmppchat.storage.migrate "what changes"``.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection, inspect, text

from xmppchat.storage.faults import SchemaTooNew
from xmppchat.storage.sqlite import writing_engine

if TYPE_CHECKING:
    from alembic.config import Config

log = structlog.get_logger(__name__)

_DIRECTORY = Path(__file__).parent / "migrations"


def revisions() -> list[str]:
    """The revisions this version knows, oldest first."""
    return sorted(path.name[:4] for path in (_DIRECTORY / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


def current_revision(connection: Connection) -> str | None:
    """The revision of the database, None for an empty one."""
    with connection.begin():
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def is_current(current: str | None, name: str) -> bool:
    """Whether a database at that revision, called `name` in errors, needs no migration.

    Raises :class:`SchemaTooNew` where the revision is unknown.
    """
    known = revisions()
    if current is not None and current not in known:
        raise SchemaTooNew(
            f"{name} has schema {current} and was written by a newer version of xmppchat; this one knows schemas up to "
            f"{known[-1]}. Start that newer version, or restore a backup from before the upgrade"
        )
    return current == known[-1]


def migrate(connection: Connection, name: str) -> None:
    """Run the missing migrations of the database, called `name` in errors. Blocks; run it in a thread.

    Raises :class:`SchemaTooNew` where the database's revision is unknown.
    """
    current = current_revision(connection)
    if is_current(current, name):
        return  # the usual start does without the import of Alembic (a tenth of a second)
    from alembic import command

    command.upgrade(alembic_config(connection), "head")
    log.info("database migrated", database=name, was=current, schema=revisions()[-1])


def alembic_config(connection: Connection) -> Config:
    """What Alembic needs to work on `connection`."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_DIRECTORY).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _write_revision(message: str) -> None:
    """Write a migration from the newest one to the schema of today, to be completed by hand."""
    from alembic import command

    with (
        tempfile.TemporaryDirectory() as directory,
        writing_engine(Path(directory, "new.db"), busy_timeout=1).connect() as connection,
    ):
        config = alembic_config(connection)
        command.upgrade(config, "head")
        command.revision(config, message, autogenerate=True, rev_id=f"{int(revisions()[-1]) + 1:04d}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write a migration from the newest one to the schema of today.")
    parser.add_argument("message", help="what changes, in a few words")
    _write_revision(parser.parse_args().message)
