"""What was sent and perhaps did not arrive: sent again on a new connection, or given to others (XEP-0198 §4, §5)."""

from __future__ import annotations

from collections.abc import Iterable

from xmppchat.components.stream_management.managed import Sent
from xmppchat.core.deliveries import Past
from xmppchat.core.kernel import Kernel
from xmppchat.core.runtime import time_of, timestamp
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.protocol.delay import delayed
from xmppchat.protocol.errors import ServiceUnavailable
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza

#: Between deciding whom a message is for and sending it lies the database, which may be so slow (10 s, as in
#: :meth:`~xmppchat.core.runtime.Ids.moment`).
_SLACK = 10_000 << 22

#: Payloads that are only of use to the session they were made for.
_PERSONAL = ((NS.ARCHIVE, "result"), (NS.CARBONS, "received"), (NS.CARBONS, "sent"))


def stamped(sent: Sent) -> Stanza:
    """The stanza as it is sent later than it should have been: with the time of the first try (XEP-0203 §3)."""
    stanza = sent.stanza
    if stanza.kind == "iq":
        return stanza
    to = sent.to or stanza.to
    return stanza if to is None else delayed(stanza, to.domain, timestamp(time_of(sent.at)))


def hand_back(kernel: Kernel, session: Session, outstanding: Iterable[Sent], turn: Turn) -> None:
    """`session` is over: each stanza is treated as one that is sent to a resource that is gone (XEP-0198 §4)."""
    for sent in outstanding:
        stanza = sent.stanza
        if stanza.is_request:
            kernel.router.bounce(stanza, ServiceUnavailable("this resource is not connected any more"), turn)
        elif stanza.kind == "message" and stanza.message_type in ("chat", "normal") and not _is_personal(stanza):
            _deliver_elsewhere(kernel, session, sent, turn)


def _is_personal(stanza: Stanza) -> bool:
    return any((child.namespace, child.name) in _PERSONAL for child in stanza.elements())


def _deliver_elsewhere(kernel: Kernel, session: Session, sent: Sent, turn: Turn) -> None:
    """To each device that has not got it yet: not itself, nor a carbon of it, nor does it read it in the archive."""
    account, stanza = session.account, stamped(sent)
    others = account.available_sessions()
    if not others:
        kernel.router.fall_back(account, stanza, turn)
        return
    past = Past(account, sent.stanza, sent.at, _SLACK)
    is_for_one = stanza.to is not None and stanza.to.resource == session.jid.resource
    for other in others:
        has_it = past.was_copied_to(other, is_for_one=is_for_one) or (not is_for_one and past.was_taken_by(other))
        if not has_it and not past.is_fetched_by(other):
            turn.effect(other.deliver, stanza)
