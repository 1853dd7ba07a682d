"""How much an inactive client is spared: an hour of a busy roster, at two devices of which one sleeps.

`python -m pytest tests/components/test_csi_savings.py -s` shows the figures; docs/adr/0012-sessions-hold-back.md quotes
them. The clock stands still and the dice are loaded, so they are the same on every machine.
"""

from __future__ import annotations

import itertools
import math
import random
from pathlib import Path

import pytest

from xmppchat.network.c2s import Connection
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

ADR = Path(__file__).parents[2] / "docs/adr/0012-sessions-hold-back.md"
CONTACTS = 40
HOUR = 3_600
#: A radio that was woken stays awake so long, s.
TAIL = 10.0


#: What a record of TLS 1.3, and a packet of TCP over IPv4 with time stamps, cost beside what is in them, bytes.
RECORD, PACKET, IN_A_PACKET = 22, 52, 1_400


class Meter(MemoryClient):
    """A client that counts what comes, and how often after its radio went to sleep.

    What is written at one time goes out in one record, as `network/transport.py` does it.
    """

    def __init__(self, driver: MemoryDriver, connection: Connection) -> None:
        self._clock = driver.clock
        self._bursts: dict[float, int] = {}
        super().__init__(driver.domain, connection)

    def feed(self, data: bytes) -> None:
        now = self._clock.monotonic()
        self._bursts[now] = self._bursts.get(now, 0) + len(data)
        super().feed(data)

    def reset(self) -> None:
        self.inbox.clear()
        self._bursts.clear()

    @property
    def wake_ups(self) -> int:
        times = [-TAIL, *self._bursts]
        return sum(1 for before, now in itertools.pairwise(times) if now - before > TAIL)

    @property
    def bytes_of_xml(self) -> int:
        return sum(self._bursts.values())

    @property
    def bytes_on_the_wire(self) -> int:
        return sum(size + RECORD + PACKET * math.ceil(size / IN_A_PACKET) for size in self._bursts.values())


def events(chatting: int) -> list[tuple[float, int, str]]:
    """An hour: (second, contact, stanza to juliet). Contacts come and go; so many of them chat, and are seen typing."""
    dice = random.Random(352)
    found: list[tuple[float, int, str]] = []
    for contact in range(CONTACTS):
        for _ in range(8):
            show = dice.choice(["away", "xa", "dnd", "chat"])
            found.append((dice.uniform(0, HOUR), contact, f"<presence to='%s'><show>{show}</show></presence>"))
        mood = f"<event xmlns='{NS.PUBSUB_EVENT}'><items node='{NS.CHAT_STATES}'><item id='current'/></items></event>"
        found.append((dice.uniform(0, HOUR), contact, f"<message type='headline' to='%s'>{mood}</message>"))
    for contact in range(chatting):
        for number in range(3):
            at = dice.uniform(0, HOUR - 60)
            for offset, state in ((0, "composing"), (12, "paused"), (20, "composing")):
                content = f"<{state} xmlns='{NS.CHAT_STATES}'/>"
                found.append((at + offset, contact, f"<message type='chat' to='%s'>{content}</message>"))
            content = f"<body>message {number}</body><active xmlns='{NS.CHAT_STATES}'/>"
            found.append((at + 30, contact, f"<message type='chat' to='%s'>{content}</message>"))
    return sorted(found)


@pytest.mark.parametrize("chatting", [4, 0])
async def test_an_hour_of_a_busy_roster(tmp_path: Path, chatting: int) -> None:
    driver = MemoryDriver(tmp_path)
    await driver.start()
    kernel = driver.server.kernel
    await driver.create_account("juliet", "secret")
    awake, asleep = Meter(driver, driver.server.connections.new()), Meter(driver, driver.server.connections.new())
    for name, client in (("tablet", awake), ("mobile", asleep)):
        await client.open()
        await client.log_in("juliet", "secret", name)
        client.write("<presence/>")
    contacts = []
    for number in range(CONTACTS):
        await driver.create_account(f"contact-{number}", "secret")
        contact = await driver.connect()
        await contact.log_in(f"contact-{number}", "secret", "x")
        contact.write("<presence/>")
        contacts.append(contact)
    asleep.write(f"<inactive xmlns='{NS.CSI}'/>")
    await settle(kernel)
    for client in (awake, asleep):
        client.reset()
    for at, contact_number, xml in events(chatting):
        driver.clock.advance(at - driver.clock.monotonic())
        contacts[contact_number].write(xml % "juliet@chat.example")
        await settle(kernel)
    asleep.write(f"<active xmlns='{NS.CSI}'/>")
    await settle(kernel)

    bodies = [[e.child_text("body") for e in client.inbox if e.find("body")] for client in (awake, asleep)]
    assert bodies[0] == bodies[1]
    assert len(bodies[0]) == 3 * chatting
    shows = [
        {e.get("from"): e.child_text("show") for e in client.inbox if e.name == "presence"}
        for client in (awake, asleep)
    ]
    assert shows[0] == shows[1]
    assert len(shows[0]) == CONTACTS

    stanzas = [len(client.inbox) for client in (awake, asleep)]
    told = (
        f"| {chatting} | {awake.wake_ups} → {asleep.wake_ups} | {stanzas[0]} → {stanzas[1]} | "
        f"{awake.bytes_of_xml:,} → {asleep.bytes_of_xml:,} | "
        f"{awake.bytes_on_the_wire:,} → {asleep.bytes_on_the_wire:,} |"
    )
    print(told)
    assert told in ADR.read_text()
    await driver.stop()
