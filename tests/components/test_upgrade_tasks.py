"""Upgrade tasks on the wire (XEP-0480 §2, §3): who has only keys for SCRAM-SHA-1 logs in, and has all of them then."""

from __future__ import annotations

import base64
import hashlib

import pytest
from accounts_support import bring
from faults.oracle.scram import Scram
from test_accounts_upgrade import SHA_1, SHA_256, SHA_512, scram

from xmppchat.protocol.element import Element
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

PASSWORD = "wherefore"
BIND_2 = f"<bind xmlns='{NS.BIND_2}'/>"
DIGESTS = {SHA_256: "sha256", SHA_512: "sha512"}


async def said(client: MemoryClient) -> Element:
    """The next element of SASL2."""
    return await client.take(lambda element: element.namespace == NS.SASL_2)


async def prove(driver: MemoryDriver, *upgrades: str) -> tuple[MemoryClient, Element]:
    """Log in by SCRAM-SHA-1, offering `upgrades`; what comes behind the proof."""
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    exchange = Scram(SHA_1, "romeo", PASSWORD)
    wishes = "".join(f"<upgrade xmlns='{NS.SASL_UPGRADE}'>UPGR-{name}</upgrade>" for name in upgrades)
    client.write(
        f"<authenticate xmlns='{NS.SASL_2}' mechanism='{SHA_1}'>{wishes}"
        f"<initial-response>{base64.b64encode(exchange.first()).decode()}</initial-response>{BIND_2}</authenticate>"
    )
    final = exchange.final(base64.b64decode((await said(client)).text))
    client.write(f"<response xmlns='{NS.SASL_2}'>{base64.b64encode(final).decode()}</response>")
    answer = await said(client)
    exchange.verify(base64.b64decode(answer.child_text("additional-data") or ""))
    return client, answer


def task(answer: Element) -> str:
    assert answer.name == "continue", answer.to_xml()
    (name,) = [one.text for tasks in answer.elements() for one in tasks.elements()]
    return name


async def do(client: MemoryClient, name: str, password: str = PASSWORD) -> Element:
    """The task `name` as a client does it; the answer to it."""
    client.write(f"<next xmlns='{NS.SASL_2}' task='UPGR-{name}'/>")
    salt = (await said(client)).find("salt", NS.SCRAM_UPGRADE)
    assert salt is not None
    salted = hashlib.pbkdf2_hmac(
        DIGESTS[name], password.encode(), base64.b64decode(salt.text), int(salt.get("iterations"))
    )
    data = base64.b64encode(salted).decode()
    client.write(f"<task-data xmlns='{NS.SASL_2}'><hash xmlns='{NS.SCRAM_UPGRADE}'>{data}</hash></task-data>")
    return await said(client)


async def test_one_task_after_the_other_then_the_session(driver: MemoryDriver) -> None:
    await bring(driver, scram(PASSWORD, SHA_1))
    client, answer = await prove(driver, SHA_512, SHA_256, "SCRAM-SHA-7")
    assert task(answer) == f"UPGR-{SHA_512}"
    answer = await do(client, SHA_512)
    assert task(answer) == f"UPGR-{SHA_256}"
    answer = await do(client, SHA_256)
    assert answer.name == "success"
    assert answer.find("bound", NS.BIND_2) is not None
    _, answer = await prove(driver, SHA_512, SHA_256)
    assert answer.name == "success", "nothing is missing any more"


async def test_who_offers_nothing_is_asked_nothing(driver: MemoryDriver) -> None:
    await bring(driver, scram(PASSWORD, SHA_1))
    _, answer = await prove(driver)
    assert answer.name == "success"


@pytest.mark.parametrize("wrong", [
    f"<next xmlns='{NS.SASL_2}' task='UPGR-{SHA_256}'/>",
    f"<task-data xmlns='{NS.SASL_2}'><hash xmlns='{NS.SCRAM_UPGRADE}'>AAAA</hash></task-data>",
    f"<next xmlns='{NS.SASL_2}' task='UPGR-{SHA_512}'/><task-data xmlns='{NS.SASL_2}'>"
    f"<hash xmlns='{NS.SCRAM_UPGRADE}'>AAAA</hash></task-data>",
    f"<next xmlns='{NS.SASL_2}' task='UPGR-{SHA_512}'/><task-data xmlns='{NS.SASL_2}'/>",
    f"<next xmlns='{NS.SASL_2}' task='UPGR-{SHA_512}'/><next xmlns='{NS.SASL_2}' task='UPGR-{SHA_512}'/>",
    f"<abort xmlns='{NS.SASL_2}'/>",
], ids=["another task", "not begun", "too short", "empty", "begun twice", "given up"])  # fmt: skip
async def test_a_task_that_fails_lets_nobody_in_and_changes_nothing(driver: MemoryDriver, wrong: str) -> None:
    await bring(driver, scram(PASSWORD, SHA_1))
    client, _ = await prove(driver, SHA_512)
    client.write(wrong)
    answer = await client.take(lambda element: element.is_named("failure", NS.SASL_2))
    assert next(answer.elements()).name in {"malformed-request", "aborted"}
    client.write(f"<iq type='set' id='b'><bind xmlns='{NS.BIND}'/></iq>")
    await client.until_closed()
    _, answer = await prove(driver, SHA_512)
    assert task(answer) == f"UPGR-{SHA_512}"
