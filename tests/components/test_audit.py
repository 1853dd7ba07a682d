"""The audit log: what is kept of commands, how much of it, and that no secret is (reliability.md V-55)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from components.command_support import A, Hosts, run, status, two_hosts

from xmppchat.components.audit import MAX_ARGUMENTS, MAX_VALUE, Audit, shortened
from xmppchat.core.commands import CommandError
from xmppchat.core.events import CommandExecuted
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import settle

SECRET = "correct horse battery"


@pytest.fixture
async def hosts(tmp_path: Path, storage_url: str) -> AsyncIterator[Hosts]:
    async with two_hosts(tmp_path, storage_url=storage_url, audit={"days": 30}) as made:
        yield made


async def rows(hosts: Hosts, **arguments: object) -> list[dict[str, str]]:
    """The log, newest first."""
    await settle(hosts.kernel)
    found: list[dict[str, str]] = await hosts.execute("audit", **arguments)
    return found


async def test_what_changes_something_is_kept_with_who_did_it(
    hosts: Hosts, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, romeo = await hosts.log_in(f"alice@{A}"), await hosts.log_in(f"romeo@{A}")
    fields = {"accountjid": (f"new@{A}",), "password": (SECRET,), "password-verify": (SECRET,)}
    await run(alice, f"{NS.ADMIN}#add-user", fields)
    await run(alice, f"{NS.ADMIN}#add-user", fields)
    await run(romeo, f"{NS.ADMIN}#add-user", fields)
    await run(alice, "xmppchat#sessions")
    await hosts.execute("user delete", jid=f"new@{A}")
    found = await rows(hosts)
    assert [(row["actor"], row["command"], row["arguments"], row["error"]) for row in found] == [
        ("command line", "user delete", json.dumps({"jid": f"new@{A}"}), ""),
        (f"alice@{A}", "user add", json.dumps({"jid": f"new@{A}"}), "this name is taken; choose another"),
        (f"alice@{A}", "user add", json.dumps({"jid": f"new@{A}"}), ""),
    ]
    output = capsys.readouterr().out + capsys.readouterr().err
    assert SECRET not in output
    assert output.count("command='user add'") == 2


async def test_who_takes_an_account_along_leaves_a_trace(hosts: Hosts) -> None:
    await hosts.execute("user show", jid=f"romeo@{A}")
    await hosts.execute("user export", jid=f"romeo@{A}", with_credentials=True)
    (row,) = await rows(hosts)
    kept = {"jid": f"romeo@{A}", "with_credentials": True}
    assert (row["command"], json.loads(row["arguments"])) == ("user export", kept)


async def test_who_may_not_is_logged_but_fills_no_table(hosts: Hosts) -> None:
    romeo = await hosts.log_in(f"romeo@{A}")
    for _ in range(20):
        assert status(await run(romeo, f"{NS.ADMIN}#announce", {"announcement": ("x",)})) == "forbidden"
    assert await rows(hosts) == []


async def test_many_accounts_are_many_entries(hosts: Hosts) -> None:
    both = await hosts.log_in(f"both@{A}")
    await run(both, f"{NS.ADMIN}#disable-user", {"accountjids": (f"romeo@{A}", f"alice@{A}")})
    assert [row["arguments"] for row in await rows(hosts)] == [
        json.dumps({"jid": f"alice@{A}"}), json.dumps({"jid": f"romeo@{A}"}),
    ]  # fmt: skip


async def test_limit_is_of_the_newest(hosts: Hosts) -> None:
    for text in ("one", "two", "three"):
        await hosts.execute("announce", text=text)
    assert [json.loads(row["arguments"])["text"] for row in await rows(hosts, limit=2)] == ["three", "two"]
    assert await rows(hosts, limit=0) == []
    assert await rows(hosts, limit=-1) == []


HOSTILE = "a\r\n2026-01-01 [info] forged\x1b[31m\u202e{}%s\u2028"


async def test_an_entry_is_one_line_and_short(hosts: Hosts, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    hosts.kernel.emit(CommandExecuted(HOSTILE, "user add", {"jid": HOSTILE, "huge": "x" * 1_000_000}, HOSTILE * 1_000))
    (row,) = await rows(hosts)
    for text in row.values():
        assert text.isprintable(), text
        assert len(text) < 10 * MAX_ARGUMENTS
    assert "forged" in row["actor"]
    logged = [line for line in capsys.readouterr().out.splitlines() if "user add" in line]
    assert len(logged) == 1
    assert "\x1b" not in logged[0]


@pytest.mark.parametrize("arguments", [
    {"a": "x" * 1_000_000}, {f"k{n}": "x" * 1_000 for n in range(100)}, {"a": "\ud800\x00"},
    {"a": None, "b": [1] * 9_999},
])  # fmt: skip
def test_arguments_are_bounded_text(arguments: dict[str, object]) -> None:
    text = shortened(arguments)
    assert len(text) <= 2 * MAX_ARGUMENTS
    text.encode()
    assert json.loads(text)
    whole = {"a": "x" * MAX_VALUE, "n": 1, "yes": True}
    assert shortened(whole) == json.dumps(whole)


async def test_an_import_and_a_reload_say_what_came_of_them(hosts: Hosts) -> None:
    """Numbers, and names of options: of all other answers nothing, since some hold secrets."""
    accounts = [{"account": f"{name}@{A}", "password": SECRET} for name in ("one", "two", "romeo")]
    arguments = {"accounts": json.dumps(accounts), "skip_existing": True}
    await hosts.execute("user import-part", **arguments)
    await hosts.execute("user import-part", **arguments, dry_run=True)
    second, first = [json.loads(row["arguments"]) for row in await rows(hosts)]
    assert first == {"skip_existing": True, "added": 2, "replaced": 0, "skipped": 1, "exist": 0, "reserved": 0}
    assert (second["dry_run"], second["skipped"]) == (True, 3)
    changed = {"changed": ["limits.roster_items"], "needs a restart": ["storage.url"], "else": SECRET}
    for command in ("reload", "invite"):
        hosts.kernel.emit(CommandExecuted("x", command, {}, "", result=changed))
    invited, reloaded = [row["arguments"] for row in (await rows(hosts))[:2]]
    assert "limits.roster_items" in reloaded
    assert "storage.url" in reloaded
    assert SECRET not in reloaded
    assert invited == "{}"


async def test_a_clock_that_jumps_costs_no_entry(hosts: Hosts) -> None:
    """F-17: a year ahead by mistake, and back; what was done is still there. A day later the date is believed."""
    audit = next(component for component in hosts.kernel.components if isinstance(component, Audit))
    await hosts.execute("announce", text="kept")
    await audit.expire()
    hosts.clock._start += 365 * 86_400_000
    await audit.expire()
    assert len(await rows(hosts)) == 1
    hosts.clock._start -= 365 * 86_400_000
    await audit.expire()
    assert len(await rows(hosts)) == 1
    hosts.clock._start += 365 * 86_400_000
    await audit.expire()
    hosts.clock.advance(86_400)
    await audit.expire()
    assert len(await rows(hosts)) == 0


async def test_old_entries_go(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    audit = next(component for component in hosts.kernel.components if isinstance(component, Audit))
    await hosts.execute("announce", text="old")
    hosts.clock.advance(29 * 86_400)
    await hosts.execute("announce", text="new")
    await audit.expire()
    assert len(await rows(hosts)) == 2
    hosts.clock.advance(2 * 86_400)
    await audit.expire()
    assert [json.loads(row["arguments"])["text"] for row in await rows(hosts)] == ["new"]


async def test_a_command_that_breaks_is_kept_as_well(hosts: Hosts) -> None:
    with pytest.raises(CommandError):
        await hosts.execute("announce", text="")
    (row,) = await rows(hosts)
    assert row["error"].startswith("an announcement has")
