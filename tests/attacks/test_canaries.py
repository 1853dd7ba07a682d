"""Canaries: words that stand for passwords, tokens and texts go every way there is, errors included; no log may sing.

The server logs at debug level (reliability.md V-55).
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
import subprocess
from pathlib import Path

import bcrypt
import pytest
from attack_client import Attacker, auth
from attack_target import ADMIN, PASSWORD, A, Target
from peers.postgresql import Postgresql

CANARY = "canary-7f3a"
SASL_FAILURE = b"</failure>"


def cli(target: Target, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """A command that may fail."""
    config = ("--config", str(target.config_file))
    return subprocess.run(
        [target.program, *arguments, *config], input=given, capture_output=True, text=True, timeout=60
    )


def ask(client: Attacker, number: int, kind: str, payload: str, to: str = "") -> bytes:
    """A request of a client, whatever its answer."""
    client.restart()
    address = f" to='{to}'" if to else ""
    client.send(f"<iq type='{kind}' id='q{number}'{address}>{payload}</iq>".encode())
    return client.until(lambda data: f"id='q{number}'".encode() in data)


#: (type, payload, to): what holds a canary, good and bad. "…" is filled with more than any limit allows.
REQUESTS = (
    ("set", "<vCard xmlns='vcard-temp'><FN>{c}</FN></vCard>", ""),
    ("set", "<vCard xmlns='vcard-temp'><PHOTO>{c}…</PHOTO></vCard>", ""),
    ("set", "<vCard xmlns='vcard-temp'><FN>{c}</FN></vCard>", "lark@a.test"),
    ("set", "<query xmlns='jabber:iq:private'><x xmlns='urn:{c}'>{c}</x></query>", ""),
    ("set", "<query xmlns='jabber:iq:private'><x xmlns='urn:{c}'>{c}…</x></query>", ""),
    ("set", "<query xmlns='jabber:iq:private'><x xmlns='jabber:iq:{c}'>{c}</x></query>", ""),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='x@a.test' name='{c}'><group>{c}</group></item></query>", ""),
    ("set", "<query xmlns='jabber:iq:roster'><item jid='x@a.test' name='{c}'/><item jid='{c}'/></query>", ""),
    ("set", "<query xmlns='jabber:iq:register'><username>lark</username><password>{c}</password></query>", ""),
    ("set", "<query xmlns='jabber:iq:register'><password>{c}\u00ad\u0378</password></query>", ""),
    ("set", "<block xmlns='urn:xmpp:blocking'><item jid='y@a.test'><report xmlns='urn:xmpp:reporting:1' "
            "reason='urn:xmpp:reporting:spam'><text>{c}</text></report></item></block>", ""),
    ("set", "<block xmlns='urn:xmpp:blocking'><item jid='@@'><report xmlns='urn:xmpp:reporting:1' "
            "reason='{c}'><text>{c}</text></report></item></block>", ""),
    ("set", "<x xmlns='urn:{c}'>{c}</x>", ""),
    ("set", "<x xmlns='urn:{c}'>{c}</x>", "lark@a.test"),
    ("get", "<query xmlns='http://jabber.org/protocol/disco#info' node='{c}'/>", A),
    ("set", "<command xmlns='http://jabber.org/protocol/commands' node='{c}' sessionid='{c}'><x xmlns='jabber:x:data' "
            "type='submit'><field var='password'><value>{c}</value></field></x></command>", A),
)  # fmt: skip


#: (command, account, password, the same again) of XEP-0133: good ones and faulty ones.
FORMS = (
    ("add-user", f"formed@{A}", CANARY, CANARY),
    ("add-user", f"formed@{A}", CANARY, CANARY),
    ("add-user", f"other@{A}", CANARY, f"{CANARY}-2"),
    ("add-user", "@@", CANARY, CANARY),
    ("change-user-password", f"formed@{A}", f"{CANARY}-3", ""),
    ("change-user-password", f"nobody@{A}", CANARY, ""),
    ("change-user-password", f"formed@{A}", CANARY * 999, ""),
)


@pytest.mark.timeout(400)
def test_no_log_sings(stored: Target, tmp_path: Path) -> None:
    target = stored
    for name in ("nightingale", "lark"):  # what they leave behind is in nobody's way
        target.add(f"{name}@{A}")
    with target.connect().secure() as client:  # logins and registrations
        for data in (f"\0romeo\0{CANARY}", f"romeo@a.test\0romeo\0{CANARY}", f"\0{CANARY}\0{CANARY}", CANARY):
            client.restart()
            client.send(auth("PLAIN", data.encode()))
            client.until(SASL_FAILURE)
    with target.connect().secure() as client:
        for number, name in enumerate((CANARY, "romeo", "a@b", "")):
            query = f"<username>{name}</username><password>{CANARY}</password>"
            ask(client, number, "set", f"<query xmlns='jabber:iq:register'>{query}</query>")
        ask(client, 9, "set", f"<preauth xmlns='urn:xmpp:pars:0' token='{CANARY}'/>")
    with target.login("nightingale", resource="canaries") as client:
        client.send(f"<presence><status>{CANARY}</status></presence>".encode())
        for to in ("lark@a.test", "nobody@a.test", "x@remote.test", "@", A, ""):
            client.send(f"<message to='{to}' type='chat'><body>{CANARY}</body></message>".encode())
        client.send(
            f"<presence to='lark@a.test' type='subscribe'><status>{CANARY}</status>"
            f"<preauth xmlns='urn:xmpp:pars:0' token='{CANARY}'/></presence>".encode()
        )
        for number, (kind, payload, to) in enumerate(REQUESTS):
            filled = payload.replace("{c}", CANARY).replace("…", "x" * 100_000)
            ask(client, 100 + number, kind, filled, to)
        client.barrier("before-the-end")
        client.send(f"<message><body>{CANARY}</wrong></message>".encode()).until_closed()
    _commands(target, tmp_path)
    secrets = _forms(target)
    with target.connect() as client:  # what is logged at that level: who listens is there
        client.open().send(f"<message><body>{CANARY}</body></message>".encode()).until_closed()
    target.logs("[debug")
    log = target.log()
    assert CANARY not in log
    for secret in secrets:
        assert secret not in log
    for encoded in (base64.b64encode(f"\0romeo\0{CANARY}".encode()), base64.b64encode(CANARY.encode())):
        assert encoded.decode() not in log


def query(text: str, more: str = "") -> str:
    """A query of an archive, filled with what is looked for."""
    fields = field("FORM_TYPE", "urn:xmpp:mam:2") + field("with", text) + more
    form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
    return f"<query xmlns='urn:xmpp:mam:2' queryid='{text}'>{form}</query>"


def field(var: str, value: str) -> str:
    return f"<field var='{var}'><value>{value}</value></field>"


def test_messages_on_all_their_ways(stored: Target) -> None:
    """Live, as a carbon, in an archive, over a connection that is lost and resumed; and questions that name them."""
    with (
        stored.login("juliet", resource="phone") as phone, stored.login("juliet", resource="laptop") as laptop,
        stored.login("romeo", resource="ways") as romeo,
    ):
        ask(laptop, 1, "set", "<enable xmlns='urn:xmpp:carbons:2'/>")
        enable = b"<enable xmlns='urn:xmpp:sm:3' resume='true'/>"
        enabled = re.search(rb"<enabled [^>]*\bid='([^']+)'", phone.send(enable).until(b"<enabled "))
        assert enabled is not None
        previd = enabled[1].decode()
        phone.available()
        laptop.available()
        for kind, to in (("chat", "juliet@a.test/phone"), ("normal", "juliet@a.test"), ("chat", "romeo@a.test")):
            romeo.send(f"<message to='{to}' type='{kind}' id='{CANARY}'><body>{CANARY}</body></message>".encode())
        laptop.until(CANARY.encode())
        phone.socket.close()
        romeo.send(f"<message to='juliet@a.test/phone' type='chat'><body>{CANARY} again</body></message>".encode())
        romeo.barrier("sent")
        for number, text in enumerate((CANARY, "romeo@a.test", "@@")):
            ask(laptop, 10 + number, "set", query(text))
        ask(laptop, 20, "set", query(CANARY, field(CANARY, CANARY)))
        ask(laptop, 21, "set", f"<query xmlns='urn:xmpp:mam:2'><set xmlns='http://jabber.org/protocol/rsm'><max>1</max>"
                               f"<after>{CANARY}</after></set></query>")  # fmt: skip
        prefs = f"<prefs xmlns='urn:xmpp:mam:2' default='{CANARY}'><always><jid>{CANARY}</jid></always><never/></prefs>"
        ask(laptop, 22, "set", prefs)
        found = ask(laptop, 23, "set", query("romeo@a.test"))
        assert CANARY.encode() in found, "there is something to hide"
        for id_ in (CANARY, previd):
            with stored.connect().secure() as again:
                again.send(auth("PLAIN", f"\0juliet\0{PASSWORD}".encode())).until(b"<success")
                again.open().send(f"<resume xmlns='urn:xmpp:sm:3' previd='{id_}' h='0'/>".encode())
                again.until(b"<resumed" if id_ == previd else b"<failed")
                if id_ == previd:
                    again.until(f"{CANARY} again".encode())
        assert CANARY not in stored.log()
        assert previd not in stored.log(), "whoever knows it and a password has the session"


def test_an_invitation_for_a_name(stored: Target) -> None:
    invited = json.loads(cli(stored, "invite", "--user", "capulet-2", "--json").stdout)
    token = invited["uri"].partition("preauth=")[2]
    assert len(token) > 20
    with stored.connect().secure() as client:
        for number, shown in enumerate((f"{token}x", token)):
            ask(client, number, "set", f"<preauth xmlns='urn:xmpp:pars:0' token='{shown}'/>")
        made = f"<username>capulet-2</username><password>{CANARY}</password>"
        assert b"type='result'" in ask(client, 9, "set", f"<query xmlns='jabber:iq:register'>{made}</query>")
    cli(stored, "invitations")
    assert token not in stored.log()
    assert CANARY not in stored.log()


@pytest.mark.parametrize("line", [
    'password = "{c}"', 'password = "{c}" nonsense', 'pasword = "{c}"', 'password = {{file = "{c}"}}', "password = {c}",
])
def test_a_reload_with_a_secret_in_the_file(stored: Target, line: str) -> None:
    """It works or is refused with the line's number; neither the log nor who asked is told the secret."""
    before = stored.config_file.read_text()
    try:
        with_table = before if "\n[storage]\n" in before else f"{before}\n[storage]\n"
        text = with_table.replace("\n[storage]\n", f"\n[storage]\n{line.format(c=CANARY)}\n")
        assert CANARY in text
        stored.config_file.write_text(text)
        done = cli(stored, "reload")
        is_path = "file" in line  # the name of a file is no secret
        assert is_path or CANARY not in done.stdout + done.stderr
        assert is_path or CANARY not in stored.log()
    finally:
        stored.config_file.write_text(before)
        cli(stored, "reload")


def test_a_backup_and_where_it_goes(stored: Target, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """What a database has of secrets, its copies have; what the programs say of it, has none."""
    with stored.login("romeo", resource="backup") as client:
        ask(client, 1, "set", f"<vCard xmlns='vcard-temp'><FN>{CANARY}</FN></vCard>")
    said = stored.log()
    file = tmp_path / "backup"
    steps = [cli(stored, "backup", str(file))]
    assert steps[0].returncode == 0, steps[0].stderr
    restored = tmp_path / "restored.toml"
    restored.write_text(stored.config_file.read_text())
    text = re.sub(r"(?m)^\[(storage|external_components.*)\]\n(.+\n)*", "", restored.read_text())
    restored.write_text(re.sub("data_dir = .*", f'data_dir = "{tmp_path}/new"', text))
    for arguments in (("restore", str(file)), ("restore", str(file)), ("restore", str(tmp_path / CANARY / "none"))):
        steps.append(subprocess.run(
            [stored.program, *arguments, "--config", str(restored)], capture_output=True, text=True, timeout=60,
            cwd=stored.directory,
        ))  # fmt: skip
    assert [step.returncode for step in steps] == [0, 0, 1, 1], [step.stderr for step in steps]
    server: Postgresql = request.getfixturevalue("postgresql")
    for database in (server.new_database(), "none-of-that-name"):
        url = server.url(database, port=server.port).replace("postgres@", f"postgres:{CANARY}@")
        steps.append(subprocess.run(
            [stored.program, "db", "copy", "--to", url, "--config", str(restored)], capture_output=True, text=True,
            timeout=120, cwd=stored.directory,
        ))  # fmt: skip
    assert [step.returncode for step in steps[4:]] == [0, 1], [step.stderr for step in steps]
    for step in steps:
        told = (step.stdout + step.stderr).replace(str(tmp_path / CANARY), "")
        assert CANARY not in told, step
    assert CANARY not in said


def test_a_database_that_fails_before_all_eyes(stored: Target, request: pytest.FixtureRequest) -> None:
    """A table is gone while the server runs: the log says what failed, and not what was to be written."""
    sqlite_file = stored.directory / "data" / "xmppchat.db"

    def run(statement: str) -> None:
        if sqlite_file.exists():
            with contextlib.closing(sqlite3.connect(sqlite_file, timeout=20)) as connection:
                connection.execute(statement)
                connection.commit()
        else:
            server: Postgresql = request.getfixturevalue("postgresql")
            name = re.search(r'url = "postgresql://[^"]*/(\w+)"', stored.config_file.read_text())
            assert name is not None
            server.sql(name[1], statement)

    run("ALTER TABLE vcards RENAME TO vcards_gone")
    try:
        with stored.login("romeo", resource="fault") as client:
            answers = [
                ask(client, 1, "set", f"<vCard xmlns='vcard-temp'><FN>{CANARY}</FN></vCard>"),
                ask(client, 2, "get", "<vCard xmlns='vcard-temp'/>"),
            ]
    finally:
        run("ALTER TABLE vcards_gone RENAME TO vcards")
    assert all(b"type='error'" in answer for answer in answers), answers
    log = stored.log()
    assert "vcards" in log, "it is told what failed"
    assert CANARY not in log
    # What stands there is meant: the server's log is judged from here on.
    for file in (stored.stdout_file, stored.stderr_file):
        file.write_text("")


def _forms(target: Target) -> list[str]:
    """What an admin fills in by XMPP, right and wrong, and takes along; returns what of that no log may hold."""
    target.add(ADMIN)
    admin = "http://jabber.org/protocol/admin"
    with target.login("capulet", resource="forms") as client:
        for number, (node, name, password, again) in enumerate(FORMS):
            command = f"xmlns='http://jabber.org/protocol/commands' node='{admin}#{node}'"
            begun = ask(client, 200 + 2 * number, "set", f"<command {command}/>", A)
            session = begun.partition(b" sessionid='")[2].partition(b"'")[0].decode()
            assert session
            values = {"FORM_TYPE": admin, "accountjid": name, "password": password} | (
                {"password-verify": again} if again else {}
            )
            fields = "".join(f"<field var='{var}'><value>{value}</value></field>" for var, value in values.items())
            form = f"<x xmlns='jabber:x:data' type='submit'>{fields}</x>"
            filled = f"<command {command} sessionid='{session}'>{form}</command>"
            answer = ask(client, 201 + 2 * number, "set", filled, A)
            assert CANARY.encode() not in answer
        invitation = "<command xmlns='http://jabber.org/protocol/commands' node='urn:xmpp:invite#invite'/>"
        by_form = ask(client, 300, "set", invitation, A)
    exported = cli(target, "user", "export", f"formed@{A}", "--with-credentials").stdout
    found = re.findall(r"preauth=([\w-]+)", by_form.decode()) + re.findall("<stored-key>([^<]+)<", exported)
    assert len(found) == 4
    return found


def _commands(target: Target, tmp_path: Path) -> None:
    """What an admin types and brings. (Tokens of invitations: test_registration_attacks.py.)"""
    hashed = bcrypt.hashpw(CANARY.encode(), bcrypt.gensalt(4)).decode()
    assert cli(target, "user", "add", f"added@{A}", "--password-stdin", given=f"{CANARY}\n").returncode == 0
    assert cli(target, "user", "add", f"added@{A}", "--password-stdin", given=f"{CANARY}\n").returncode == 1
    assert cli(target, "user", "passwd", f"added@{A}", "--password-stdin", given=f"{CANARY}-2\n").returncode == 0
    assert cli(target, "user", "passwd", f"nobody@{A}", "--password-stdin", given=f"{CANARY}\n").returncode == 1
    for lines in (
        ["account,password,bcrypt", f"one,{CANARY}-pass,", f"two,,{hashed}"],
        ["account,password,bcrypt", f"three,{CANARY}-pass,{CANARY}", f"four,,{CANARY}"],
        ["account,password", f"@@,{CANARY}"],
        [json.dumps({"account": "one", "password": CANARY})],
    ):
        file = tmp_path / "users"
        file.write_text("\n".join(lines) + "\n")
        done = cli(target, "user", "import", str(file))
        assert CANARY not in done.stderr, done.stderr
    assert hashed not in target.log()
