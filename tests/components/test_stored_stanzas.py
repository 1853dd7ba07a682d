"""What was accepted and stored is handed out, however much longer it is in the server's spelling."""

from __future__ import annotations

from pathlib import Path

from xmppchat.protocol.xmlreader import ReaderLimits, parse_stored
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle
from xmppchat.testing.runner import read_stanzas

#: 40 declarations where it comes in; each attribute declares its own where it is stored.
DECLARATIONS = " ".join(f"xmlns:n{i}='urn:{i}'" for i in range(40))
ATTRIBUTES = " ".join(f"n{i}:a='1'" for i in range(40))
GROWING = f"<x xmlns='urn:x' {DECLARATIONS}><y {ATTRIBUTES}><z {ATTRIBUTES}/></y></x>"


def test_what_was_written_can_be_read() -> None:
    for xml in (GROWING, "<a>" + "<![CDATA[" + "&" * 100_000 + "]]></a>"):
        element = read_stanzas(xml)[0]
        assert parse_stored(element.to_xml()) == element


async def connected(driver: MemoryDriver, name: str) -> MemoryClient:
    client = MemoryClient(driver.domain, driver.server.connections.new())
    await client.open()
    await client.log_in(name, "secret", "x")
    return client


async def test_a_hostile_message_or_request_keeps_nobody_from_the_others(tmp_path: Path, storage_url: str) -> None:
    driver = MemoryDriver(tmp_path, storage_url=storage_url)
    await driver.start()
    try:
        for name in ("romeo", "mallory", "juliet"):
            await driver.create_account(name, "secret")
        mallory, juliet = await connected(driver, "mallory"), await connected(driver, "juliet")
        mallory.write(
            f"<message to='romeo@{driver.domain}' type='chat' id='m1'><body>Hi</body>{GROWING}</message>"
            f"<presence to='romeo@{driver.domain}' type='subscribe'>{GROWING}</presence>"
        )
        await settle(driver.server.kernel)
        juliet.write(f"<message to='romeo@{driver.domain}' type='chat' id='m2'><body>Hi</body></message>")
        await settle(driver.server.kernel)
        romeo = await connected(driver, "romeo")
        romeo._reader.limits = ReaderLimits(namespaces=1_000)  # a client has no such limit
        romeo.write("<presence/>")
        await settle(driver.server.kernel)
        assert [e.get("id") for e in romeo.inbox if e.name == "message"] == ["m1", "m2"]
        assert [e.get("from") for e in romeo.inbox if e.get("type") == "subscribe"] == [f"mallory@{driver.domain}"]
    finally:
        await driver.stop()
