"""Contact addresses (XEP-0157, XEP-0455): what is in disco#info, and which options are refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from xmppchat.components import BUILTIN
from xmppchat.core.component import ACCOUNT, SERVER
from xmppchat.core.config import ConfigError, ServerConfig, load_config
from xmppchat.core.services import DiscoService
from xmppchat.jid import JID
from xmppchat.protocol.disco import DiscoInfo
from xmppchat.server import Server
from xmppchat.testing.clock import FakeClock

DOMAIN = "chat.example"


async def forms(directory: Path, *admins: str, **options: object) -> Mapping[str, Mapping[str, list[str]]]:
    """Fields of the forms in the server's disco#info, by form."""
    config = ServerConfig.for_tests([DOMAIN], data_dir=directory, contact_addresses=options)
    hosts = {
        name: host.model_copy(update={"admins": tuple(JID.parse(admin) for admin in admins)})
        for name, host in config.hosts.items()
    }
    server = Server(replace(config, hosts=hosts), clock=FakeClock(), listen=False)
    await server.start()
    try:
        disco = server.kernel.services.get(DiscoService)
        assert not DiscoInfo.from_element(disco.description(ACCOUNT, DOMAIN)).forms
        found = DiscoInfo.from_element(disco.description(SERVER, DOMAIN)).forms
        return {form.type: {name: list(values) for name, values in form.fields} for form in found}
    finally:
        await server.stop()


async def test_nobody_to_name(tmp_path: Path) -> None:
    assert await forms(tmp_path) == {}


async def test_the_hosts_admins_where_nothing_is_said(tmp_path: Path) -> None:
    uris = ["xmpp:mum@chat.example", "xmpp:o%23neill@chat.example"]
    assert await forms(tmp_path, "mum@chat.example", "o#neill@chat.example") == {
        "http://jabber.org/network/serverinfo": {"abuse-addresses": uris, "admin-addresses": uris}
    }


async def test_what_the_admin_says(tmp_path: Path) -> None:
    found = await forms(
        tmp_path, "mum@chat.example", abuse=["mailto:abuse@x.example", "xmpp:abuse@x.example?message"],
        support=["https://x.example/help"], status=["https://status.example/"],
        external_status=["https://elsewhere.example/status.json"],
    )
    assert found == {
        "http://jabber.org/network/serverinfo": {
            "abuse-addresses": ["mailto:abuse@x.example", "xmpp:abuse@x.example?message"],
            "admin-addresses": ["xmpp:mum@chat.example"],
            "status-addresses": ["https://status.example/"],
            "support-addresses": ["https://x.example/help"],
        },
        "urn:xmpp:sos:0": {"external-status-addresses": ["https://elsewhere.example/status.json"]},
    }


def load(directory: Path, options: str) -> ServerConfig:
    path = directory / "xmppchat.toml"
    path.write_text(f'[hosts."{DOMAIN}"]\ncertificate = "c.pem"\nkey = "k.pem"\n{options}\n')
    return load_config(path, BUILTIN)


@pytest.mark.parametrize(("options", "next_step"), [
    ('[components.contact_addresses]\nabuse = ["abuse@x.example"]', "mailto:"),
    ('[components.contact_addresses]\nadmin = ["mailto:"]', "mailto:"),
    ('[components.contact_addresses]\nadmin = ["xmpp:@x.example"]', "mailto:"),
    ('[components.contact_addresses]\nsupport = ["http://x.example/"]', "https:"),
    ('[components.contact_addresses]\nsupport = ["https://x.example/ help"]', "https:"),
    ('[components.contact_addresses]\nsecurity = ["javascript:alert(1)"]', "https:"),
    ('[components.contact_addresses]\nexternal_status = ["mailto:a@x.example"]', "https:"),
    ('[components.contact_addresses]\nexternal_status = ["https://[broken/"]', "https:"),
    ('[components.disco.items]\n"@rooms.example" = "Rooms"', "rooms.example.org"),
    ('[components.disco.items]\n"rooms.example" = "A"\n"ROOMS.example" = "B"', "twice"),
])
def test_what_is_no_address_is_refused_with_the_next_step(tmp_path: Path, options: str, next_step: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(tmp_path, options)
    assert next_step in str(error.value)


async def test_services_elsewhere_are_items_of_the_server(tmp_path: Path) -> None:
    config = ServerConfig.for_tests(
        [DOMAIN], data_dir=tmp_path, disco={"items": {"Rooms.example.org": "Rooms", "upload.example.org": ""}}
    )
    server = Server(config, clock=FakeClock(), listen=False)
    await server.start()
    try:
        (disco,) = [c for c in server.kernel.components if c.name == "disco"]
        items = [item.attributes for item in disco.disco_items(SERVER, DOMAIN)]
        assert items == [{"jid": "rooms.example.org", "name": "Rooms"}, {"jid": "upload.example.org"}]
        assert not disco.disco_items(ACCOUNT, DOMAIN)
    finally:
        await server.stop()
