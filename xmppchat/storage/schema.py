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
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from xmppchat.storage.schema_base import ID as ID
from xmppchat.storage.schema_base import Blob as Blob
from xmppchat.storage.schema_base import metadata as metadata

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
    # What the name looks like, so that none can be taken that looks the same (reliability.md V-25); "" where unknown.
    Column("skeleton", Text, nullable=False, server_default=text("''")),
    # Last activity (XEP-0012): when the last session ended, and what it said then. 0: never seen.
    Column("seen_at", BigInteger, nullable=False, server_default=text("0")),
    Column("seen_status", Text, nullable=False, server_default=text("''")),
    UniqueConstraint("domain", "localpart"),
    Index(None, "domain", "skeleton"),
)

#: Names of deleted accounts, which nobody may take again while they stand here.
tombstones = Table(
    "tombstones", metadata,
    Column("domain", Text, primary_key=True),
    Column("localpart", Text, primary_key=True),
    Column("deleted_at", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: What a password is checked with (RFC 5802); `mechanism` is the one of SASL without "-PLUS": "SCRAM-SHA-256".
credentials = Table(
    "credentials", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("mechanism", Text, primary_key=True),
    Column("salt", Blob, nullable=False),
    Column("iterations", Integer, nullable=False),
    Column("stored_key", Blob, nullable=False),
    Column("server_key", Blob, nullable=False),
    sqlite_with_rowid=False,
)

#: Passwords as another system hashed them (bcrypt), until their owner logs in and SCRAM keys replace them.
imported_passwords = Table(
    "imported_passwords", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
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
    Column("stanza", Blob, nullable=False),
    Index(None, "account_id", "id"),
)

#: Block lists (XEP-0191): `jid` is full, bare, a domain, or a domain with a resource.
blocked = Table(
    "blocked", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("jid", Text, primary_key=True),
    sqlite_with_rowid=False,
)

#: Reports of spam and abuse (XEP-0377). `reporter` is a bare JID, "" once its account is deleted; `stanza_ids` a JSON
#: list of [id, by]; `consent` to whom the reporter lets it be forwarded: "report-origin", "third-party", or both.
abuse_reports = Table(
    "abuse_reports", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("reported_at", BigInteger, nullable=False),
    Column("reporter", Text, nullable=False),
    Column("reported", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("stanza_ids", Text, nullable=False),
    Column("consent", Text, nullable=False),
)

#: Private XML (XEP-0049): one element for each root element name; `size` is the length of `xml` in bytes.
private_xml = Table(
    "private_xml", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("namespace", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("xml", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Profiles (XEP-0054).
vcards = Table(
    "vcards", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False), Column("xml", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Invitations. Only a hash of the token is kept. `creator` is the bare JID of who invites, "" for the admin;
#: `localpart` a name that the invited must take, "" for any; `is_account` whether an account may be made with it.
invitations = Table(
    "invitations", metadata,
    Column("token_hash", Blob, primary_key=True),
    Column("domain", Text, nullable=False),
    Column("creator", Text, nullable=False),
    Column("localpart", Text, nullable=False),
    Column("is_account", Boolean, nullable=False),
    Column("uses", Integer, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Index(None, "domain", "creator"),
    sqlite_with_rowid=False,
)

#: Uses of invitations, numbered from 1: two cannot have the same number, so none is used once too often.
invitation_uses = Table(
    "invitation_uses", metadata,
    Column("token_hash", Blob, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("used_at", BigInteger, nullable=False),
    Column("used_by", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: What admins did: `actor` is the account or "command line", `arguments` JSON without secrets.
audit_log = Table(
    "audit_log", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("command", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("error", Text, nullable=False),
)

#: Managed streams (XEP-0198). `handled` is how many stanzas of the client are in the same or earlier tickets; `state`
#: what the session needs to go on after a planned restart (JSON), "" at all other times. The id tells when it began.
managed_streams = Table(
    "managed_streams", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("token_hash", Blob, nullable=False),
    Column("handled", BigInteger, nullable=False),
    Column("state", Text, nullable=False, server_default=text("''")),
)

#: Clients of accounts that say which they are (XEP-0388 §2.3). `client_hash` is SHA-256 of the id that a client gives
#: itself; `has_password` whether it ever logged in with the password.
devices = Table(
    "devices", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("client_hash", Blob, nullable=False),
    Column("software", Text, nullable=False),
    Column("device", Text, nullable=False),
    Column("has_password", Boolean, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    UniqueConstraint("account_id", "client_hash"),
)

#: What tokens of devices (XEP-0484) are made from, together with a key that is not in the database: no token can be
#: read here. A device has one that it used and at most one `is_new`, which it has not used yet. `counter` is the
#: greatest `count` that came with it.
fast_tokens = Table(
    "fast_tokens", metadata,
    Column("device_id", BigInteger, primary_key=True, autoincrement=False),
    Column("is_new", Boolean, primary_key=True),
    Column("account_id", BigInteger, nullable=False),
    Column("mechanism", Text, nullable=False),
    Column("nonce", Blob, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("counter", BigInteger, nullable=False),
    Index(None, "account_id"),
    sqlite_with_rowid=False,
)

#: Devices that want to be woken (XEP-0357): node `node` of the service `app_server`, with `options`, the form of
#: publish-options as XML ("" for none). Both are what lets somebody wake the device. `device_id` is the client's in
#: `devices`, 0 where it is known by its `resource` alone. The moments are 0 where it never came to it; `errors` are
#: those since the last success; `ending` says why it was disabled; `is_owed`: the server stopped with one to send.
push_registrations = Table(
    "push_registrations", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("app_server", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("options", Text, nullable=False),
    Column("device_id", BigInteger, nullable=False),
    Column("resource", Text, nullable=False),
    Column("enabled_at", BigInteger, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("succeeded_at", BigInteger, nullable=False),
    Column("failed_at", BigInteger, nullable=False),
    Column("error", Text, nullable=False),
    Column("errors", Integer, nullable=False),
    Column("retry_at", BigInteger, nullable=False),
    Column("disabled_at", BigInteger, nullable=False),
    Column("ending", Text, nullable=False),
    Column("is_owed", Boolean, nullable=False),
    Index(None, "account_id"),
)

#: Pubsub services at domains of their own (XEP-0060); their ids are of the same kind as those of accounts.
pubsub_services = Table(
    "pubsub_services", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("domain", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    UniqueConstraint("domain"),
)

#: Nodes of accounts (XEP-0163), and of pubsub services, whose id then stands in `account_id`: `config` (JSON) is what
#: differs from the default configuration of accounts, `creator` the bare JID of who made a service's, "" for others.
pubsub_nodes = Table(
    "pubsub_nodes", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("node", Text, primary_key=True),
    Column("created_at", BigInteger, nullable=False),
    Column("config", Text, nullable=False),
    Column("creator", Text, nullable=False, server_default=text("''")),
    sqlite_with_rowid=False,
)

#: Their items. The `id` is another one with each publication: it has their order, and its upper bits are the time.
#: `publisher` is a bare JID, `size` the length of `xml`, the payload, in bytes. What is read alone stands before it.
pubsub_items = Table(
    "pubsub_items", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("node", Text, nullable=False),
    Column("item_id", Text, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("xml", Text, nullable=False),
    UniqueConstraint("account_id", "node", "item_id"),
)

#: Who has to do with them: `jid` is what is subscribed, or the bare JID that has the affiliation; each may be "none".
pubsub_entities = Table(
    "pubsub_entities", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("node", Text, primary_key=True),
    Column("jid", Text, primary_key=True),
    Column("bare", Text, nullable=False),
    Column("affiliation", Text, nullable=False),
    Column("subscription", Text, nullable=False),
    Index(None, "bare"),
    sqlite_with_rowid=False,
)

#: Accounts that are bots: the server reads and writes in their name, and holds the key of their device.
bots = Table(
    "bots", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("created_at", BigInteger, nullable=False), sqlite_with_rowid=False,
)

#: What the devices of bots know (XEP-0384): keys, sessions, trust, by name. `value` is encrypted with a key that is not
#: in the database.
omemo_values = Table(
    "omemo_values", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("name", Text, primary_key=True),
    Column("value", Blob, nullable=False),
    sqlite_with_rowid=False,
)

#: Avatars (XEP-0084) as presence and vCards show them (XEP-0398): `hash` is the id of the item that is shown, "" for
#: none, `type` its media type, `images` the ids of items whose data have that hash, separated by blanks.
avatars = Table(
    "avatars", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("hash", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("images", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: What accounts want to be notified of (XEP-0492), out of their bookmarks: `setting` is "never" or "on-mention", `nick`
#: the own name in the room `jid`, "" where it is not known.
chat_settings = Table(
    "chat_settings", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("jid", Text, primary_key=True),
    Column("setting", Text, nullable=False),
    Column("nick", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Random values that the server made for itself, by what they are for.
secrets = Table(
    "secrets", metadata,
    Column("name", Text, primary_key=True), Column("value", Blob, nullable=False), sqlite_with_rowid=False,
)

#: Message archives (XEP-0313): a row for each message in each account's archive. `id` is what clients know it by; its
#: upper bits are the time (``id >> 22`` is ms), so no column says when. `peer` and `resource` are whom it was to or
#: from; `flags` those of :mod:`xmppchat.components.archive.store`; `message_id` the sender's (XEP-0359 §3.2, else its
#: id); `stanza` our own serialisation. What is read alone stands before the stanza, which may be on other pages.
archive = Table(
    "archive", metadata,
    Column("id", ID, primary_key=True, autoincrement=False),
    Column("account_id", BigInteger, nullable=False),
    Column("flags", Integer, nullable=False),
    Column("peer", Text, nullable=False),
    Column("resource", Text, nullable=False),
    Column("message_id", Text, nullable=False),
    Column("stanza", Blob, nullable=False),
)
# An index of SQLite ends with the row's number anyway; to say it again makes a row a fifth dearer (ADR 11).
Index("ix_archive_account", archive.c.account_id).ddl_if(dialect="sqlite")
Index("ix_archive_peer", archive.c.account_id, archive.c.peer).ddl_if(dialect="sqlite")
Index("ix_archive_account_id", archive.c.account_id, archive.c.id).ddl_if(dialect="postgresql")
Index("ix_archive_peer_id", archive.c.account_id, archive.c.peer, archive.c.id).ddl_if(dialect="postgresql")

#: What accounts want archived (XEP-0441): `behaviour` is "always", "roster" or "never"; the lists are JSON.
archive_preferences = Table(
    "archive_preferences", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("behaviour", Text, nullable=False),
    Column("always", Text, nullable=False),
    Column("never", Text, nullable=False),
    sqlite_with_rowid=False,
)

#: Up to where accounts have read their conversations: `read_id` is that of a row of the archive.
read_marks = Table(
    "read_marks", metadata,
    Column("account_id", BigInteger, primary_key=True, autoincrement=False),
    Column("peer", Text, primary_key=True),
    Column("read_id", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

#: The tables that this package's migrations make; components of third parties add theirs to `metadata`.
TABLES = (
    accounts, tombstones, credentials, imported_passwords, roster_items, offline_messages, blocked, abuse_reports,
    private_xml, vcards, invitations, invitation_uses, audit_log, managed_streams, devices, fast_tokens,
    push_registrations, pubsub_services, pubsub_nodes, pubsub_items, pubsub_entities, avatars, chat_settings, bots,
    omemo_values, secrets, archive, archive_preferences, read_marks,
)
