"""Personal eventing (XEP-0163) on a pubsub engine (XEP-0060): every account has nodes, with items that its contacts
and its own devices are told of, and may read. What must be private goes the same way (XEP-0223).

Example::

    # A node is made by the first publication; a contact reads it, a stranger does not.
    [Client] juliet
    [Client] romeo
    [Client] tybalt
    [Roster] juliet -> romeo: both

    juliet sends:
        <iq type="set" id="p1">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <publish node="http://jabber.org/protocol/nick">
                    <item id="current"><nick xmlns="http://jabber.org/protocol/nick">Jule</nick></item>
                </publish>
            </pubsub>
        </iq>
    juliet receives:
        <iq type="result" id="p1" from="{juliet.bare}" to="{juliet.full}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <publish node="http://jabber.org/protocol/nick"><item id="current"/></publish>
            </pubsub>
        </iq>
    romeo sends:
        <iq type="get" id="g1" to="{juliet.bare}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub"><items node="http://jabber.org/protocol/nick"/></pubsub>
        </iq>
    romeo receives:
        <iq type="result" id="g1" from="{juliet.bare}" to="{romeo.full}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub">
                <items node="http://jabber.org/protocol/nick">
                    <item id="current"><nick xmlns="http://jabber.org/protocol/nick">Jule</nick></item>
                </items>
            </pubsub>
        </iq>
    tybalt sends:
        <iq type="get" id="g2" to="{juliet.bare}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub"><items node="http://jabber.org/protocol/nick"/></pubsub>
        </iq>
    tybalt receives:
        <iq type="error" id="g2" from="{juliet.bare}" to="{tybalt.full}">
            <error type="auth">
                <not-authorized xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>
                <text xmlns="urn:ietf:params:xml:ns:xmpp-stanzas" xml:lang="en">…</text>
                <presence-subscription-required xmlns="http://jabber.org/protocol/pubsub#errors"/>
            </error>
        </iq>
"""

from __future__ import annotations

from xmppchat.components.pubsub.component import Pubsub
from xmppchat.components.pubsub.service import PubsubService

__all__ = ["Pubsub", "PubsubService"]
