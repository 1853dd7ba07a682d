"""Presence (RFC 6121 §3, §4): `component.py` who is there, `subscriptions.py` who may see it, by `tables.py`.

Example::

    [Client] romeo
    [Client] juliet
    [Roster] romeo -> juliet: both

    romeo sends:
        <presence><show>away</show></presence>
    romeo receives:
        <presence from="{romeo.full}" to="{romeo.bare}"><show>away</show></presence>
    juliet receives:
        <presence from="{romeo.full}" to="{juliet.bare}"><show>away</show></presence>
"""

from xmppchat.components.presence.component import Presence
from xmppchat.components.presence.subscriptions import Subscriptions

__all__ = ["Presence", "Subscriptions"]
