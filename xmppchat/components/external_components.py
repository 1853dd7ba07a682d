"""External components (XEP-0114): which services are attached, for clients and for the admin.

The port they connect to is :mod:`xmppchat.network.component_port`, their stream
:mod:`xmppchat.protocol.component_stream`; what they send comes in by ``Kernel.receive_from``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xmppchat.core import events
from xmppchat.core.callers import Caller
from xmppchat.core.component import SERVER, At, Component, ComponentConfig, Xep, command, on
from xmppchat.core.links import Link
from xmppchat.core.runtime import timestamp
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import RemoteServerTimeout
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza


class ExternalComponents(Component[ComponentConfig]):
    """Lists the services that are connected (``xmppchat components``, disco#items of a host)."""

    name = "external_components"
    implements = (Xep(114, "1.6"),)

    def disco_items(self, at: At, domain: str) -> Sequence[Element]:
        """Those that are attached: clients ask every one of them at once, and wait for what nobody answers."""
        if at is not SERVER:
            return ()
        configured = self.kernel.config.external_components
        items = [(name, configured[name].name) for name in self._shown_at({domain}) if self._link(name) is not None]
        return [Element("item", NS.DISCO_ITEMS, {"jid": jid, "name": name or None}) for jid, name in items]

    @on(events.LinkDetached)
    def detached(self, event: events.LinkDetached) -> None:
        """Clients that wait for an answer from there are told that it will not come (RFC 6120 §8.2.3)."""
        turn = self.kernel.new_turn()
        for session in self.kernel.directory.sessions():
            for to, request_id in session.give_up(lambda to: to.domain == event.domain):
                error = RemoteServerTimeout("the connection to this service was lost").to_element()
                answer = Stanza("iq", to=session.jid, from_=to, id=request_id, type="error", children=(error,))
                turn.effect(session.deliver, answer)
        turn.commit()

    @command("components", changes=False)
    async def components(self, caller: Caller) -> list[dict[str, object]]:
        """List external components, and which of them are connected."""
        found: list[dict[str, object]] = []
        for name in self._shown_at(caller.hosts):
            link = self._link(name)
            counts = self.kernel.links.counts(name)
            found.append({
                "component": name,
                "since": "not connected" if link is None else timestamp(link.attached_at),
                "from": "-" if link is None else link.peer,
                "received": counts.received,
                "sent": counts.sent,
            })
        return found

    def _link(self, name: str) -> Link | None:
        return self.kernel.links.get(name)

    def _shown_at(self, hosts: set[str] | frozenset[str]) -> Iterator[str]:
        """Domains of components that belong to one of `hosts`: the host they are below of, or all if there is none."""
        for name in sorted(self.kernel.config.external_components):
            parents = [host for host in self.kernel.hosts if name.endswith(f".{host}")]
            if max(parents, key=len) in hosts if parents else hosts:
                yield name
