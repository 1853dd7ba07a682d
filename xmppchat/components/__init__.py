"""Features, one file (or folder) each, named by function. They meet through services, never import one another."""

from __future__ import annotations

from typing import Any

from xmppchat.components.accounts import Accounts
from xmppchat.components.administration import Administration
from xmppchat.components.disco import Disco
from xmppchat.components.offline import Offline
from xmppchat.components.ping import Ping
from xmppchat.components.presence import Presence
from xmppchat.components.register import Register
from xmppchat.components.roster import Roster
from xmppchat.components.strangers import Strangers
from xmppchat.core.component import Component

#: What every server has.
BUILTIN: tuple[type[Component[Any]], ...] = (
    Accounts, Administration, Disco, Offline, Ping, Presence, Register, Roster, Strangers,
)
