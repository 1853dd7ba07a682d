"""Canaries: words that stand for passwords, tokens and texts go every way there is, errors included; no log may sing.

The server logs at debug level (reliability.md V-55).
"""

from __future__ import annotations

import base64
import json
import re
import subprocess
from pathlib import Path

import bcrypt
import pytest
from attack_client import Attacker, auth
from attack_target import ADMIN, A, Target

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


@pytest.mark.timeout(180)
def test_no_log_sings(target: Target, tmp_path: Path) -> None:
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
    log = target.log()
    assert CANARY not in log
    for secret in secrets:
        assert secret not in log
    for encoded in (base64.b64encode(f"\0romeo\0{CANARY}".encode()), base64.b64encode(CANARY.encode())):
        assert encoded.decode() not in log


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
