"""Avatars as presence shows them, and what accounts want to be notified of."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "avatars",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("images", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_avatars")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "chat_settings",
        sa.Column("account_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False),
        sa.Column("setting", sa.Text(), nullable=False),
        sa.Column("nick", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "jid", name=op.f("pk_chat_settings")),
        sqlite_with_rowid=False,
    )
