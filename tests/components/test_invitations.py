"""Invitations (XEP-0401, XEP-0445): good as often as they say, the same answer for all that are not good."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from xmppchat.components.register.component import RegisterConfig
from xmppchat.core.commands import CommandError
from xmppchat.core.limits import Limits
from xmppchat.core.services import InvitationService, RegistrationService
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import Conflict, NotAllowed, ResourceConstraint
from xmppchat.storage import schema
from xmppchat.testing.memory import MemoryClient, MemoryDriver

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
DAY = 86_400


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(mode: str = "invite", **options: Any) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, storage_url=storage_url, register={"mode": mode}, **options)
        drivers.append(driver)
        await driver.start()
        return driver

    yield start
    for driver in drivers:
        await driver.stop()


async def invite(driver: MemoryDriver, **arguments: object) -> str:
    """A new invitation's token."""
    answer: Any = await driver.server.execute("invite", arguments)
    return str(answer["uri"]).partition("preauth=")[2].partition(";")[0]


async def connected(driver: MemoryDriver, address: str = "192.0.2.1") -> MemoryClient:
    client = MemoryClient(driver.domain, driver.server.connections.new())
    client.transport.address = address
    await client.open()
    return client


def condition(answer: Element) -> str:
    error = answer.find("error")
    return next(error.elements()).name if error is not None else ""


async def show(client: MemoryClient, token: str) -> str:
    return condition(await client.request("set", f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>"))


async def make(client: MemoryClient, name: str) -> str:
    query = f"<username>{name}</username><password>top secret</password>"
    return condition(await client.request("set", f"<query xmlns='jabber:iq:register'>{query}</query>"))


async def names(driver: MemoryDriver) -> list[str]:
    return [row.localpart for row in await driver.server.database.fetch(select(schema.accounts))]


# --- accounts ---------------------------------------------------------------------------------------------------------

async def test_an_invitation_makes_one_account(start: Start) -> None:
    driver = await start()
    token = await invite(driver)
    client = await connected(driver)
    assert await make(client, "romeo") == "not-allowed", "without an invitation"
    assert await show(client, token) == ""
    assert await make(client, "romeo") == ""
    assert await make(client, "mercutio") == "not-allowed", "one account, on this connection too"
    await client.log_in("romeo", "top secret", "x")
    assert await show(await connected(driver), token) == "item-not-found"
    assert await names(driver) == ["romeo"]


@pytest.mark.parametrize(("mode", "by_token"), [("closed", False), ("invite", True), ("open", True)])
async def test_what_is_announced(start: Start, mode: str, by_token: bool) -> None:
    driver = await start(mode)
    features = await MemoryClient(driver.domain, driver.server.connections.new()).open()
    assert (features.find("register", "urn:xmpp:ibr-token:0") is not None) is by_token
    assert (features.find("register", "http://jabber.org/features/iq-register") is not None) is by_token


async def test_a_closed_server_takes_no_token(start: Start) -> None:
    driver = await start()
    token = await invite(driver)
    await driver.stop()
    await driver.start()
    assert await show(await connected(driver), token) == "", "invitations survive a restart"
    driver.server.kernel.services.get(RegistrationService).config = RegisterConfig(mode="closed")  # type: ignore[attr-defined]
    assert await show(await connected(driver), token) == "item-not-found"
    with pytest.raises(CommandError, match="registration is closed"):
        await invite(driver)


async def test_a_failed_registration_uses_nothing_up(start: Start) -> None:
    driver = await start()
    await driver.create_account("juliet", "secret")
    client, token = await connected(driver), await invite(driver)
    await show(client, token)
    assert await make(client, "juliet") == "conflict"
    assert await make(client, "") == "not-acceptable"
    assert await make(client, "romeo") == ""


async def test_who_shows_a_token_in_time_may_take_time(start: Start) -> None:
    """XEP-0445 §5: expiration MUST only be checked when the token is shown."""
    driver = await start()
    client, token = await connected(driver), await invite(driver, days=1)
    await show(client, token)
    driver.clock._seconds += DAY + 1  # without the deadlines of the connection
    assert await show(await connected(driver), token) == "item-not-found"
    assert await make(client, "romeo") == ""


@pytest.mark.parametrize("parallel", ["clients", "requests of one client"])
async def test_fifty_at_once_make_one_account(start: Start, parallel: str) -> None:
    driver = await start()
    token = await invite(driver)
    if parallel == "clients":
        clients = [await connected(driver, f"192.0.2.{n}") for n in range(50)]
        assert await asyncio.gather(*[show(client, token) for client in clients]) == [""] * 50
        made = await asyncio.gather(*[make(client, f"user{n}") for n, client in enumerate(clients)])
        assert made.count("") == 1, made
    else:
        client = await connected(driver)
        await show(client, token)
        query = "<query xmlns='jabber:iq:register'><username>u{0}</username><password>top secret</password></query>"
        for n in range(50):
            client.write(f"<iq type='set' id='n{n}'>{query.format(n)}</iq>")
        await driver.settle([client])
    assert len(await names(driver)) == 1


async def test_the_database_itself_keeps_a_use_from_being_doubled(start: Start) -> None:
    """Also where two workers think at once that a use is left: the number of a use is taken only once."""
    driver = await start()
    kernel = driver.server.kernel
    component: Any = kernel.services.get(InvitationService)
    invitation = await component.find(await invite(driver), driver.domain, "192.0.2.0/24")
    failures: list[object] = []
    turns = [kernel.new_turn(), kernel.new_turn()]
    for turn in turns:
        turn.on_failure = failures.append
    async with component.redemption(invitation, JID.parse("romeo@chat.example"), turns[0]):
        component._taken.clear()  # as another worker, which does not know of the first
        async with component.redemption(invitation, JID.parse("juliet@chat.example"), turns[1]):
            for turn in turns:
                turn.commit()
            await kernel.gate.drained()
    assert [type(failure) for failure in failures] == [Conflict]
    assert len(await driver.server.database.fetch(select(schema.invitation_uses))) == 1


async def test_several_uses(start: Start) -> None:
    driver = await start()
    token = await invite(driver, uses=3)
    made = []
    for n in range(5):
        client = await connected(driver, f"192.0.2.{n}")
        await show(client, token)
        made.append(await make(client, f"user{n}"))
    assert made == ["", "", "", "not-allowed", "not-allowed"]


async def test_a_name_can_be_given_and_is_kept(start: Start) -> None:
    driver = await start("open")
    token = await invite(driver, user="Romeo")
    assert await make(await connected(driver), "romeo") == "conflict", "XEP-0445 §5: the server MUST reserve it"
    client = await connected(driver)
    await show(client, token)
    form = await client.request("get", "<query xmlns='jabber:iq:register'/>")
    query = form.payload if hasattr(form, "payload") else next(form.elements())
    assert query.child_text("username") == "romeo"
    assert await make(client, "tybalt") == "not-acceptable"
    assert await make(client, "romeo") == ""


async def test_no_answer_tells_why_a_token_is_not_good(start: Start) -> None:
    driver = await start()
    used, expired, revoked = await invite(driver), await invite(driver, days=1), await invite(driver, days=9)
    client = await connected(driver)
    await show(client, used)
    await make(client, "romeo")
    listed: Any = await driver.server.execute("invitations", {})
    await driver.server.execute("revoke", {"id": max(listed, key=lambda row: row["until"])["id"]})
    driver.clock._seconds += 2 * DAY
    answers = set()
    for token in (used, expired, revoked, "unknown", "", "x" * 1_000):
        answer = await (await connected(driver)).request("set", f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>")
        error = answer.find("error")
        assert error is not None
        answers.add(error.to_xml())
    assert len(answers) == 1
    assert condition(answer) == "item-not-found"


async def test_guessing_ends(start: Start) -> None:
    driver = await start(limits=Limits())
    token = await invite(driver)
    for n in range(10):
        assert await show(await connected(driver), f"guess{n}") == "item-not-found"
    assert await show(await connected(driver), token) == "item-not-found", "this network has guessed enough"
    assert await show(await connected(driver, "198.51.100.1"), token) == ""
    assert driver.server.kernel.limit_counters.counts["invitation_guesses"] == 1


async def test_who_is_invited_does_not_go_through_all_names(start: Start) -> None:
    """V-17: attempts count with an invitation, too, and the accounts that others make from there do not."""
    driver = await start(limits=Limits(registrations_per_hour=1))
    token = await invite(driver)
    await driver.create_account("romeo", "secret")
    client = await connected(driver)
    await show(client, token)
    assert [await make(client, "romeo") for _ in range(12)] == ["conflict"] * 10 + ["resource-constraint"] * 2
    driver.clock.advance(3_600)
    for name in ("juliet", "nurse"):
        client = await connected(driver)
        await show(client, await invite(driver))
        assert await make(client, name) == ""


async def test_the_database_invites_nobody(start: Start) -> None:
    driver = await start()
    token = await invite(driver)
    (row,) = await driver.server.database.fetch(select(schema.invitations))
    assert token.encode() not in b"".join(str(value).encode() for value in row)
    assert len(token) >= 22


# --- contacts ---------------------------------------------------------------------------------------------------------

async def test_who_invites_and_who_is_invited_are_contacts(start: Start) -> None:
    driver = await start()
    await driver.create_account("romeo", "secret")
    answer: Any = await driver.server.execute("invite", {"contact": "romeo@chat.example"})
    assert answer["uri"].startswith("xmpp:romeo@chat.example?roster;preauth=")
    assert answer["uri"].endswith(";ibr=y")
    token = answer["uri"].partition("preauth=")[2].partition(";")[0]
    romeo = await connected(driver)
    await romeo.log_in("romeo", "secret", "x")
    await romeo.request("get", "<query xmlns='jabber:iq:roster'/>")
    romeo.write("<presence/>")
    await driver.settle([romeo])
    romeo.inbox.clear()
    juliet = await connected(driver)
    await show(juliet, token)
    assert await make(juliet, "juliet") == ""
    (push,) = [element for element in romeo.inbox if element.name == "iq"]
    item = next(next(push.elements()).elements())
    assert (item.get("jid"), item.get("subscription")) == ("juliet@chat.example", "both")
    await juliet.log_in("juliet", "top secret", "x")
    roster = await juliet.request("get", "<query xmlns='jabber:iq:roster'/>")
    (own,) = next(roster.elements()).elements()
    assert (own.get("jid"), own.get("subscription")) == ("romeo@chat.example", "both")
    juliet.write("<presence/>")
    await driver.settle([romeo, juliet])
    assert any(element.get("from") == "romeo@chat.example/x" for element in juliet.inbox if element.name == "presence")


async def roster(client: MemoryClient) -> dict[str, tuple[str, str]]:
    answer = await client.request("get", "<query xmlns='jabber:iq:roster'/>")
    return {item.get("jid"): (item.get("subscription"), item.get("ask")) for item in next(answer.elements()).elements()}


@pytest.mark.parametrize("is_approved", [True, False])
async def test_a_contact_who_was_invited_is_let_in(start: Start, is_approved: bool) -> None:
    """XEP-0379 §3.4: with the token of an invitation, and both ways where the invited has approved before."""
    driver = await start()
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    token = await invite(driver, contact="romeo@chat.example")
    romeo, juliet = await connected(driver), await connected(driver)
    for name, client in (("romeo", romeo), ("juliet", juliet)):
        await client.log_in(name, "secret", "x")
        await roster(client)
        client.write("<presence/>")
    if is_approved:
        juliet.write("<presence type='subscribed' to='romeo@chat.example'/>")
    preauth = f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>"
    juliet.write(f"<presence type='subscribe' to='romeo@chat.example'>{preauth}</presence>")
    await driver.settle([romeo, juliet])
    assert not [element for element in romeo.inbox if element.get("type") == "subscribe"], "nobody is asked"
    assert any(element.get("from") == "romeo@chat.example/x" for element in juliet.inbox), "she sees him"
    asked = [element for element in juliet.inbox if element.get("type") == "subscribe"]
    if is_approved:
        assert (await roster(romeo), await roster(juliet)) == (
            {"juliet@chat.example": ("both", "")}, {"romeo@chat.example": ("both", "")},
        )  # fmt: skip
        assert asked == []
    else:
        assert await roster(romeo) == {"juliet@chat.example": ("from", "subscribe")}
        assert len(asked) == 1


@pytest.mark.parametrize("token", ["unknown", "used", "another's", "an admin's"])
async def test_a_token_that_is_not_good_asks_as_without_one(start: Start, token: str) -> None:
    """XEP-0379 §4: it MUST ignore it and act as if no preauth token was contained."""
    driver = await start()
    for name in ("romeo", "juliet", "paris"):
        await driver.create_account(name, "secret")
    value = "unknown"
    if token == "another's":
        value = await invite(driver, contact="paris@chat.example")
    elif token == "an admin's":
        value = await invite(driver)
    elif token == "used":
        value = await invite(driver, contact="romeo@chat.example")
        client = await connected(driver)
        await show(client, value)
        await make(client, "mercutio")
    romeo, juliet = await connected(driver), await connected(driver)
    await romeo.log_in("romeo", "secret", "x")
    await juliet.log_in("juliet", "secret", "x")
    romeo.write("<presence/>")
    await driver.settle([romeo])
    preauth = f"<preauth xmlns='urn:xmpp:pars:0' token='{value}'/>"
    juliet.write(f"<presence type='subscribe' to='romeo@chat.example'>{preauth}</presence>")
    await driver.settle([romeo, juliet])
    assert len([element for element in romeo.inbox if element.get("type") == "subscribe"]) == 1
    assert await roster(juliet) == {"romeo@chat.example": ("none", "subscribe")}


async def test_quotas(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", open_invitations=2, invitations_per_day=3))
    await driver.create_account("romeo", "secret")
    component: Any = driver.server.kernel.services.get(InvitationService)

    async def one() -> None:
        await component.make("chat.example", creator="romeo@chat.example")

    await one()
    await one()
    with pytest.raises(NotAllowed):
        await one()
    driver.clock._seconds += 8 * DAY  # those have ended
    await one()
    await one()
    with pytest.raises(NotAllowed):
        await one()
    for row in await driver.server.execute("invitations", {}):  # type: ignore[attr-defined]
        await driver.server.execute("revoke", {"id": row["id"]})
    for _ in range(2):
        await one()
    await driver.create_account("juliet", "secret")
    await component.make("chat.example", creator="juliet@chat.example")


async def test_a_day_has_so_many(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", open_invitations=100, invitations_per_day=3))
    component: Any = driver.server.kernel.services.get(InvitationService)
    for _ in range(3):
        await component.make("chat.example", creator="romeo@chat.example")
    with pytest.raises(ResourceConstraint):
        await component.make("chat.example", creator="romeo@chat.example")
    driver.clock._seconds += DAY + 1
    await component.make("chat.example", creator="romeo@chat.example")


# --- commands ---------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("arguments", [
    {"host": "elsewhere.example"}, {"uses": 0}, {"days": 366}, {"user": "a b"}, {"contact": "nobody@chat.example"},
    {"user": "romeo", "uses": 2}, {"contact": "chat.example"},
])
async def test_nonsense_is_refused(start: Start, arguments: dict[str, object]) -> None:
    driver = await start()
    with pytest.raises(CommandError):
        await driver.server.execute("invite", arguments)
    assert await driver.server.execute("invitations", {}) == []


async def test_landing_page_and_end(start: Start) -> None:
    driver = await start(invitations={"landing_page": "https://chat.example/invite/#", "days": 2})
    answer: Any = await driver.server.execute("invite", {"user": "ro+meo"})
    token = answer["uri"].partition("preauth=")[2]
    assert answer["uri"] == f"xmpp:ro%2Bmeo@chat.example?register;preauth={token}"
    assert answer["landing-url"] == f"https://chat.example/invite/#{token}"
    assert answer["expire"] == "2001-09-11T01:46:40.000Z"


async def test_old_ones_are_forgotten(start: Start) -> None:
    driver = await start()
    await invite(driver)
    component: Any = driver.server.kernel.services.get(InvitationService)
    driver.clock._seconds += 20 * DAY
    await component.clean()
    assert len(await driver.server.execute("invitations", {})) == 1  # type: ignore[arg-type]
    driver.clock._seconds += 20 * DAY
    await component.clean()
    await driver.settle([])
    assert await driver.server.execute("invitations", {}) == []
