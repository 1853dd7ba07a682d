"""SASL, the server's side (RFC 4422, RFC 6120 §6): mechanisms as pure exchanges of messages.

An exchange is fed the decoded data of `<auth/>`, `<response/>` (or of their SASL2 likes) and answers with
the next :data:`Step`. What is slow or lives elsewhere, a look-up of keys or a password check, is a step out
and a call back in::

    exchange = create("SCRAM-SHA-256", context)
    step = exchange.start(initial)          # NeedKeys("juliet", "SCRAM-SHA-256")
    ...                                     # the accounts look up
    step = exchange.keys(keys)              # Challenge(b"r=...,s=...,i=...")
    step = exchange.respond(data)           # Success("juliet", b"v=...")

Base64 and its faults (`incorrect-encoding`) belong to the stream, and so do `<abort/>` and the number of
attempts.
"""

from collections.abc import Collection

from xmppchat.protocol.sasl.base import (
    Challenge,
    Exchange,
    ExchangeContext,
    Failure,
    NeedKeys,
    NeedPasswordCheck,
    NeedTokens,
    Step,
    Success,
)
from xmppchat.protocol.sasl.ht import TokenExchange, token_mechanisms
from xmppchat.protocol.sasl.passwords import (
    SCRAM_HASHES,
    ScramKeys,
    check_password,
    derive_keys,
    keys_of_salted,
    saslprep,
)
from xmppchat.protocol.sasl.plain import PlainExchange
from xmppchat.protocol.sasl.scram import ScramExchange

__all__ = [
    "SCRAM_HASHES",
    "Challenge",
    "Exchange",
    "ExchangeContext",
    "Failure",
    "MechanismNotOffered",
    "NeedKeys",
    "NeedPasswordCheck",
    "NeedTokens",
    "ScramKeys",
    "Step",
    "Success",
    "check_password",
    "create",
    "derive_keys",
    "keys_of_salted",
    "mechanisms",
    "saslprep",
    "token_mechanisms",
]

_PLUS = "-PLUS"


class MechanismNotOffered(KeyError):
    """There is no such mechanism, or not on this connection.

    The client gets `invalid-mechanism` (RFC 6120 §6.5.7).
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"the mechanism {self.name!r} is not offered here"


def mechanisms(*, secure: bool, channel_bindings: Collection[str], plain: bool = True) -> tuple[str, ...]:
    """What to offer, strongest first: binding before none, then the larger hash, PLAIN last.

    `channel_bindings` names the types that work on this connection (XEP-0440 announces the same ones);
    without any there is no -PLUS. Without a secure connection nothing is offered at all (RFC 6120 §5.3.4).
    """
    if not secure:
        return ()
    scram = tuple(reversed(SCRAM_HASHES))
    bound = tuple(name + _PLUS for name in scram) if channel_bindings else ()
    return bound + scram + (("PLAIN",) if plain else ())


def create(name: str, context: ExchangeContext, *, by_token: bool = False) -> Exchange:
    """A new exchange for the mechanism that the client chose. Names are case-sensitive (RFC 4422 §3.1).

    `by_token`: the client logs in with a token (XEP-0484 §3.4), which is what :func:`token_mechanisms` are for, and
    no others. Raises :class:`MechanismNotOffered` for a name that is unknown, and for one whose channel binding
    was not offered. Whether the other mechanisms were offered is the stream's to know, which holds the list it sent.
    """
    if by_token:
        if name not in token_mechanisms(context.channel_bindings):
            raise MechanismNotOffered(name)
        return TokenExchange(name, context)
    if name == "PLAIN":
        return PlainExchange(name, context)
    hash_name = name.removesuffix(_PLUS)
    if hash_name not in SCRAM_HASHES or (hash_name != name and not context.plus_offered):
        raise MechanismNotOffered(name)
    return ScramExchange(name, hash_name, context)
