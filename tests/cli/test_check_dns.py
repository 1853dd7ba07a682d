"""`xmppchat check --dns` against name servers that a test makes up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from xmppchat.cli import check_dns
from xmppchat.cli.check_dns import DnsTrouble, Srv, find
from xmppchat.core.config import ListenConfig, ServerConfig

HOST = "chat.example"
ISSUER = "ca.example; accounturi=https://ca.example/acct/1"
V4, V6 = "93.184.215.14", "2606:2800:21f:cb07:6820:80da:af6b:8b2c"


class FakeDns:
    """Answers from a table; what is not in it does not exist."""

    def __init__(self, table: dict[tuple[str, str], Any], silent: bool = False) -> None:
        self._table = table
        self._silent = silent

    def _ask(self, name: str, kind: str) -> Any:
        if self._silent:
            raise DnsTrouble(f"{name} {kind}: no name server answered in 5 s")
        return self._table.get((name, kind))

    async def srv(self, name: str) -> Sequence[Srv]:
        return sorted(self._ask(name, "SRV") or [])

    async def addresses(self, name: str) -> Sequence[str]:
        return self._ask(name, "A") or []

    async def alias(self, name: str) -> str:
        return self._ask(name, "CNAME") or ""

    async def authorities(self, name: str) -> Sequence[str]:
        return self._ask(name, "CAA") or []


def records(**more: Any) -> dict[tuple[str, str], Any]:
    """A zone without faults."""
    return {
        ("_xmpps-client._tcp.chat.example", "SRV"): [Srv(5, 1, 5223, "xmpp.chat.example")],
        ("_xmpp-client._tcp.chat.example", "SRV"): [Srv(10, 1, 5222, "xmpp.chat.example")],
        ("xmpp.chat.example", "A"): [V4, V6],
        ("chat.example", "CAA"): [ISSUER],
    }


async def lines(table: dict[tuple[str, str], Any], *, silent: bool = False, **listen: Any) -> list[str]:
    config = replace(ServerConfig.for_tests([HOST]), listen=ListenConfig(**listen))
    return [f"{line.severity}: {line.text}" for line in await find(config, FakeDns(table, silent))]


async def test_a_zone_without_faults() -> None:
    assert await lines(records()) == [
        f"ok: DNS: _xmpps-client._tcp.chat.example: xmpp.chat.example port 5223, priority 5, at {V4}, {V6}",
        f"ok: DNS: _xmpp-client._tcp.chat.example: xmpp.chat.example port 5222, priority 10, at {V4}, {V6}",
        f"ok: DNS: CAA of chat.example: only {ISSUER}",
    ]


async def test_without_records_the_domain_itself_counts() -> None:
    found = await lines({(HOST, "A"): [V4]})
    assert found[0].startswith("warning: DNS: _xmpps-client._tcp.chat.example is missing")
    assert found[0].endswith("\n    _xmpps-client._tcp.chat.example. 3600 IN SRV 5 1 5223 chat.example.")
    assert found[1] == f"ok: DNS: chat.example is at {V4}, where clients try port 5222"


async def test_without_anything_nobody_finds_it() -> None:
    found = await lines({}, direct_tls_port=0)
    assert found[0] == (
        "error: DNS: chat.example has neither SRV records nor an address, so no client finds it; add\n"
        "    _xmpp-client._tcp.chat.example. 3600 IN SRV 5 1 5222 HOST."
    )


async def test_another_port_needs_a_record() -> None:
    found = await lines({(HOST, "A"): [V4]}, direct_tls_port=0, starttls_port=5299)
    assert found[0].startswith("error: DNS: without SRV records clients try port 5222 of chat.example")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({("_xmpp-client._tcp.chat.example", "SRV"): [Srv(0, 0, 0, "")]},
         'error: DNS: _xmpp-client._tcp.chat.example is ".": it tells clients that there is no such service'),
        ({("_xmpp-client._tcp.chat.example", "SRV"): [Srv(0, 0, 0, ""), Srv(1, 0, 5222, "xmpp.chat.example")]},
         'error: DNS: _xmpp-client._tcp.chat.example has "." beside real targets'),
        ({("xmpp.chat.example", "CNAME"): "host.isp.example"},
         "error: DNS: _xmpp-client._tcp.chat.example: the target xmpp.chat.example is an alias (CNAME) of host.isp."),
        ({("xmpp.chat.example", "A"): []},
         "error: DNS: _xmpp-client._tcp.chat.example: xmpp.chat.example has no address; clients try it first"),
        ({("_xmpp-client._tcp.chat.example", "SRV"): [Srv(5, 0, 5299, "xmpp.chat.example")]},
         "warning: DNS: _xmpp-client._tcp.chat.example sends clients to port 5299, and this server listens on 5222"),
        ({("_xmpp-client._tcp.chat.example", "SRV"): [Srv(5, 0, 5222, "xmpp.chat.example")] * 2},
         "warning: DNS: _xmpp-client._tcp.chat.example names the same target and port twice"),
        ({("xmpp.chat.example", "A"): ["192.168.1.5"]},
         "warning: DNS: xmpp.chat.example is at 192.168.1.5, which nobody outside can reach"),
        ({("chat.example", "CAA"): []},
         "warning: DNS: chat.example has no CAA record: whoever controls its traffic for a moment"),
        ({("chat.example", "CAA"): ["ca.example"]},
         "warning: DNS: CAA of chat.example lets anybody's account at ca.example have certificates"),
        ({("_xmpp-server._tcp.chat.example", "SRV"): [Srv(5, 0, 5269, "xmpp.chat.example")]},
         "warning: DNS: _xmpp-server._tcp.chat.example exists, but other servers with STARTTLS are not served here"),
    ],
)  # fmt: skip
async def test_faults(change: dict[tuple[str, str], Any], text: str) -> None:
    found = await lines({**records(), **change})
    assert any(line.startswith(text) for line in found), found


async def test_the_second_target_is_looked_at_too() -> None:
    both = [Srv(5, 0, 5222, "xmpp.chat.example"), Srv(20, 0, 5222, "old.chat.example")]
    found = await lines({**records(), ("_xmpp-client._tcp.chat.example", "SRV"): both})
    assert any("old.chat.example has no address; add an A" in line for line in found), found


async def test_a_record_of_a_family_that_is_not_listened_on() -> None:
    found = await lines(records(), addresses=("192.0.2.1",))
    assert any("has an AAAA record, but [listen] addresses have no IPv6 address" in line for line in found), found
    found = await lines(records(), addresses=("2001:db8::1",))
    assert any("has an A record, but [listen] addresses have no IPv4 address" in line for line in found), found


async def test_a_server_that_says_nothing_is_no_fault_of_the_zone() -> None:
    found = await lines({}, silent=True)
    assert len(found) == 5
    assert all(line.startswith("warning: DNS: ") and "no name server answered" in line for line in found)


async def test_a_parent_says_who_may_issue() -> None:
    table = {**records(), ("chat.example", "CAA"): [], ("example", "CAA"): ["other"]}
    assert (await lines(table))[-1].startswith("warning: DNS: chat.example has no CAA")  # nobody asks a top level
    config = ServerConfig.for_tests(["a.chat.example"])
    found = await find(config, FakeDns({("chat.example", "CAA"): [ISSUER]}))
    assert found[-1].text == f"DNS: CAA of chat.example: only {ISSUER}"


def test_the_command_asks_dns_when_told_to(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_dns, "SystemDns", lambda: FakeDns(records()))
    cli.done("init", HOST, "--listen", "127.0.0.1")
    assert "DNS: " not in cli("check").out
    assert f"ok: DNS: CAA of chat.example: only {ISSUER}\n" in cli("check", "--dns").out


async def test_a_real_resolver_that_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check_dns, "SECONDS", 0.2)
    dns = check_dns.SystemDns()
    dns._resolver.nameservers = ["127.0.0.1"]
    dns._resolver.port = 9  # discard: nobody is there
    with pytest.raises(DnsTrouble, match=r"chat\.example SRV: "):
        await dns.srv("chat.example")
