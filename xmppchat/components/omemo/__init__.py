"""End-to-end encryption with OMEMO (XEP-0384), as far as a server has to do with it: it keeps what clients publish,
looks whether that is sound, and (if the admin wants) what is not encrypted. It has nobody's private keys.

Example::

    # Nothing is published yet, and that is said, too.
    [Client] romeo

    romeo sends:
        <iq type="set" id="c1" to="{domain}">
            <command xmlns="http://jabber.org/protocol/commands" node="xmppchat#omemo-check-own"/>
        </iq>
    romeo receives:
        <iq type="result" id="c1" from="{domain}" to="{romeo.full}">
            <command xmlns="http://jabber.org/protocol/commands" node="xmppchat#omemo-check-own" sessionid="…"
                     status="completed" xml:lang="en">…</command>
        </iq>
"""

from __future__ import annotations

from xmppchat.components.omemo.component import Omemo

__all__ = ["Omemo"]
