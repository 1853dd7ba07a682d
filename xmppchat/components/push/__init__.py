"""Push notifications (XEP-0357): devices that are away are woken when there is something for them.

`component.py` is who wants it and what is worth it, `registrations.py` what is kept, `payload.py` what is said,
`publisher.py` when it is said and what becomes of it, `report.py` how an admin sees it.

Example::

    [Client] juliet/phone
    [Client] app/server

    juliet/phone sends:
        <iq type="set" id="e1"><enable xmlns="urn:xmpp:push:0" jid="{app/server.full}" node="yxs32"/></iq>
    juliet/phone receives:
        <iq type="result" id="e1" from="{juliet/phone.bare}" to="{juliet/phone.full}"/>
"""

from xmppchat.components.push.component import Push

__all__ = ["Push"]
