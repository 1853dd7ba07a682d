"""Stream management (XEP-0198): acknowledgements, and sessions that outlive their connections.

Example::

    [Client] romeo

    romeo sends:    <enable xmlns="urn:xmpp:sm:3"/>
    romeo receives: <enabled xmlns="urn:xmpp:sm:3"/>
    romeo sends:    <r xmlns="urn:xmpp:sm:3"/>
    romeo receives: <a xmlns="urn:xmpp:sm:3" h="…"/>
"""

from xmppchat.components.stream_management.component import StreamManagement

__all__ = ["StreamManagement"]
