"""Entity capabilities (XEP-0115): the server tells its own in one string, and learns what its clients can do.

Example::

    # The string in the presence says what a client can do. It is asked once, and the hash proves the answer.
    [Client] romeo

    romeo sends:
        <presence>
            <c xmlns="http://jabber.org/protocol/caps" hash="sha-1"
                node="http://psi-im.org" ver="q07IKJEyjvHSyhy//CH0CxmKi8w="/>
        </presence>
    romeo receives in any order:
        <presence from="{romeo.full}" to="{romeo.bare}">…</presence>
        <iq type="get" id="…" from="{domain}" to="{romeo.full}">
            <query xmlns="http://jabber.org/protocol/disco#info"
                node="http://psi-im.org#q07IKJEyjvHSyhy//CH0CxmKi8w="/>
        </iq>
"""

from __future__ import annotations

from xmppchat.components.caps.component import Caps

__all__ = ["Caps"]
