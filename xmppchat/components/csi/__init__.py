"""Client state indication (XEP-0352): a client that nobody looks at is not woken for what can wait.

`component.py` is what clients say, `holding.py` what a session holds back meanwhile, `urgency.py` what can wait.

Example::

    [Client] juliet
    [Client] romeo

    juliet sends:
        <inactive xmlns="urn:xmpp:csi:0"/>
    romeo sends to juliet:
        <presence><show>away</show></presence>
    romeo sends to juliet:
        <presence><show>dnd</show></presence>
    juliet receives nothing.
    romeo sends to juliet:
        <message type="chat" id="m1"><body>Wake up</body></message>
    juliet receives:
        <presence from="{romeo.full}" to="{juliet.full}"><show>dnd</show></presence>
        <message from="{romeo.full}" to="{juliet.full}" type="chat" id="m1"><body>Wake up</body></message>
"""

from xmppchat.components.csi.component import Csi

__all__ = ["Csi"]
