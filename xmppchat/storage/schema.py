"""The tables of the database.

Types are portable. Times are integer milliseconds since 1970 (UTC). Ids are 63-bit and given by the server, so that
rows can be written in batches without reading anything back. An account's rows are deleted by their components in one
ticket with the account; there are no foreign keys, which would cost a look-up for every row written.

Whoever changes a table here adds a migration in ``migrations/versions``; a test compares the two.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData(naming_convention={
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
})

#: Type of a primary key that is one number: in SQLite it then is the rowid, which costs no index.
ID = BigInteger().with_variant(Integer(), "sqlite")

accounts = Table(
    "accounts", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("localpart", Text, nullable=False),
    Column("domain", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=false()),
    # Roster versioning (RFC 6121 §2.6): the newest change, and the oldest version that changes are known since.
    Column("roster_version", BigInteger, nullable=False, server_default=text("0")),
    Column("roster_floor", BigInteger, nullable=False, server_default=text("0")),
    UniqueConstraint("domain", "localpart"),
)

#: What a password is checked with (RFC 5802); `mechanism` is the one of SASL without "-PLUS": "SCRAM-SHA-256".
credentials = Table(
    "credentials", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("mechanism", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("stored_key", LargeBinary, nullable=False),
    Column("server_key", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: `subscription` "remove" marks a contact that is gone, kept for versioning. `request` is the contact's pending
#: subscribe stanza, "" for none; `is_listed` false marks a row that exists only for it. `groups` is a JSON list.
roster_items = Table(
    "roster_items", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("contact", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("groups", Text, nullable=False),
    Column("subscription", Text, nullable=False),
    Column("ask", Boolean, nullable=False),
    Column("approved", Boolean, nullable=False),
    Column("request", Text, nullable=False),
    Column("is_listed", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    CheckConstraint("subscription IN ('none', 'to', 'from', 'both', 'remove')", name="subscription"),
    sqlite_with_rowid=False,
)

#: Messages that wait for a session (XEP-0160); `size` is the length of `stanza` in bytes.
offline_messages = Table(
    "offline_messages", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("sender", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("stanza", LargeBinary, nullable=False),
    Index(None, "account_id", "id"),
)

#: Random values that the server made for itself, by what they are for.
secrets = Table(
    "secrets", metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

#: The tables that this package's migrations make; components of third parties add theirs to `metadata`.
TABLES = (accounts, credentials, roster_items, offline_messages, secrets)
