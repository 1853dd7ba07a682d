"""What accounts want to be notified of, chat by chat (XEP-0492), as far as it decides on push notifications.

A setting is for the clients of an identity. Which of them a notification wakes is not known, so the one counts that
lets most through of those that may be meant; gateways and the like are no clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import bindparam, delete, insert, select

from xmppchat.core.account import Account, AccountPart
from xmppchat.core.turn import Turn
from xmppchat.jid import JID
from xmppchat.protocol.element import Element
from xmppchat.protocol.message_content import ENCRYPTED, meant
from xmppchat.protocol.namespaces import NS
from xmppchat.protocol.stanza import Stanza
from xmppchat.storage import schema

ALWAYS: Final = "always"
ON_MENTION: Final = "on-mention"
NEVER: Final = "never"
_LETS_THROUGH: Final = (ALWAYS, ON_MENTION, NEVER)  # the most first
_UNREADABLE: Final = ENCRYPTED | {(NS.ENCRYPTION, "encryption")}
#: Characters of a name in a room that are looked for.
MAX_NICK: Final = 256


@dataclass(frozen=True, slots=True)
class Setting:
    """What is wanted of a chat, where that is not everything; `nick` is the own name there, "" where it is unknown."""

    setting: str
    nick: str = ""


Settings = dict[str, Setting]
_settings = schema.chat_settings.c


def _build(account: Account, rows: Sequence[Any]) -> Settings:
    return {row.jid: Setting(row.setting, row.nick) for row in rows}


SETTINGS: AccountPart[Settings] = AccountPart(
    "chat_settings",
    select(_settings.account_id, _settings.jid, _settings.setting, _settings.nick)
    .where(_settings.account_id.in_(bindparam("accounts", expanding=True))),
    _build,
)
_INSERT = insert(schema.chat_settings)
_DELETE = delete(schema.chat_settings).where(
    _settings.account_id == bindparam("account"), _settings.jid == bindparam("of_jid")
)
_DELETE_ALL = delete(schema.chat_settings).where(_settings.account_id == bindparam("account"))


def change(account: Account, jid: str, bookmark: Element | None, turn: Turn) -> None:
    """The chat with `jid` has another bookmark, or none."""
    wanted = None if bookmark is None else setting_of(bookmark)
    settings = account[SETTINGS]
    if settings.get(jid) == wanted:
        return
    settings.pop(jid, None)
    turn.write(account, _DELETE, {"account": account.id, "of_jid": jid})
    if wanted is not None:
        settings[jid] = wanted
        turn.write(account, _INSERT, {
            "account_id": account.id, "jid": jid, "setting": wanted.setting, "nick": wanted.nick,
        })


def delete_all(account: Account, turn: Turn) -> None:
    """It goes with the account."""
    account[SETTINGS].clear()
    turn.write(account, _DELETE_ALL, {"account": account.id})


def setting_of(bookmark: Element) -> Setting | None:
    """What ``<notify/>`` in the extensions of a bookmark says (§3.1), None for everything."""
    extensions = bookmark.find("extensions")
    notify = None if extensions is None else extensions.find("notify", NS.NOTIFICATION_SETTINGS)
    if notify is None:
        return None
    said = [child for child in notify.elements() if child.name in _LETS_THROUGH]
    of_clients = [child for child in said if child.get("identity-category") == "client"]
    of_types = [child.name for child in of_clients if child.get("identity-type")]
    # §4: the most specific counts, so what is said generally counts for types of which nothing is said.
    of_the_rest = [child.name for child in of_clients if not child.get("identity-type")] or [
        child.name for child in said if not child.get("identity-category") and not child.get("identity-type")
    ]
    setting = next(name for name in _LETS_THROUGH if name in (of_types + (of_the_rest or [ALWAYS])))
    if setting == ALWAYS:
        return None
    return Setting(setting, (bookmark.child_text("nick") or "").strip()[:MAX_NICK])


def is_muted(account: Account, stanza: Stanza) -> bool:
    """Whether the account does not want to be notified of a message. What cannot be told, as it is encrypted, counts as
    wanted."""
    if not account.parts.get(SETTINGS) or stanza.from_ is None:
        return False
    _, sender, children = meant(stanza, account.jid)
    found = account[SETTINGS].get(sender.partition("/")[0])
    if found is None:
        return False
    if found.setting == NEVER:
        return True
    elements = [child for child in children if isinstance(child, Element)]
    names = {(child.namespace, child.name) for child in elements}
    return names.isdisjoint(_UNREADABLE) and not _mentions(account, found, sender.partition("/")[0], elements)


def _mentions(account: Account, setting: Setting, chat: str, elements: Sequence[Element]) -> bool:
    """§4: by XEP-0372 or XEP-0461, or the own name spelt out."""
    nick = setting.nick
    own = {account.jid.bare, f"{chat}/{nick}" if nick else account.jid.bare}
    for element in elements:
        if element.is_named("reference", NS.REFERENCES) and element.get("type") == "mention":
            if element.get("uri").removeprefix("xmpp:").partition("?")[0] in own:
                return True
        elif element.is_named("reply", NS.REPLY):
            to = element.get("to")
            if to in own or _is_of(account.jid, to):
                return True
        elif element.is_named("body", NS.CLIENT) and (nick or account.jid.local).casefold() in element.text.casefold():
            return True
    return False


def _is_of(own: JID, address: str) -> bool:
    return address.partition("/")[0] == own.bare
