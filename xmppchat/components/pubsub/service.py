"""Pubsub services at addresses of their own (XEP-0060), such as ``pubsub.chat.example``: the engine that accounts have,
at an address that is a domain (ADR 21). Who makes a node owns it, and owners may make others owners.

Example::

    # A node is made, a stranger subscribes, and is told what is published.
    [Client] juliet
    [Client] tybalt

    juliet sends:
        <iq type="set" id="c1" to="pubsub.{domain}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub"><create node="{juliet.local}-news"/></pubsub>
        </iq>
    juliet receives:
        <iq type="result" id="c1" from="pubsub.{domain}" to="{juliet.full}"/>
    tybalt sends:
        <iq type="set" id="s1" to="pubsub.{domain}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <subscribe node="{juliet.local}-news" jid="{tybalt.bare}"/>
            </pubsub>
        </iq>
    tybalt receives:
        <iq type="result" id="s1" from="pubsub.{domain}" to="{tybalt.full}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <subscription node="{juliet.local}-news" jid="{tybalt.bare}" subscription="subscribed"/>
            </pubsub>
        </iq>
    juliet sends:
        <iq type="set" id="p1" to="pubsub.{domain}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <publish node="{juliet.local}-news"><item id="1"><a xmlns="urn:example:a">hello</a></item></publish>
            </pubsub>
        </iq>
    juliet receives:
        <iq type="result" id="p1" from="pubsub.{domain}" to="{juliet.full}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <publish node="{juliet.local}-news"><item id="1"/></publish>
            </pubsub>
        </iq>
    tybalt receives:
        <message type="headline" id="…" from="pubsub.{domain}" to="{tybalt.bare}">
            <event xmlns="http://jabber.org/protocol/pubsub#event">
                <items node="{juliet.local}-news"><item id="1"><a xmlns="urn:example:a">hello</a></item></items>
            </event>
        </message>
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Final, Literal

import structlog
from pydantic import Field, field_validator

from xmppchat.components.pubsub import nodes
from xmppchat.components.pubsub.engine import Engine
from xmppchat.components.pubsub.nodes import NODES
from xmppchat.core.account import Account
from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandError, Parameter
from xmppchat.core.component import (
    DOMAIN,
    SERVER,
    At,
    Component,
    ComponentConfig,
    Feature,
    Identity,
    IqRequest,
    Later,
    command,
    iq_get,
    iq_set,
)
from xmppchat.core.config_tables import domain_of
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import ItemNotFound
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.rsm import PageRequest, page_element
from xmppchat.protocol.stanza import Stanza

log = structlog.get_logger(__name__)

#: What of XEP-0060 there is, by the names of its §11. "access-open" says what the default is.
FEATURES: Final = (
    "access-open", "auto-create", "config-node", "config-node-max", "create-and-configure", "create-nodes",
    "delete-items", "delete-nodes", "instant-nodes", "item-ids", "last-published", "manage-subscriptions",
    "member-affiliation", "meta-data", "modify-affiliations", "multi-items", "outcast-affiliation", "persistent-items",
    "publish", "publish-node-full", "publish-only-affiliation", "publish-options", "publisher-affiliation",
    "purge-nodes", "retract-items", "retrieve-affiliations", "retrieve-default", "retrieve-items",
    "retrieve-subscriptions", "rsm", "subscribe", "subscription-notifications",
)  # fmt: skip
_HOST: Final = "{host}"
#: Nodes in one list; the others are on the next page (XEP-0059).
PAGE: Final = 250
#: Errors that say of any address that it is gone (§12.4); "service-unavailable" says it of a client's alone, as a bare
#: address answers so, too, that does not want to say whether it is there.
_GONE: Final = frozenset({"gone", "item-not-found", "remote-server-not-found"})


class PubsubServiceConfig(ComponentConfig):
    """Options of the pubsub service."""

    address: str = Field(
        "pubsub.{host}", max_length=1_023,
        description='address of the pubsub service; "{host}" stands for each host; "": there is none',
    )
    name: str = Field("Publish-Subscribe", max_length=200, description="what clients show it as")
    creators: Literal["host", "admins", "anyone"] = Field(
        "host", description='who may make nodes: "host": accounts of the host, "admins": its admins, or "anyone"'
    )

    @field_validator("address")
    @classmethod
    def _check(cls, value: str) -> str:
        if value:
            domain_of(value.replace(_HOST, "chat.example"))
        return value


class PubsubService(Component[PubsubServiceConfig]):
    """A pubsub service at an address of its own, for everybody (XEP-0060)."""

    name = "pubsub_service"
    Config = PubsubServiceConfig
    features = (Feature(NS.PUBSUB, at=DOMAIN), *(Feature(f"{NS.PUBSUB}#{name}", at=DOMAIN) for name in FEATURES))
    identities = (Identity("pubsub", "service", at=DOMAIN),)
    requires = (Engine,)
    address_query = nodes.SERVICE_QUERY
    restart_options = ("address",)

    def domains(self) -> Collection[str]:
        """See :class:`Component`. One for each host, or one for all."""
        return self._hosts_by_domain()

    def _hosts_by_domain(self) -> dict[str, list[str]]:
        """The addresses, each with the hosts whose it is."""
        found: dict[str, list[str]] = {}
        for host in self.kernel.hosts if self.config.address else ():
            domain = domain_of(self.config.address.replace(_HOST, host))
            if domain not in self.kernel.hosts:
                found.setdefault(domain, []).append(host)
        return found

    def setup(self) -> None:
        """Join the engine."""
        self._hosts = self._hosts_by_domain()
        self._engine = self.kernel.services.get(Engine)
        self._engine.factory.creators = self

    async def start(self) -> None:
        """Load the services, whose nodes stay in memory; make those that are new."""
        if self.config.address and not self._hosts:
            log.warning("no pubsub service: its address is a host's", address=self.config.address)
        directory = self.kernel.directory
        for domain in self._hosts:
            jid = JID.parse(domain)
            service = await directory.get(jid)
            if not service.exists:
                turn = self.kernel.new_turn()
                nodes.add_service(service, self.kernel.ids.sortable(), self.kernel.clock.now(), turn)
                await self.kernel.settled(turn)
                directory.forget(domain)
                await directory.get(jid)

    # --- requests ----------------------------------------------------------------------------------------------------

    @iq_get(NS.PUBSUB, "pubsub", at=DOMAIN)
    def get(self, request: IqRequest) -> Element | Later | None:
        """Items, or what the asker has to do with the nodes (§5.6, §5.7, §6.5)."""
        return self._engine.get(request)

    @iq_set(NS.PUBSUB, "pubsub", at=DOMAIN)
    def set(self, request: IqRequest) -> Element | None:
        """Publish, retract, create, subscribe, unsubscribe."""
        return self._engine.set(request)

    @iq_get(NS.PUBSUB_OWNER, "pubsub", at=DOMAIN)
    def owner_get(self, request: IqRequest) -> Element | None:
        """What owners may look at (§8)."""
        return self._engine.owner_get(request)

    @iq_set(NS.PUBSUB_OWNER, "pubsub", at=DOMAIN)
    def owner_set(self, request: IqRequest) -> Element | None:
        """What owners may change (§8)."""
        return self._engine.owner_set(request)

    def may_create(self, request: IqRequest) -> bool:
        """Whether the sender may make a node."""
        sender, hosts = request.sender, self._hosts[request.domain]
        if self.config.creators == "anyone":
            return True
        if self.config.creators == "host":
            return sender.domain in hosts
        return any(sender.bare == admin.bare for host in hosts for admin in self.kernel.config.hosts[host].admins)

    def receive(self, address: Account, stanza: Stanza, turn: Turn) -> None:
        """An owner's answer to the question who may subscribe (§8.6), or a notification that came back (§12.4)."""
        if not address.exists or stanza.kind != "message" or stanza.from_ is None:
            super().receive(address, stanza, turn)
        elif stanza.type == "error":
            if _is_gone(stanza):
                self._engine.end_subscriptions(address, stanza.from_, turn)
        elif not self._engine.decide(address, stanza, turn):
            super().receive(address, stanza, turn)

    # --- discovery (§5) ----------------------------------------------------------------------------------------------

    def disco_items(self, at: At, domain: str) -> Sequence[Element]:
        """The service, at its hosts."""
        if at is not SERVER:
            return ()
        external = self.kernel.config.external_components
        return [
            Element("item", NS.DISCO_ITEMS, {"jid": service, "name": self.config.name or None})
            for service, hosts in self._hosts.items() if domain in hosts and service not in external
        ]

    def disco_nodes(self, request: IqRequest) -> Sequence[Element]:
        """The nodes that the asker may know of (§5.2), page by page where there are many (XEP-0059)."""
        if request.account is None or request.domain not in self._hosts:
            return ()  # those of accounts are another component's
        found = self._engine.listed(request.account, request.sender)
        return _page(found, PageRequest.find(request.payload))

    def disco_node(self, request: IqRequest, node: str) -> Element | None:
        """What a node is (§5.3, §5.4), and the ids of its items (§5.5)."""
        if request.account is None or request.domain not in self._hosts:
            return None
        return self._engine.described(request.account, request, node)

    # --- the operator ------------------------------------------------------------------------------------------------

    @command("pubsub nodes", changes=False)
    async def list_nodes(self, caller: Caller) -> list[dict[str, object]]:
        """List the nodes of the pubsub service, with their owners."""
        return [
            {
                "service": service.jid.domain, "node": node.name, "owners": ", ".join(node.owners),
                "access": node.config.access_model, "items": len(node.items), "subscriptions": len(node.subscriptions),
            }
            for service in await self._services(caller) for node in service[NODES].values()
        ]

    @command("pubsub delete")
    async def delete_node(
        self, caller: Caller, node: Annotated[str, Parameter("name of the node")],
        service: Annotated[str, Parameter("address of the service; default: the first one that has it")] = "",
    ) -> dict[str, object]:
        """Delete a node of the pubsub service, with all its items; its subscribers are told."""
        for found in await self._services(caller):
            if node in found[NODES] and service in ("", found.jid.domain):
                turn = self.kernel.new_turn()
                self._engine.delete_node(found, node, turn)
                await self.kernel.settled(turn)
                return {"service": found.jid.domain, "node": node, "deleted": True}
        raise CommandError(f"there is no node {node!r}; `xmppchat pubsub nodes` lists them")

    async def _services(self, caller: Caller) -> list[Account]:
        """Those of hosts that are `caller`'s to administer, all of whose hosts are."""
        domains = [domain for domain, hosts in self._hosts.items() if caller.hosts.issuperset(hosts)]
        return [await self.kernel.directory.get(JID.parse(domain)) for domain in domains]


def _is_gone(stanza: Stanza) -> bool:
    error = stanza.find("error")
    conditions = {child.name for child in error.elements()} if error is not None else set()
    is_client = stanza.from_ is not None and bool(stanza.from_.resource)
    return not conditions.isdisjoint(_GONE) or (is_client and "service-unavailable" in conditions)


def _page(found: Sequence[Element], page: PageRequest) -> Sequence[Element]:
    """What of `found`, whose ids are their nodes, is sent, with ``<set/>`` where that is not all or was asked for.

    Raises :class:`ItemNotFound` for a page next to a node that is not there (XEP-0059 §2.2).
    """
    if page == PageRequest() and len(found) <= PAGE:
        return found
    places = {item.get("node"): place for place, item in enumerate(found)}
    try:
        low = 0 if page.after is None else places[page.after] + 1
        high = places[page.before] if page.before else len(found)
    except KeyError:
        raise ItemNotFound("there is no such node to go on from") from None
    size = page.size(default=PAGE, most=PAGE)
    if page.is_backwards:
        low = max(low, high - size)
    part = found[low : min(high, low + size)]
    if not part:
        return [page_element(count=len(found))]
    return [*part, page_element(part[0].get("node"), part[-1].get("node"), count=len(found), index=low)]


__all__ = ["PubsubService"]
