"""Features, one file (or folder) each, named by function. They meet through services, never import one another."""

from __future__ import annotations

from typing import Any

from xmppchat.components.accounts import Accounts, Users
from xmppchat.components.adhoc import Adhoc
from xmppchat.components.administration import Administration
from xmppchat.components.archive import Archive, ArchivePreferences
from xmppchat.components.audit import Audit
from xmppchat.components.blocking import Blocking
from xmppchat.components.bookmarks import Bookmarks
from xmppchat.components.bots import Bots
from xmppchat.components.caps import Caps
from xmppchat.components.carbons import Carbons
from xmppchat.components.contact_addresses import ContactAddresses
from xmppchat.components.csi import Csi
from xmppchat.components.devices import Devices
from xmppchat.components.disco import Disco
from xmppchat.components.entity_time import EntityTime
from xmppchat.components.external_components import ExternalComponents
from xmppchat.components.invitations import Invitations
from xmppchat.components.last_activity import LastActivity
from xmppchat.components.offline import Offline
from xmppchat.components.omemo import Omemo
from xmppchat.components.operations import Operations
from xmppchat.components.ping import Ping
from xmppchat.components.presence import Presence, Subscriptions
from xmppchat.components.private_xml import PrivateXml
from xmppchat.components.pubsub import Pubsub, PubsubService
from xmppchat.components.push import Push
from xmppchat.components.register import Register
from xmppchat.components.roster import Roster
from xmppchat.components.service_administration import ServiceAdministration
from xmppchat.components.strangers import Strangers
from xmppchat.components.stream_limits import StreamLimits
from xmppchat.components.stream_management import StreamManagement
from xmppchat.components.vcard import Vcard
from xmppchat.components.version import Version
from xmppchat.core.component import Component

#: What every server has.
BUILTIN: tuple[type[Component[Any]], ...] = (
    Accounts, Adhoc, Administration, Archive, ArchivePreferences, Audit, Blocking, Bookmarks, Bots, Caps, Carbons,
    ContactAddresses, Csi, Devices, Disco, EntityTime, ExternalComponents, Invitations, LastActivity, Offline,
    Omemo, Operations, Ping, Presence, PrivateXml, Pubsub, PubsubService, Push, Register, Roster,
    ServiceAdministration, Strangers, StreamLimits, StreamManagement, Subscriptions, Users, Vcard, Version,
)
