"""Two people with different clients become contacts, each by the means of their own client."""

from __future__ import annotations

import re

from profanity import Profanity
from slix import Slix
from waiting import until


async def become_contacts(romeo: Slix, juliet: Profanity, juliet_jid: str) -> None:
    """juliet asks in profanity, romeo allows and asks back in slixmpp, juliet allows."""
    romeo_jid = romeo.boundjid.bare
    juliet.type(f"/sub request {romeo_jid}")
    await romeo.sees_request(juliet_jid, "subscribe")
    romeo.send_presence_subscription(juliet_jid, ptype="subscribed")
    romeo.send_presence_subscription(juliet_jid, ptype="subscribe")
    await juliet.sees(f"Received authorization request from {romeo_jid}")
    juliet.type(f"/sub allow {romeo_jid}")
    await romeo.sees_request(juliet_jid, "subscribed")
    await romeo.has_subscription(juliet_jid, "both")
    await until(lambda: has_subscription(juliet, romeo_jid, "both"), lambda: f"{romeo_jid} both\n{juliet.screen()}")


def has_subscription(client: Profanity, jid: str, subscription: str) -> bool:
    """Whether the roster as last received says so of `jid`."""
    latest = ""
    for stanza in client.wire():
        if stanza.sent or "jabber:iq:roster" not in stanza.xml:
            continue
        for item in re.findall(r"<item [^>]*>", stanza.xml):
            if f'jid="{jid}"' in item:
                latest = item
    return f'subscription="{subscription}"' in latest
