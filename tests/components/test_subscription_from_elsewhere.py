"""RFC 6121 Appendix A.3, every line, with a contact on another server.

A contact of this server can only send what its own state allows (the transcripts pair A.2 with A.3); another server may
send anything in any state. Stanzas enter at the router, as they will from s2s.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from xmppchat.components.presence.tables import state_of
from xmppchat.core.services import RosterItem, RosterService
from xmppchat.jid import JID
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.memory import MemoryClient, MemoryDriver

CONTACT = JID.parse("tybalt@elsewhere.example")
ROMEO = JID.parse("romeo@chat.example")

#: state: (is it delivered, state afterwards); a state is the subscription, "o" for pending out, "i" for pending in.
TABLE: dict[str, dict[str, tuple[bool, str]]] = {
    "subscribe": {  # A.3.1
        "none": (True, "none i"), "none o": (True, "none oi"), "none i": (False, "none i"),
        "none oi": (False, "none oi"), "to": (True, "to i"), "to i": (False, "to i"), "from": (False, "from"),
        "from o": (False, "from o"),
        "both": (False, "both"),
    },
    "unsubscribe": {  # A.3.2
        "none": (False, "none"), "none o": (False, "none o"), "none i": (True, "none"), "none oi": (True, "none o"),
        "to": (False, "to"), "to i": (True, "to"), "from": (True, "none"), "from o": (True, "none o"),
        "both": (True, "to"),
    },
    "subscribed": {  # A.3.3
        "none": (False, "none"), "none o": (True, "to"), "none i": (False, "none i"), "none oi": (True, "to i"),
        "to": (False, "to"), "to i": (False, "to i"), "from": (False, "from"), "from o": (True, "both"),
        "both": (False, "both"),
    },
    "unsubscribed": {  # A.3.4
        "none": (False, "none"), "none o": (True, "none"), "none i": (False, "none i"), "none oi": (True, "none i"),
        "to": (True, "none"), "to i": (True, "none i"), "from": (False, "from"), "from o": (True, "from"),
        "both": (True, "from"),
    },
}
LINES = [(kind, state, *outcome) for kind, states in TABLE.items() for state, outcome in states.items()]
REQUEST = f"<presence xmlns='jabber:client' from='{CONTACT}' to='{ROMEO}' type='subscribe'/>"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    await driver.create_account("romeo", "secret")
    yield driver
    await driver.stop()


def item(state: str) -> RosterItem:
    """A roster item in `state`."""
    subscription, _, pending = state.partition(" ")
    return RosterItem(CONTACT, subscription, ask="o" in pending, request=REQUEST if "i" in pending else "")


def shown(found: RosterItem | None) -> str:
    """The state of an item, as the table writes it."""
    state = state_of(found)
    pending = ("o" if state.out else "") + ("i" if state.in_ else "")
    return f"{state.subscription} {pending}".strip()


@pytest.mark.parametrize(("kind", "state", "is_delivered", "after"), LINES)
async def test_a_line_of_appendix_a_3(
    driver: MemoryDriver, kind: str, state: str, is_delivered: bool, after: str
) -> None:
    kernel = driver.server.kernel
    roster = kernel.services.get(RosterService)
    account = await kernel.directory.get(ROMEO)
    if state != "none":
        turn = kernel.new_turn()
        roster.store(account, item(state), turn, push=False)
        turn.commit()
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in("romeo", "secret", "x")
    await client.request("get", "<query xmlns='jabber:iq:roster'/>")
    client.write("<presence/>")
    await driver.settle([client])
    client.inbox.clear()  # its own presence, and a request that waited

    turn = kernel.new_turn()
    kernel.router.route(Stanza("presence", from_=CONTACT, to=ROMEO, type=kind), turn)
    turn.commit()
    await driver.settle([client])
    delivered = [element for element in client.inbox if element.name == "presence" and element.get("type") == kind]
    assert bool(delivered) is is_delivered
    assert shown(roster.item(account, CONTACT)) == after
    # What is in memory is on disk: load the account afresh.
    kernel.directory.forget(ROMEO.bare)
    assert shown(roster.item(await kernel.directory.get(ROMEO), CONTACT)) == after


#: §3.4.2: an approved request is granted unseen; the state afterwards is that of A.3.1 and A.2.3 one after the other.
APPROVED = [("none", "from"), ("none o", "from o"), ("to", "both")]


@pytest.mark.parametrize(("state", "after"), APPROVED)
async def test_an_approved_request_is_granted_once(driver: MemoryDriver, state: str, after: str) -> None:
    kernel = driver.server.kernel
    roster = kernel.services.get(RosterService)
    account = await kernel.directory.get(ROMEO)
    turn = kernel.new_turn()
    roster.store(account, replace(item(state), is_approved=True), turn, push=False)
    turn.commit()
    await kernel.gate.drained()
    kernel.directory.forget(ROMEO.bare)  # approved on disk, too
    account = await kernel.directory.get(ROMEO)
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in("romeo", "secret", "x")
    client.write("<presence/>")
    await driver.settle([client])

    turn = kernel.new_turn()
    kernel.router.route(Stanza("presence", from_=CONTACT, to=ROMEO, type="subscribe"), turn)
    turn.commit()
    await driver.settle([client])
    assert [element for element in client.inbox if element.get("type") == "subscribe"] == []
    found = roster.item(account, CONTACT)
    assert shown(found) == after
    assert found is not None
    assert not found.is_approved, "used up"
