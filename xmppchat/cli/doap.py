"""The DOAP file (XEP-0453): what xmpp.org reads of a project and the specifications it implements."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from xml.etree import ElementTree as ET

from xmppchat.core.component import Component, Rfc, Xep

_DOAP = "http://usefulinc.com/ns/doap#"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMPP = "https://linkmauve.fr/ns/xmpp-doap#"

#: What the core itself implements, beneath all components.
CORE = (
    Rfc(6120), Rfc(7590), Xep(368, "1.1.0"), Xep(386, "1.1.0"), Xep(388, "1.0.4"),
    Xep(440, "1.0.0", note="tls-server-end-point"),
)


def doap(classes: Iterable[type[Component[Any]]]) -> str:
    """The file's text."""
    for prefix, namespace in (("", _DOAP), ("rdf", _RDF), ("xmpp", _XMPP)):
        ET.register_namespace(prefix, namespace)
    root = ET.Element(f"{{{_RDF}}}RDF")
    project = ET.SubElement(root, f"{{{_DOAP}}}Project")
    _text(project, "name", "xmppchat")
    _text(project, "shortdesc", "An XMPP server in Python", lang="en")
    _text(project, "programming-language", "Python")
    _text(project, "os", "Linux")
    _resource(project, "license", "https://spdx.org/licenses/AGPL-3.0-or-later.html")
    _resource(project, "category", "https://linkmauve.fr/ns/xmpp-doap#category-server")
    items = {*CORE, *(item for cls in classes for item in cls.implements)}
    for number in sorted({item.number for item in items if isinstance(item, Rfc)}):
        _resource(project, "implements", f"https://www.rfc-editor.org/info/rfc{number}")
    xeps = [item for item in items if isinstance(item, Xep)]
    for xep in sorted(xeps, key=lambda xep: (xep.number, xep.version)):
        _supported(project, xep)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _supported(project: ET.Element, xep: Xep) -> None:
    outer = ET.SubElement(project, f"{{{_DOAP}}}implements")
    inner = ET.SubElement(outer, f"{{{_XMPP}}}SupportedXep")
    url = f"https://xmpp.org/extensions/xep-{xep.number:04}.html"
    ET.SubElement(inner, f"{{{_XMPP}}}xep", {f"{{{_RDF}}}resource": url})
    for name, value in (("status", xep.status), ("version", xep.version), ("note", xep.note)):
        if value:
            ET.SubElement(inner, f"{{{_XMPP}}}{name}").text = value


def _text(parent: ET.Element, name: str, text: str, lang: str = "") -> None:
    attributes = {"{http://www.w3.org/XML/1998/namespace}lang": lang} if lang else {}
    ET.SubElement(parent, f"{{{_DOAP}}}{name}", attributes).text = text


def _resource(parent: ET.Element, name: str, url: str) -> None:
    ET.SubElement(parent, f"{{{_DOAP}}}{name}", {f"{{{_RDF}}}resource": url})
