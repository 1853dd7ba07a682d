"""Message archives, what accounts want archived, and up to where they have read."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "archive",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("account_id", sa.BigInteger(), nullable=False),
        sa.Column("flags", sa.Integer(), nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("stanza", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_archive")),
    )
    if op.get_bind().dialect.name == "sqlite":
        op.create_index("ix_archive_account", "archive", ["account_id"])
        op.create_index("ix_archive_peer", "archive", ["account_id", "peer"])
    else:
        op.create_index("ix_archive_account_id", "archive", ["account_id", "id"])
        op.create_index("ix_archive_peer_id", "archive", ["account_id", "peer", "id"])
    op.create_table(
        "archive_preferences",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("behaviour", sa.Text(), nullable=False),
        sa.Column("always", sa.Text(), nullable=False),
        sa.Column("never", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_archive_preferences")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "read_marks",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("read_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "peer", name=op.f("pk_read_marks")),
        sqlite_with_rowid=False,
    )
