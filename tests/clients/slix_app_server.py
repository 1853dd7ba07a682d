"""slixmpp as the app server of an app (XEP-0357): registers devices as p2 and Monal's do, and takes notifications.

p2 (Conversations): a client gets address, node and secret by an ad-hoc command, and each notification has to bring the
secret. Monal: the node is what Apple calls the device, and there is no secret.
"""

from __future__ import annotations

import secrets
from xml.etree import ElementTree as ET

from live_server import ServerProcess
from slix_component import SlixComponent
from slixmpp.stanza import Iq
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath
from waiting import until

_ACCEPT = "{jabber:component:accept}iq"
_PUBSUB = "{http://jabber.org/protocol/pubsub}"
_COMMAND = "{http://jabber.org/protocol/commands}command"
_FORM = "{jabber:x:data}"
_PUSH = "{urn:xmpp:push:0}notification"


class SlixAppServer(SlixComponent):
    """`pushed` are the nodes that were notified, in order, `payloads` what came; `failure` refuses all that comes."""

    def __init__(self, server: ServerProcess, domain: str, secret: str) -> None:
        super().__init__(server, domain, secret)
        self.secrets: dict[str, str] = {}  # by node; "" for none
        self.pushed: list[str] = []
        self.payloads: list[str] = []
        self.senders: list[str] = []
        self.failure = ""
        for name, payload, take in (
            ("register", _COMMAND, self._register), ("publish", f"{_PUBSUB}pubsub", self._publish),
        ):  # fmt: skip
            self.register_handler(Callback(name, MatchXPath(f"{_ACCEPT}/{payload}"), take))

    def _register(self, iq: Iq) -> None:
        """`register-push-fcm` with the device's token, as Conversations asks p2."""
        command = iq.xml.find(_COMMAND)
        assert command is not None
        values = _values(command)
        if command.get("node") != "register-push-fcm" or not values.get("token"):
            _refuse(iq, "bad-request")
            return
        node, secret = secrets.token_hex(8), secrets.token_hex(12)
        self.secrets[node] = secret
        answer = ET.Element(_COMMAND, {"node": "register-push-fcm", "status": "completed"})
        form = ET.SubElement(answer, f"{_FORM}x", {"type": "result"})
        for var, value in (("jid", self.domain), ("node", node), ("secret", secret)):
            ET.SubElement(ET.SubElement(form, f"{_FORM}field", {"var": var}), f"{_FORM}value").text = value
        reply = iq.reply()
        reply.xml.append(answer)
        reply.send()

    def _publish(self, iq: Iq) -> None:
        publish = iq.xml.find(f"{_PUBSUB}pubsub/{_PUBSUB}publish")
        options = iq.xml.find(f"{_PUBSUB}pubsub/{_PUBSUB}publish-options")
        assert publish is not None
        assert publish.find(f"{_PUBSUB}item/{_PUSH}") is not None
        node = publish.get("node", "")
        if self.failure or node not in self.secrets:
            _refuse(iq, self.failure or "item-not-found")
        elif self.secrets[node] and (options is None or _values(options).get("secret") != self.secrets[node]):
            _refuse(iq, "forbidden")
        else:
            self.payloads.append(ET.tostring(iq.xml, encoding="unicode"))
            self.senders.append(str(iq["from"]))
            self.pushed.append(node)
            iq.reply().send()

    async def has_pushed(self, *nodes: str) -> None:
        """Returns once so many notifications came; they must be for these."""
        await until(lambda: len(self.pushed) >= len(nodes), lambda: f"{nodes} were notified: {self.pushed}")
        assert self.pushed == list(nodes)


def _values(parent: ET.Element) -> dict[str, str]:
    return {
        field.get("var", ""): field.findtext(f"{_FORM}value", "") for field in parent.iterfind(f"{_FORM}x/{_FORM}field")
    }


def _refuse(iq: Iq, condition: str) -> None:
    reply = iq.reply()
    reply["type"] = "error"
    reply["error"]["type"] = "cancel"
    reply["error"]["condition"] = condition
    reply.send()
