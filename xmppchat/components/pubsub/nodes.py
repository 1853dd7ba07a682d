"""Nodes of an account in memory, and the writes that change them: all SQL of the package but that of reading items.

A pubsub service of its own address is an account here, too (ADR 21): one whose JID has no localpart, so that nobody is
the owner of all its nodes. What decisions need is in memory while the account is: configurations, ids of items with
their sizes, who has to do with a node. Payloads are in the database alone. All of it is one query when an account is
loaded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Integer, Text, bindparam, delete, false, insert, literal_column, select, union_all, update

from xmppchat.components.pubsub.config import NodeConfig
from xmppchat.core.account import Account, AccountPart
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.storage import schema

OWNER: Final = "owner"
NONE: Final = "none"


@dataclass(frozen=True, slots=True)
class Item:
    """An item: its `number` has the order of publication and is its row, `publisher` a bare JID, `size` in bytes."""

    number: int
    size: int
    publisher: str


@dataclass(slots=True)
class Node:
    """A node. `items` are by id, the oldest first; `affiliations` by bare JID, without that of the account whose it is;
    `subscriptions` ("subscribed" or "pending") by the address that is subscribed: :meth:`subscribe` changes them.
    `creator` made it at a pubsub service (a bare JID); "" at accounts, and where the creator is no more."""

    name: str
    config: NodeConfig
    created_at: int
    creator: str = ""
    items: dict[str, Item] = field(default_factory=dict)
    affiliations: dict[str, str] = field(default_factory=dict)
    subscriptions: dict[str, str] = field(default_factory=dict)
    _addresses: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)  # that subscribed, by bare JID

    @property
    def last(self) -> tuple[str, Item] | None:
        """Id and item that was published last, None where there is none."""
        return next(reversed(self.items.items()), None)

    @property
    def owners(self) -> list[str]:
        """Bare JIDs with the affiliation; none at accounts, which have it themselves."""
        return [bare for bare, affiliation in self.affiliations.items() if affiliation == OWNER]

    def subscriptions_of(self, bare: str) -> dict[str, str]:
        """Those whose address belongs to `bare`."""
        return {jid: self.subscriptions[jid] for jid in self._addresses.get(bare, ())}

    def subscribe(self, jid: str, state: str) -> None:
        """The subscription of `jid` is `state` from now on."""
        bare = jid.partition("/")[0]
        _set(self.subscriptions, jid, state)
        others = tuple(other for other in self._addresses.get(bare, ()) if other != jid)
        addresses = others if state == NONE else (*others, jid)
        if addresses:
            self._addresses[bare] = addresses
        else:
            self._addresses.pop(bare, None)


#: What an item counts beside its payload and id, in bytes: about what it takes in memory.
OVERHEAD: Final = 256


def cost(item_id: str, item: Item) -> int:
    """What an item counts for the limit on all that an account keeps."""
    return item.size + len(item_id.encode()) + OVERHEAD


class Nodes(dict[str, Node]):
    """The nodes of an account by name, and the `size` of all items (see :func:`cost`)."""

    size = 0

    def count(self, node: Node) -> int:
        """The size of the items of one."""
        return sum(cost(item_id, item) for item_id, item in node.items.items())


_nodes, _items, _entities = schema.pubsub_nodes.c, schema.pubsub_items.c, schema.pubsub_entities.c
_services = schema.pubsub_services.c
_A_NODE, _AN_ITEM, _AN_ENTITY = 0, 1, 2
_accounts: Any = bindparam("accounts", expanding=True)


def _literal(text: str, kind: Any = Integer) -> Any:
    return literal_column(text, kind)


#: (account, node, kind, key, number, size, text) of everything: one query, as most accounts have little of it.
_EVERYTHING = union_all(
    select(
        _nodes.account_id, _nodes.node, _literal("0").label("kind"), _nodes.creator.label("key"),
        _nodes.created_at.label("number"), _literal("0").label("size"), _nodes.config.label("text"),
    ).where(_nodes.account_id.in_(_accounts)),
    select(
        _items.account_id, _items.node, _literal("1"), _items.item_id, _items.id, _items.size, _items.publisher
    ).where(_items.account_id.in_(_accounts)),
    select(
        _entities.account_id, _entities.node, _literal("2"), _entities.jid, _literal("0"), _literal("0"),
        _entities.affiliation + " " + _entities.subscription,
    ).where(_entities.account_id.in_(_accounts)),
)


def _build(account: Account, rows: Sequence[Any]) -> Nodes:
    nodes = Nodes()
    pending = account.parts[PENDING] = set()
    for row in sorted(rows, key=lambda row: (row.kind, row.number)):
        if row.kind == _A_NODE:
            nodes[row.node] = Node(row.node, NodeConfig.from_json(row.text), row.number, row.key)
        elif row.node not in nodes:
            continue  # of a node that is gone: nothing writes that, but somebody may have restored it
        elif row.kind == _AN_ITEM:
            item = nodes[row.node].items[row.key] = Item(row.number, row.size, row.text)
            nodes.size += cost(row.key, item)
        else:
            affiliation, _, subscription = row.text.partition(" ")
            _set(nodes[row.node].affiliations, row.key, affiliation)
            nodes[row.node].subscribe(row.key, subscription)
            if subscription == "pending":
                pending.add((row.node, row.key))
    return nodes


def _set(states: dict[str, str], key: str, state: str) -> None:
    if state == NONE:
        states.pop(key, None)
    else:
        states[key] = state


def _build_pending(account: Account, rows: Sequence[Any]) -> set[tuple[str, str]]:
    raise NotImplementedError("it is made with the nodes")


#: (node, address) of subscriptions that wait for the owner. Made and kept with :data:`NODES`, for a quick look.
PENDING: AccountPart[set[tuple[str, str]]] = AccountPart("pubsub_pending", None, _build_pending)
NODES: AccountPart[Nodes] = AccountPart("pubsub", _EVERYTHING, _build)

_account: Any = bindparam("account")
_node: Any = bindparam("of_node")
_INSERT_NODE = insert(schema.pubsub_nodes)
_CONFIGURE = (
    update(schema.pubsub_nodes).where(_nodes.account_id == _account, _nodes.node == _node)
    .values(config=bindparam("new_config"))
)  # fmt: skip
_DELETE_NODE = tuple(
    delete(table).where(table.c.account_id == _account, table.c.node == _node)
    for table in (schema.pubsub_items, schema.pubsub_entities, schema.pubsub_nodes)
)
_PURGE = _DELETE_NODE[0]
_DELETE_ACCOUNT = tuple(
    delete(table).where(table.c.account_id == _account)
    for table in (schema.pubsub_items, schema.pubsub_entities, schema.pubsub_nodes)
)
_INSERT_ITEM = insert(schema.pubsub_items)
_DELETE_ITEM = delete(schema.pubsub_items).where(_items.id == bindparam("item"), _items.account_id == _account)
_INSERT_ENTITY = insert(schema.pubsub_entities)
_DELETE_ENTITY = delete(schema.pubsub_entities).where(
    _entities.account_id == _account, _entities.node == _node, _entities.jid == bindparam("of_jid")
)
_FORGET_CREATOR = (
    update(schema.pubsub_nodes).where(_nodes.account_id == _account, _nodes.node == _node)
    .values(creator=_literal("''", Text))
)  # fmt: skip
_FORGET = delete(schema.pubsub_entities).where(_entities.bare == bindparam("of_bare"))
#: Addresses of accounts that have nodes.
OWNERS: Final = (
    select(schema.accounts.c.localpart, schema.accounts.c.domain)
    .where(schema.accounts.c.id.in_(select(_nodes.account_id)))
)  # fmt: skip
#: How pubsub services are found (:attr:`~xmppchat.core.component.Component.address_query`): the domain itself alone.
SERVICE_QUERY: Final = (
    select(_services.id, _literal("''", Text).label("localpart"), false().label("disabled"), _services.created_at)
    .where(_services.domain == bindparam("domain"), _literal("''", Text).in_(bindparam("localparts", expanding=True)))
)  # fmt: skip
_INSERT_SERVICE = insert(schema.pubsub_services)
NEWEST: Final = select(_items.id).order_by(_items.id.desc()).limit(1)


def add_service(account: Account, service_id: int, now: int, turn: Turn) -> None:
    """The row of a pubsub service, which is loaded only when it is there."""
    turn.write(account, _INSERT_SERVICE, {"id": service_id, "domain": account.jid.domain, "created_at": now})


# --- changes: in memory at once, on disk with the turn ---------------------------------------------------------------

def add_node(account: Account, node: Node, turn: Turn) -> None:
    """A new node, without items."""
    account[NODES][node.name] = node
    turn.write(account, _INSERT_NODE, {
        "account_id": account.id, "node": node.name, "created_at": node.created_at, "config": node.config.to_json(),
        "creator": node.creator,
    })
    if node.creator:
        set_entity(account, node, JID.parse(node.creator), turn, affiliation=OWNER)


def configure(account: Account, node: Node, config: NodeConfig, turn: Turn) -> None:
    """Another configuration."""
    node.config = config
    values = {"account": account.id, "of_node": node.name, "new_config": config.to_json()}
    turn.write(account, _CONFIGURE, values)


def remove_node(account: Account, node: Node, turn: Turn) -> None:
    """The node with all that is in it."""
    nodes = account[NODES]
    nodes.size -= nodes.count(node)
    del nodes[node.name]
    for jid in node.subscriptions:
        account[PENDING].discard((node.name, jid))
    for statement in _DELETE_NODE:
        turn.write(account, statement, {"account": account.id, "of_node": node.name})


def purge(account: Account, node: Node, turn: Turn) -> None:
    """All items of the node."""
    account[NODES].size -= account[NODES].count(node)
    node.items.clear()
    turn.write(account, _PURGE, {"account": account.id, "of_node": node.name})


def put_item(account: Account, node: Node, item_id: str, item: Item, xml: str, turn: Turn) -> None:
    """An item; one with that id was dropped."""
    node.items[item_id] = item
    account[NODES].size += cost(item_id, item)
    turn.write(account, _INSERT_ITEM, {
        "id": item.number, "account_id": account.id, "node": node.name, "item_id": item_id,
        "publisher": item.publisher, "size": item.size, "xml": xml,
    })


def drop_item(account: Account, node: Node, item_id: str, turn: Turn) -> None:
    """An item is no more."""
    item = node.items.pop(item_id)
    account[NODES].size -= cost(item_id, item)
    turn.write(account, _DELETE_ITEM, {"item": item.number, "account": account.id})


def set_entity(
    account: Account, node: Node, jid: JID, turn: Turn, *, affiliation: str | None = None,
    subscription: str | None = None,
) -> None:
    """What `jid` is to the node; None leaves that as it is, :data:`NONE` takes it away."""
    key = jid.full
    if affiliation is not None:
        _set(node.affiliations, key, affiliation)
    if subscription is not None:
        node.subscribe(key, subscription)
        (account[PENDING].add if subscription == "pending" else account[PENDING].discard)((node.name, key))
    values = {"account": account.id, "of_node": node.name, "of_jid": key}
    turn.write(account, _DELETE_ENTITY, values)
    states = node.affiliations.get(key, NONE), node.subscriptions.get(key, NONE)
    if states != (NONE, NONE):
        turn.write(account, _INSERT_ENTITY, {
            "account_id": account.id, "node": node.name, "jid": key, "bare": jid.bare,
            "affiliation": states[0], "subscription": states[1],
        })


def delete_all(account: Account, turn: Turn) -> None:
    """The account goes, with its nodes, and with what it was to those of others."""
    account[NODES].clear()
    account[NODES].size = 0
    for statement in _DELETE_ACCOUNT:
        turn.write(account, statement, {"account": account.id})
    turn.write(account, _FORGET, {"of_bare": account.jid.bare})


def forget(account: Account, bare: str, turn: Turn) -> None:
    """`bare` is nothing to the nodes of `account` any more; the rows go with :func:`delete_all`."""
    for node in account[NODES].values():
        node.affiliations.pop(bare, None)
        for jid in node.subscriptions_of(bare):
            node.subscribe(jid, NONE)
            account[PENDING].discard((node.name, jid))
        if node.creator == bare:
            node.creator = ""
            turn.write(account, _FORGET_CREATOR, {"account": account.id, "of_node": node.name})
