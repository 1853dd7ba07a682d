"""Every ad-hoc command, tried by everybody (reliability.md V-30): what may be is what the declarations say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from enum import Enum
from pathlib import Path

import pytest
from components.command_support import (
    ADMINS,
    NODES,
    REMOTE,
    A,
    B,
    Hosts,
    configuration,
    notes,
    payload,
    run,
    status,
    step,
    two_hosts,
)

from xmppchat.core.callers import Caller, operator
from xmppchat.core.commands import CommandError, CommandSpec, permitted
from xmppchat.core.component import IqRequest, Role
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import Forbidden
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.memory import MemoryClient, settle

ALLOWED, FORBIDDEN = "allowed", "forbidden"


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    async with two_hosts(tmp_path) as made:
        yield made


def _nobody(spec: CommandSpec) -> bool:
    return False


def _user(spec: CommandSpec) -> bool:
    return spec.by is Role.USER


def _admin(spec: CommandSpec) -> bool:
    return spec.by is Role.USER or spec.is_scoped


def _admin_abroad(spec: CommandSpec) -> bool:
    return spec.by is Role.ADMIN and spec.is_scoped


def _admin_of_all(spec: CommandSpec) -> bool:
    return True


#: Who asks host A, and what the declaration of a command has to say for it.
ROLES: dict[str, tuple[str, Callable[[CommandSpec], bool]]] = {
    "user": (f"romeo@{A}", _user),
    "admin": (f"alice@{A}", _admin),
    "admin of all hosts": (f"both@{A}", _admin_of_all),
    "admin with an account at another host": (f"abroad@{B}", _admin_abroad),
    "admin of another host": (f"bob@{B}", _nobody),
    "user of another host": (f"romeo@{B}", _nobody),
}


def table() -> list[tuple[str, str, str]]:
    """(role, node, what happens), from the declarations."""
    return [
        (role, node, ALLOWED if may(spec) else FORBIDDEN)
        for role, (_, may) in ROLES.items() for node, spec in NODES.items()
    ]  # fmt: skip


def test_the_table_has_no_holes() -> None:
    rows = table()
    assert len(rows) == len(ROLES) * len(NODES)
    assert {expected for _, _, expected in rows} == {ALLOWED, FORBIDDEN}
    assert len(NODES) > 25


@pytest.mark.parametrize("role", ROLES)
async def test_execution_and_discovery(hosts: Hosts, role: str) -> None:
    """Nobody begins what they may not, sees it listed, or is told about it."""
    client = await hosts.log_in(ROLES[role][0])
    expected = {node: outcome for name, node, outcome in table() if name == role}
    found, described = {}, {}
    for node in NODES:
        answer = await step(client, node, session="none")  # nothing is done: only who asks is looked at
        found[node] = {"forbidden": FORBIDDEN, "bad-request bad-sessionid": ALLOWED}.get(status(answer), "unknown")
        query = f"<query xmlns='{NS.DISCO_INFO}' node='{node}'/>"
        described[node] = ALLOWED if (await ask(client, query)).get("type") == "result" else FORBIDDEN
    assert found == expected
    assert described == expected
    listed = await ask(client, f"<query xmlns='{NS.DISCO_ITEMS}' node='{NS.COMMANDS}'/>")
    items = listed.find("query", NS.DISCO_ITEMS)
    assert items is not None
    assert {item.get("node") for item in items.elements()} == {node for node, may in expected.items() if may == ALLOWED}
    await client.close()


async def ask(client: MemoryClient, query: str) -> Element:
    client._barriers += 1
    name = f"ask-{client._barriers}"
    client.write(f"<iq type='get' id='{name}' to='{A}'>{query}</iq>")
    return await client.take(lambda element: element.get("id") == name)


async def test_nothing_before_login(hosts: Hosts) -> None:
    for node in NODES:
        client = MemoryClient(A, hosts.server.connections.new())
        await client.open()
        client.write(f"<iq type='set' id='c' to='{A}'><command xmlns='{NS.COMMANDS}' node='{node}'/></iq>")
        await client.until_closed()
        assert next(client.inbox[0].elements()).name == "not-authorized"


@pytest.mark.parametrize("sender", [f"{REMOTE}/x", f"alice@{A}/gone", f"alice@{A}", A, REMOTE.partition("@")[2]])
async def test_nobody_from_elsewhere_is_an_admin(hosts: Hosts, sender: str) -> None:
    """Not even one whom the configuration names, nor one who only looks like an admin's session."""
    for node in NODES:
        command = Element("command", NS.COMMANDS, {"node": node})
        stanza = Stanza("iq", to=JID.parse(A), from_=JID.parse(sender), id="c", type="set", children=(command,))
        request = IqRequest(stanza, command, JID.parse(sender), None, None, A, hosts.kernel.new_turn())
        with pytest.raises(Forbidden):
            await hosts.adhoc.command(request)
        # And so it is where another's session brought it.
        client = await hosts.log_in(f"both@{A}", "carrier")
        request.session = hosts.kernel.router.session(JID.parse(client.jid))
        assert request.session is not None
        with pytest.raises(Forbidden):
            await hosts.adhoc.command(request)
        await client.close()


# --- what may be named ------------------------------------------------------------------------------------------------

NAMING = [spec for spec in NODES.values() if any(p.type is JID and not p.is_elsewhere for p in spec.parameters)]
ALICE = Caller(f"alice@{A}", frozenset({A}), None, A)


def arguments(spec: CommandSpec, jid: str) -> dict[str, object]:
    """Arguments of the right types for everything that has to be given."""
    made: dict[str, object] = {}
    for parameter in spec.parameters:
        if parameter.type is JID:
            made[parameter.name] = jid
        elif parameter.is_required:
            made[parameter.name] = next(iter(parameter.type)) if issubclass(parameter.type, Enum) else {
                str: "text", int: 1, bool: True,
            }[parameter.type]  # fmt: skip
    return made


@pytest.mark.parametrize("spec", NAMING, ids=lambda spec: spec.name)
def test_an_admin_names_nobody_of_another_host(spec: CommandSpec) -> None:
    assert permitted(spec, arguments(spec, f"juliet@{A}"), ALICE)
    assert permitted(spec, arguments(spec, f"juliet@{B}"), operator([A, B]))
    for foreign in (f"juliet@{B}", "juliet@remote.example", B, f"alice@{B}", f"juliet@{A}.example", f"juliet@x.{A}"):
        with pytest.raises(CommandError) as caught:
            permitted(spec, arguments(spec, foreign), ALICE)
        assert isinstance(caught.value.error, Forbidden)


@pytest.mark.parametrize("spec", NAMING, ids=lambda spec: spec.name)
async def test_an_admin_of_one_host_changes_no_admin_of_another(hosts: Hosts, spec: CommandSpec) -> None:
    """Whoever may set the password of an admin of B is an admin of B."""
    account = await hosts.kernel.directory.get(JID.parse(f"alice@{A}"))
    alice = Caller(f"alice@{A}", frozenset({A}), account, A, superiors=frozenset({f"both@{A}"}))
    if spec.changes:
        with pytest.raises(CommandError, match="admin of other hosts"):
            permitted(spec, arguments(spec, f"both@{A}"), alice)
    else:
        assert permitted(spec, arguments(spec, f"both@{A}"), alice)


async def test_the_password_of_an_admin_of_all_hosts_is_not_for_an_admin_of_one(hosts: Hosts) -> None:
    alice = await hosts.log_in(f"alice@{A}")
    values = {"accountjid": (f"both@{A}",), "password": ("mine now",)}
    assert status(await run(alice, f"{NS.ADMIN}#change-user-password", values)) == "forbidden"
    values["accountjid"] = (f"romeo@{A}",)
    assert status(await run(alice, f"{NS.ADMIN}#change-user-password", values)) == "completed"


def test_many_commands_name_accounts() -> None:
    assert len(NAMING) >= 8


HOST_NAMING = [spec for spec in NODES.values() if any(p.is_host for p in spec.parameters)]


@pytest.mark.parametrize("spec", HOST_NAMING, ids=lambda spec: spec.name)
def test_a_host_is_the_one_that_is_asked(spec: CommandSpec) -> None:
    host = next(parameter.name for parameter in spec.parameters if parameter.is_host)
    assert permitted(spec, {}, ALICE)[host] == A
    for foreign in (B, "", "elsewhere.example"):
        with pytest.raises(CommandError) as caught:
            permitted(spec, {host: foreign}, ALICE)
        assert isinstance(caught.value.error, Forbidden)


LOOKING = [spec for spec in NODES.values() if not spec.changes and spec.is_scoped and spec not in NAMING]


@pytest.mark.parametrize("spec", LOOKING, ids=lambda spec: spec.name)
async def test_what_an_admin_is_shown_is_of_the_own_host(hosts: Hosts, spec: CommandSpec) -> None:
    clients = [await hosts.log_in(name, "shown") for name in (f"alice@{A}", f"romeo@{B}", f"bob@{B}")]
    answer = await run(clients[0], spec.node)
    assert status(answer) == "completed"
    assert B not in payload(answer).to_xml()
    own = await run(clients[2], spec.node, to=B)
    assert status(own) == "completed"
    assert A not in payload(own).to_xml()
    for client in clients:
        await client.close()


def test_there_is_something_to_look_at() -> None:
    assert {"user list", "sessions", "stats"} <= {spec.name for spec in LOOKING}


# --- rights that end -----------------------------------------------------------------------------------------------

async def test_who_is_no_admin_any_more_completes_nothing(tmp_path: Path) -> None:
    """The form was sent to an admin; whoever fills it in has to be one still."""
    async with two_hosts(tmp_path) as hosts:
        alice = await hosts.log_in(f"alice@{A}")
        answer = await step(alice, f"{NS.ADMIN}#get-online-users-list")
        session = payload(answer).get("sessionid")
        hosts.kernel.reconfigure(configuration(tmp_path, {}))
        assert status(await step(alice, f"{NS.ADMIN}#get-online-users-list", session=session)) == "forbidden"
        hosts.kernel.reconfigure(configuration(tmp_path, ADMINS))
        answer = await step(alice, f"{NS.ADMIN}#get-online-users-list", session=session, action="cancel")
        assert status(answer) == "canceled"


async def test_what_is_forbidden_for_one_is_done_for_none(tmp_path: Path) -> None:
    async with two_hosts(tmp_path) as hosts:
        alice, romeo = await hosts.log_in(f"alice@{A}"), await hosts.log_in(f"romeo@{A}")
        node = f"{NS.ADMIN}#end-user-session"
        answer = await run(alice, node, {"accountjids": (f"romeo@{A}", f"romeo@{B}")})
        assert status(answer) == "forbidden"
        await settle(hosts.kernel)
        assert not romeo.is_closed
        answer = await run(alice, node, {"accountjids": (f"romeo@{A}", f"nobody@{A}")})
        assert status(answer) == "completed"
        assert [kind for kind, _ in notes(answer)] == ["info", "error"]
        await romeo.until_closed()
