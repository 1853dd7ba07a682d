"""Ad-hoc commands (XEP-0050), and service administration with them (XEP-0133).

Example::

    [Client] romeo

    romeo sends:
        <iq type="set" id="c1" to="{domain}">
          <command xmlns="http://jabber.org/protocol/commands" node="http://jabber.org/protocol/admin#add-user"/></iq>
    romeo receives:
        <iq type="error" id="c1" from="{domain}" to="{romeo.full}">…{error cancel forbidden}</iq>
"""

from __future__ import annotations

from typing import Final

from xmppchat.components.adhoc.payloads import arguments_of, asked, form_of, note, payload_of
from xmppchat.components.adhoc.sessions import CommandSession, CommandSessions
from xmppchat.core import events
from xmppchat.core.callers import Caller, caller_of, refusal
from xmppchat.core.commands import (
    CommandError,
    CommandSpec,
    InvalidArguments,
    execute,
    permitted,
    specs_of,
)
from xmppchat.core.component import SERVER, Component, ComponentConfig, Feature, IqRequest, Xep, iq_set, on
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, Forbidden, ItemNotFound, NotAllowed, StanzaError
from xmppchat.protocol.forms import Form, FormError
from xmppchat.protocol.namespaces import NS

_ACTIONS: Final = frozenset({"execute", "cancel", "prev", "next", "complete"})
#: The language of all texts (XEP-0050 §3.7). A client in another one gets English rather than <bad-locale/>.
_LANG: Final = "en"


class Adhoc(Component[ComponentConfig]):
    """Offers commands to clients: to admins those of their hosts, to users what is for users (XEP-0050, XEP-0133)."""

    name = "adhoc"
    implements = (Xep(50, "1.3.0"), Xep(4, "2.13.2"), Xep(68, "1.3.0"))
    features = (Feature(NS.COMMANDS),)

    def setup(self) -> None:
        """Gather the commands of all components."""
        specs = specs_of(tuple(type(component) for component in self.kernel.components))
        self._nodes = {spec.node: spec for spec in specs.values() if spec.node}
        self._sessions = CommandSessions(self.kernel.clock.monotonic, self.kernel.ids.token)

    @on(events.SessionEnded)
    def forget(self, event: events.SessionEnded) -> None:
        """A form waits for the session that it was sent to, not for the next one of the same name."""
        self._sessions.end_all(event.session.jid)

    # --- discovery (§2.1, §2.2) ------------------------------------------------------------------------------------

    def disco_node(self, request: IqRequest, node: str) -> Element | None:
        """The list of commands that the asker may run, and what is known of each."""
        if request.account is not None or not (node == NS.COMMANDS or node in self._nodes):
            return None
        caller, namespace = caller_of(self.kernel.config, request), request.payload.namespace
        if node == NS.COMMANDS:
            return _listed(node, namespace, self._items(caller, request.domain))
        spec = self._nodes[node]
        if refusal(spec, caller):
            raise Forbidden(refusal(spec, caller), type="cancel")
        children = [] if namespace == NS.DISCO_ITEMS else [
            _identity("command-node", spec.help),
            *(Element("feature", namespace, {"var": var}) for var in (NS.COMMANDS, NS.FORM)),
        ]
        return Element("query", namespace, {"node": node}, children)

    def _items(self, caller: Caller, domain: str) -> list[Element]:
        return [
            Element("item", NS.DISCO_ITEMS, {"jid": domain, "node": node, "name": spec.help.rstrip(".")})
            for node, spec in self._nodes.items() if not refusal(spec, caller)
        ]

    # --- execution (§2.4) ------------------------------------------------------------------------------------------

    @iq_set(NS.COMMANDS, "command", at=SERVER)
    async def command(self, request: IqRequest) -> Element:
        """One step of a command: the first, or one of a session."""
        try:
            return await self._step(request)
        except StanzaError as error:
            # As in the example of §3.7. COMPAT(slixmpp, 1.17): it knows by the session id whose error this is.
            error.repeated = request.payload.replace(children=())
            raise

    async def _step(self, request: IqRequest) -> Element:
        payload = request.payload
        action = payload.get("action") or "execute"
        if action not in _ACTIONS:
            raise _bad("malformed-action", "an action is execute, cancel, prev, next or complete")
        spec = self._nodes.get(payload.get("node"))
        if spec is None:
            raise ItemNotFound("there is no such command here; ask for the list by disco#items")
        caller = caller_of(self.kernel.config, request)
        refused = refusal(spec, caller)
        if refused:
            raise Forbidden(refused, type="cancel")
        if payload.get("sessionid"):
            return await self._continue(spec, caller, action, request)
        if action != "execute":
            raise _bad("bad-action", "a command begins with the action execute")
        if not asked(spec):
            return await self._complete(spec, caller, [{}], self.kernel.ids.token())
        session = self._sessions.open(spec, request.sender, request.domain)
        # There is one form to a command: what follows it is completing, or cancelling, which is always allowed (§3.4).
        actions = Element("actions", NS.COMMANDS, {"execute": "complete"}, [Element("complete", NS.COMMANDS)])
        return _answer(spec, session.id, "executing", actions, form_of(spec).to_element())

    async def _continue(self, spec: CommandSpec, caller: Caller, action: str, request: IqRequest) -> Element:
        session_id = request.payload.get("sessionid")
        session = self._sessions.find(session_id, spec, request.sender, request.domain)
        if session is None:
            if self._sessions.has_ended(session_id, request.sender):
                raise NotAllowed(
                    "this was completed, cancelled, or took too long; execute the command again",
                    details=(Element("session-expired", NS.COMMANDS),),
                )
            raise _bad("bad-sessionid", "there is no such session of yours for this command")
        if action == "cancel":
            self._sessions.end(session.id)
            return _answer(spec, session.id, "canceled")
        if action not in ("execute", "complete"):
            raise _bad("bad-action", "there is one form only: complete it, or cancel")
        runs = self._submitted(session, caller, request)
        # Before anything is waited for: nobody completes it twice.
        self._sessions.end(session.id)
        return await self._complete(spec, caller, runs, session.id)

    def _submitted(self, session: CommandSession, caller: Caller, request: IqRequest) -> list[dict[str, object]]:
        """The arguments of each run. With the wrong ones the session goes on, so that they can be corrected."""
        try:
            form = Form.find(request.payload)
            if form is None:
                raise FormError("the form has to be filled in and submitted")
            if form.type == "cancel":
                form = Form("submit", form.fields)  # §3.5.1: consider it to be "submit"
            runs = arguments_of(session.spec, form)
            for arguments in runs:
                permitted(session.spec, arguments, caller)  # all of them, before the first is done
        except (FormError, InvalidArguments) as error:
            raise _bad("bad-payload", str(error)) from None
        except CommandError as error:
            raise Forbidden(str(error), type="cancel") from None
        return runs

    async def _complete(
        self, spec: CommandSpec, caller: Caller, runs: list[dict[str, object]], session_id: str
    ) -> Element:
        results: list[object] = []
        faults: list[CommandError] = []
        for arguments in runs:
            try:
                results.append(await execute(self.kernel, spec.name, arguments, caller))
            except CommandError as fault:
                faults.append(fault)
        if faults and not results and faults[0].error is not None:
            raise faults[0].error  # XEP-0133 §5: an error stanza
        # §3.6: what completes and fails says so in a note.
        notes = [note(str(fault), "error") for fault in faults]
        return _answer(spec, session_id, "completed", *(payload_of(spec, results) if results else ()), *notes)


def _answer(spec: CommandSpec, session_id: str, status: str, *payload: Element) -> Element:
    attributes = {"node": spec.node, "sessionid": session_id, "status": status, "xml:lang": _LANG}
    return Element("command", NS.COMMANDS, attributes, payload)


def _listed(node: str, namespace: str, items: list[Element]) -> Element:
    children = items if namespace == NS.DISCO_ITEMS else [
        _identity("command-list", "Commands"), Element("feature", namespace, {"var": NS.COMMANDS}),
    ]
    return Element("query", namespace, {"node": node}, children)


def _identity(kind: str, name: str) -> Element:
    return Element("identity", NS.DISCO_INFO, {"category": "automation", "type": kind, "name": name.rstrip(".")})


def _bad(condition: str, text: str) -> BadRequest:
    """The errors of §4.4, all of which are bad requests."""
    return BadRequest(text, details=(Element(condition, NS.COMMANDS),))
