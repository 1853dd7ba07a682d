"""Invitations (XEP-0401, XEP-0445, XEP-0379): `component.py` what they do, `store.py` all SQL."""

from xmppchat.components.invitations.component import Invitations

__all__ = ["Invitations"]
