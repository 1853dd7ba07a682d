"""Roster (RFC 6121 §2): contacts, groups, pushes and versioning (§2.6).

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="r1"><query xmlns="jabber:iq:roster"/></iq>
    romeo receives:
        <iq type="result" id="r1" from="{romeo.bare}" to="{romeo.full}"><query xmlns="jabber:iq:roster" ver="0"/></iq>
    romeo sends:
        <iq type="set" id="r2"><query xmlns="jabber:iq:roster"><item jid="nurse@{domain}" name="Nurse"/></query></iq>
    romeo receives in any order:
        <iq type="set" id="…" from="{romeo.bare}" to="{romeo.full}"><query xmlns="jabber:iq:roster" ver="1"><item jid="nurse@{domain}" name="Nurse" subscription="none"/></query></iq>
        <iq type="result" id="r2" from="{romeo.bare}" to="{romeo.full}"/>
"""  # noqa: E501

from xmppchat.components.roster.component import Roster

__all__ = ["Roster"]
