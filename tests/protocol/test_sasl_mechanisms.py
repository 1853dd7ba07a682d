"""Which mechanisms are offered, in which order, and what may be chosen."""

from __future__ import annotations

import pytest

from xmppchat.protocol.sasl import ExchangeContext, MechanismNotOffered, create, mechanisms

BINDING = {"tls-server-end-point": b"hash"}
PLUS = ("SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS")
UNBOUND = ("SCRAM-SHA-512", "SCRAM-SHA-256", "SCRAM-SHA-1")


def context(bindings: dict[str, bytes], plus_offered: bool) -> ExchangeContext:
    return ExchangeContext("example.org", bindings, plus_offered, nonce=lambda: "nonce")


@pytest.mark.parametrize(
    ("secure", "bindings", "plain", "offered"),
    [
        (True, BINDING, True, (*PLUS, *UNBOUND, "PLAIN")),
        (True, BINDING, False, (*PLUS, *UNBOUND)),
        (True, {}, True, (*UNBOUND, "PLAIN")),
        (True, {}, False, UNBOUND),
        (False, BINDING, True, ()),
        (False, {}, True, ()),
    ],
)
def test_the_offer(secure: bool, bindings: dict[str, bytes], plain: bool, offered: tuple[str, ...]) -> None:
    assert mechanisms(secure=secure, channel_bindings=bindings, plain=plain) == offered


@pytest.mark.parametrize("bindings", [{}, BINDING])
def test_all_that_is_offered_can_be_chosen(bindings: dict[str, bytes]) -> None:
    for name in mechanisms(secure=True, channel_bindings=bindings):
        assert create(name, context(bindings, bool(bindings))).name == name


@pytest.mark.parametrize("name", PLUS)
@pytest.mark.parametrize("bindings", [{}, BINDING])
def test_plus_only_where_it_was_offered(name: str, bindings: dict[str, bytes]) -> None:
    with pytest.raises(MechanismNotOffered, match="is not offered here"):
        create(name, context(bindings, plus_offered=False))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "plain",
        "PLAIN-PLUS",
        "scram-sha-1",
        "SCRAM-SHA-1-PLUS-PLUS",
        "SCRAM-SHA3-512",
        "SCRAM-MD5",
        "EXTERNAL",
    ],
)
def test_unknown_names(name: str) -> None:
    with pytest.raises(KeyError):
        create(name, context(BINDING, plus_offered=True))
