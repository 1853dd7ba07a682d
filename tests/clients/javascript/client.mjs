// A client with @xmpp/client that is driven by lines of JSON: what to do on standard input, what happened on
// standard output. Arguments: service, domain, username, password, resource, and what a former one kept: the id it calls
// itself by and, in the place of a password, its token (JSON).
import { createInterface } from "node:readline";
import { client, xml } from "@xmpp/client";

const [service, domain, username, password, resource, kept] = process.argv.slice(2);
const { id, token } = JSON.parse(kept ?? "{}");
const credentials = token ? { username, token } : { username, password };
const userAgent = xml("user-agent", { id: id ?? globalThis.crypto.randomUUID() }, xml("software", {}, "node"));
const xmpp = client({ service, domain, username, credentials, resource, userAgent });
const tell = (event) => process.stdout.write(JSON.stringify(event) + "\n");

xmpp.reconnect.delay = 50;
xmpp.streamManagement.requestAckDebounce = 20;
xmpp.on("online", (jid) => tell({ event: "online", jid: jid.toString() }));
xmpp.on("disconnect", () => tell({ event: "disconnect" }));
xmpp.on("error", (error) => tell({ event: "error", text: String(error) }));
xmpp.streamManagement.on("resumed", () => tell({ event: "resumed" }));
xmpp.streamManagement.on("ack", (stanza) => tell({ event: "ack", id: stanza.attrs.id ?? "" }));
xmpp.streamManagement.on("fail", (stanza) => tell({ event: "fail", id: stanza.attrs.id ?? "" }));
xmpp.on("send", (element) => {
  if (element.is("authenticate")) tell({ event: "authenticate", mechanism: element.attrs.mechanism });
});
const saveToken = xmpp.fast.saveToken;
xmpp.fast.saveToken = (fresh) => {
  tell({ event: "token", id: userAgent.attrs.id, token: fresh });
  return saveToken(fresh);
};
xmpp.on("stanza", (stanza) => {
  if (stanza.is("message")) {
    const stanzaId = stanza.getChild("stanza-id", "urn:xmpp:sid:0");
    tell({
      event: "message", id: stanza.attrs.id ?? "", from: stanza.attrs.from, type: stanza.attrs.type ?? "",
      body: stanza.getChildText("body"), stanzaId: stanzaId ? stanzaId.attrs.id : null,
    });
  } else if (stanza.is("presence") && stanza.attrs.from === xmpp.jid?.toString()) {
    tell({ event: "present" });
  }
});

const commands = {
  // What is not even written is not kept for the next connection: its user has to send it again.
  send: ({ to, id, body }) =>
    xmpp.send(xml("message", { to, id, type: "chat" }, xml("body", {}, body))).catch(() => tell({ event: "unsent", id })),
  presence: ({ to, type }) => xmpp.send(xml("presence", { to, type })),
  available: () => xmpp.send(xml("presence")),
  // The connection breaks under the client, without a word to either side.
  cut: () => xmpp.socket.socket ? xmpp.socket.socket.destroy() : xmpp.socket.destroy(),
  // vCards (XEP-0054): its own with a full name, and that of anybody.
  introduce: ({ name }) =>
    xmpp.iqCaller.set(xml("vCard", "vcard-temp", xml("FN", {}, name))).then(() => tell({ event: "introduced" })),
  look: ({ at }) =>
    xmpp.iqCaller.get(xml("vCard", "vcard-temp"), at).then(
      (card) => tell({ event: "card", name: card.getChildText("FN") }),
      (error) => tell({ event: "card", error: error.condition }),
    ),
};

createInterface({ input: process.stdin }).on("line", (line) => {
  const command = JSON.parse(line);
  Promise.resolve(commands[command.do](command)).catch((error) => tell({ event: "error", text: String(error) }));
});
xmpp.start().catch((error) => tell({ event: "error", text: String(error) }));
