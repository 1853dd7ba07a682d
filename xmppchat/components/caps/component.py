"""The component: the server's own string, and the questions it asks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from xmppchat.components.caps.cache import Announced, Cache, Features, judge
from xmppchat.core import events
from xmppchat.core.component import SERVER, Component, ComponentConfig, Feature, IqRequest, Xep, on
from xmppchat.core.runtime import Timer
from xmppchat.core.services import CapsService, DiscoService
from xmppchat.core.session import Session
from xmppchat.core.turn import Turn
from xmppchat.protocol.disco import HASHES, DiscoInfo
from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.stream import Stream
from xmppchat.protocol.stream_features import Fact, StreamFeature

#: What software our own string is of (XEP-0115 §4, `node`): a URI that is only a name.
NODE = "urn:x-xmppchat:server"
#: SHA-1 is what every client can (XEP-0115 §9.1).
_OWN_HASH = "sha-1"
#: After so many seconds without an answer another one who announces the same is asked as well.
IMPATIENCE_SECONDS = 2.0


@dataclass(slots=True)
class _Client:
    """What a session announced last, what is known of it, and whether it owes an answer: one at a time."""

    announced: Announced
    features: Features | None = None
    is_asked: bool = False


@dataclass(slots=True)
class _Question:
    """A verification string nobody has proven yet: who wait to be asked, which accounts were, how many are open."""

    waiting: dict[Session, Announced] = field(default_factory=dict)
    asked: set[str] = field(default_factory=set)
    open: int = 0
    is_asking: bool = False
    timer: Timer | None = None


class Caps(Component[ComponentConfig]):
    """Entity capabilities (XEP-0115 §5, §6)."""

    name = "caps"
    implements = (Xep(115, "1.6.0"),)
    features = (Feature(NS.CAPS),)
    provides = (CapsService,)
    requires = (DiscoService,)

    def setup(self) -> None:
        """Find disco, and say what the server can do once a client is authenticated."""
        self._disco = self.kernel.services.get(DiscoService)
        self._cache = Cache()
        self._clients: dict[Session, _Client] = {}
        self._questions: dict[tuple[str, str], _Question] = {}
        self.stream_features = (  # type: ignore[misc]
            StreamFeature("caps", self._announce, needs=Fact.AUTHENTICATED),
        )

    # --- the server's own (§6.3) -----------------------------------------------------------------------------------

    def _announce(self, stream: Stream) -> Element:
        return Element("c", NS.CAPS, {"hash": _OWN_HASH, "node": NODE, "ver": self._own_ver(stream.domain)})

    def _own_ver(self, domain: str) -> str:
        return DiscoInfo.from_element(self._disco.description(SERVER, domain)).verification_string(_OWN_HASH)

    def disco_node(self, request: IqRequest, node: str) -> Element | None:
        """What the server can do, once more under the string it announced (§6.2)."""
        if request.account is not None or not request.payload.is_named("query", NS.DISCO_INFO):
            return None
        if node != f"{NODE}#{self._own_ver(request.domain)}":
            return None
        return self._disco.description(SERVER, request.domain).replace(attributes={"node": node})

    # --- what clients can do (§5.4) --------------------------------------------------------------------------------

    def features_of(self, session: Session) -> frozenset[str] | None:
        """See :class:`CapsService`."""
        client = self._clients.get(session)
        return None if client is None else client.features

    @on(events.PresenceAnnounced)
    def presence_announced(self, event: events.PresenceAnnounced) -> None:
        """A presence without a ``<c/>`` says nothing new (§8.4)."""
        session, presence = event.session, event.session.presence
        element = None if presence is None else presence.find("c", NS.CAPS)
        announced = None if element is None else Announced.from_element(element)
        if announced is None:
            return
        client = self._clients.get(session)
        if client is not None and client.announced == announced:
            return
        if client is None:
            client = self._clients[session] = _Client(announced)
        else:
            # What is known of it holds until its new string is proven.
            self._forget(session, client)
            client.announced = announced
        features = self._cache.get(announced.key)
        if features is not None:
            self._know(session, features, event.turn)
            return
        question = self._questions.setdefault(announced.key, _Question())
        question.waiting[session] = announced
        event.turn.effect(self._consider, announced.key)  # behind the presence that announced it

    @on(events.SessionSaved)
    def session_saved(self, event: events.SessionSaved) -> None:
        """Over a restart of the server a client without a connection could not be asked again."""
        features = self.features_of(event.session)
        if features is not None:
            event.state[self.name] = sorted(features)

    @on(events.SessionRestored)
    def session_restored(self, event: events.SessionRestored) -> None:
        """See :meth:`session_saved`; what its presence announced is as proven as it was."""
        presence = event.session.presence
        element = None if presence is None else presence.find("c", NS.CAPS)
        announced = None if element is None else Announced.from_element(element)
        if announced is not None and self.name in event.state:
            self._clients[event.session] = _Client(announced, frozenset(event.state[self.name]))

    @on(events.SessionEnded)
    def session_ended(self, event: events.SessionEnded) -> None:
        """Nobody will answer from there."""
        client = self._clients.pop(event.session, None)
        if client is not None:
            self._forget(event.session, client)

    def _forget(self, session: Session, client: _Client) -> None:
        question = self._questions.get(client.announced.key)
        if question is not None:
            question.waiting.pop(session, None)
            self._close_if_idle(client.announced.key, question)

    def _consider(self, key: tuple[str, str]) -> None:
        """Somebody can be asked about `key` who could not before."""
        question = self._questions.get(key)
        if question is None or not question.waiting:
            return
        if not question.open or key[0] not in HASHES:
            self._ask(key)
        elif question.timer is None:
            self._be_patient(key, question)

    def _ask(self, key: tuple[str, str]) -> None:
        """Ask the next one who announced `key`; of an account that was not asked yet, if there is one."""
        question = self._questions.get(key)
        if question is None:
            return
        new = (s for s in self._free(question) if s.account.jid.bare not in question.asked)
        session = next(new, None) or next(self._free(question), None)
        if session is None:
            return
        announced = question.waiting.pop(session)
        self._clients[session].is_asked = True
        question.asked.add(session.account.jid.bare)
        question.open += 1
        self._be_patient(key, question)
        query = Element("query", NS.DISCO_INFO, {"node": f"{announced.node}#{announced.ver}"})
        question.is_asking = True
        self.kernel.iq.request(
            session.jid, query, lambda answer: self._answered(session, announced, question, answer),
            domain=session.jid.domain,
        )
        question.is_asking = False

    def _free(self, question: _Question) -> Iterator[Session]:
        return (session for session in question.waiting if not self._clients[session].is_asked)

    def _be_patient(self, key: tuple[str, str], question: _Question) -> None:
        if question.timer is not None:
            question.timer.cancel()
        question.timer = self.kernel.clock.call_later(IMPATIENCE_SECONDS, self._lose_patience, key, question)

    def _lose_patience(self, key: tuple[str, str], question: _Question) -> None:
        question.timer = None
        self._ask(key)

    def _answered(self, session: Session, announced: Announced, question: _Question, answer: Stanza | None) -> None:
        question.open -= 1
        client = self._clients.get(session)
        if client is not None:
            client.is_asked = False
            if question.is_asking:  # refused at once, since too many requests are open: the timer tries again
                question.waiting[session] = announced
                return
        key = announced.key
        query = answer.find("query", NS.DISCO_INFO) if answer is not None and answer.type == "result" else None
        judged = judge(announced, query)
        turn = self.kernel.new_turn()
        if client is not None and client.announced == announced:
            # Who lies, or says nothing, has no features (§5.4, item 3.9), unless another one proved them.
            self._know(session, self._cache.get(key) if judged is None else judged.features, turn)
        if judged is not None and judged.is_shared:
            self._cache.put(key, judged.features)
            for other in question.waiting:
                self._know(other, judged.features, turn)
            question.waiting.clear()
        turn.commit()
        self._close_if_idle(key, question)
        self._ask(key)
        if client is not None and client.announced.key != key:
            self._consider(client.announced.key)

    def _know(self, session: Session, features: Features | None, turn: Turn) -> None:
        client = self._clients[session]
        if client.features != features:
            client.features = features
            self.kernel.emit(events.CapabilitiesKnown(session, turn))

    def _close_if_idle(self, key: tuple[str, str], question: _Question) -> None:
        if not question.waiting and not question.open and self._questions.get(key) is question:
            if question.timer is not None:
                question.timer.cancel()
            del self._questions[key]


__all__ = ["Caps"]
