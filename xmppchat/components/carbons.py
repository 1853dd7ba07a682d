"""Carbons (XEP-0280): every device that wants to sees both sides of all conversations of its account.

Example::

    [Client] romeo
    [Client] juliet/phone   carbons
    [Client] juliet/laptop  carbons

    romeo sends to juliet/phone:
        <message type="chat" id="m1"><body>Hi</body></message>
    juliet/phone receives:
        <message type="chat" id="m1" from="{romeo.full}" to="{juliet/phone.full}"><body>Hi</body></message>
    juliet/laptop receives:
        <message type="chat" from="{juliet.bare}" to="{juliet/laptop.full}">
            <received xmlns="urn:xmpp:carbons:2"><forwarded xmlns="urn:xmpp:forward:0">
                <message xmlns="jabber:client" type="chat" id="m1" from="{romeo.full}" to="{juliet/phone.full}">
                    <body>Hi</body>
                </message>
            </forwarded></received>
        </message>
"""

from __future__ import annotations

from xmppchat.core.account import Account
from xmppchat.core.component import (
    ACCOUNT,
    INBOUND,
    OUTBOUND,
    SERVER,
    Component,
    ComponentConfig,
    Direction,
    Feature,
    IqRequest,
    Stage,
    Xep,
    iq_set,
    stage,
    with_bind,
)
from xmppchat.core.pipeline import Archived, Passage
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import NotAllowed
from xmppchat.protocol.message_content import is_for_copies
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

#: Copied messages of all accounts that are remembered, so that an error that answers one is copied, too.
MAX_REMEMBERED = 20_000


class Carbons(Component[ComponentConfig]):
    """Copies messages to the other devices of their sender and of their recipient."""

    name = "carbons"
    implements = (
        Xep(280, "1.0.1", note="private messages to occupants of a room are copied to all devices"),
        Xep(297, "1.0", note="as the wrapper of carbons"),
    )
    features = (Feature(NS.CARBONS), Feature(NS.CARBONS_RULES))

    def setup(self) -> None:
        """Nothing was copied yet."""
        self._copied: dict[int, None] = {}

    # --- requests (§4, §5) -------------------------------------------------------------------------------------------

    @iq_set(NS.CARBONS, "enable", at=SERVER | ACCOUNT)
    def enable(self, request: IqRequest) -> None:
        """Copies come to this session from now on."""
        # COMPAT(Converse, 2026): it asks the domain, where the feature is, and not its account.
        self._begin(_own_session(request))

    @iq_set(NS.CARBONS, "disable", at=SERVER | ACCOUNT)
    def disable(self, request: IqRequest) -> None:
        """No more copies."""
        session = _own_session(request)
        session.wants_carbons, session.copies_since = False, 0

    @with_bind(NS.CARBONS, "enable")
    def enable_from_the_start(self, session: Session, element: Element) -> None:
        """Copies come to this session from its first moment on (XEP-0386 §3.2)."""
        self._begin(session)

    def _begin(self, session: Session) -> None:
        if not session.wants_carbons:
            session.wants_carbons, session.copies_since = True, self.kernel.ids.sortable()

    # --- copies ------------------------------------------------------------------------------------------------------

    @stage(Stage.COPY, OUTBOUND, kinds=("message",))
    def copy_sent(self, passage: Passage) -> None:
        """What a device sends, for the others (§8)."""
        account, sender = passage.account, passage.turn.origin
        sessions = account.sessions
        if len(sessions) == 1:  # most accounts, most of the time
            (only,) = sessions.values()
            if only is sender:
                return
        others = [one for one in sessions.values() if one.wants_carbons and one is not sender]
        stanza = passage.stanza
        # What goes to the own account comes back to it: it is copied then, when it is known who gets it anyway.
        if not others or stanza.to is None or stanza.to.bare == account.jid.bare:
            return
        if not self._is_eligible(passage, stanza.to):
            return
        children = stanza_ids.without(stanza.children, account.jid)  # only the server says so
        if isinstance(passage.archived, Archived):
            children.append(stanza_ids.element(passage.archived.id, account.jid))
        self._copy("sent", stanza.replace(children=children), account, others, passage.turn)

    @stage(Stage.COPY, INBOUND, kinds=("message",))
    def copy_received(self, passage: Passage) -> None:
        """What comes for the account, for those devices that do not get it themselves (§7)."""
        account, stanza = passage.account, passage.stanza
        sessions = account.sessions
        if len(sessions) == 1 and stanza.type != "error":  # most accounts, most of the time
            (only,) = sessions.values()
            if only.takes_messages:
                return  # it gets whatever is delivered
        others = _left_out(account, stanza)
        if not others:
            return
        name = "received"
        if stanza.from_ is None or not self._is_eligible(passage, stanza.from_):
            return
        if stanza.from_.bare == account.jid.bare:
            name = "sent"
            others = [one for one in others if one is not passage.turn.origin]
        self._copy(name, stanza, account, others, passage.turn)

    def _copy(self, name: str, stanza: Stanza, account: Account, sessions: list[Session], turn: Turn) -> None:
        carbon = wrap(name, stanza, account.jid)  # one for all: its payload is serialised once
        for session in sessions:
            turn.effect(session.deliver, carbon, session.jid)

    # --- what is copied ----------------------------------------------------------------------------------------------

    def _is_eligible(self, passage: Passage, peer: JID) -> bool:
        """Whether the message is copied (§6.1); if so, an error that answers it will be, too."""
        stanza, direction = passage.stanza, passage.direction
        is_archived = isinstance(passage.archived, Archived)
        if stanza.message_type == "error":
            # An error need not repeat what it is about (§10.3): that is told by whom it is from, and by its id.
            answered = _trace(passage.account, direction, peer, stanza.id)
            if not (is_archived or (stanza.id and answered in self._copied)):
                return False
            return is_for_copies(stanza, is_inbound=direction is INBOUND, has_reason=True)
        if not is_for_copies(stanza, is_inbound=direction is INBOUND, has_reason=is_archived):
            return False
        if stanza.id:
            opposite = INBOUND if direction is OUTBOUND else OUTBOUND
            self._copied[_trace(passage.account, opposite, peer, stanza.id)] = None
            if len(self._copied) > MAX_REMEMBERED:
                del self._copied[next(iter(self._copied))]
        return True


def wrap(name: str, stanza: Stanza, account: JID) -> Stanza:
    """`stanza` as a carbon, ``<sent/>`` or ``<received/>``, of the bare JID `account`; `to` is for each delivery."""
    forwarded = Element("forwarded", NS.FORWARD, None, (stanza.to_element(),))
    return Stanza("message", from_=account, type=stanza.type, children=(Element(name, NS.CARBONS, None, (forwarded,)),))


def _left_out(account: Account, stanza: Stanza) -> list[Session]:
    """Sessions that want carbons and do not get `stanza` itself, by the rules of RFC 6121 §8.5 (see the router)."""
    wanting = [session for session in account.sessions.values() if session.wants_carbons]
    if not wanting:
        return wanting
    to, kind = stanza.to, stanza.message_type
    if to is not None and to.resource:
        if to.resource in account.sessions:
            return [session for session in wanting if session.jid.resource != to.resource]
        if kind != "chat" and kind != "error":
            return []  # it goes back to its sender as undelivered
    if kind == "error":
        return wanting  # to nobody
    # `takes_messages`, also while stored messages are handed out: new ones come behind those.
    return [session for session in wanting if not session.takes_messages]


def _own_session(request: IqRequest) -> Session:
    session = request.session
    if session is None or session.jid.domain != request.domain:
        raise NotAllowed("ask the server that your account is at")  # §4.1, §5.1
    return session


def _trace(account: Account, direction: Direction, peer: JID, id: str) -> int:
    """Stands for a message; a number, since ids may be long (randomised, 64 bits: nobody finds two that are alike)."""
    return hash((account.jid.bare, direction, peer.bare, id))


__all__ = ["Carbons", "wrap"]
