"""Where the keys of bots are: on disk but not in clear, there after a restart, gone with the bot, and nowhere else."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from bots_support import BOT, BOTH, Person, body, component, connected, heard, run, started
from omemo import JSONType, StorageException
from pubsub_support import Client
from sqlalchemy import select

from xmppchat.components.bots import encryption
from xmppchat.components.bots.vault import FILE, Sealed, Vault, read_or_make
from xmppchat.core.commands import CommandError
from xmppchat.jid import JID
from xmppchat.protocol.errors import NotAcceptable
from xmppchat.protocol.namespaces import NS
from xmppchat.storage import backup, schema
from xmppchat.testing.memory import MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    """Starts a server on the database of the test; the next call stops the one before."""
    running: list[MemoryDriver] = []

    async def begin(url: str = storage_url, **options: Any) -> MemoryDriver:
        while running:
            await running.pop().stop()
        driver = await started(tmp_path, url, **options)
        running.append(driver)
        return driver

    yield begin
    while running:
        await running.pop().stop()


async def with_bot(driver: MemoryDriver) -> Person:
    await driver.create_account("romeo", "secret")
    await run(driver, "bot add", jid=BOT.bare)
    await connected(driver)
    return await Person.log_in(driver, "romeo")


def its(driver: MemoryDriver) -> Any:
    """The one bot."""
    (bot,) = component(driver)._bots.values()
    return bot


#: What is private in the library's JSON, where bytes are characters.
PRIVATE = frozenset({"secret", "priv", "own_ratchet_priv", "key", "chain_key", "pre_keys"})


def private_keys(value: JSONType, name: str = "") -> set[bytes]:
    """All that is private among what a device keeps."""
    if isinstance(value, str) and name in PRIVATE:
        return {value.encode("latin-1")}
    if isinstance(value, dict):
        return set().union(*[private_keys(inside, key) for key, inside in value.items()])
    if isinstance(value, list):
        return set().union(*[private_keys(inside, name) for inside in value])
    return set()


async def values(driver: MemoryDriver) -> dict[str, JSONType]:
    """What the device of the bot keeps, in clear."""
    vault = component(driver)._vault
    assert vault is not None
    rows = await driver.server.database.fetch(select(schema.omemo_values))
    return {row.name: json.loads(vault.open(row.account_id, row.name, row.value)) for row in rows}


async def secrets_of(driver: MemoryDriver) -> set[bytes]:
    kept = await values(driver)
    identity = kept.pop("/ikp/key")  # as base64
    found = set().union(*[private_keys(value) for value in kept.values()])
    found = {secret for secret in found if len(secret) == 32}
    assert base64.urlsafe_b64decode(str(identity)) in found
    return found


def spellings(secret: bytes) -> list[bytes]:
    """As it might stand somewhere: as it is, in hexadecimal, in base64 (without its end, which may be another),
    as the library writes it."""
    plain, url, text = base64.b64encode(secret), base64.urlsafe_b64encode(secret), secret.decode("latin-1")
    return [
        secret, secret.hex().encode(), secret.hex().upper().encode(), plain[:40], url[:40], text.encode(),
        json.dumps(text)[1:-1].encode(),
    ]  # fmt: skip


async def dump(driver: MemoryDriver) -> bytes:
    """Everything in all tables."""
    parts = []
    for table in schema.TABLES:
        for row in await driver.server.database.fetch(select(table)):
            parts += [value if isinstance(value, bytes) else str(value).encode() for value in row]
    return b"\n".join(parts)


async def test_no_private_key_stands_anywhere_in_clear(
    start: Start, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    driver = await start()
    romeo = await with_bot(driver)
    for namespace in BOTH:
        await romeo.say("What news?", namespace)
        await component(driver).send(BOT, JID.parse(romeo.bare), "None", encrypt=True)
    secrets = await secrets_of(driver)
    assert len(secrets) > 200, "two hundred keys to be used once, and some more"
    logs = capsys.readouterr()
    export = await run(driver, "user export", jid=BOT.bare, with_credentials=True)
    places = {
        "database": await dump(driver), "logs": (logs.out + logs.err).encode(), "export": str(export).encode(),
        "files": b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()),
    }
    for name, content in places.items():
        assert len(content) > 100, name
        for secret in secrets:
            assert not any(spelling in content for spelling in spellings(secret)), name
    # The search finds what is there: the same values before they were encrypted, and public keys.
    clear = json.dumps(list((await values(driver)).values())).encode()
    assert all(any(spelling in clear for spelling in spellings(secret)) for secret in secrets)
    public = base64.b64encode(bytes.fromhex(its(driver).device.fingerprint))
    assert public in places["database"]
    assert public in places["export"], "the published nodes go along, and nothing else of it"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_a_restart_keeps_keys_and_conversations(start: Start) -> None:
    driver = await start()
    romeo = await with_bot(driver)
    await romeo.say("before", NS.OMEMO)
    device = its(driver).device
    number, fingerprint = device.device_id, device.fingerprint
    await romeo.read()
    storage = romeo.storage
    await romeo.manager.shutdown()
    driver = await start()
    assert (its(driver).device.device_id, its(driver).device.fingerprint) == (number, fingerprint)
    romeo = await Person.log_in(driver, "romeo", storage=storage)
    await romeo.say("after", NS.OMEMO)
    assert heard(driver).bodies == ["after"]
    await component(driver).send(BOT, JID.parse(romeo.bare), "as well", encrypt=True)
    assert await romeo.read() == [(NS.OMEMO, "as well")]
    assert len(await run(driver, "bot devices", jid=BOT.bare)) == 2


async def test_what_came_while_it_was_away_is_read(start: Start) -> None:
    driver = await start()
    romeo = await with_bot(driver)
    (encrypted,) = await romeo.encrypted("while you were out", NS.OMEMO)
    its(driver)._session.end()
    romeo.write([encrypted])
    await driver.settle([romeo.client.client])
    assert heard(driver).bodies == []
    await romeo.leave()
    driver = await start()
    await connected(driver)
    assert heard(driver).bodies == ["while you were out"]


async def test_keys_go_with_the_bot(start: Start) -> None:
    driver = await start()
    romeo = await with_bot(driver)
    await romeo.say("Hi", NS.OMEMO)
    assert await values(driver)
    await run(driver, "bot remove", jid=BOT.bare)
    await connected(driver)
    assert await run(driver, "bot list") == []
    for table in (schema.bots, schema.omemo_values):
        assert await driver.server.database.fetch(select(table)) == []
    romeo.write(body("anybody?"))
    await driver.settle([romeo.client.client])
    assert romeo.client.client.inbox[-1].get("type") == "error"
    with pytest.raises(CommandError, match="this name is taken"):
        await run(driver, "bot add", jid=BOT.bare)
    await run(driver, "user forget", jid=BOT.bare)
    await run(driver, "bot add", jid=BOT.bare)


async def test_user_delete_does_the_same(start: Start) -> None:
    driver = await start()
    await with_bot(driver)
    device = its(driver).device
    await run(driver, "user delete", jid=BOT.bare)
    await connected(driver)
    with pytest.raises(StorageException, match="the bot is gone"):  # what it was about to keep is not kept
        await component(driver)._thread.run(device._manager.set_trust("romeo@chat.example", b"key", "trusted"))
    assert await driver.server.database.fetch(select(schema.omemo_values)) == []


async def test_it_has_no_password(start: Start) -> None:
    driver = await start()
    await with_bot(driver)
    shown = await run(driver, "user show", jid=BOT.bare)
    assert shown["password"].startswith("none: nobody can log in")
    with pytest.raises(Exception, match="login of news failed"):
        await Client.log_in(driver, "news")


async def test_without_its_key_file_it_says_so_and_makes_nothing(start: Start, tmp_path: Path) -> None:
    driver = await start()
    await with_bot(driver)
    key = (tmp_path / FILE).read_text()
    (tmp_path / FILE).unlink()
    driver = await start()
    await connected(driver)
    (row,) = await run(driver, "bot list")
    assert f"{FILE} is missing" in row["connected"]
    assert not (tmp_path / FILE).exists()
    (tmp_path / FILE).write_text("f" * 64)
    driver = await start()
    await connected(driver)
    (row,) = await run(driver, "bot list")
    assert f"with another key than that in {FILE}" in row["connected"]
    with pytest.raises(CommandError, match="is not connected"):
        await run(driver, "send", bot=BOT.bare, to="romeo@chat.example", text="Hi", encrypt=True)
    (tmp_path / FILE).write_text(key)
    component(driver)._vault = None
    await component(driver).return_all()
    (row,) = await run(driver, "bot list")
    assert row["connected"] == "yes", "it tries again"


# What is done after a restore is the same statement on both; the way there is tested elsewhere.
@pytest.mark.parametrize("storage_url", ["sqlite:///xmppchat.db"])
async def test_a_restored_backup_begins_new_conversations(start: Start, tmp_path: Path) -> None:
    driver = await start()
    romeo = await with_bot(driver)
    await romeo.say("one", NS.OMEMO)
    fingerprint = its(driver).device.fingerprint
    url = f"sqlite:///{tmp_path}/xmppchat.db"
    await backup.back_up(url, tmp_path / "backup.db", hosts=["chat.example"])
    with sqlite3.connect(tmp_path / "backup.db") as copy:
        sealed = [value for (value,) in copy.execute("SELECT value FROM omemo_values")]
    vault = component(driver)._vault
    assert sealed
    assert vault is not None
    with pytest.raises(Sealed):
        Vault("another key, 32 characters or more").open(1, "/own_device_id", sealed[0])
    await component(driver).send(BOT, JID.parse(romeo.bare), "lost with the restore", encrypt=True)
    await romeo.read()
    storage = romeo.storage
    await romeo.manager.shutdown()
    await driver.stop()
    await backup.restore(tmp_path / "backup.db", url, force=True)
    driver.stop = _nothing  # type: ignore[method-assign]
    driver = await start()
    await connected(driver)
    assert its(driver).device.fingerprint == fingerprint
    assert not [name for name in await values(driver) if name.endswith("/double_ratchet")]
    romeo = await Person.log_in(driver, "romeo", storage=storage)
    await romeo.say("of the old conversation", NS.OMEMO)
    assert heard(driver).bodies == []
    await romeo.read()  # the keys of a new one
    await romeo.say("of the new one", NS.OMEMO)
    assert heard(driver).bodies == ["of the new one"]
    await component(driver).send(BOT, JID.parse(romeo.bare), "both ways", encrypt=True)
    assert await romeo.read() == [(NS.OMEMO, "both ways")]


async def _nothing() -> None:
    pass


async def test_signed_keys_are_exchanged_once_a_week(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    from xmppchat.components.bots import device

    driver = await start()
    romeo = await with_bot(driver)

    async def published() -> str:
        answer = await romeo.client.ask("get", f"<items node='{NS.OMEMO_BUNDLES}'/>", BOT.bare)
        return str(re.findall(r"<spk .*?</spk>", answer.to_xml())[0])

    before = await published()
    await component(driver).rotate()
    assert await published() == before
    monkeypatch.setattr(device, "ROTATION_SECONDS", -1)
    await component(driver).rotate()
    assert await published() != before
    await romeo.say("still?", NS.OMEMO)
    assert heard(driver).bodies == ["still?"]


async def test_who_was_sent_away_comes_back(start: Start) -> None:
    driver = await start()
    await with_bot(driver)
    await run(driver, "user kick", jid=BOT.bare)
    for _ in range(5):
        await asyncio.sleep(0)
    assert (await run(driver, "bot list"))[0]["connected"].startswith("no")
    await component(driver).return_all()
    assert (await run(driver, "bot list"))[0]["connected"] == "yes"
    await run(driver, "user disable", jid=BOT.bare)
    await connected(driver)
    await component(driver).return_all()
    assert (await run(driver, "bot list"))[0]["connected"] == f"no: {BOT} is disabled, or gone"


async def test_without_the_package_bots_speak_in_clear(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("omemo", "twomemo", "oldmemo"))]:
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("device", "manager", "wire"):
        monkeypatch.delitem(sys.modules, f"xmppchat.components.bots.{name}", raising=False)
    assert await encryption.find() is None
    driver = await start()
    await driver.create_account("romeo", "secret")
    romeo = await Client.log_in(driver, "romeo")
    await romeo.appear()
    added = await run(driver, "bot add", jid=BOT.bare)
    assert "pip install 'xmppchat[omemo]'" in added["encryption"]
    await connected(driver)
    romeo.client.inbox.clear()
    await run(driver, "send", bot=BOT.bare, to=romeo.bare, text="Hi")
    await driver.settle([romeo.client])
    assert romeo.client.inbox[0].child_text("body") == "Hi"
    with pytest.raises(NotAcceptable, match=r"nothing was sent: .*xmppchat\[omemo\]"):
        await component(driver).send(BOT, JID.parse(romeo.bare), "Hi", encrypt=True)
    romeo.client.write(f"<message to='{BOT}' type='chat'><body>You too</body></message>")
    await driver.settle([romeo.client])
    assert heard(driver).bodies == ["You too"]


def test_values_are_bound_to_their_places() -> None:
    vault = Vault("k" * 32)
    sealed = vault.seal(1, "a", b"value")
    assert vault.open(1, "a", sealed) == b"value"
    assert vault.seal(1, "a", b"value") != sealed
    for account, name, stored in (
        (2, "a", sealed), (1, "b", sealed), (1, "a", sealed[:-1]), (1, "a", b""), (1, "a", b"\x02" + sealed[1:]),
        (1, "a", sealed[:5]),
    ):  # fmt: skip
        with pytest.raises(Sealed):
            vault.open(account, name, stored)


def test_a_key_is_made_only_where_none_is_needed(tmp_path: Path) -> None:
    path = tmp_path / FILE
    with pytest.raises(Sealed, match="is missing"):
        read_or_make(path, is_needed=True)
    sealed = read_or_make(path, is_needed=False).seal(1, "a", b"x")
    assert read_or_make(path, is_needed=True).open(1, "a", sealed) == b"x"
    path.write_text("short")
    with pytest.raises(Sealed, match="is damaged"):
        read_or_make(path, is_needed=False)


