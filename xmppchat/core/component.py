"""What a component is: a class of declarations and methods, one feature, usually one file.

Example::

    class Ping(Component[ComponentConfig]):
        name = "ping"
        implements = (Xep(199, "2.0.1", COMPLETE),)
        features = (Feature(NS.PING),)

        @iq_get(NS.PING, "ping", at=SERVER | ACCOUNT)
        def answer(self, request: IqRequest) -> None:
            \"\"\"An empty result says yes.\"\"\"

Decorators only write down what they are told; :mod:`xmppchat.core.tables` turns the declarations of all components
into frozen tables at start, and refuses what does not fit together with file and line. See
docs/adding-a-component.md.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from xmppchat.core.declarations import (
    CommandDeclaration,
    Declaration,
    EventDeclaration,
    EveryDeclaration,
    InlineDeclaration,
    IqDeclaration,
    NonzaDeclaration,
    PresenceDeclaration,
    StageDeclaration,
)
from xmppchat.protocol.errors import ServiceUnavailable
from xmppchat.protocol.stream_features import StreamFeature

if TYPE_CHECKING:
    from xmppchat.core.account import Account, AccountPart
    from xmppchat.core.kernel import Kernel
    from xmppchat.core.session import Session
    from xmppchat.core.turn import Turn
    from xmppchat.jid import JID
    from xmppchat.protocol.element import Element
    from xmppchat.protocol.stanza import Stanza

# --- what is declared -------------------------------------------------------------------------------------------

#: How much of a specification is there.
COMPLETE, PARTIAL = "complete", "partial"


@dataclass(frozen=True, slots=True)
class Xep:
    """A specification that is implemented: number, version and status, as DOAP wants them."""

    number: int
    version: str
    status: str = COMPLETE
    note: str = ""


@dataclass(frozen=True, slots=True)
class Rfc:
    """An RFC that is implemented, in whole or in part."""

    number: int
    status: str = COMPLETE
    note: str = ""


class At(enum.Flag):
    """At which kind of address a request or feature lives."""

    SERVER = enum.auto()  # the domain itself
    ACCOUNT = enum.auto()  # the bare JID of an account
    DOMAIN = enum.auto()  # a domain of a component's own, and the addresses there (ADR 21)


SERVER, ACCOUNT, DOMAIN = At.SERVER, At.ACCOUNT, At.DOMAIN
#: The kinds of stanzas (RFC 6120 §8.2).
STANZA_KINDS = ("message", "presence", "iq")


class Who(enum.Enum):
    """Who may ask an account something; everyone else gets what a missing account gives."""

    OWNER = "owner"
    SUBSCRIBER = "subscriber"  # the owner, and contacts with a presence subscription
    ANYONE = "anyone"


class Role(enum.Enum):
    """Who may run a command (:mod:`xmppchat.core.callers` decides)."""

    USER = "user"  # accounts of the host
    ADMIN = "admin"  # accounts that the configuration names as the host's admins


@dataclass(frozen=True, slots=True)
class Feature:
    """A feature that disco#info lists, with the kind of address that has it (XEP-0030 §3.1)."""

    namespace: str
    at: At = SERVER


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity that disco#info lists (XEP-0030 §3.1)."""

    category: str
    type: str
    name: str = ""
    at: At = SERVER


class Stage(enum.Enum):
    """Steps a stanza goes through, in this order (docs/adr/0003-named-stages.md)."""

    SCREEN = "screen"
    SANITISE = "sanitise"
    ARCHIVE = "archive"
    STAMP = "stamp"
    COPY = "copy"
    FALLBACK = "fallback"
    OBSERVE = "observe"


class Direction(enum.Enum):
    """Whose rules are asked: the sender's (OUTBOUND) or the recipient's (INBOUND)."""

    OUTBOUND = "outbound"
    INBOUND = "inbound"


OUTBOUND, INBOUND = Direction.OUTBOUND, Direction.INBOUND


class ComponentConfig(BaseModel):
    """Options of a component. Each field has a default, a bound where one makes sense, and a description of one line.

    The description is documentation, comment in ``config/xmppchat.toml`` and error text at once.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)


ConfigT = TypeVar("ConfigT", bound=ComponentConfig)


class Component(Generic[ConfigT]):
    """Base of all components. Everything but `name` is optional.

    `provides` and `requires` are Protocols of :mod:`xmppchat.core.services` (or a third party's): a component that
    provides one is that service, unless it puts another object into ``kernel.services`` in its :meth:`setup`; one that
    requires it finds it there from :meth:`setup` on.
    """

    name: ClassVar[str]
    implements: ClassVar[Sequence[Xep | Rfc]] = ()
    features: ClassVar[Sequence[Feature]] = ()
    identities: ClassVar[Sequence[Identity]] = ()
    stream_features: ClassVar[Sequence[StreamFeature]] = ()
    #: What can be asked for with SASL2 (XEP-0388 §2.1); what comes with Bind 2 is declared by :func:`with_bind`.
    inline_features: ClassVar[Sequence[StreamFeature]] = ()
    Config: ClassVar[type[ComponentConfig]] = ComponentConfig
    provides: ClassVar[Sequence[type]] = ()
    requires: ClassVar[Sequence[type]] = ()
    account_parts: ClassVar[Sequence[AccountPart[Any]]] = ()
    #: How the addresses in :meth:`domains` are found: selects ``id, localpart, disabled, created_at``, as accounts are.
    address_query: ClassVar[Any] = None
    #: Options that count from the start only; a reload keeps their values and says so (see :meth:`reconfigured`).
    restart_options: ClassVar[Sequence[str]] = ()

    def __init__(self, kernel: Kernel, config: ConfigT) -> None:
        self.kernel = kernel
        self.config = config

    def setup(self) -> None:
        """Called once all components exist: look up services here."""

    async def start(self) -> None:
        """Called once the database is open, before the ports listen."""

    async def stop(self) -> None:
        """Called after the ports are closed, before the database closes."""

    def reconfigured(self) -> None:
        """`config` or the kernel's limits are others since a reload: make again what was made of the old ones.

        What reads its options when it uses them needs nothing here.
        """

    # --- domains of its own (:mod:`xmppchat.core.domains`) --------------------------------------------------------

    def domains(self) -> Collection[str]:
        """Domains that the component speaks for, prepared; asked once, before :meth:`setup`. Hosts and domains of
        external components, as far as the configuration names such, go first.
        """
        return ()

    @classmethod
    def has_domains(cls) -> bool:
        """Whether it is one that speaks for domains, though perhaps for none as it is configured."""
        return cls.domains is not Component.domains

    def receive(self, address: Account, stanza: Stanza, turn: Turn) -> None:
        """A message or presence to `address`, which is in one of :meth:`domains` and may not exist.

        May raise a :class:`~xmppchat.protocol.errors.StanzaError`, which the sender is told. Requests are answered by
        methods that are declared with `at` :data:`DOMAIN`.
        """
        if stanza.kind == "message" and stanza.type != "error":
            raise ServiceUnavailable("this service takes no messages")

    # --- what disco (XEP-0030) shows of a component, beside its declarations ------------------------------------

    def disco_forms(self, at: At, domain: str) -> Sequence[Element]:
        """Forms in disco#info of a host or an account (XEP-0128)."""
        return ()

    def disco_account(self, request: IqRequest) -> Sequence[Element]:
        """Identities and features that disco#info of the asked account has beside what all accounts have."""
        return ()

    def disco_items(self, at: At, domain: str) -> Sequence[Element]:
        """Items in disco#items of a host or an account (XEP-0030 §4)."""
        return ()

    def disco_nodes(self, request: IqRequest) -> Sequence[Element]:
        """Items in the answer to `request`, disco#items of an account, or of an address in a domain of the component's
        own (``request.domain`` tells): its nodes that the asker may know of.
        """
        return ()

    def disco_node(self, request: IqRequest, node: str) -> Element | None:
        """The answer for `node` where it is the component's own, else None.

        The payload of `request` is the query: disco#info or disco#items (XEP-0030 §3.2, §4.2). Who may ask has been
        looked at; a node that not everybody may see is the component's to refuse.
        """
        return None

    # --- what belongs to an account -----------------------------------------------------------------------------

    async def export(self, account: Account) -> Sequence[Element]:
        """What the component holds of `account`, as children of ``<user/>`` (XEP-0227 §4)."""
        return ()


# --- declarations on methods ------------------------------------------------------------------------------------

#: A node that ends so gets the command's name behind it: "user add" is "xmppchat#user-add".
DEFAULT_NODE = "xmppchat#"
Method = TypeVar("Method", bound=Callable[..., Any])
_MARK = "__xmppchat_declarations__"


def _declare(declaration: Declaration) -> Callable[[Method], Method]:
    def mark(method: Method) -> Method:
        setattr(method, _MARK, (*getattr(method, _MARK, ()), declaration))
        return method

    return mark


def iq_get(namespace: str, name: str, *, at: At, who: Who = Who.OWNER) -> Callable[[Method], Method]:
    """The method answers ``<iq type='get'>`` with payload ``{namespace}name``.

    It takes an :class:`IqRequest` and returns the payload of the result, or None for an empty one, or raises a
    :class:`~xmppchat.protocol.errors.StanzaError`. A plain method runs in place; an ``async`` one as a task. A plain
    one that returns :class:`Later` does both. `who` matters at accounts only. :data:`DOMAIN` means the component's own
    domains; declared by one that never has any, those of all others that do not answer this themselves.
    """
    return _declare(IqDeclaration("get", namespace, name, at, who))


def iq_set(namespace: str, name: str, *, at: At, who: Who = Who.OWNER) -> Callable[[Method], Method]:
    """As :func:`iq_get`, for ``type='set'``. An ``async`` method runs in the account's mailbox, one at a time."""
    return _declare(IqDeclaration("set", namespace, name, at, who))


def presence(direction: Direction, *types: str) -> Callable[[Method], Method]:
    """The method handles presence of `types` ("" is available presence) in `direction`.

    OUTBOUND methods take (session, stanza, turn), INBOUND ones (account, stanza, turn).
    """
    return _declare(PresenceDeclaration(direction, types))


def nonza(namespace: str, name: str) -> Callable[[Method], Method]:
    """The method handles ``{namespace}name``, an element at the level of stanzas that is none (XEP-0360).

    It takes (session, element), in place, in the order of the stream. It may raise a
    :class:`~xmppchat.protocol.errors.StreamError`.
    """
    return _declare(NonzaDeclaration(namespace, name))


def with_bind(namespace: str, name: str, *, feature: str = "") -> Callable[[Method], Method]:
    """The method gives a session a feature that its client asks for with ``{namespace}name`` while it binds a resource
    (XEP-0386 §3.2); `feature` is what the server announces for it, the namespace where nothing is said.

    It takes (session, element) and returns what the client is told in ``<bound/>``, or None. What it does is done in
    place, before anything else can reach the session.
    """
    return _declare(InlineDeclaration(namespace, name, feature or namespace))


def stage(
    stage: Stage, direction: Direction, *, after: tuple[str, ...] = (), kinds: tuple[str, ...] = STANZA_KINDS,
    only_with: AccountPart[Any] | None = None,
) -> Callable[[Method], Method]:
    """The method takes part in `stage`, behind those of the components named in `after`, else alphabetically.

    It takes a :class:`~xmppchat.core.pipeline.Passage`; what it returns depends on the stage.
    A hook may be for some `kinds` of stanzas only, one of SCREEN or OBSERVE also `only_with` accounts whose part of
    that name is not empty (false): for all others it costs next to nothing.
    """
    return _declare(StageDeclaration(stage, direction, after, kinds, only_with))


def on(event: type) -> Callable[[Method], Method]:
    """The method is called with each `event` (a class of :mod:`xmppchat.core.events`), in place."""
    return _declare(EventDeclaration(event))


def every(seconds: float) -> Callable[[Method], Method]:
    """The coroutine method runs every `seconds`."""
    return _declare(EveryDeclaration(seconds))


def command(
    name: str, *, adhoc: str | None = DEFAULT_NODE, by: Role = Role.ADMIN, changes: bool = True, form_type: str = "",
    hidden: bool = False,
) -> Callable[[Method], Method]:
    """The coroutine method is a command, ``xmppchat <name>``; see :mod:`xmppchat.core.commands`.

    `adhoc` is its node as an ad-hoc command (XEP-0050): "" or None for none, one that ends in "#" gets the name
    behind it. `by` says who may run it there. `changes`: whether it changes something, so that the audit log keeps
    it. `form_type` is the FORM_TYPE of its forms (XEP-0068). A `hidden` one is not on the command line.
    """
    return _declare(CommandDeclaration(name, adhoc, by, changes, form_type, hidden))


#: To look through a class takes a millisecond, and it is asked for at several places.
_declared: dict[type, Sequence[tuple[str, Declaration]]] = {}


def declarations(component: type[Component[Any]]) -> Sequence[tuple[str, Declaration]]:
    """(method name, declaration) of a component class, in the order of the source."""
    if component not in _declared:
        members = inspect.getmembers(component, inspect.isfunction)
        _declared[component] = tuple(
            (name, declaration)
            for name, function in sorted(members, key=lambda member: member[1].__code__.co_firstlineno)
            for declaration in getattr(function, _MARK, ())
        )
    return _declared[component]


# --- what a handler gets ----------------------------------------------------------------------------------------

@dataclass(frozen=True, slots=True)
class Later:
    """What a plain method returns whose answer takes time: `work` runs as a task, in no mailbox (so for a set, too).

    With `is_in_order` it runs in that of the account, as what an ``async`` method sets, also where it is a get.
    """

    work: Coroutine[Any, Any, Element | None]
    is_in_order: bool = False


@dataclass(slots=True)
class IqRequest:
    """An IQ request on its way to its handler.

    `sender` is the full JID it came from; `session` the sender's session where it is one of this server's; `account`
    the account or address that is asked (None at the server), `domain` its domain. Writes and deliveries go through
    `turn`, and leave with it. `followed_by` are stanzas for the asker behind the result.
    """

    stanza: Stanza
    payload: Element
    sender: JID
    session: Session | None
    account: Account | None
    domain: str
    turn: Turn
    is_owner: bool = False
    followed_by: list[Stanza] = field(default_factory=list)
