"""What all mechanisms share: the steps of an exchange, its context, the check of a claimed identity."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol.sasl.passwords import ScramKeys

#: Bytes of one message. A name and an identity of the greatest lawful length, a nonce and a binding fit;
#: anything larger comes from nobody who has an account.
MAX_MESSAGE: Final = 4096


@dataclass(frozen=True, slots=True)
class Challenge:
    """Send `data` and wait for the response; empty data is an empty challenge."""

    data: bytes


@dataclass(frozen=True, slots=True)
class NeedKeys:
    """Look up the keys of `username` for `hash_name`, then call :meth:`Exchange.keys`.

    `username` is a localpart as the client wrote it. For a name without an account the keys are made up: the
    same ones every time, from a secret and the prepared name.
    """

    username: str
    hash_name: str


@dataclass(frozen=True, slots=True)
class NeedPasswordCheck:
    """Check the password, slowly and in a thread, then call :meth:`Exchange.password_checked`."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NeedTokens:
    """Look up the tokens of a client of `username` (XEP-0484), then call :meth:`Exchange.tokens`."""

    username: str


@dataclass(frozen=True, slots=True)
class Success:
    """`username` has proved to be itself: a localpart as the client wrote it, prepared by whoever binds it.

    `data` is the additional data with success (RFC 6120 §6.4.6): SCRAM's proof in return, None for PLAIN. `token` is
    the one that was proved, None where it was the password.
    """

    username: str
    data: bytes | None
    token: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Failure:
    """The end: `condition` is a name of RFC 6120 §6.5, `text` says to a human what was wrong."""

    condition: str
    text: str


Step: TypeAlias = Challenge | NeedKeys | NeedPasswordCheck | NeedTokens | Success | Failure


@dataclass(frozen=True, slots=True)
class ExchangeContext:
    """What an exchange must know of its connection.

    `domain` is the host that is authenticated to. `channel_bindings` maps the types that really work on this
    connection (XEP-0440) to their data. `plus_offered` says whether any -PLUS mechanism was in the list we
    sent, which is what a downgrade is measured by. `nonce` gives a fresh server nonce: at least 128 random
    bits in printable ASCII without a comma (RFC 5802 §5.1). `offered` are the mechanisms in that list, which SCRAM
    then vouches for (XEP-0474); none: it does not. `claimed` is the `from` of the stream, None where it has none: who
    asks to act as somebody asks for the same (XEP-0388 §2.4).
    """

    domain: str
    channel_bindings: Mapping[str, bytes]
    plus_offered: bool
    nonce: Callable[[], str]
    offered: Sequence[str] = ()
    claimed: JID | None = None


class WaitsFor(enum.Enum):
    """Whose turn it is."""

    CLIENT = "response"
    KEYS = "keys"
    PASSWORD_CHECK = "password check"  # noqa: S105 - a word for a message, no password
    TOKENS = "tokens"
    NOTHING = "nothing"


class Exchange(ABC):
    """One attempt to authenticate. What a client sends leads to a step, never to an exception.

    A failure is final: every later call answers it again, also a look-up that comes back after the client
    spoiled the exchange. Giving keys or a verdict that were not asked for is a fault of the caller and raises
    `RuntimeError`.
    """

    __slots__ = ("_context", "_failure", "_waits_for", "name")

    def __init__(self, name: str, context: ExchangeContext) -> None:
        self.name = name
        self._context = context
        self._failure: Failure | None = None
        self._waits_for = WaitsFor.CLIENT

    def start(self, initial: bytes | None) -> Step:
        """Begin with the initial response; None is its absence and asks for one by an empty challenge."""
        return Challenge(b"") if initial is None else self.respond(initial)

    def respond(self, data: bytes) -> Step:
        """Take the client's next message."""
        if self._failure is not None:
            return self._failure
        if self._waits_for is not WaitsFor.CLIENT:
            return self._fail("malformed-request", "A response came that was not asked for.")
        if len(data) > MAX_MESSAGE:
            return self._fail("malformed-request", f"The message is longer than {MAX_MESSAGE} bytes.")
        return self._receive(data)

    def keys(self, keys: ScramKeys) -> Step:
        """Answer to :class:`NeedKeys`."""
        return self._failure_instead(WaitsFor.KEYS) or self._take_keys(keys)

    def password_checked(self, ok: bool) -> Step:
        """Answer to :class:`NeedPasswordCheck`."""
        return self._failure_instead(WaitsFor.PASSWORD_CHECK) or self._take_verdict(ok)

    def tokens(self, candidates: Sequence[bytes]) -> Step:
        """Answer to :class:`NeedTokens`: those that would do, none for who is not known."""
        return self._failure_instead(WaitsFor.TOKENS) or self._take_tokens(candidates)

    @abstractmethod
    def _receive(self, data: bytes) -> Step:
        """The next message, within its limit."""

    def _take_keys(self, keys: ScramKeys) -> Step:
        raise NotImplementedError  # a mechanism that asks for keys takes them

    def _take_verdict(self, ok: bool) -> Step:
        raise NotImplementedError  # a mechanism that asks for a check takes its outcome

    def _take_tokens(self, candidates: Sequence[bytes]) -> Step:
        raise NotImplementedError  # a mechanism that asks for tokens takes them

    def _failure_instead(self, awaited: WaitsFor) -> Failure | None:
        if self._failure is None and self._waits_for is not awaited:
            raise RuntimeError(f"{self.name} waits for {self._waits_for.value}, not for {awaited.value}")
        return self._failure

    def _fail(self, condition: str, text: str) -> Failure:
        self._waits_for = WaitsFor.NOTHING
        self._failure = Failure(condition, text)
        return self._failure

    def _check_identity(self, username: str, authzid: str) -> Failure | None:
        """Whether `username` is a localpart here, and `authzid` ("" is none) the same account.

        The comparison (RFC 6120 §6.3.8) is of prepared addresses: another spelling of the same address is the
        same account, a look-alike or a full JID is not.
        """
        # "/" and "@" would cut the address below at another place than its reader thinks.
        if "@" in username or "/" in username:
            return self._fail(
                "malformed-request",
                "The user name is the part of the address before the @, without the domain.",
            )
        try:
            own = JID.parse(f"{username}@{self._context.domain}")
        except InvalidJID:
            return self._fail("malformed-request", "The user name cannot be part of an address.")
        if not authzid:
            return None
        claimed = self._context.claimed
        try:
            same = JID.parse(authzid) == own and (claimed is None or claimed.to_bare() == own)
        except InvalidJID:
            same = False
        if same:
            return None
        return self._fail("invalid-authzid", "Nobody may act for another address than their own.")


class TextExchange(Exchange):
    """An exchange whose messages are text."""

    __slots__ = ()

    def _receive(self, data: bytes) -> Step:
        try:
            text = data.decode("utf-8")
        except UnicodeDecodeError:
            return self._fail("malformed-request", "The message is not valid UTF-8.")
        return self._receive_text(text)

    @abstractmethod
    def _receive_text(self, text: str) -> Step:
        """The next message, within its limit and valid UTF-8."""
