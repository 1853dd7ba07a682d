"""Blocking (XEP-0191): nothing comes from who is blocked, nothing goes there, and who is blocked cannot tell why.

A block may come with a report of spam or abuse for the admin (XEP-0377).

Example::

    [Client] juliet
    [Client] paris

    juliet sends:
        <iq type="set" id="b1"><block xmlns="urn:xmpp:blocking"><item jid="{paris.bare}"/></block></iq>
    juliet receives:
        <iq type="result" id="b1" from="{juliet.bare}" to="{juliet.full}"/>
    paris sends:
        <message to="{juliet.bare}" type="chat"><body>Sweet love!</body></message>
    paris receives:
        <message type="error" from="{juliet.bare}" to="{paris.full}">{error cancel service-unavailable}</message>
"""

from xmppchat.components.blocking.component import Blocking

__all__ = ["Blocking"]
