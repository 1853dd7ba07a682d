"""What the server offers is vouched for in SCRAM (XEP-0474), and who is claimed to be in the stream's header."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import replace

import pytest
from test_sasl_client import BOUND, UNBOUND, Client, bound, condition, first, run

from xmppchat.jid import JID
from xmppchat.protocol.sasl import SCRAM_HASHES, Challenge, NeedPasswordCheck, Success, create, derive_keys
from xmppchat.protocol.sasl.offer import offer_hash

OFFERED = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "SCRAM-SHA-1")


def test_the_example() -> None:
    """XEP-0474 §5.3, from the first message to the last."""
    context = replace(
        UNBOUND, plus_offered=True, offered=("SCRAM-SHA-1", "SCRAM-SHA-1-PLUS"),
        channel_bindings={"tls-server-end-point": b"another", "tls-exporter": b"THIS IS FAKE CB DATA"},
        nonce=lambda: "a09117a6-ac50-4f2f-93f1-93799c2bddf6",
    )  # fmt: skip
    exchange = create("SCRAM-SHA-1-PLUS", context)
    exchange.start(b"p=tls-exporter,,n=user,r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6")
    step = exchange.keys(derive_keys("SCRAM-SHA-1", "pencil", b64decode("QSXCR+Q6sek8bf92"), 4096))
    assert step == Challenge(
        b"r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,s=QSXCR+Q6sek8bf92,i=4096,"
        b"h=G6k/rBLDqgOhRRaCuuatSDFkJ08="
    )
    final = (
        b"c=cD10bHMtZXhwb3J0ZXIsLFRISVMgSVMgRkFLRSBDQiBEQVRB,"
        b"r=12C4CD5C-E38E-4A98-8F6D-15C38F51CCC6a09117a6-ac50-4f2f-93f1-93799c2bddf6,"
        b"x=19C6532F-1CF4-4A27-A18D-DC9CEA41BBB3,p=M/SIDjT+dfcxUh89jZEypRvFxB4="
    )
    assert exchange.respond(final) == Success("user", b"v=MQrMPvv7yv4x4Cq4W4Ih25EqS2c=")


def test_without_bindings_there_is_one_list() -> None:
    """`printf 'PLAIN\\x1eSCRAM-SHA-1' | openssl dgst -sha1 -binary | base64`, and so on."""
    assert offer_hash(["SCRAM-SHA-1", "PLAIN"], [], "SCRAM-SHA-1") == "Y+xk2TW25vKwG9yWicfQlsuiFQs="
    assert offer_hash(["SCRAM-SHA-1", "PLAIN"], [], "SCRAM-SHA-256") == "aE0ZQpXO33awheXK+2X8RthcH6Xsl7MDkkir/XU/hKY="
    both = offer_hash(["SCRAM-SHA-1", "PLAIN"], ["tls-exporter"], "SCRAM-SHA-256")
    assert both == "wSDknscGA8Ey6mKSgzj3LWXymG0mgdxDTiovA/n9oq8="


@pytest.mark.parametrize("hash_name", SCRAM_HASHES)
def test_logins_go_on_with_it(hash_name: str) -> None:
    for client, context in ((Client(hash_name), UNBOUND), (bound(mechanism=f"{hash_name}-PLUS"), BOUND)):
        assert isinstance(run(client, replace(context, offered=OFFERED)), Success)


def test_it_is_part_of_what_is_signed() -> None:
    """Somebody in between who puts the hash of another offer there is found out by the proof."""
    client = Client()
    exchange = create("SCRAM-SHA-256", replace(UNBOUND, offered=OFFERED))
    exchange.start(client.first())
    step = exchange.keys(derive_keys("SCRAM-SHA-256", "pencil", b"sixteen bytes ok", 4096))
    assert isinstance(step, Challenge)
    begin, _, _ = step.data.partition(b",h=")
    forged = begin + b",h=" + offer_hash(["SCRAM-SHA-256"], [], "SCRAM-SHA-256").encode()
    assert condition(exchange.respond(client.final(forged))) == "not-authorized"


def test_it_can_be_left_out() -> None:
    step = first(Client().first())
    assert isinstance(step, Challenge)
    assert b",h=" not in step.data


# --- XEP-0388 §2.4 ---------------------------------------------------------------------------------------------------

JULIET = JID.parse("juliet@example.org")


@pytest.mark.parametrize(
    ("claimed", "authzid", "is_right"),
    [
        (JULIET, "juliet@example.org", True),
        (JULIET, "", True),
        (None, "juliet@example.org", True),
        (JID.parse("juliet@example.org/balcony"), "Juliet@example.org", True),
        (JID.parse("romeo@example.org"), "juliet@example.org", False),
        (JID.parse("romeo@example.org"), "", True),  # no authorization string: the section says nothing
        (JID.parse("romeo@example.org"), "romeo@example.org", False),
    ],
)
def test_who_acts_as_somebody_has_said_so_at_once(claimed: JID | None, authzid: str, is_right: bool) -> None:
    context = replace(UNBOUND, claimed=claimed)
    exchange = create("PLAIN", context)
    step = exchange.start(f"{authzid}\0juliet\0pencil".encode())
    if is_right:
        assert step == NeedPasswordCheck("juliet", "pencil")
    else:
        assert condition(step) == "invalid-authzid"
    header = f"n,a={authzid}," if authzid else "n,,"
    answer = first(Client(header=header).first(), context)
    assert isinstance(answer, Challenge) if is_right else condition(answer) == "invalid-authzid"
