"""In-band registration: `component.py` the feature, `applicant.py` one connection, `budgets.py` what a network may."""

from xmppchat.components.register.component import Register

__all__ = ["Register"]
