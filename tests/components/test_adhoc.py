"""Ad-hoc commands (XEP-0050): sessions that cannot be taken, exhausted or doubled; forms and results of each kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import pytest
from components.command_support import A, Hosts, notes, payload, run, status, step, two_hosts

from xmppchat.components.adhoc.payloads import MAX_EACH, MAX_ROWS, arguments_of, form_of, payload_of
from xmppchat.components.adhoc.sessions import LIFETIME, MAX_OPEN, MAX_PER_ACCOUNT, CommandSessions
from xmppchat.core.callers import Caller
from xmppchat.core.commands import CommandSpec, Parameter, command_specs
from xmppchat.core.component import Component, ComponentConfig, Role, command
from xmppchat.core.runtime import Ids
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.forms import Field, Form, FormError
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.clock import FakeClock
from xmppchat.testing.memory import settle

ADD_USER = f"{NS.ADMIN}#add-user"
DELETE_USER = f"{NS.ADMIN}#delete-user"


@pytest.fixture
async def hosts(tmp_path: Path) -> AsyncIterator[Hosts]:
    async with two_hosts(tmp_path) as made:
        yield made


async def begun(client: Any, node: str = ADD_USER) -> str:
    """The id of a session that was begun."""
    return payload(await step(client, node)).get("sessionid")


def new_account(name: str, password: str = "pw", again: str = "pw") -> Form:
    return Form("submit", (
        Field("accountjid", "", (f"{name}@{A}",)), Field("password", "", (password,)),
        Field("password-verify", "", (again,)),
    ))  # fmt: skip


# --- sessions ---------------------------------------------------------------------------------------------------------

async def test_a_stolen_session_is_of_no_use(hosts: Hosts) -> None:
    """Not for another resource or account, nor at another host or for another command."""
    alice, phone = await hosts.log_in(f"alice@{A}"), await hosts.log_in(f"alice@{A}", "phone")
    both, romeo = await hosts.log_in(f"both@{A}"), await hosts.log_in(f"romeo@{A}")
    session = await begun(both)
    for thief in (alice, phone):
        for action in ("", "cancel", "complete"):
            answer = await step(thief, ADD_USER, session=session, action=action, form=new_account("stolen"))
            assert status(answer) == "bad-request bad-sessionid"
    assert status(await step(romeo, ADD_USER, session=session, form=new_account("stolen"))) == "forbidden"
    assert status(await step(both, DELETE_USER, session=session)) == "bad-request bad-sessionid"
    assert status(await step(both, ADD_USER, to="b.example", session=session)) == "bad-request bad-sessionid"
    assert status(await step(both, ADD_USER, session=session, form=new_account("own"))) == "completed"


async def test_a_session_ends_with_its_owner(hosts: Hosts) -> None:
    """Whoever binds the same resource later is somebody else."""
    alice = await hosts.log_in(f"alice@{A}")
    session = await begun(alice)
    await alice.close()
    await settle(hosts.kernel)
    again = await hosts.log_in(f"alice@{A}")
    answer = await step(again, ADD_USER, session=session, form=new_account("late"))
    assert status(answer) == "not-allowed session-expired"


async def test_a_command_is_completed_once(hosts: Hosts) -> None:
    alice = await hosts.log_in(f"alice@{A}")
    session = await begun(alice)
    form = new_account("twice").to_element()
    for number in (1, 2):
        inner = Element("command", NS.COMMANDS, {"node": ADD_USER, "sessionid": session}, (form,))
        alice.write(Element("iq", NS.CLIENT, {"type": "set", "id": f"c{number}", "to": A}, (inner,)).to_xml(NS.CLIENT))
    await settle(hosts.kernel)
    assert [status(answer) for answer in alice.inbox] == ["completed", "not-allowed session-expired"]


async def test_a_thousand_sessions(hosts: Hosts) -> None:
    """The oldest of the account go; those of others stay."""
    alice, both = await hosts.log_in(f"alice@{A}"), await hosts.log_in(f"both@{A}")
    kept = await begun(both)
    sessions = [await begun(alice) for _ in range(1_000)]
    assert len(set(sessions)) == 1_000
    assert len(hosts.adhoc._sessions) == MAX_PER_ACCOUNT + 1
    assert status(await step(alice, ADD_USER, session=sessions[0])) == "not-allowed session-expired"
    assert status(await step(alice, ADD_USER, session=sessions[-MAX_PER_ACCOUNT], action="cancel")) == "canceled"
    assert status(await step(both, ADD_USER, session=kept, action="cancel")) == "canceled"


def test_sessions_are_bounded_in_all_and_in_time() -> None:
    clock = FakeClock()
    sessions = CommandSessions(clock.monotonic, Ids(clock).token)
    spec = SPECS["everything"]
    owners = [JID.parse(f"u{n}@{A}/x") for n in range(MAX_OPEN + 5)]
    first = sessions.open(spec, owners[0], A)
    for owner in owners[1:]:
        sessions.open(spec, owner, A)
    assert len(sessions) == MAX_OPEN
    assert sessions.find(first.id, spec, owners[0], A) is None
    assert sessions.has_ended(first.id, owners[0])
    assert not sessions.has_ended(first.id, owners[1])
    clock.advance(LIFETIME)
    late = sessions.open(spec, owners[0], A)
    assert len(sessions) == 1
    sessions.end(late.id)
    sessions.end(late.id)
    assert not sessions._by_account, "nothing is left behind"


async def test_ids_are_not_guessed(hosts: Hosts) -> None:
    alice = await hosts.log_in(f"alice@{A}")
    ids = {await begun(alice) for _ in range(50)}
    assert len(ids) == 50
    assert {len(text) for text in ids} == {22}, "128 bits (reliability.md V-24)"
    for guess in ("0", "1", " ", "../..", "%s", "'; DROP TABLE accounts; --", "x" * 10_000):
        assert status(await step(alice, ADD_USER, session=guess)) == "bad-request bad-sessionid"


# --- what is submitted ------------------------------------------------------------------------------------------------

async def test_passwords_that_differ_can_be_corrected(hosts: Hosts) -> None:
    alice = await hosts.log_in(f"alice@{A}")
    session = await begun(alice)
    for form in (new_account("new", "pw", "other"), new_account("new", "pw", ""), Form("submit"), None):
        assert status(await step(alice, ADD_USER, session=session, form=form)) == "bad-request bad-payload"
    assert status(await step(alice, ADD_USER, session=session, form=new_account("new"))) == "completed"


@pytest.mark.parametrize(
    "text", ["'", '"', "\\", "%", "_", "';--", "{}", "%s", "\u202e", "\U0001f600", "&lt;", "x" * 5_000]
)
async def test_whatever_stands_in_a_field(hosts: Hosts, text: str) -> None:
    """No internal error, and nothing that was not said (reliability.md V-52)."""
    alice = await hosts.log_in(f"alice@{A}")
    for node, field in (
        (DELETE_USER, "accountjids"), (f"{NS.ADMIN}#user-stats", "accountjid"), ("xmppchat#user-list", "match"),
        ("xmppchat#user-list", "limit"), (f"{NS.ADMIN}#get-online-users-list", "max_items"),
    ):  # fmt: skip
        answer = await run(alice, node, {field: (text,)})
        assert status(answer) in (
            "completed", "bad-request bad-payload", "forbidden", "item-not-found",
        ), answer.to_xml()  # fmt: skip
        if field == "match":
            assert notes(answer) == [("info", "none")], "a text that is searched for is only that"
    assert len(await hosts.execute("user list")) == 6, "nobody was deleted"


async def test_a_huge_form_is_refused(hosts: Hosts) -> None:
    """More than the limits of a form allow, in one stanza; the session goes on."""
    alice = await hosts.log_in(f"alice@{A}")
    session = await begun(alice, DELETE_USER)
    huge = [
        Form("submit", tuple(Field(f"f{n}", "", ("v",)) for n in range(501))),
        Form("submit", (Field("accountjids", "", ("v",) * 1_001),)),
        Form("submit", (Field("accountjids", "", tuple(f"u{n}@{A}" for n in range(MAX_EACH + 1))),)),
        Form("submit", items=((),) * 501),
    ]
    for form in huge:
        assert status(await step(alice, DELETE_USER, session=session, form=form)) == "bad-request bad-payload"
    assert status(await step(alice, DELETE_USER, session=session, action="cancel")) == "canceled"


async def test_several_accounts_at_once(hosts: Hosts) -> None:
    """XEP-0133 §4.2: those that are there are deleted, of the others is told."""
    alice = await hosts.log_in(f"alice@{A}")
    for name in ("one", "two"):
        await hosts.execute("user add", jid=f"{name}@{A}", password="pw")
    answer = await run(alice, DELETE_USER, {"accountjids": (f"one@{A}", f"none@{A}", f"ONE@{A}", f"two@{A}")})
    found = notes(answer)
    assert found[0] == ("info", f"deleted: one@{A}, two@{A}")
    assert [kind for kind, _ in found] == ["info", "error"]
    assert f"none@{A}" in found[1][1]


async def test_a_command_that_fails_says_so_in_its_condition(hosts: Hosts) -> None:
    """XEP-0133 §5."""
    alice = await hosts.log_in(f"alice@{A}")
    answer = await run(alice, DELETE_USER, {"accountjids": (f"none@{A}",)})
    assert status(answer) == "item-not-found"
    answer = await run(alice, f"{NS.ADMIN}#end-user-session", {"accountjids": (f"none@{A}",)})
    assert status(answer) == "completed", "no condition fits, so it is told in words"
    assert [kind for kind, _ in notes(answer)] == ["error"]


async def test_an_account_from_its_beginning_to_its_end(hosts: Hosts) -> None:
    """XEP-0133 §4.1 to §4.7, §4.9, §4.14."""
    alice = await hosts.log_in(f"alice@{A}")
    jid = {"accountjid": (f"new@{A}",)}
    many = {"accountjids": (f"new@{A}",)}

    async def number(what: str) -> str:
        form = Form.find(payload(await run(alice, f"{NS.ADMIN}#get-{what}-users-num")))
        assert form is not None
        assert form.form_type == NS.ADMIN
        return form[f"{what}usersnum"]

    assert await number("registered") == "3"
    added = await run(alice, ADD_USER, {**jid, "password": ("old",), "password-verify": ("old",)})
    assert notes(added) == [("info", f"added: new@{A}")]
    assert await number("registered") == "4"
    assert status(await run(alice, f"{NS.ADMIN}#change-user-password", {**jid, "password": ("secret",)})) == "completed"
    new = await hosts.log_in(f"new@{A}")
    assert (await number("online"), await number("active"), await number("idle")) == ("2", "2", "0")
    new.write("<presence><show>xa</show></presence>")
    await settle(hosts.kernel)
    assert (await number("active"), await number("idle")) == ("1", "1")
    seen = Form.find(payload(await run(alice, f"{NS.ADMIN}#get-user-lastlogin", many)))
    assert seen is not None
    assert seen["lastlogin"].startswith("20")
    assert status(await run(alice, f"{NS.ADMIN}#disable-user", many)) == "completed"
    await new.until_closed()
    assert await number("disabled") == "1"
    assert status(await run(alice, f"{NS.ADMIN}#reenable-user", many)) == "completed"
    assert (await number("disabled"), await number("online")) == ("0", "1")
    await hosts.log_in(f"new@{A}")
    assert status(await run(alice, DELETE_USER, many)) == "completed"
    assert await number("registered") == "3"


# --- forms and results of a command of its own ------------------------------------------------------------------------

class Colour(Enum):
    """A choice."""

    RED = "red"
    BLUE = "blue"


class Showcase(Component[ComponentConfig]):
    """A command of everything, and one for users."""

    name = "showcase"

    @command("everything", form_type="urn:example:all")
    async def everything(
        self,
        caller: Caller,
        name: Annotated[str, Parameter("what it is called", field="called")],
        key: Annotated[str, Parameter("a secret", secret=True)],
        owner: Annotated[JID | None, Parameter("whose it is")] = None,
        colour: Annotated[Colour, Parameter("its colour")] = Colour.RED,
        number: Annotated[int, Parameter("how many")] = 1,
        wet: Annotated[bool, Parameter("on wet plaster")] = True,
        text: Annotated[str, Parameter("what is told", lines=True)] = "a\nb",
        hidden: Annotated[int, Parameter("asked on the command line only", form=False)] = 7,
        host: Annotated[str, Parameter("where", host=True)] = "",
    ) -> dict[str, object]:
        """Do everything.

        First this,
        then that.

        And so on.
        """
        return {"n": number, "wet": wet, "none": None, "list": [1, colour], "text": text}

    @command("ask", adhoc="urn:example:ask", by=Role.USER, form_type="urn:example:answer")
    async def ask(
        self, caller: Caller, uses: Annotated[int, Parameter("how often", form=False)] = 1
    ) -> dict[str, str]:
        """Ask who asks."""
        return {"uri": f"xmpp:{caller.name}?roster;preauth={uses}", "domain": caller.domain}


SPECS = command_specs([Showcase])


def submit(**values: tuple[str, ...]) -> Form:
    return Form("submit", tuple(Field(var, "", given) for var, given in values.items()))


def test_parameters_are_asked_for_by_their_types() -> None:
    form = form_of(SPECS["everything"])
    assert form.title == "Do everything"
    assert form.instructions == ("First this, then that.", "And so on.")
    assert [(f.var, f.type, f.values, f.is_required) for f in form.fields] == [
        ("FORM_TYPE", "hidden", ("urn:example:all",), False),
        ("called", "text-single", (), True),
        ("key", "text-private", (), True),
        ("owner", "jid-single", (), False),
        ("colour", "list-single", ("red",), False),
        ("number", "text-single", ("1",), False),
        ("wet", "boolean", ("1",), False),
        ("text", "text-multi", ("a", "b"), False),
    ]
    assert [option.value for option in form.fields[4].options] == ["red", "blue"]


def test_what_is_submitted_becomes_arguments() -> None:
    spec = SPECS["everything"]
    assert arguments_of(spec, submit(called=("x",), key=("k",))) == [{"name": "x", "key": "k"}]
    given = submit(
        called=("x",), key=("k",), owner=("A@x.example",), colour=("blue",), number=("3",), wet=("false",),
        text=("1", "2"), hidden=("9",), host=("elsewhere.example",), caller=("admin",),
    )  # fmt: skip
    assert arguments_of(spec, given) == [{
        "name": "x", "key": "k", "owner": "a@x.example", "colour": "blue", "number": "3", "wet": False, "text": "1\n2",
    }]  # fmt: skip
    with pytest.raises(FormError, match="colour is not 'green'"):
        arguments_of(spec, submit(called=("x",), key=("k",), colour=("green",)))


def results(value: object, spec: CommandSpec = SPECS["everything"]) -> list[Element]:
    return payload_of(spec, [value])


def test_results_are_forms_tables_or_notes() -> None:
    (element,) = results({"n": 1, "wet": True, "none": None, "list": [1, "blue"], "text": "a\nb"})
    form = Form.from_element(element)
    assert form.form_type == "urn:example:all"
    assert [(f.var, f.type, f.values) for f in form.fields[1:]] == [
        ("n", "text-single", ("1",)), ("wet", "boolean", ("1",)), ("none", "text-single", ("",)),
        ("list", "text-multi", ("1", "blue")), ("text", "text-multi", ("a", "b")),
    ]  # fmt: skip
    (element,) = results([{"a": 1}, {"a": None, "b": False}])
    form = Form.from_element(element)
    assert [field.var for field in form.reported] == ["a", "b"]
    assert [[field.value for field in item] for item in form.items] == [["1", ""], ["", "no"]]
    assert [(e.get("type"), e.text) for e in results("done so")] == [("info", "done so")]
    assert [e.text for e in results(None)] == ["done"]
    assert [e.text for e in results([])] == ["none"]
    assert Form.from_element(results(["a", "b"])[0]).fields[0].values == ("a", "b")


def test_a_long_table_is_cut_and_says_so() -> None:
    element, note = results([{"n": n} for n in range(MAX_ROWS + 5)])
    assert len(element.find_all("item")) == MAX_ROWS
    assert (note.get("type"), note.text) == ("warn", "5 more are not shown here")


async def test_a_command_for_users_knows_who_asks(tmp_path: Path) -> None:
    """At once, without a form; for accounts of the host only."""
    async with two_hosts(tmp_path, (Showcase,)) as hosts:
        romeo, abroad = await hosts.log_in(f"romeo@{A}"), await hosts.log_in("romeo@b.example")
        answer = await run(romeo, "urn:example:ask")
        form = Form.find(payload(answer))
        assert form is not None
        assert (status(answer), form.form_type) == ("completed", "urn:example:answer")
        assert (form["uri"], form["domain"]) == (f"xmpp:romeo@{A}?roster;preauth=1", A)
        assert status(await run(abroad, "urn:example:ask")) == "forbidden"
        assert status(await run(romeo, "xmppchat#everything")) == "forbidden"
        assert (await hosts.execute("ask"))["uri"] == "xmpp:command line?roster;preauth=1"
