"""Every limit that stops somebody is counted by its name: each is provoked here, or where :data:`ELSEWHERE` says."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from stream_management_support import SM

from xmppchat.components.accounts import Accounts
from xmppchat.core.limits import COUNTED, Limits
from xmppchat.core.services import AccountService
from xmppchat.network.slow_peers import CROWDED
from xmppchat.network.transport import OVERFLOW, SLOW_HANDSHAKE
from xmppchat.protocol.errors import ResourceConstraint
from xmppchat.protocol.namespaces import NS
from xmppchat.testing.memory import MemoryClient, MemoryDriver

TESTS = Path(__file__).parents[1]
DOMAIN = "chat.example"
Provocation = Callable[[MemoryDriver], Awaitable[None]]

#: Limits that are provoked in other files, in which their names are compared with what was counted.
ELSEWHERE: dict[str, str] = {
    "hibernated_bytes": "components/test_waiting_sessions.py",
    **dict.fromkeys((
        "stanza_bytes", "stanza_elements", "stanza_depth", "element_attributes", "namespaces", "name_bytes",
        "attribute_bytes", "untrusted_stanza_bytes", "untrusted_elements", "untrusted_depth", "untrusted_attributes",
        "untrusted_total_bytes",
    ), "network/test_metrics.py"),
    **dict.fromkeys((
        "connections_per_address", "connections_per_network", "connections_in_all", "authenticated_per_address",
        "connection_rate",
    ), "network/test_admission.py"),
    **dict.fromkeys((
        "auth_failures_per_address", "auth_failures_per_account", "login_attempts",
    ), "network/test_login.py"),
    "invitation_guesses": "components/test_invitations.py",
    "registration_attempts": "components/test_register.py",
    "new_recipients_per_minute": "components/test_limits_of_accounts.py",
    "idle_seconds": "components/test_limits_of_accounts.py",
    "unacknowledged_stanzas": "components/test_stream_management.py",
    "archive_query_rate": "components/test_archive.py",
    "devices_per_account": "components/test_fast_tokens.py",
    **dict.fromkeys(("push_bytes", "push_devices"), "components/test_push_lifetime.py"),
    "push_errors": "components/test_push_outcomes.py",
    "pushes_per_hour": "components/test_push.py",
    "blocked_addresses": "components/test_blocking.py",
    **dict.fromkeys((
        "pubsub_payload_bytes", "pubsub_nodes", "pubsub_bytes", "pubsub_items", "pubsub_entities",
    ), "components/test_pubsub.py"),
    **dict.fromkeys((
        "pubsub_service_nodes", "pubsub_created_nodes", "pubsub_service_bytes", "pubsub_service_subscriptions",
    ), "components/test_pubsub_service.py"),
    **dict.fromkeys(("stored_xml_bytes", "private_xml_bytes", "private_xml_elements"),
                    "components/test_profile_storage.py"),
}  # fmt: skip


async def log_in(driver: MemoryDriver, name: str, resource: str = "x") -> MemoryClient:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    await client.log_in(name, "secret", resource)
    return client


async def write(driver: MemoryDriver, name: str, *stanzas: str) -> MemoryClient:
    """A new client of an account sends all at once."""
    client = await log_in(driver, name)
    client.write("".join(stanzas))
    await driver.settle([client])
    return client


def message(to: str, text: str = "Hi") -> str:
    return f"<message type='chat' to='{to}@{DOMAIN}'><body>{text}</body></message>"


def roster_set(item: str) -> str:
    return f"<iq type='set' id='r'><query xmlns='{NS.ROSTER}'>{item}</query></iq>"


def preferences(lists: str) -> str:
    """Nothing is archived, but of who is listed."""
    return f"<iq type='set' id='p'><prefs xmlns='urn:xmpp:mam:2' default='never'>{lists}</prefs></iq>"


async def stalls(driver: MemoryDriver) -> None:
    await driver.connect()
    await driver.advance(31)


async def is_slow(driver: MemoryDriver) -> None:
    client = await driver.connect()
    assert isinstance(client, MemoryClient)
    for _ in range(3):
        await driver.advance(25)
        if not client.is_closed:
            client.write("<iq type='get' id='x'><query xmlns='jabber:iq:register'/></iq>")
        await driver.settle([client])


async def too_many_sessions(driver: MemoryDriver) -> None:
    for number in range(2):
        client = await driver.connect()
        assert isinstance(client, MemoryClient)
        await client.authenticate("romeo", "secret")
        await client.request("set", f"<bind xmlns='{NS.BIND}'><resource>{number}</resource></bind>")


async def register(driver: MemoryDriver, count: int, network: str = "192.0.2.{}") -> None:
    for number in range(count):
        client = MemoryClient(DOMAIN, driver.server.connections.new())
        client.transport.address = network.format(number)
        await client.open()
        await client.request("set", (
            f"<query xmlns='jabber:iq:register'><username>n{number}</username><password>top secret</password></query>"
        ))


async def registers(driver: MemoryDriver) -> None:
    await register(driver, 2)


async def registers_from_everywhere(driver: MemoryDriver) -> None:
    await register(driver, 61, "198.51.{}.1")


async def invites(driver: MemoryDriver) -> None:
    await write(driver, "romeo", *(
        f"<iq type='set' id='i{n}' to='{DOMAIN}'><command xmlns='{NS.COMMANDS}' node='{NS.INVITE}#invite'/></iq>"
        for n in range(2)
    ))  # fmt: skip


async def guess(driver: MemoryDriver) -> None:
    for number in range(3):
        client = MemoryClient(DOMAIN, driver.server.connections.new())
        client.transport.address = f"2001:db8:1:{number}::1"
        await client.open()
        initial = base64.b64encode(f"\0user{number}\0wrong".encode()).decode()
        client.write(f"<auth xmlns='{NS.SASL}' mechanism='PLAIN'>{initial}</auth>")
        await driver.settle([client])


async def password_checks_without_end(driver: MemoryDriver) -> None:
    accounts: Any = driver.server.kernel.services.get(AccountService)
    assert isinstance(accounts, Accounts)

    async def check_password(*_: object) -> bool:
        raise ResourceConstraint("too many at once")

    accounts.check_password = check_password  # type: ignore[method-assign]
    await guess(driver)


async def subscribes(driver: MemoryDriver) -> None:
    for name in ("romeo", "nurse"):
        await write(driver, name, f"<presence type='subscribe' to='juliet@{DOMAIN}'/>")


async def has_no_room(driver: MemoryDriver) -> None:
    await write(driver, "romeo", *(roster_set(f"<item jid='n{n}@{DOMAIN}'/>") for n in range(2)))


async def names_at_length(driver: MemoryDriver) -> None:
    await write(driver, "romeo", roster_set(f"<item jid='a@{DOMAIN}' name='{'é' * 129}'/>"))


async def groups_at_length(driver: MemoryDriver) -> None:
    groups = "".join(f"<group>{number}</group>" for number in range(17))
    await write(driver, "romeo", roster_set(f"<item jid='a@{DOMAIN}'>{groups}</item>"))


async def fills_the_store(driver: MemoryDriver) -> None:
    await (await write(driver, "juliet", preferences("<always/><never/>"))).close()  # else the archive has them
    await floods(driver, message("juliet", "x" * 10_000), 3)


async def sends_piece_by_piece(driver: MemoryDriver) -> None:
    client = await driver.connect()
    client.write("<a b='")
    for _ in range(500):
        client.write("0123456789abcdef")
    await client.until_closed()


async def reports(driver: MemoryDriver) -> None:
    report = "<report xmlns='urn:xmpp:reporting:1' reason='urn:xmpp:reporting:spam'/>"
    items = (f"<item jid='s{n}@x.example'>{report}</item>" for n in range(2))
    await write(driver, "romeo", *(
        f"<iq type='set' id='b'><block xmlns='urn:xmpp:blocking'>{item}</block></iq>" for item in items
    ))


async def prefers(driver: MemoryDriver) -> None:
    jids = "".join(f"<jid>a{n}@{DOMAIN}</jid>" for n in range(3))
    lists = f"<always>{jids}</always><never/>"
    await write(driver, "romeo", preferences(lists))


async def floods(driver: MemoryDriver, stanza: str = message("juliet"), count: int = 10) -> None:
    await write(driver, "romeo", stanza * count)


async def manage(driver: MemoryDriver, resource: str) -> MemoryClient:
    client = await log_in(driver, "juliet", resource)
    client.write(f"<enable xmlns='{SM}' resume='true'/><presence/>")
    await client.take(lambda element: element.is_named("enabled", SM))
    await driver.settle([client])
    return client


async def acknowledges_nothing(driver: MemoryDriver) -> None:
    juliet = await manage(driver, "phone")
    await floods(driver)
    for _ in range(20):
        await driver.advance(10)
        await driver.settle([juliet])


async def vanishes_and_gets_much(driver: MemoryDriver) -> None:
    await (await manage(driver, "phone")).vanish()
    await driver.settle([])
    await floods(driver, message("juliet", "x" * 20_000), 6)


async def vanishes_often(driver: MemoryDriver) -> None:
    for number in range(3):
        await (await manage(driver, f"phone-{number}")).vanish()
        await driver.settle([])


async def appears_to_many(driver: MemoryDriver) -> None:
    romeo, juliet = await log_in(driver, "romeo"), await log_in(driver, "juliet")
    for kind in ("subscribe", "subscribed"):
        for client, other in ((romeo, "juliet"), (juliet, "romeo")):
            client.write(f"<presence type='{kind}' to='{other}@{DOMAIN}'/>")
            await driver.settle([romeo, juliet])
    for _ in range(30):
        romeo.write("<presence/>")
        await driver.settle([romeo])


async def does_not_listen(driver: MemoryDriver) -> None:
    romeo = await log_in(driver, "romeo")
    for _ in range(10):
        if not romeo.is_closed:
            romeo.write(message("juliet") * 100)
        await driver.settle([romeo])
        await driver.advance(20)
    assert romeo.inbox[-1].find("resource-constraint", "urn:ietf:params:xml:ns:xmpp-streams") is not None


async def begins_with_strangers(driver: MemoryDriver) -> None:
    await write(driver, "romeo", *(message(name) for name in ("juliet", "nurse", "paris")))


def lost(reason: str) -> Provocation:
    async def is_lost(driver: MemoryDriver) -> None:
        client = await log_in(driver, "romeo")
        client.transport.close(reason)
        await driver.settle([client])

    return is_lost


PROVOKED: dict[str, tuple[dict[str, object], Provocation]] = {
    "negotiation_seconds": ({}, is_slow),
    "negotiation_stall_seconds": ({}, stalls),
    "auth_failures_per_network": ({"auth_failures_per_network": 2}, guess),
    "registrations_per_hour": ({"registrations_per_hour": 1}, registers),
    "registrations_per_day": ({"registrations_per_day": 1}, registers),
    "registrations_in_all": ({"registrations_per_day": 5}, registers_from_everywhere),
    "open_invitations": ({"open_invitations": 1}, invites),
    "invitations_per_day": ({"invitations_per_day": 1}, invites),
    "sessions_per_account": ({"sessions_per_account": 1}, too_many_sessions),
    "session_byte_rate": ({"session_byte_rate": 100, "session_byte_burst": 100}, floods),
    "session_stanza_rate": ({"session_stanza_rate": 1, "session_stanza_burst": 5}, floods),
    "account_byte_rate": ({"account_byte_rate": 100, "account_byte_burst": 100}, floods),
    "account_message_rate": ({"account_message_rate": 1, "account_message_burst": 5}, floods),
    "account_presence_rate": ({"account_presence_rate": 1, "account_presence_burst": 5},
                              lambda driver: floods(driver, "<presence/>")),
    "account_iq_rate": ({"account_iq_rate": 1, "account_iq_burst": 5},
                        lambda driver: floods(driver, roster_set("<item jid='a@b'/>"))),
    "account_fan_out_rate": ({"account_fan_out_rate": 1, "account_fan_out_burst": 5}, appears_to_many),
    "sustained_excess": ({"account_message_rate": 1, "account_message_burst": 5}, does_not_listen),
    "new_recipients_on_first_day": ({"new_recipients_on_first_day": 2}, begins_with_strangers),
    "hibernated_sessions": ({"hibernated_sessions": 2}, vanishes_often),
    "unacknowledged_bytes": ({"unacknowledged_bytes": 65_536}, vanishes_and_gets_much),
    "acknowledgement_seconds": ({}, acknowledges_nothing),
    "offline_messages": ({"offline_messages": 2}, fills_the_store),
    "offline_bytes": ({"offline_bytes": 25_000}, fills_the_store),
    "archive_addresses": ({"archive_addresses": 2}, prefers),
    "roster_items": ({"roster_items": 1}, has_no_room),
    "roster_names": ({}, names_at_length),
    "roster_groups": ({}, groups_at_length),
    "pending_subscriptions": ({"pending_subscriptions": 1}, subscribes),
    "abuse_reports_per_day": ({"abuse_reports_per_day": 1}, reports),
    "rescan_bytes": ({}, sends_piece_by_piece),
    "tls_handshake": ({}, lost(SLOW_HANDSHAKE)),
    "send_buffer": ({}, lost(OVERFLOW)),
    "unread_bytes": ({}, lost(CROWDED)),
    "password_checks": ({}, password_checks_without_end),
}  # fmt: skip


@pytest.mark.parametrize("name", PROVOKED)
async def test_a_limit_that_stops_somebody_is_counted(tmp_path: Path, name: str) -> None:
    """By its own name, and no other limit is."""
    limits, provoke = PROVOKED[name]
    given = Limits.model_validate({"profile": "test", **limits})
    driver = MemoryDriver(tmp_path, DOMAIN, limits=given, register={"mode": "open"})
    await driver.start()
    try:
        for account in ("romeo", "juliet", "nurse", "paris"):
            await driver.create_account(account, "secret")
        await provoke(driver)
        counts = driver.server.kernel.limit_counters.counts
        also = {"account_message_rate"} if name == "sustained_excess" else set()
        assert {limit for limit, count in counts.items() if count} - also == {name}
    finally:
        await driver.stop()



def test_every_limit_that_is_counted_is_provoked_somewhere() -> None:
    """A limit that is new needs a line above; one that is gone leaves none."""
    assert set(PROVOKED).isdisjoint(ELSEWHERE)
    assert set(PROVOKED) | set(ELSEWHERE) == set(COUNTED)
    for name, file in ELSEWHERE.items():
        assert f'"{name}"' in (TESTS / file).read_text(), f"{name}: {file} does not name it"


