"""Which accounts have anything to do with OMEMO, page by page: most of a large server need not be loaded for that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from sqlalchemy import and_, bindparam, or_, select

from xmppchat.components.omemo.versions import NEWER, OLDER
from xmppchat.core.services import Reader
from xmppchat.jid import JID
from xmppchat.storage import schema

#: Accounts that one command looks at, at most; `--after` goes on.
MOST: Final = 10_000
#: Rows that are read at once.
_PAGE: Final = 500

_accounts, _nodes = schema.accounts.c, schema.pubsub_nodes.c
#: Names of the bundles' nodes, of which some have the device in them.
_OWN_BUNDLES: Final = _nodes.node.like(f"{OLDER.bundles_node}%")
_PAGE_OF: Final = (
    select(_accounts.localpart, _accounts.domain)
    .where(
        _accounts.id.in_(select(_nodes.account_id).where(or_(
            _nodes.node.in_((OLDER.list_node, NEWER.list_node, NEWER.bundles_node)), _OWN_BUNDLES
        ))),
        or_(bindparam("domain") == "", _accounts.domain == bindparam("domain")),
        or_(
            _accounts.domain > bindparam("after_domain"),
            and_(_accounts.domain == bindparam("after_domain"), _accounts.localpart > bindparam("after_localpart")),
        ),
    )
    .order_by(_accounts.domain, _accounts.localpart)
    .limit(bindparam("limit"))
)  # fmt: skip


async def accounts(reader: Reader, domain: str, after: str, limit: int) -> AsyncIterator[JID]:
    """Addresses of accounts with nodes of OMEMO, by host and name, behind `after`; of `domain`, "" for all hosts."""
    localpart, _, behind = after.partition("@")
    query: dict[str, Any] = {"domain": domain, "after_domain": behind, "after_localpart": localpart}
    left = min(limit, MOST)
    while left > 0:
        query["limit"] = min(_PAGE, left)
        rows = await reader.fetch(_PAGE_OF, query)
        for row in rows:
            yield JID.parse(f"{row.localpart}@{row.domain}")
        if len(rows) < query["limit"]:
            return
        left -= len(rows)
        query |= {"after_domain": rows[-1].domain, "after_localpart": rows[-1].localpart}
