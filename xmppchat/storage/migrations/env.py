"""How Alembic runs the migrations: each in one transaction, on a connection that the caller gives."""

from __future__ import annotations

from typing import Any

from alembic import context

from xmppchat.core.crash_points import crash_point
from xmppchat.storage import schema


def _include(_: Any, name: str | None, kind: str, *__: Any) -> bool:
    """Tables of third parties' components are none of our business."""
    return kind != "table" or name in {table.name for table in schema.TABLES}


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=schema.metadata,
    include_object=_include,
    render_as_batch=True,  # SQLite changes a table by making a new one
    transactional_ddl=True,  # SQLite can do it, Alembic does not believe it
    transaction_per_migration=True,
    on_version_apply=lambda **_: crash_point("during-migration"),
)
with context.begin_transaction():
    context.run_migrations()
