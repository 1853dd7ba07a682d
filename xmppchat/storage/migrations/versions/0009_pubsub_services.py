"""Pubsub services at domains of their own, and who made their nodes."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "pubsub_services",
        sa.Column("id", _ID, autoincrement=False, nullable=False),
        sa.Column("domain", sa.Text(), nullable=False),
        sa.Column("created_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pubsub_services")),
        sa.UniqueConstraint("domain", name=op.f("uq_pubsub_services_domain")),
    )
    op.add_column("pubsub_nodes", sa.Column("creator", sa.Text(), server_default=sa.text("''"), nullable=False))
