"""slixmpp as an external component beside slixmpp as a client: attach, answer, meet, and come back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator

import pytest
from live_server import DOMAIN, Certificates, LiveServer, NewUser
from slix import MakeSlix
from slix_component import SlixComponent
from slixmpp import JID
from slixmpp.exceptions import IqError
from waiting import PATIENCE, until

GATEWAY = f"gateway.{DOMAIN}"


@pytest.fixture(scope="module")
def secrets() -> dict[str, str]:
    """Secrets by domain."""
    return {}


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, certificates: Certificates, secrets: dict[str, str]
) -> Iterator[LiveServer]:
    """A server that expects a component."""
    live = LiveServer(tmp_path_factory.mktemp("components"), certificates)
    secrets[GATEWAY] = live.add_component(GATEWAY)
    with live:
        yield live


@pytest.fixture
async def gateway(server: LiveServer, secrets: dict[str, str]) -> AsyncIterator[SlixComponent]:
    """A component that is attached."""
    component = await SlixComponent(server, GATEWAY, secrets[GATEWAY]).attach()
    yield component
    await component.leave()


async def test_a_service_is_found_and_answers(gateway: SlixComponent, slix: MakeSlix, new_user: NewUser) -> None:
    client = await slix(new_user("romeo")).login()
    disco = client.plugin["xep_0030"]
    items = await disco.get_items(JID(DOMAIN), timeout=PATIENCE)
    assert GATEWAY in {item[0] for item in items["disco_items"]["items"]}
    info = await disco.get_info(JID(GATEWAY), timeout=PATIENCE)
    assert ("gateway", "irc") in {identity[:2] for identity in info["disco_info"]["identities"]}
    await client.plugin["xep_0199"].send_ping(JID(GATEWAY), timeout=PATIENCE)
    await gateway.plugin["xep_0199"].send_ping(JID(DOMAIN), ifrom=JID(GATEWAY), timeout=PATIENCE)
    await gateway.plugin["xep_0199"].send_ping(client.boundjid, ifrom=JID(f"nick@{GATEWAY}"), timeout=PATIENCE)
    client.say(f"nick@{GATEWAY}", "hello")
    await client.sees_bodies("echo: hello")


async def test_a_contact_behind_a_gateway(gateway: SlixComponent, slix: MakeSlix, new_user: NewUser) -> None:
    client = await slix(new_user("romeo")).login()
    nick, me = f"nick@{GATEWAY}", client.boundjid.bare
    client.send_presence_subscription(JID(nick))
    await client.sees_request(nick, "subscribe")
    await client.sees_presence(nick, "available")
    client.send_presence_subscription(JID(nick), ptype="subscribed")
    await client.has_subscription(nick, "both")
    await gateway.sees("available", client.boundjid.full, nick)
    await client.logout()
    await gateway.sees("unavailable", client.boundjid.full, nick)
    gateway.send_message(JID(me), "while you were away", mtype="chat", mfrom=nick)
    await gateway.plugin["xep_0199"].send_ping(JID(DOMAIN), ifrom=JID(GATEWAY), timeout=PATIENCE)


async def test_messages_wait_for_who_is_away(
    server: LiveServer, gateway: SlixComponent, slix: MakeSlix, new_user: NewUser
) -> None:
    """What was taken from a component is on disk when it has its answer: a server that is killed keeps it."""
    user = new_user("romeo")
    gateway.send_message(JID(user.jid), "one", mtype="chat", mfrom=f"nick@{GATEWAY}")
    await gateway.plugin["xep_0199"].send_ping(JID(DOMAIN), ifrom=JID(GATEWAY), timeout=PATIENCE)
    server.kill()
    server.start()
    client = await slix(user).login()
    await client.sees_bodies("one")


async def test_a_component_comes_back_after_a_restart(
    server: LiveServer, gateway: SlixComponent, slix: MakeSlix, new_user: NewUser
) -> None:
    user = new_user("romeo")
    gateway.add_event_handler("disconnected", lambda _: gateway.connect(), disposable=True)
    server.restart()
    await gateway.has_started(2)
    client = await slix(user).login()
    client.say(f"nick@{GATEWAY}", "again")
    await client.sees_bodies("echo: again")
    [row] = json.loads(server.run("components", "--json"))
    assert (row["component"], row["from"], row["received"] >= 1, row["sent"] >= 1) == (
        GATEWAY, "127.0.0.1", True, True
    )


async def test_a_service_that_is_away_is_said_to_be(server: LiveServer, slix: MakeSlix, new_user: NewUser) -> None:
    client = await slix(new_user("romeo")).login()
    with pytest.raises(IqError) as refused:
        await client.plugin["xep_0199"].send_ping(JID(GATEWAY), timeout=PATIENCE)
    assert refused.value.condition == "remote-server-timeout"


async def test_a_wrong_secret(server: LiveServer) -> None:
    component = SlixComponent(server, GATEWAY, "x" * 40)
    errors: list[str] = []
    component.add_event_handler("stream_error", lambda error: errors.append(error["condition"]))
    component.connect()
    await until(lambda: errors, "a stream error")
    assert (errors, component.starts) == (["not-authorized"], 0)
    await component.leave()


async def test_a_reload_brings_and_takes_components(server: LiveServer, gateway: SlixComponent) -> None:
    before = server.config_file.read_text()
    secret = server.add_component("rooms.test")
    server.run("reload")
    rooms = await SlixComponent(server, "rooms.test", secret).attach()
    server.config_file.write_text(before)
    gone: list[object] = []
    rooms.add_event_handler("disconnected", gone.append)
    server.run("reload")
    await until(lambda: gone, "the end of the component that was taken off")
    await gateway.plugin["xep_0199"].send_ping(JID(DOMAIN), ifrom=JID(GATEWAY), timeout=PATIENCE)
    assert gateway.starts == 1
    await rooms.leave()
