"""`xmppchat check --self`: a stock client logs in to the running server and looks for all that clients want."""

from __future__ import annotations

import asyncio
import json
import socket
import sqlite3
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from live_server import Certificates, LiveServer, LoopbackAddress, make_certificates

from xmppchat.cli import probe, selfcheck, selfcheck_client
from xmppchat.cli.selfcheck_lines import (
    COMPLIANCE,
    FAIL,
    INFORMATIONAL,
    ITEMS,
    NOT_CHECKED,
    NOT_YET,
    NOT_YET_SINCE,
    NOTE,
    PASS,
    Seen,
    judge,
    not_checked,
)
from xmppchat.components import BUILTIN
from xmppchat.core.config import load_config

#: The tests of the XMPP compliance tester.
CAAS = {
    "xep0045", "xep0065", "xep0115", "xep0160", "xep0163", "xep0191", "xep0198", "roster_versioning", "xep0280",
    "xep0313", "xep0313muc", "xep0352", "xep0357", "xep0363", "xep0384", "xep0398", "xep0411", "vcard_muc", "stun",
    "turn", "abuse-contact", "xep0077", "xep0156", "xep0363_cors",
}  # fmt: skip


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[LiveServer]:
    options = ("--admin", "admin@chat.test", "--registration", "open")
    with LiveServer(tmp_path_factory.mktemp("server"), certificates, init=options) as running:
        yield running


def check(server: LiveServer, *arguments: str) -> tuple[int, str]:
    """(exit status, output) of the check; nothing may go to standard error."""
    command = [server.program, "check", "--config", str(server.config_file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.stderr == ""
    return done.returncode, done.stdout


def statuses(output: str) -> dict[str, tuple[str, str]]:
    return {line["key"]: (line["status"], line["text"]) for line in json.loads(output)["self"]}


def leaves_nothing(server: LiveServer) -> None:
    """No account and no reserved name is left."""
    assert server.run("user", "list", "--json") == "[]\n"
    with closing(sqlite3.connect(server.directory / "data" / "xmppchat.db")) as database:
        assert database.execute("SELECT count(*) FROM tombstones").fetchone() == (0,)


def test_a_sound_server(server: LiveServer, certificates: Certificates) -> None:
    status, out = check(server, "--self", "--json", "--ca", str(certificates.ca))
    found = statuses(out)
    # A file on another machine is the admin's, and nobody has to have one.
    assert {key: state for key, (state, _) in found.items() if state not in (PASS, NOT_YET)} == {"xep0455": NOTE}
    assert status == 0
    answered = ("roster", "blocklist", "preferences", "vcard", "private", "version", "time")
    for key in (*answered, "xep0401", "xep0313extended", "xep0384"):
        assert found[key] == (PASS, ""), key
    for key in ("xep0115", "xep0160", "xep0191", "roster_versioning", "xep0368", "abuse-contact", "xep0077", "login"):
        assert found[key] == (PASS, ""), key
    # What is said to come later is not there yet: whoever brings it takes it out of the table.
    assert {key for key, (state, _) in found.items() if state == NOT_YET} == NOT_YET_SINCE.keys()
    leaves_nothing(server)


def test_the_table_for_people(server: LiveServer, certificates: Certificates) -> None:
    status, out = check(server, "--self", "--ca", str(certificates.ca))
    assert status == 0
    assert "\nchat.test\n" in out
    assert f"  pass     xep0368            Direct TLS at {server.address} port 5223\n" in out
    assert "  not yet  xep0363            HTTP upload (comes with step 6 of the roadmap)\n" in out
    assert "\x1b" not in out


def test_an_authority_that_nobody_knows_is_noted(server: LiveServer) -> None:
    """A server at home with a certificate of its own works, and its people are asked whether to trust it."""
    status, out = check(server, "--self", "--json")
    found = statuses(out)
    assert (status, found["session"][0]) == (0, PASS)
    assert found["certificate"][0] == NOTE
    assert found["certificate"][1].startswith("clients ask their users whether to trust it (")


def test_a_certificate_for_another_name(tmp_path: Path) -> None:
    other = make_certificates(tmp_path / "tls", "other.test")
    with LiveServer(tmp_path / "server", other) as server:
        status, out = check(server, "--self", "--json", "--ca", str(other.ca))
        found = statuses(out)
        leaves_nothing(server)
    assert status == 1
    for key in ("xep0368", "starttls"):
        state, text = found[key]
        assert state == FAIL
        assert text.startswith("the certificate is for other.test, not for chat.test: clients refuse it; get one that")


def test_a_port_that_is_not_reachable(server: LiveServer, certificates: Certificates) -> None:
    text = server.config_file.read_text()
    server.config_file.write_text(text.replace("[listen]\n", "[listen]\ndirect_tls_port = 5299\n"))
    try:
        status, out = check(server, "--self", "--json", "--ca", str(certificates.ca))
        found = statuses(out)
    finally:
        server.config_file.write_text(text)
    where = f"{server.address} port 5299"
    assert status == 1
    assert found["xep0368"] == (FAIL, f"{where}: nobody listens there; look at [listen] and the server's log")
    assert found["session"][0] == PASS  # by the other port
    assert {"severity": "error", "text": f"chat.test: {found['xep0368'][1]}"} in json.loads(out)["check"]


def test_no_port_at_all(server: LiveServer, certificates: Certificates) -> None:
    status, out = check(server, "--self", "--json", "--at", "127.1.2.3")
    found = statuses(out)
    assert status == 1
    assert found["xep0115"] == (NOT_CHECKED, "no port can be used, see above")
    assert found["xep0363"][0] == NOT_YET
    leaves_nothing(server)


def test_a_certificate_that_was_renewed_and_not_reloaded(tmp_path: Path) -> None:
    """reliability.md V-20: what is shown is compared with what is on disk."""
    certificates, renewed = make_certificates(tmp_path / "tls"), make_certificates(tmp_path / "new")
    with LiveServer(tmp_path / "server", certificates) as server:
        assert check(server)[0] == 0
        certificates.chain.write_bytes(renewed.chain.read_bytes())
        certificates.key.write_bytes(renewed.key.read_bytes())
        status, out = check(server)
        assert status == 1
        assert f"error: {server.address} port 5223: shows another certificate (SHA-256 " in out
        assert "run `xmppchat reload`; if that changes nothing, somebody stands between you and the server" in out
        server.run("reload")
        assert check(server)[0] == 0


@contextmanager
def terminated_by(certificates: Certificates, server: LiveServer) -> Iterator[str]:
    """Somebody in between with a valid certificate for the same name, on the port for direct TLS (V-20)."""
    address = LoopbackAddress()
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(certificates.foreign_chain, certificates.foreign_key)
    shown.set_alpn_protocols(["xmpp-client"])
    behind = ssl.create_default_context(cafile=str(certificates.ca))
    listening = socket.create_server((address.text, 5223))

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with (
                suppress(OSError),
                client,
                shown.wrap_socket(client, server_side=True) as outside,
                socket.create_connection((server.address, 5223), timeout=10) as connection,
                behind.wrap_socket(connection, server_hostname=server.domain) as inside,
            ):
                inside.sendall(outside.recv(4096))
                outside.sendall(inside.recv(4096))
                outside.recv(4096)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield address.text
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
        address.release()


def test_somebody_in_between_is_found(server: LiveServer, certificates: Certificates) -> None:
    with terminated_by(certificates, server) as address:
        status, out = check(server, "--at", address)
    assert status == 1
    assert f"error: {address} port 5223: shows another certificate" in out


def test_without_a_server(tmp_path: Path, certificates: Certificates) -> None:
    server = LiveServer(tmp_path / "server", certificates)
    try:
        server.prepare()
        command = [server.program, "check", "--self", "--config", str(server.config_file)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    finally:
        server.__exit__()
    assert done.returncode == 1
    assert "no server is running, so it cannot be looked at; start it by `xmppchat serve`" in done.stderr


def test_the_account_goes_whatever_happens(server: LiveServer) -> None:
    config = load_config(server.config_file, BUILTIN)

    def interrupted() -> None:
        with selfcheck.temporary_account(config, "chat.test") as (jid, _):
            assert jid in server.run("user", "list")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    leaves_nothing(server)


def test_keys_that_a_stranger_cannot_read_are_no_pass(tmp_path: Path, certificates: Certificates) -> None:
    with LiveServer(tmp_path, certificates) as server:
        owner, stranger = server.add_user("juliet", "secret"), server.add_user("romeo", "secret")
        config = load_config(server.config_file, BUILTIN)
        door = probe.doors(config, server.address)[0]
        context = ssl.create_default_context(cafile=str(certificates.ca))
        context.check_hostname = False

        def can_read() -> bool:
            return asyncio.run(
                selfcheck_client.can_read_keys(door, stranger.jid, stranger.password, context, owner.jid)
            )

        assert not can_read(), "there are none"
        asyncio.run(selfcheck_client.log_in_and_look(door, owner.jid, owner.password, context))
        assert can_read()
        assert asyncio.run(
            selfcheck_client.can_read_keys(door, stranger.jid, "another", context, owner.jid)
        ) is False


def test_a_signal_ends_it_through_every_finally() -> None:
    with pytest.raises(SystemExit) as end:
        selfcheck._end(15, None)
    assert end.value.code == 143


def test_the_whole_list_is_looked_at() -> None:
    assert CAAS | {"xep0368"} <= {item.key for item in ITEMS} | {"xep0368"}
    assert len({item.key for item in ITEMS}) == len(ITEMS)


def test_whoever_sees_nothing_is_told_what_to_do() -> None:
    for item, result in zip(ITEMS, judge("chat.test", Seen()), strict=True):
        if item.since:
            assert result.status == NOT_YET, item
        else:
            assert result.status == (NOTE if item.kind == INFORMATIONAL else FAIL), item
            assert item.test is not None
        assert result.text, item


def test_what_could_not_be_looked_at_is_no_pass() -> None:
    found = not_checked("chat.test", "nobody can log in")
    assert {result.status for result in found} == {NOT_CHECKED, NOT_YET}
    assert selfcheck.status(found) == 1


@pytest.mark.parametrize("key", ["xep0313", "xep0045", "xep0163", "xep0280"])
def test_what_comes_later_passes_when_it_is_there(key: str) -> None:
    seen = Seen()
    seen.account.features.add("urn:xmpp:mam:2")
    seen.account.identities.add(("pubsub", "pep"))
    seen.domain.features.add("urn:xmpp:carbons:2")
    seen.items["rooms.chat.test"] = type(seen.domain)(features={"http://jabber.org/protocol/muc"})
    assert {result.key: result.status for result in judge("chat.test", seen)}[key] == PASS


def test_kinds_are_those_of_the_tester() -> None:
    kinds = {item.key: item.kind for item in ITEMS}
    assert {key for key in CAAS if kinds[key] == INFORMATIONAL} == {
        "abuse-contact", "xep0077", "xep0156", "xep0363_cors",
    }
    assert all(kinds[key] in (COMPLIANCE, INFORMATIONAL) for key in CAAS)
