"""What clients ask for, what push services are sent, and what they answer (XEP-0357)."""

from __future__ import annotations

from typing import Final, NamedTuple

from xmppchat.components.push.registrations import Registration
from xmppchat.jid import JID, InvalidJID
from xmppchat.protocol import errors
from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, JidMalformed
from xmppchat.protocol.forms import Field, Form, form_type
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.protocol.xmlreader import parse_stored

#: All that a notification ever says. App servers of iOS show an alert if there is a text, and stay silent if not; it is
#: never that of a message (reliability.md V-46).
_SUMMARY: Final = Form("submit", (
    form_type(NS.PUSH_SUMMARY), Field("message-count", "", ("1",)), Field("last-message-body", "", ("New Message!",)),
)).to_element()

#: No answer in time; the conditions of errors are the other failures.
NO_ANSWER: Final = "no-answer"
#: Conditions by which failures are told apart: those of RFC 6120 §8.3.3; any other is "undefined-condition".
CONDITIONS: Final = frozenset(
    one.condition for one in vars(errors).values()
    if isinstance(one, type) and issubclass(one, errors.StanzaError) and one is not errors.StanzaError
)
#: The service knows the node no more, or not us: that does not pass, unless the type "wait" says so.
PERMANENT: Final = frozenset({"item-not-found", "not-allowed", "forbidden", "gone"})


class Wish(NamedTuple):
    """What a client wants enabled or disabled: `node` None where it named none."""

    app_server: JID
    node: str | None
    options: str

    @property
    def size(self) -> int:
        """What there is to keep of it, bytes."""
        return len(self.app_server.full.encode()) + len((self.node or "").encode()) + len(self.options.encode())


def read(element: Element) -> Wish:
    """``<enable/>`` or ``<disable/>`` (§5, §6). Raises a :class:`StanzaError`."""
    address = element.get("jid")
    if not address:
        raise BadRequest("which push service? Put its address into 'jid' (XEP-0357 §5)")
    try:
        app_server = JID.parse(address)
    except InvalidJID as error:
        raise JidMalformed(str(error)) from None
    form = element.find("x", NS.FORM)
    if form is not None:
        fields = (field for field in form.find_all("field") if field.get("var") == "FORM_TYPE")
        if next((field.child_text("value") for field in fields), None) != NS.PUBSUB_OPTIONS:
            raise BadRequest(f"the form of a push service has the FORM_TYPE {NS.PUBSUB_OPTIONS} (XEP-0357 §5)")
    return Wish(app_server, element.attributes.get("node"), form.to_xml() if form is not None else "")


def notification(registration: Registration) -> Element:
    """The ``<pubsub/>`` that wakes a device (§7). It says that there is something, and nothing of what."""
    notified = Element("notification", NS.PUSH, None, (_SUMMARY,))
    item = Element("item", NS.PUBSUB, None, (notified,))
    children = [Element("publish", NS.PUBSUB, {"node": registration.node or None}, (item,))]
    if registration.options:
        children.append(Element("publish-options", NS.PUBSUB, None, (parse_stored(registration.options),)))
    return Element("pubsub", NS.PUBSUB, None, children)


def failure_of(answer: Stanza | None) -> tuple[str, bool]:
    """Why a notification failed ("" where it did not), and whether that is for good."""
    if answer is None:
        return NO_ANSWER, False
    if answer.type == "result":
        return "", False
    error = answer.find("error")
    names = [child.name for child in error.elements() if child.namespace == NS.STANZA_ERROR] if error else []
    condition = next((name for name in names if name in CONDITIONS), "undefined-condition")
    is_passing = error is not None and error.get("type") == "wait"
    return condition, condition in PERMANENT and not is_passing


def ended_nodes(stanza: Stanza, account: JID) -> list[str | None]:
    """Nodes to which a push service lets `account` publish no more (§8); None stands for one without a name."""
    pubsub = stanza.find("pubsub", NS.PUBSUB)
    if pubsub is None:
        return []
    # We publish in the name of the domain, so a service may speak of that.
    ours = (account.bare, account.domain)
    return [pubsub.attributes.get("node")] if any(
        affiliation.get("affiliation") == "none" and affiliation.get("jid") in ours
        for affiliation in pubsub.find_all("affiliation")
    ) else []
