"""In-band registration (XEP-0077): closed by default, budgets where it is open, changes by the owner only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from xmppchat.core.callers import Caller
from xmppchat.core.limits import Limits
from xmppchat.core.services import InvitationService
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import NotAllowed
from xmppchat.testing.memory import MemoryClient, MemoryDriver
from xmppchat.testing.wire_client import ClientFailure

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        driver = MemoryDriver(tmp_path, **options)
        drivers.append(driver)
        await driver.start()
        return driver

    yield start
    for driver in drivers:
        await driver.stop()


async def connected(driver: MemoryDriver, address: str = "192.0.2.1") -> MemoryClient:
    client = MemoryClient(driver.domain, driver.server.connections.new())
    client.transport.address = address
    await client.open()
    return client


def condition(answer: Element) -> str:
    """The condition of an error answer, "" for a result."""
    error = answer.find("error")
    return next(error.elements()).name if error is not None else ""


async def make(client: MemoryClient, name: str, password: str = "top secret") -> str:
    answer = await client.request("set", (
        f"<query xmlns='jabber:iq:register'><username>{name}</username><password>{password}</password></query>"
    ))
    return condition(answer)


async def test_closed_by_default(start: Start) -> None:
    driver = await start()
    client = MemoryClient(driver.domain, driver.server.connections.new())
    features = await client.open()
    assert features.find("register", "http://jabber.org/features/iq-register") is None
    assert await make(client, "romeo") == "not-allowed"
    assert condition(await client.request("get", "<query xmlns='jabber:iq:register'/>")) == "not-allowed"


async def test_open_makes_an_account_once(start: Start) -> None:
    driver = await start(register={"mode": "open"})
    client = MemoryClient(driver.domain, driver.server.connections.new())
    features = await client.open()
    assert features.find("register", "http://jabber.org/features/iq-register") is not None
    assert await make(client, "romeo") == ""
    assert await make(client, "ROMEO") == "conflict", "two spellings, one account"
    await client.log_in("romeo", "top secret", "x")


@pytest.mark.parametrize(("name", "password", "expected"), [
    ("", "top secret", "not-acceptable"),
    ("romeo", "", "not-acceptable"),
    ("romeo@elsewhere.example", "top secret", "jid-malformed"),
    ("romeo/x", "top secret", "jid-malformed"),
    ("ro meo", "top secret", "jid-malformed"),
    ("romeo", "short", "not-acceptable"),
    ("romeo", "\u0007bell bell".replace("\u0007", "&#x7f;"), "not-acceptable"),
])
async def test_what_cannot_be(start: Start, name: str, password: str, expected: str) -> None:
    driver = await start(register={"mode": "open"})
    assert await make(await connected(driver), name, password) == expected


async def test_a_network_has_a_budget(start: Start) -> None:
    """reliability.md V-40, limit 13: two an hour and five a day for each network."""
    driver = await start(register={"mode": "open"}, limits=Limits())
    made = 0
    for number in range(100):
        client = await connected(driver, f"192.0.2.{number + 1}")
        made += await make(client, f"spam{number}") == ""
    assert made == 2
    assert await make(await connected(driver, "198.51.100.1"), "honest") == "", "other networks have their own"
    for hour in range(12):
        driver.clock.advance(3600)
        made += await make(await connected(driver), f"later{hour}") == ""
    assert made <= 8, "five at once would be a day's; what trickles in over half a day is 2.5 more"


async def test_attempts_that_make_nothing_spend_nothing_and_end_too(start: Start) -> None:
    driver = await start(register={"mode": "open"}, limits=Limits())
    await driver.create_account("romeo", "secret")
    answers = [await make(await connected(driver), "romeo") for _ in range(25)]
    assert answers[:20] == ["conflict"] * 20
    assert answers[20:] == ["resource-constraint"] * 5
    driver.clock.advance(3600)
    assert await make(await connected(driver), "juliet") == ""


async def test_look_alikes_do_not_tell_who_is_here_either(start: Start) -> None:
    """V-17: to ask for a name that looks like another is an attempt."""
    driver = await start(register={"mode": "open"}, limits=Limits())
    await driver.create_account("coco", "secret")
    answers = [await make(await connected(driver), "\u0441\u043e\u0441\u043e") for _ in range(25)]
    assert answers == ["conflict"] * 20 + ["resource-constraint"] * 5
    assert driver.server.kernel.limit_counters.counts["registration_attempts"] == 5


@pytest.mark.parametrize(("bounds", "expected"), [
    ({"registrations_per_day": 0}, [2, 4, 6, 8, 10]),
    ({"registrations_per_hour": 0}, [5, 5, 5, 5, 6]),
    ({"registrations_per_hour": 0, "registrations_per_day": 0}, [9, 18, 27, 36, 45]),
])
async def test_each_bound_can_be_off(start: Start, bounds: dict[str, int], expected: list[int]) -> None:
    """What is made by the end of four hours in which nine try, and of the hour that comes five hours later."""
    driver = await start(register={"mode": "open"}, limits=Limits(**bounds, connections_per_address=0))
    made = []
    for name, later in (("a", 3600), ("b", 3600), ("c", 3600), ("d", 18_000), ("e", 0)):
        made.append(sum([await make(await connected(driver), f"{name}{n}") == "" for n in range(9)]))
        driver.clock.advance(later)
    assert list(accumulate(made)) == expected


async def test_a_new_bound_holds_for_who_came_before(start: Start) -> None:
    driver = await start(register={"mode": "open"}, limits=Limits())
    assert [await make(await connected(driver), f"a{n}") for n in range(3)] == ["", "", "resource-constraint"]
    kernel = driver.server.kernel
    kernel.reconfigure(replace(driver.server.config, limits=Limits(registrations_per_hour=3)))
    assert [await make(await connected(driver), f"b{n}") == "" for n in range(4)] == [True] * 3 + [False]


async def test_networks_can_be_exempt(start: Start) -> None:
    register = {"mode": "open", "unlimited_networks": ["192.0.2.0/24"]}
    driver = await start(register=register, limits=Limits())
    assert [await make(await connected(driver), f"staff{number}") for number in range(5)] == [""] * 5


@pytest.mark.parametrize(("taken", "name", "expected"), [
    ("paypal", "р\u0430yp\u0430l", "not-acceptable"),  # two scripts
    ("coco", "\u0441\u043e\u0441\u043e", "conflict"),  # all Cyrillic, and looks the same
    ("julıet", "juliet", "conflict"),  # dotless i: whoever came second
    ("bill", "bi11", ""),
    ("muller", "müller", ""),
    ("romeo", "ромео", ""),
    ("tanaka", "田中ひろ", ""),
])
async def test_names_that_look_like_others(start: Start, taken: str, name: str, expected: str) -> None:
    driver = await start(register={"mode": "open"})
    await driver.create_account(taken, "secret")
    assert await make(await connected(driver), name) == expected


async def test_the_admin_is_told_of_look_alikes(start: Start) -> None:
    driver = await start()
    await driver.create_account("coco", "secret")
    added = await driver.server.execute("user add", {"jid": "сосо@chat.example", "password": "secret"})
    assert "looks like coco" in added["note"]  # type: ignore[index]


async def test_a_password_is_changed_by_its_owner(start: Start) -> None:
    driver = await start()
    await driver.create_account("romeo", "old")
    client = await connected(driver)
    await client.log_in("romeo", "old", "x")
    assert await make(client, "romeo", "new") == "not-acceptable", "too short"
    assert await make(client, "romeo", "new secret") == ""
    assert await make(client, "juliet", "new secret") == "not-allowed"
    with pytest.raises(ClientFailure):
        await (await connected(driver)).log_in("romeo", "old", "y")
    await (await connected(driver)).log_in("romeo", "new secret", "y")


async def test_an_account_is_removed_by_its_owner(start: Start) -> None:
    driver = await start()
    for name in ("romeo", "juliet"):
        await driver.create_account(name, "secret")
    client = await connected(driver)
    await client.log_in("romeo", "secret", "x")
    answer = await client.request("set", "<query xmlns='jabber:iq:register'><remove/></query>")
    assert answer.get("type") == "result"
    await client.until_closed()
    with pytest.raises(ClientFailure):
        await (await connected(driver)).log_in("romeo", "secret", "x")
    await (await connected(driver)).log_in("juliet", "secret", "x")
    rows = await driver.server.execute("user list", {})
    assert [row["account"] for row in rows] == ["juliet@chat.example"]  # type: ignore[attr-defined]


async def test_what_is_registered_and_removed_is_logged(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Who, from where and by whose invitation; nothing of the password."""
    driver = await start(register={"mode": "open"})
    await driver.create_account("romeo", "secret")
    assert await make(await connected(driver, "192.0.2.7"), "nurse") == ""
    assert await make(await invited(driver, contact="romeo@chat.example"), "juliet") == ""
    assert await make(await connected(driver, "192.0.2.7"), "nurse") == "conflict"
    client = await connected(driver)
    await client.log_in("nurse", "top secret", "x")
    await client.request("set", "<query xmlns='jabber:iq:register'><remove/></query>")
    await driver.settle([])
    output = capsys.readouterr().out
    lines = [line.partition("]")[2].split() for line in output.splitlines() if "account re" in line]
    assert [" ".join(sorted(line)) for line in lines] == [
        "account account=nurse@chat.example invited_by= peer=192.0.2.7 registered",
        "account account=juliet@chat.example invited_by=romeo@chat.example peer=192.0.2.1 registered",
        "account account=nurse@chat.example by its owner removed",
    ]
    assert "top secret" not in output


async def test_the_admin_is_told_of_mixed_scripts(start: Start) -> None:
    driver = await start()
    added = await driver.server.execute("user add", {"jid": "раypal@chat.example", "password": "secret"})
    assert "several scripts" in added["note"]  # type: ignore[index]


# --- names that the configuration makes admins of ------------------------------------------------------------------

ADMIN, OTHER = "capulet@chat.example", "montague@chat.example"
ADMINS = {"chat.example": (ADMIN, OTHER)}


async def showing(driver: MemoryDriver, token: str) -> MemoryClient:
    """A client that has shown an invitation."""
    client = await connected(driver)
    shown = await client.request("set", f"<preauth xmlns='urn:xmpp:pars:0' token='{token}'/>")
    assert condition(shown) == ""
    return client


async def invited(driver: MemoryDriver, **arguments: object) -> MemoryClient:
    """A client that has shown a new invitation of the command line."""
    answer: Any = await driver.server.execute("invite", arguments)
    return await showing(driver, str(answer["uri"]).partition("preauth=")[2].partition(";")[0])


@pytest.mark.parametrize("is_used", [False, True])
async def test_nobody_takes_the_address_of_an_admin(start: Start, is_used: bool) -> None:
    """V-30: neither before it has an account nor after it had one; and the answer is that of a name that is taken."""
    driver = await start(register={"mode": "open"}, admins=ADMINS)
    await driver.create_account("romeo", "secret")
    local = ADMIN.partition("@")[0]
    if is_used:
        await driver.create_account(local, "secret")
        await driver.server.execute("user delete", {"jid": ADMIN})
        await driver.server.execute("user forget", {"jid": ADMIN})
    query = "<query xmlns='jabber:iq:register'><username>{}</username><password>top secret</password></query>"
    answers = [await (await connected(driver)).request("set", query.format(name)) for name in (local, "romeo")]
    assert len({next(answer.elements()).to_xml() for answer in answers}) == 1
    for client in (await invited(driver), await invited(driver, contact="romeo@chat.example")):
        assert await make(client, local) == "conflict"
        assert await make(client, local.upper()) == "conflict"
    assert await make(await connected(driver), local.replace("a", "\u00e4", 1)) == "", "another name"


async def test_an_invitation_of_the_operator_may_name_an_admin(start: Start) -> None:
    driver = await start(register={"mode": "invite"}, admins=ADMINS)
    local = ADMIN.partition("@")[0]
    assert await make(await invited(driver, user=local), local) == ""


async def test_who_looks_like_an_admin_is_refused(start: Start) -> None:
    driver = await start(register={"mode": "open"}, admins={"chat.example": ["coco@chat.example"]})
    assert await make(await connected(driver), "\u0441\u043e\u0441\u043e") == "conflict"


async def test_an_admin_invites_no_other_admin(start: Start) -> None:
    """Only who has the machine makes admins: an invitation by an ad-hoc command names none, and keeps no such name."""
    driver = await start(register={"mode": "invite"}, admins=ADMINS)
    await driver.create_account(ADMIN.partition("@")[0], "secret")
    account = await driver.server.kernel.directory.get(JID.parse(ADMIN))
    caller = Caller(ADMIN, frozenset({"chat.example"}), account, "chat.example", is_operator=True)
    component: Any = driver.server.kernel.services.get(InvitationService)
    for with_contact in (False, True):
        with pytest.raises(NotAllowed, match="xmppchat invite --user"):
            await component.invite_to_account(caller, OTHER.partition("@")[0], with_contact)
    assert not await component.is_reserved(JID.parse(OTHER))
    assert await component.invite_to_account(caller, "romeo")
