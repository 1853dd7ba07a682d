"""profanity (libsignal-protocol-c) and slixmpp (python-doubleratchet) read each other, and the server does not."""

from __future__ import annotations

import pytest
from friends import become_contacts
from live_server import NewUser, ServerProcess
from omemo_client import AXOLOTL, OmemoSlix, check_secrecy, device
from profanity import Profanity, StartProfanity
from slix import MakeSlix
from waiting import until

#: The plugin's way to others is old.
pytestmark = pytest.mark.filterwarnings("ignore:Accessing plugins through the XMPP object:DeprecationWarning")


async def with_keys(client: Profanity) -> None:
    """Makes its keys and publishes them; whatever it meets it trusts."""
    client.type("/omemo trustmode blind")
    await client.sees("ALL OMEMO fingerprints will be trusted automatically")
    client.type("/omemo gen")
    await client.sees("OMEMO cryptographic materials generated")


async def turn_to(client: Profanity, jid: str) -> None:
    """Opens the chat with `jid`, encrypted; returns once there are keys to encrypt with."""
    client.type(f"/msg {jid}")
    client.type("/omemo start")
    await client.sees("[OMEMO]")
    await gets(client, jid, "bundle")
    await client.settle()  # it takes its answers in order, so that one is taken, too


async def gets(client: Profanity, jid: str, element: str) -> None:
    """Returns once `jid` sent such an element."""
    await until(
        lambda: any(f"<{element} " in s.xml and f'from="{jid}"' in s.xml for s in client.wire() if not s.sent),
        lambda: f"<{element}/> of {jid}\n{client.screen()}",
    )


async def test_contacts_write_to_one_another(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await device(slix, romeo)
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await become_contacts(he, she, juliet.jid)
    await with_keys(she)
    await he.is_told(juliet.jid, 1, [AXOLOTL])
    await he.whisper(juliet.jid, "But, soft! <what> light", AXOLOTL)
    await she.sees("<< chat message")
    await turn_to(she, romeo.jid)
    await she.sees("But, soft! <what> light")
    she.type("O Romeo, Romeo")
    await he.hears(juliet.jid, AXOLOTL, "O Romeo, Romeo")
    await he.whisper(juliet.jid, "Call me but love", AXOLOTL)
    await she.sees("Call me but love")
    await check_archive(server, he, "But, soft! <what> light", "O Romeo, Romeo", "Call me but love")


async def test_strangers_write_to_one_another(
    server: ServerProcess, slix: MakeSlix, profanity: StartProfanity, new_user: NewUser
) -> None:
    """profanity is the first to write. It asks for the list of devices, then forgets what for, and is told again."""
    romeo, juliet = new_user("romeo"), new_user("juliet")
    he = await device(slix, romeo)
    she = await (await profanity()).login(juliet.jid, juliet.password)
    await with_keys(she)
    she.type(f"/msg {romeo.jid}")
    she.type("/omemo start")
    await gets(she, romeo.jid, "list")
    await she.settle()
    she.type("/omemo end")
    await turn_to(she, romeo.jid)
    she.type("O Romeo, Romeo")
    await he.hears(juliet.jid, AXOLOTL, "O Romeo, Romeo")
    await he.whisper(juliet.jid, "Call me but love", AXOLOTL)
    await she.sees("Call me but love")
    await check_archive(server, he, "O Romeo, Romeo", "Call me but love")


async def check_archive(server: ServerProcess, owner: OmemoSlix, *texts: str) -> None:
    """So many messages are there, and none of the texts."""
    messages = await owner.archived()
    assert len(messages) == len(texts)
    for message, text in zip(messages, texts, strict=True):
        check_secrecy(server, message, text)
