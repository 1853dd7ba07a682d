"""Ad-hoc commands (XEP-0050): what components declare with `@command`, for clients.

`component.py` answers requests, `payloads.py` makes forms of parameters and results and arguments of forms,
`sessions.py` remembers who was asked what.
"""

from xmppchat.components.adhoc.component import Adhoc

__all__ = ["Adhoc"]
