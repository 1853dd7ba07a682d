"""What owners do with their nodes (XEP-0060 §8.1 to §8.5): create, configure, purge, delete."""

from __future__ import annotations

from xmppchat.components.pubsub import access, config, nodes, notices
from xmppchat.components.pubsub.broadcast import Broadcast
from xmppchat.components.pubsub.config import NodeConfig
from xmppchat.components.pubsub.factory import Factory
from xmppchat.components.pubsub.faults import no_such_node, node_required, unsupported
from xmppchat.components.pubsub.kinds import is_service, kind_of
from xmppchat.components.pubsub.last_items import LastItems
from xmppchat.components.pubsub.nodes import NODES, OWNER, Node
from xmppchat.components.pubsub.room import Room
from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest
from xmppchat.core.kernel import Kernel
from xmppchat.core.services import RosterService
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, Conflict, Forbidden
from xmppchat.protocol.namespaces import NS


def owned(request: IqRequest, element: Element) -> tuple[Account, Node]:
    """The node that `element` names, for an owner. At accounts others learn nothing, not even whether it is there."""
    account = request.account
    assert account is not None
    refusal = Forbidden("only the owner of the node may do that")
    if not is_service(account) and not request.is_owner:
        raise refusal
    name = element.get("node")
    if not name:
        raise node_required()
    node = account[NODES].get(name)
    if node is None:
        raise no_such_node()
    if access.affiliation(account.jid, node, request.sender.bare) != OWNER:
        raise refusal
    return account, node


class Ownership:
    """Answers ``<create/>``, ``<configure/>``, ``<default/>``, ``<purge/>`` and ``<delete/>``."""

    def __init__(
        self, kernel: Kernel, broadcast: Broadcast, last_items: LastItems, room: Room, factory: Factory
    ) -> None:
        self._kernel = kernel
        self._broadcast = broadcast
        self._last_items = last_items
        self._bounds = room.bounds
        self._factory = factory
        self._roster = kernel.services.get(RosterService)

    # --- create (§8.1) -----------------------------------------------------------------------------------------------

    def create(self, request: IqRequest, create: Element) -> Element | None:
        """A new node, perhaps configured at once, perhaps with a name that we make."""
        account = request.account
        assert account is not None
        creator, kind = self._factory.creator(request), kind_of(account)
        name = create.get("node")
        if name in account[NODES]:
            raise Conflict("there is such a node already")
        wanted = kind.default
        configure = request.payload.find("configure")
        if configure is not None:
            self._check_place(request.payload, configure)
            form = configure.find("x", NS.FORM)
            if form is not None:
                wanted = config.configured(wanted, form, self._bounds(), kind.fields)
        node = self._factory.new(account, name or self._kernel.ids.token(), wanted, creator)
        self._factory.add(account, node, request.turn)
        if name:
            return None
        return Element("pubsub", NS.PUBSUB, None, (Element("create", NS.PUBSUB, {"node": node.name}),))

    def _check_place(self, pubsub: Element, configure: Element) -> None:
        """§8.1.3: behind ``<create/>``, without a node of its own."""
        if configure.get("node") or next(pubsub.elements()) is configure:
            raise BadRequest("<configure/> stands behind <create/>, without a 'node' (XEP-0060 §8.1.3)")

    # --- configure (§8.2, §8.3) --------------------------------------------------------------------------------------

    def configuration(self, request: IqRequest, configure: Element) -> Element:
        """The form, filled in (§8.2.2)."""
        account, node = owned(request, configure)
        form = config.form(node.config, fields=kind_of(account).fields)
        answer = Element("configure", NS.PUBSUB_OWNER, {"node": node.name}, (form,))
        return Element("pubsub", NS.PUBSUB_OWNER, None, (answer,))

    def default(self, request: IqRequest, default: Element) -> Element:
        """What a new node is like (§8.3.3)."""
        assert request.account is not None
        self._factory.creator(request)
        kind = kind_of(request.account)
        answer = Element("default", NS.PUBSUB_OWNER, None, (config.form(kind.default, fields=kind.fields),))
        return Element("pubsub", NS.PUBSUB_OWNER, None, (answer,))

    def configure(self, request: IqRequest, configure: Element) -> None:
        """Take the form; what it does not name stays (§8.2.4)."""
        account, node = owned(request, configure)
        form = configure.find("x", NS.FORM)
        if form is None:
            raise BadRequest("<configure/> has a form (XEP-0060 §8.2.4)")
        if form.get("type") == "cancel":
            return
        changed = config.configured(node.config, form, self._bounds(), kind_of(account).fields)
        if changed != node.config:
            self.change(account, node, changed, request.turn)

    def change(self, account: Account, node: Node, changed: NodeConfig, turn: Turn) -> None:
        """The node is configured otherwise: who may not any more loses it, who may now is told what there is."""
        contacts = [item.contact for item in self._roster.items(account) if item.sends_presence]
        shut_out = {jid.bare for jid in contacts if self._broadcast.refusal(account, node, jid) is not None}
        nodes.configure(account, node, changed, turn)
        if not changed.persist_items:
            self._purge(account, node, turn)
        most = config.items_kept(changed, self._bounds())
        for item_id in list(node.items)[: max(0, len(node.items) - most)]:
            nodes.drop_item(account, node, item_id, turn)
        self._broadcast.cancel_lost(account, node, turn)
        let_in = [jid for jid in contacts if jid.bare in shut_out and self._may_see(account, node, jid)]
        self._last_items.let_in(account, let_in, frozenset({node.name}), turn)
        if changed.notify_config:
            self._broadcast.notify(account, node, notices.configured(node, kind_of(account).fields), turn)

    def _may_see(self, account: Account, node: Node, contact: JID) -> bool:
        return self._broadcast.refusal(account, node, contact) is None

    # --- purge, delete (§8.5, §8.4) ----------------------------------------------------------------------------------

    def purge(self, request: IqRequest, purge: Element) -> None:
        """Remove all items, with one notification (§8.5.2)."""
        account, node = owned(request, purge)
        if not node.config.persist_items:
            raise unsupported("persistent-items", "the node keeps no items")
        removed = tuple(node.items)
        self._purge(account, node, request.turn)
        if node.config.notify_retract:
            self._broadcast.notify(account, node, notices.purged(node), request.turn)
        if not is_service(account):
            self._kernel.emit(events.ItemsRemoved(account, node.name, removed, request.turn))

    def _purge(self, account: Account, node: Node, turn: Turn) -> None:
        if node.items:
            nodes.purge(account, node, turn)

    def delete(self, request: IqRequest, delete: Element) -> None:
        """The node with all that is in it."""
        account, node = owned(request, delete)
        removed = tuple(node.items)
        self.remove(account, node, request.turn)
        if not is_service(account):
            self._kernel.emit(events.ItemsRemoved(account, node.name, removed, request.turn))

    def remove(self, account: Account, node: Node, turn: Turn) -> None:
        """The node goes; who is to know is notified."""
        nodes.remove_node(account, node, turn)
        if node.config.notify_delete:
            self._broadcast.notify(account, node, notices.deleted(node), turn, is_end=True)
