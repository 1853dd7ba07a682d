"""Presence (RFC 6121 §3, §4): subscriptions, broadcasts, probes, directed presence.

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

__all__ = ["Presence"]
