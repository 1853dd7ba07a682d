"""What becomes of notifications: errors, pauses, endings, and how people see them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from push_support import (
    APP,
    JULIET,
    OTHER_APP,
    SECRET,
    Answer,
    AppServer,
    account,
    command,
    component,
    enable,
    error,
    gone,
    registrations,
    silence,
)
from stream_management_support import log_in, message

from xmppchat.components.push import publisher
from xmppchat.components.push.registrations import REGISTRATIONS
from xmppchat.core.commands import CommandError
from xmppchat.core.iq import ANSWER_SECONDS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

PROPOSE = f"<message to='{JULIET}' type='chat'><propose xmlns='urn:xmpp:jingle-message:0' id='c'/></message>"
#: A capability, and how much of it may be shown.
NODE = "node-1-of-juliets-phone"
SHOWN = "node"


@pytest.fixture
async def driver(tmp_path: Path) -> AsyncIterator[MemoryDriver]:
    driver = MemoryDriver(tmp_path, external_components={APP: SECRET, OTHER_APP: SECRET})
    await driver.start()
    yield driver
    await driver.stop()


@pytest.fixture
async def app(driver: MemoryDriver) -> AppServer:
    server = AppServer(driver)
    await driver.settle([])
    return server


@pytest.fixture
async def romeo(driver: MemoryDriver, app: AppServer) -> MemoryClient:
    """Romeo, and Juliet's phone, which is closed and wants to be woken."""
    phone, _ = await log_in(driver, "juliet", resume=False)
    await enable(phone, NODE)
    await phone.close()
    client, _ = await log_in(driver, "romeo", resume=False)
    client.answers_requests = True
    return client


async def say(driver: MemoryDriver, client: MemoryClient, xml: str = "") -> None:
    client.write(xml or message(JULIET, "m"))
    await driver.settle([])


async def row(driver: MemoryDriver) -> dict[str, Any]:
    """What `push status` tells of the only registration."""
    [shown] = await command(driver, "push status", jid=JULIET)
    assert NODE not in str(shown)
    assert shown["node"].startswith(SHOWN)
    return dict(shown)


async def again(driver: MemoryDriver) -> None:
    """Juliet's app is opened: it enables it anew, and is closed."""
    phone, _ = await log_in(driver, "juliet", resume=False, is_new=False)
    await enable(phone, NODE)
    await phone.close()
    await driver.settle([])


# --- errors -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("condition", ["item-not-found", "not-allowed", "forbidden", "gone"])
async def test_what_will_not_pass_ends_it_at_once(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient, condition: str
) -> None:
    app.answer = error(condition)
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    shown = await row(driver)
    assert shown["state"] == "off since 2001-09-09T01:46:41.000Z: refused"
    assert shown["last error"] == f"{condition} at 2001-09-09T01:46:41.000Z"
    await say(driver, romeo)
    await say(driver, romeo, PROPOSE)
    assert await app.nodes(90_000) == [], "not after a day either"
    app.answer = lambda request: ""
    await again(driver)
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    assert (await row(driver))["state"] == "on"


@pytest.mark.parametrize(("answer", "told"), [
    (error("item-not-found", "wait"), "item-not-found"),
    (error("resource-constraint", "wait"), "resource-constraint"),
    (error("internal-server-error"), "internal-server-error"),
    (error("nonsense"), "undefined-condition"),
    (lambda request: "<error/>", "undefined-condition"),
    (silence, "no-answer"),
])  # fmt: skip
async def test_what_may_pass_is_tried_again_ever_more_seldom(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient, answer: Answer, told: str
) -> None:
    app.answer = answer
    await say(driver, romeo)
    tries: list[float] = []
    for _ in range(100):
        tries += [driver.clock.monotonic()] * len(await app.nodes(30))
        await say(driver, romeo)
    pauses = [after - before for before, after in itertools.pairwise(tries)]
    extra = ANSWER_SECONDS if told == "no-answer" else 0
    for number, pause in enumerate(pauses):
        wanted = min(60 * 2**number, 3_600)
        assert 0.8 * wanted - 30 <= pause <= 1.2 * wanted + extra + 61, (number, pause)
    shown = await row(driver)
    assert shown["errors in a row"] == len(tries)
    assert shown["last error"].startswith(f"{told} at ")
    assert shown["state"] == "on"
    assert driver.server.kernel.counts.pushes == {told: len(tries)}


async def test_sixteen_failures_in_a_row_end_it_until_the_next_day(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    app.answer = error("internal-server-error")
    await say(driver, romeo)
    count = 0
    for _ in range(30):
        count += len(await app.nodes(4_400))
    assert count == 16
    assert driver.server.kernel.limit_counters.counts["push_errors"] == 1
    shown = await row(driver)
    assert "too many errors in a row" in shown["state"]
    assert shown["next try"] == "-"
    await say(driver, romeo)
    [registration] = await registrations(driver)
    registration.disabled_at = driver.clock.now()
    await say(driver, romeo)
    assert await app.nodes(5) == []
    await driver.advance(86_400)
    assert await app.nodes() == [], "nothing is to be told"
    await say(driver, romeo)
    assert await app.nodes(2) == [NODE], "a day later it is tried once"
    await say(driver, romeo)
    assert await app.nodes(5_000) == []
    await driver.advance(86_400)
    app.answer = lambda request: ""
    await say(driver, romeo)
    assert await app.nodes(2) == [NODE]
    shown = await row(driver)
    assert (shown["state"], shown["errors in a row"]) == ("on", 0)


async def test_a_success_forgets_the_errors(driver: MemoryDriver, app: AppServer, romeo: MemoryClient) -> None:
    app.answer = error("internal-server-error")
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    assert (await row(driver))["next try"] != "-"
    app.answer = lambda request: ""
    assert await app.nodes(80) == [NODE], "nobody has to say anything"
    shown = await row(driver)
    assert (shown["errors in a row"], shown["next try"]) == (0, "-")
    assert shown["last error"].startswith("internal-server-error"), "what it was can still be seen"
    assert await app.nodes(10_000) == []


async def test_a_call_does_not_wait_for_the_pause_and_takes_along_what_does(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    app.answer = error("internal-server-error")
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    app.answer = lambda request: ""
    await say(driver, romeo, PROPOSE)
    assert await app.nodes() == [NODE]
    assert await app.nodes(10_000) == []


async def test_who_is_back_needs_no_second_try(driver: MemoryDriver, app: AppServer, romeo: MemoryClient) -> None:
    app.answer = error("internal-server-error")
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    await log_in(driver, "juliet", resume=False, is_new=False)
    assert await app.nodes(10_000) == []


async def test_enabled_anew_it_is_not_judged_by_what_was_before(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    app.answer = silence
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    [old] = app.seen
    await driver.advance(1)
    await again(driver)
    app.component.write(
        f"<iq type='error' id='{old.get('id')}' from='{APP}' to='chat.example'><error type='cancel'>"
        "<item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
    )
    await driver.settle([])
    assert (await row(driver))["state"] == "on"
    app.answer = lambda request: ""
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE], "and is not in the pause of before"


async def test_nobody_else_answers_for_an_app_server(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    other = AppServer(driver, OTHER_APP)
    app.answer = silence
    await say(driver, romeo)
    assert await app.nodes(1) == [NODE]
    id = app.seen[0].get("id")
    for sender in (OTHER_APP, f"x@{OTHER_APP}"):
        other.component.write(f"<iq type='result' id='{id}' from='{sender}' to='chat.example'/>")
    app.component.write(f"<iq type='result' id='{id}' from='x@{APP}' to='chat.example'/>")
    romeo.write(f"<iq type='result' id='{id}' to='chat.example'/>")
    await driver.settle([])
    assert (await row(driver))["last success"] == "-"
    assert not other.component.has_ended


async def test_one_that_never_answers_has_one_at_a_time_and_a_call(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    app.answer = silence
    for _ in range(10):
        await say(driver, romeo)
        await app.nodes(1)
    assert len(app.seen) == 1
    for _ in range(4):
        await say(driver, romeo, PROPOSE)
        await app.nodes(1)
    assert len(app.seen) == 2
    app.answer = lambda request: ""
    assert await app.nodes(31) == []
    assert await app.nodes(200) == [NODE], "after the pause; what came meanwhile shares one"


async def test_an_app_server_that_is_not_there(driver: MemoryDriver, romeo: MemoryClient) -> None:
    phone, _ = await log_in(driver, "juliet", "x", resume=False, is_new=False)
    for number, address in enumerate(("push.nowhere.example", OTHER_APP, "romeo@chat.example/nobody")):
        await enable(phone, f"n{number}", app=address)
    await phone.close()
    await say(driver, romeo)
    await driver.advance(1)
    await driver.settle([])
    found = {str(one.app_server): one.error for one in await registrations(driver)}
    assert found == {
        APP: "", "push.nowhere.example": "remote-server-not-found", OTHER_APP: "remote-server-timeout",
        "romeo@chat.example/nobody": "service-unavailable",
    }


# --- too much of it ---------------------------------------------------------------------------------------------------

async def test_where_too_many_requests_are_open_it_is_nobodys_fault(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crowded:
        crowded.setattr("xmppchat.core.iq.MAX_OPEN", 0)
        await say(driver, romeo)
        assert await app.nodes(1) == []
        [told] = await command(driver, "push test", jid=JULIET)
        assert told["outcome"].startswith("postponed: ")
    assert (await row(driver))["errors in a row"] == 0
    assert await app.nodes(10) == [NODE]


async def test_too_many_on_their_way_wait(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as crowded:
        crowded.setattr(publisher, "MAX_UNDER_WAY", 0)
        await say(driver, romeo)
        assert await app.nodes(1) == []
    assert await app.nodes(10) == [NODE]
    monkeypatch.setattr(publisher, "MAX_DUE", 0)
    await say(driver, romeo)
    assert await app.nodes(100) == []
    assert driver.server.kernel.counts.pushes["dropped"] == 1


async def test_nothing_is_left_in_memory(driver: MemoryDriver, app: AppServer, romeo: MemoryClient) -> None:
    for _ in range(5):
        await say(driver, romeo)
        await say(driver, romeo, PROPOSE)
        await app.nodes(3)
    at_work = component(driver)._publisher
    assert (at_work._due, dict(at_work._under_way), at_work._open, at_work._again) == ({}, {}, 0, {})


async def test_a_message_does_not_wait_for_an_app_server(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    app.answer = silence
    laptop, _ = await log_in(driver, "juliet", "laptop", resume=False, is_new=False)
    laptop.inbox.clear()
    await say(driver, romeo)
    assert [one.name for one in laptop.inbox if one.name == "message"] == ["message"], "before the clock moves"


# --- for people -------------------------------------------------------------------------------------------------------

async def test_status_of_a_device_that_was_never_woken(driver: MemoryDriver, romeo: MemoryClient) -> None:
    assert await row(driver) == {
        "app server": APP, "node": f"node… ({len(NODE)})", "device": "phone", "listed as": "-", "state": "on",
        "connected": False, "enabled": "2001-09-09T01:46:40.000Z", "last push": "-", "last success": "-",
        "last error": "-", "errors in a row": 0, "next try": "-",
    }
    account(driver)[REGISTRATIONS].clear()
    assert await command(driver, "push status", jid=JULIET) == []
    with pytest.raises(CommandError, match="there is no account nobody@chat"):
        await command(driver, "push status", jid="nobody@chat.example")


async def test_the_test_says_what_the_app_server_said(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    async def test(answer: Answer) -> str:
        app.answer = answer
        running = driver.server.kernel.tasks.spawn(_keep(results, command(driver, "push test", jid=JULIET)), name="x")
        while not running.done():
            # Until the clock moves nothing else is: settle() would wait for this very task.
            await _rounds()
            for stanza in app.component.stanzas():
                inner = answer(stanza)
                if inner is None:
                    await driver.advance(31)
                else:
                    app.component.write(
                        f"<iq type='{'error' if inner else 'result'}' id='{stanza.get('id')}' from='{APP}' "
                        f"to='chat.example'>{inner}</iq>"
                    )
        [told] = results.pop()
        assert NODE not in str(told)
        return str(told["outcome"])

    results: list[Any] = []
    assert (await test(lambda request: "")).startswith("accepted by the app server after 0 ms")
    assert (await test(silence)).startswith("no-answer: ")
    assert (await test(error("undefined-condition"))) == "undefined-condition"
    assert (await row(driver))["errors in a row"] == 2
    assert (await test(error("forbidden"))).startswith("forbidden: ")
    assert "refused" in (await row(driver))["state"]
    assert (await test(lambda request: "")).startswith("accepted")
    assert (await row(driver))["state"] == "on", "what works is on"
    with pytest.raises(CommandError, match="no device of romeo@chat"):
        await command(driver, "push test", jid="romeo@chat.example")


async def _keep(results: list[Any], work: Any) -> None:
    results.append(await work)


async def _rounds() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_metrics(driver: MemoryDriver, app: AppServer, romeo: MemoryClient) -> None:
    await say(driver, romeo)
    await app.nodes(1)
    app.answer = error("forbidden")
    await say(driver, romeo)
    await app.nodes(1)
    assert driver.server.kernel.counts.pushes == {"published": 1, "forbidden": 1}


async def test_hibernating_sessions_use_the_same_budget(
    driver: MemoryDriver, app: AppServer, romeo: MemoryClient
) -> None:
    phone, _ = await log_in(driver, "juliet", is_new=False)
    await gone(driver, phone)
    for _ in range(30):
        await say(driver, romeo)
        await app.nodes(1)
    assert len(app.seen) == 25
