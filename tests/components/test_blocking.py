"""Blocking (XEP-0191) and reports (XEP-0377): what outlives a restart, what is bounded, what nobody can tell."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from xmppchat.components.blocking import blocklist
from xmppchat.core.commands import CommandError
from xmppchat.core.limits import Limits
from xmppchat.core.services import AccountService, BlockingService, RosterItem, RosterService
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.stanza import Stanza
from xmppchat.testing.memory import MemoryClient, MemoryDriver, settle

Start = Callable[..., Coroutine[Any, Any, MemoryDriver]]
JULIET = JID.parse("juliet@chat.example")


@pytest.fixture
async def start(tmp_path: Path, storage_url: str) -> AsyncIterator[Start]:
    drivers: list[MemoryDriver] = []

    async def start(**options: Any) -> MemoryDriver:
        for driver in drivers:
            await driver.stop()
        drivers[:] = [MemoryDriver(tmp_path, storage_url=storage_url, **options)]
        await drivers[0].start()
        return drivers[0]

    yield start
    for driver in drivers:
        await driver.stop()


async def client(driver: MemoryDriver, name: str, *, is_new: bool = True, resource: str = "x") -> MemoryClient:
    if is_new:
        await driver.create_account(name, "secret")
    made = await driver.connect()
    assert isinstance(made, MemoryClient)
    await made.log_in(name, "secret", resource)
    made.write("<presence/>")
    await settle(driver.server.kernel)
    made.inbox[:] = [element for element in made.inbox if element.get("from") != made.jid]
    return made


async def block(who: MemoryClient, *addresses: str, report: str = "") -> str:
    """Block; the condition of the error, "" for none."""
    items = "".join(f"<item jid='{address}'>{report}</item>" for address in addresses)
    return condition(await who.request("set", f"<block xmlns='urn:xmpp:blocking'>{items}</block>"))


def condition(answer: Element) -> str:
    error = answer.find("error")
    return next(error.elements()).name if error is not None else ""


async def blocked_by(who: MemoryClient) -> list[str]:
    answer = await who.request("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
    query = answer.find("blocklist", "urn:xmpp:blocking")
    assert query is not None
    return [item.get("jid") for item in query.elements()]


def report(said: str = "", reason: str = "urn:xmpp:reporting:spam", more: str = "") -> str:
    return f"<report xmlns='urn:xmpp:reporting:1' reason='{reason}'><text>{said}</text>{more}</report>"


async def reports(driver: MemoryDriver, **arguments: object) -> list[dict[str, Any]]:
    found: Any = await driver.server.execute("report list", arguments)
    return list(found)


async def test_a_list_and_its_reports_survive_a_restart(start: Start) -> None:
    driver = await start()
    juliet = await client(driver, "juliet")
    assert await block(juliet, "paris@chat.example", report=report("Never came trouble like this.")) == ""
    assert await block(juliet, "elsewhere.example", "tybalt@chat.example/sword") == ""
    await juliet.request("set", "<unblock xmlns='urn:xmpp:blocking'><item jid='elsewhere.example'/></unblock>")

    driver = await start()
    paris, juliet = await client(driver, "paris"), await client(driver, "juliet", is_new=False)
    assert await blocked_by(juliet) == ["paris@chat.example", "tybalt@chat.example/sword"]
    paris.write(f"<message to='{JULIET}' type='chat' id='m1'><body>Sweet love!</body></message>")
    await settle(driver.server.kernel)
    assert [condition(element) for element in paris.inbox] == ["service-unavailable"]
    [kept] = await reports(driver)
    assert (kept["reported"], kept["by"], kept["reason"]) == ("paris@chat.example", "juliet@chat.example", "spam")
    assert kept["text"] == "Never came trouble like this."


async def test_a_list_is_bounded(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", blocked_addresses=3))
    juliet = await client(driver, "juliet")
    assert await block(juliet, "a.example", "b.example") == ""
    assert await block(juliet, "c.example", "d.example") == "resource-constraint"
    assert await blocked_by(juliet) == ["a.example", "b.example"], "all of a request, or nothing"
    assert await block(juliet, "b.example", "c.example") == "", "who is blocked already takes up no room"
    assert driver.server.kernel.limit_counters.counts["blocked_addresses"] == 1


async def test_a_report_is_cut_to_size_and_a_faulty_one_is_left_out(start: Start) -> None:
    driver = await start()
    juliet = await client(driver, "juliet")
    ids = "".join(f"<stanza-id xmlns='urn:xmpp:sid:0' by='{JULIET}' id='s{number}'/>" for number in range(30))
    more = f"{ids}<report-origin/>"
    assert await block(juliet, "paris@chat.example", report=report("x" * 5_000, "y" * 500, more)) == ""
    assert await block(juliet, "tybalt@chat.example", report="<report xmlns='urn:xmpp:reporting:1'/>") == ""
    [kept] = await reports(driver)
    assert kept["text"] == "x" * 2_000
    assert kept["reason"] == "y" * 200
    assert kept["stanzas"].split(", ") == [f"s{number}" for number in range(20)]
    assert kept["may be forwarded to"] == "report-origin"
    assert await blocked_by(juliet) == ["paris@chat.example", "tybalt@chat.example"]


async def test_reports_have_a_budget_and_the_block_does_not(start: Start) -> None:
    driver = await start(limits=Limits(profile="test", abuse_reports_per_day=2))
    juliet, nurse = await client(driver, "juliet"), await client(driver, "nurse")
    for number in range(4):
        assert await block(juliet, f"spam{number}@elsewhere.example", report=report(str(number))) == ""
    assert [kept["text"] for kept in await reports(driver)] == ["1", "0"], "the newest first"
    assert len(await blocked_by(juliet)) == 4
    assert await block(nurse, "spam0@elsewhere.example", report=report("nurse")) == "", "each has a budget"
    driver.clock.advance(43_200)
    assert await block(juliet, "spam5@elsewhere.example", report=report("later")) == ""
    assert [kept["text"] for kept in await reports(driver, limit=2)] == ["later", "nurse"]


async def test_a_report_is_deleted_by_its_id(start: Start) -> None:
    driver = await start()
    juliet = await client(driver, "juliet")
    await block(juliet, "paris@chat.example", report=report("one"))
    await block(juliet, "tybalt@chat.example", report=report("two"))
    newest = (await reports(driver))[0]["id"]
    await driver.server.execute("report delete", {"report": newest})
    assert [kept["text"] for kept in await reports(driver)] == ["one"]
    with pytest.raises(CommandError, match="there is no report"):
        await driver.server.execute("report delete", {"report": newest})


async def test_a_deleted_account_leaves_no_list_and_no_name(start: Start) -> None:
    driver = await start()
    kernel = driver.server.kernel
    juliet = await client(driver, "juliet")
    await block(juliet, "paris@chat.example", report=report("one"))
    turn = kernel.new_turn()
    kernel.services.get(AccountService).delete(await kernel.directory.get(JULIET), turn)
    turn.commit()
    await settle(kernel)
    rows = await kernel.reader.fetch(text("SELECT count(*) AS rest FROM blocked"))
    assert rows[0].rest == 0
    [kept] = await reports(driver)
    assert kept["by"] == "(a deleted account)"


async def test_a_list_is_exported_as_the_privacy_list_it_stands_for(start: Start) -> None:
    """XEP-0227 has privacy lists; XEP-0191 §5 says which one a block list is."""
    driver = await start()
    kernel = driver.server.kernel
    juliet = await client(driver, "juliet")
    blocking: Any = kernel.services.get(BlockingService)
    account = await kernel.directory.get(JULIET)
    assert list(await blocking.export(account)) == []
    await block(juliet, "paris@chat.example", "elsewhere.example")
    [query] = await blocking.export(account)
    assert query.to_xml() == (
        "<query xmlns='jabber:iq:privacy'><default name='blocklist'/><list name='blocklist'>"
        "<item type='jid' value='elsewhere.example' action='deny' order='1'/>"
        "<item type='jid' value='paris@chat.example' action='deny' order='2'/></list></query>"
    )


#: The one thing in which the errors of two messages differ: the asker's archive keeps each under an id of its own.
_ID_IN_ARCHIVE = re.compile(r"(?<=chat\.example' )id='\d+'")
#: Stanzas by which somebody could find out about an account.
QUESTIONS = [
    *(f"<message to='{{to}}' type='{kind}' id='q'><body>?</body></message>"
      for kind in ("chat", "normal", "headline", "groupchat", "error")),
    "<message to='{to}' id='q'/>",
    *(f"<iq to='{{to}}' type='{kind}' id='q'>{payload}</iq>" for kind in ("get", "set") for payload in (
        "<query xmlns='http://jabber.org/protocol/disco#info'/>", "<query xmlns='jabber:iq:last'/>",
        "<vCard xmlns='vcard-temp'/>", "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'/>",
        "<blocklist xmlns='urn:xmpp:blocking'/>", "<query xmlns='jabber:iq:roster'/>", "<x xmlns='urn:nothing'/>",
    )),
    "<iq to='{to}' type='result' id='q'/>",
    *(f"<presence to='{{to}}' type='{kind}' id='q'/>" for kind in ("probe", "unsubscribe", "unsubscribed", "subscribed",
                                                                  "unavailable", "error")),
    "<presence to='{to}' id='q'/>",
    "<presence to='{to}' type='subscribe' id='q'/>",
]


@pytest.mark.parametrize("resource", ["", "/x", "/nothing"])
async def test_who_is_blocked_finds_what_he_finds_at_nobody(start: Start, resource: str) -> None:
    """reliability.md V-17: the same answers, letter by letter, as from a name that nobody has."""
    driver = await start()
    juliet, paris = await client(driver, "juliet"), await client(driver, "paris")
    assert await block(juliet, "paris@chat.example") == ""
    juliet.inbox.clear()
    for question in QUESTIONS:
        answers = []
        for name in ("juliet", "nobody"):
            paris.write(question.format(to=f"{name}@chat.example{resource}"))
            await settle(driver.server.kernel)
            texts = [element.to_xml().replace(f"{name}@", "?@") for element in paris.inbox]
            answers.append([_ID_IN_ARCHIVE.sub("id='?'", said) for said in texts])
            paris.inbox.clear()
        assert answers[0] == answers[1], question
    assert juliet.inbox == []


async def test_a_blocked_domain_and_its_users_elsewhere(start: Start) -> None:
    """XEP-0191 §5, for what comes from other servers: stanzas enter at the router, as they will from s2s."""
    driver = await start()
    kernel = driver.server.kernel
    juliet = await client(driver, "juliet")
    assert await block(juliet, "elsewhere.example", "rooms.example/service") == ""
    juliet.inbox.clear()
    for sender in (
        "elsewhere.example", "tybalt@elsewhere.example/x", "elsewhere.example/x", "rooms.example/service",
        "rooms.example", "rooms.example/other", "crypt@rooms.example/service", "sub.elsewhere.example",
    ):
        turn = kernel.new_turn()
        kernel.router.route(Stanza("message", from_=JID.parse(sender), to=JULIET, type="chat", id=sender), turn)
        turn.commit()
    await settle(kernel)
    assert [element.get("id") for element in juliet.inbox] == [
        "rooms.example", "rooms.example/other", "crypt@rooms.example/service", "sub.elsewhere.example",
    ]


async def test_what_waited_from_who_is_blocked_later_is_not_handed_out(start: Start) -> None:
    driver = await start()
    await driver.create_account("juliet", "secret")
    paris, nurse = await client(driver, "paris"), await client(driver, "nurse")
    for sender in (paris, nurse):
        sender.write(f"<message to='{JULIET}' type='chat' id='{sender.jid}'><body>?</body></message>")
        await settle(driver.server.kernel)
    juliet = await driver.connect()
    await juliet.log_in("juliet", "secret", "x")
    assert isinstance(juliet, MemoryClient)
    assert await block(juliet, "paris@chat.example") == ""
    for _ in range(2):
        juliet.write("<presence/>")
        await settle(driver.server.kernel)
    assert [element.get("id") for element in juliet.inbox if element.name == "message"] == [nurse.jid]


async def test_a_probe_tells_nothing_about_who_is_not_in_memory(start: Start) -> None:
    """XEP-0191 §3.3: a probe of the blocked is not answered, whether or not the blocker's list is at hand."""
    driver = await start()
    juliet, paris = await client(driver, "juliet"), await client(driver, "paris")
    paris.write(f"<presence to='{JULIET}' type='subscribe'/>")
    await settle(driver.server.kernel)
    juliet.write("<presence to='paris@chat.example' type='subscribed'/>")
    await settle(driver.server.kernel)
    assert await block(juliet, "paris@chat.example") == ""
    driver = await start()
    for _ in range(2):  # the second time the account is in memory, since it was written to
        paris = await client(driver, "paris", is_new=False)
        assert paris.inbox == []
        paris.write(f"<message to='{JULIET}' type='chat' id='m1'/>")
        await settle(driver.server.kernel)
        await paris.close()


async def test_a_blocked_contact_elsewhere_is_not_probed(start: Start) -> None:
    """XEP-0191 §3.3: nothing is routed to the JID. (What cannot be routed comes back: that shows the probe.)"""
    driver = await start()
    kernel = driver.server.kernel
    juliet = await client(driver, "juliet")
    account = await kernel.directory.get(JULIET)
    turn = kernel.new_turn()
    for name in ("tybalt", "mercutio"):
        item = RosterItem(JID.parse(f"{name}@elsewhere.example"), "to")
        kernel.services.get(RosterService).store(account, item, turn, push=False)
    turn.commit()
    assert await block(juliet, "tybalt@elsewhere.example") == ""
    later = await client(driver, "juliet", is_new=False, resource="later")
    bounced = [element.get("from") for element in later.inbox if element.get("type") == "error"]
    assert bounced == ["mercutio@elsewhere.example"]


async def test_a_list_that_came_from_elsewhere_keeps_no_device_from_another(start: Start) -> None:
    """XEP-0191 §5: MUST NOT block communications from one of a user's resources to another, whatever the list says."""
    driver = await start()
    kernel = driver.server.kernel
    juliet, paris = await client(driver, "juliet"), await client(driver, "paris")
    turn = kernel.new_turn()
    blocklist.add(await kernel.directory.get(JULIET), ["chat.example"], turn)
    turn.commit()
    later = await client(driver, "juliet", is_new=False, resource="later")
    later.write(f"<message to='{juliet.jid}' type='chat' id='own'/>")
    paris.write(f"<message to='{juliet.jid}' type='chat' id='other'/>")
    await settle(kernel)
    assert [element.get("id") for element in juliet.inbox if element.name == "message"] == ["own"]
