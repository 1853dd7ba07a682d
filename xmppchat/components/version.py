"""Software version (XEP-0092): what software this server is, and which version. The operating system is not told.

Example::

    [Client] romeo

    romeo sends:
        <iq type="get" id="v1" to="{domain}"><query xmlns="jabber:iq:version"/></iq>
    romeo receives:
        <iq type="result" id="v1" from="{domain}" to="{romeo.full}">
            <query xmlns="jabber:iq:version"><name>xmppchat</name>…</query>
        </iq>
"""

from __future__ import annotations

import importlib.metadata
import platform

from pydantic import Field

from xmppchat.core.component import SERVER, Component, ComponentConfig, Feature, IqRequest, Xep, iq_get
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS


class VersionConfig(ComponentConfig):
    """Options of the software version."""

    show_os: bool = Field(False, description="tell everybody who asks for the version the operating system, too")


class Version(Component[VersionConfig]):
    """Answers what software this is (XEP-0092 §2)."""

    name = "version"
    implements = (Xep(92, "1.1"),)
    features = (Feature(NS.VERSION),)
    Config = VersionConfig

    def setup(self) -> None:
        """It does not change while the server runs."""
        parts = [("name", "xmppchat"), ("version", importlib.metadata.version("xmppchat"))]
        if self.config.show_os:
            parts.append(("os", f"{platform.system()} {platform.release()}"))
        self._query = Element("query", NS.VERSION, None, [text_element(name, NS.VERSION, text) for name, text in parts])

    @iq_get(NS.VERSION, "query", at=SERVER)
    def tell(self, request: IqRequest) -> Element:
        """Name and version, and the operating system where the admin wants that (§5)."""
        return self._query
