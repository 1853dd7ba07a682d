"""Bookmarks of rooms: one list, three forms (XEP-0402, and XEP-0048 in a node and in private XML).

What counts are the items of the node ``urn:xmpp:bookmarks:1``. `component.py` shows them in the old forms and takes
lists in those, `conversion.py` says how a bookmark reads there, `settings.py` what of them push notifications heed
(XEP-0492).

Example::

    [Client] romeo

    romeo sends:
        <iq type="set" id="b1"><query xmlns="jabber:iq:private"><storage xmlns="storage:bookmarks">
            <conference jid="balcony@rooms.example" name="Balcony" autojoin="1"><nick>R</nick></conference>
        </storage></query></iq>
    romeo receives:
        <iq type="result" id="b1" from="{romeo.bare}" to="{romeo.full}"/>
    romeo sends:
        <iq type="get" id="b2">
            <pubsub xmlns="http://jabber.org/protocol/pubsub"><items node="urn:xmpp:bookmarks:1"/></pubsub>
        </iq>
    romeo receives:
        <iq type="result" id="b2" from="{romeo.bare}" to="{romeo.full}">
            <pubsub xmlns="http://jabber.org/protocol/pubsub"><items node="urn:xmpp:bookmarks:1">
                <item id="balcony@rooms.example">
                    <conference xmlns="urn:xmpp:bookmarks:1" name="Balcony" autojoin="true"><nick>R</nick></conference>
                </item>
            </items></pubsub>
        </iq>
"""

from xmppchat.components.bookmarks.component import Bookmarks

__all__ = ["Bookmarks"]
