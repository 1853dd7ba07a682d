"""XML namespaces, by the name they go by in the code: ``NS.ROSTER``."""

from __future__ import annotations

from typing import Final


class NS:
    """Namespaces in use. Add one where its neighbours stand: RFCs first, then XEPs by number."""

    XML: Final = "http://www.w3.org/XML/1998/namespace"

    # RFC 6120, RFC 6121
    STREAM: Final = "http://etherx.jabber.org/streams"
    CLIENT: Final = "jabber:client"
    SERVER: Final = "jabber:server"
    TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
    SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
    BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
    SESSION: Final = "urn:ietf:params:xml:ns:xmpp-session"
    STREAM_ERROR: Final = "urn:ietf:params:xml:ns:xmpp-streams"
    STANZA_ERROR: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
    ROSTER: Final = "jabber:iq:roster"
    ROSTER_VERSIONING: Final = "urn:xmpp:features:rosterver"
    PRE_APPROVAL: Final = "urn:xmpp:features:pre-approval"

    # XEPs
    FORM: Final = "jabber:x:data"  # 0004
    LAST_ACTIVITY: Final = "jabber:iq:last"  # 0012
    PRIVACY: Final = "jabber:iq:privacy"  # 0016
    OPENPGP_LEGACY: Final = "jabber:x:encrypted"  # 0027
    DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"  # 0030
    DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"  # 0030
    MUC_USER: Final = "http://jabber.org/protocol/muc#user"  # 0045
    BOOKMARKS_STORAGE: Final = "storage:bookmarks"  # 0048
    PRIVATE_XML: Final = "jabber:iq:private"  # 0049
    COMMANDS: Final = "http://jabber.org/protocol/commands"  # 0050
    VCARD: Final = "vcard-temp"  # 0054
    RSM: Final = "http://jabber.org/protocol/rsm"  # 0059
    PUBSUB: Final = "http://jabber.org/protocol/pubsub"  # 0060
    PUBSUB_OPTIONS: Final = "http://jabber.org/protocol/pubsub#publish-options"  # 0060
    PUBSUB_OWNER: Final = "http://jabber.org/protocol/pubsub#owner"  # 0060
    PUBSUB_EVENT: Final = "http://jabber.org/protocol/pubsub#event"  # 0060
    PUBSUB_ERRORS: Final = "http://jabber.org/protocol/pubsub#errors"  # 0060
    PUBSUB_NODE_CONFIG: Final = "http://jabber.org/protocol/pubsub#node_config"  # 0060
    PUBSUB_META_DATA: Final = "http://jabber.org/protocol/pubsub#meta-data"  # 0060
    PUBSUB_AUTHORIZATION: Final = "http://jabber.org/protocol/pubsub#subscribe_authorization"  # 0060
    OUT_OF_BAND: Final = "jabber:x:oob"  # 0066
    REGISTER: Final = "jabber:iq:register"  # 0077
    REGISTER_FEATURE: Final = "http://jabber.org/features/iq-register"  # 0077
    AVATAR_DATA: Final = "urn:xmpp:avatar:data"  # 0084
    AVATAR_METADATA: Final = "urn:xmpp:avatar:metadata"  # 0084
    CHAT_STATES: Final = "http://jabber.org/protocol/chatstates"  # 0085
    VERSION: Final = "jabber:iq:version"  # 0092
    CAPS: Final = "http://jabber.org/protocol/caps"  # 0115
    COMPONENT_ACCEPT: Final = "jabber:component:accept"  # 0114
    FORM_VALIDATION: Final = "http://jabber.org/protocol/xdata-validate"  # 0122
    ADMIN: Final = "http://jabber.org/protocol/admin"  # 0133
    VCARD_UPDATE: Final = "vcard-temp:x:update"  # 0153
    SERVER_INFO: Final = "http://jabber.org/network/serverinfo"  # 0157
    OFFLINE: Final = "msgoffline"  # 0160
    JINGLE: Final = "urn:xmpp:jingle:1"  # 0166
    JINGLE_RTP: Final = "urn:xmpp:jingle:apps:rtp:1"  # 0167
    RECEIPTS: Final = "urn:xmpp:receipts"  # 0184
    BLOCKING: Final = "urn:xmpp:blocking"  # 0191
    BLOCKING_ERRORS: Final = "urn:xmpp:blocking:errors"  # 0191
    STREAM_MANAGEMENT: Final = "urn:xmpp:sm:3"  # 0198
    PING: Final = "urn:xmpp:ping"  # 0199
    TIME: Final = "urn:xmpp:time"  # 0202
    DELAY: Final = "urn:xmpp:delay"  # 0203
    PORTABLE_EXPORT: Final = "urn:xmpp:pie:0"  # 0227
    PORTABLE_SCRAM: Final = "urn:xmpp:pie:0#scram"  # 0227
    PORTABLE_ARCHIVE: Final = "urn:xmpp:pie:0#mam"  # 0227
    CONFERENCE: Final = "jabber:x:conference"  # 0249
    CARBONS: Final = "urn:xmpp:carbons:2"  # 0280
    CARBONS_RULES: Final = "urn:xmpp:carbons:rules:0"  # 0280
    VCARD_4: Final = "urn:ietf:params:xml:ns:vcard-4.0"  # 0292
    VCARD_4_NODE: Final = "urn:xmpp:vcard4"  # 0292
    FORWARD: Final = "urn:xmpp:forward:0"  # 0297
    MESSAGE_CORRECT: Final = "urn:xmpp:message-correct:0"  # 0308
    ARCHIVE: Final = "urn:xmpp:mam:2"  # 0313
    ARCHIVE_EXTENDED: Final = "urn:xmpp:mam:2#extended"  # 0313
    CHAT_MARKERS: Final = "urn:xmpp:chat-markers:0"  # 0333
    HINTS: Final = "urn:xmpp:hints"  # 0334
    CSI: Final = "urn:xmpp:csi:0"  # 0352
    JINGLE_MESSAGE: Final = "urn:xmpp:jingle-message:0"  # 0353
    JINGLE_MESSAGE_1: Final = "urn:xmpp:jingle-message:1"  # 0353, as XEP-0280 §6.1 names it
    STANZA_IDS: Final = "urn:xmpp:sid:0"  # 0359
    REFERENCES: Final = "urn:xmpp:reference:0"  # 0372
    OPENPGP: Final = "urn:xmpp:openpgp:0"  # 0373
    PUSH: Final = "urn:xmpp:push:0"  # 0357
    PUSH_SUMMARY: Final = "urn:xmpp:push:summary"  # 0357
    REPORTING: Final = "urn:xmpp:reporting:1"  # 0377
    PREAUTH: Final = "urn:xmpp:pars:0"  # 0379
    ENCRYPTION: Final = "urn:xmpp:eme:0"  # 0380
    OMEMO_AXOLOTL: Final = "eu.siacs.conversations.axolotl"  # 0384
    OMEMO_AXOLOTL_DEVICES: Final = "eu.siacs.conversations.axolotl.devicelist"  # 0384, before 0.4
    OMEMO_AXOLOTL_BUNDLES: Final = "eu.siacs.conversations.axolotl.bundles"  # 0384, before 0.4: ":" and a device's id
    OMEMO_1: Final = "urn:xmpp:omemo:1"  # 0384, versions 0.4 to 0.7
    OMEMO: Final = "urn:xmpp:omemo:2"  # 0384
    OMEMO_DEVICES: Final = "urn:xmpp:omemo:2:devices"  # 0384
    OMEMO_BUNDLES: Final = "urn:xmpp:omemo:2:bundles"  # 0384
    BIND_2: Final = "urn:xmpp:bind:0"  # 0386
    SASL_2: Final = "urn:xmpp:sasl:2"  # 0388
    AVATAR_CONVERSION: Final = "urn:xmpp:pep-vcard-conversion:0"  # 0398
    INVITE: Final = "urn:xmpp:invite"  # 0401
    BOOKMARKS: Final = "urn:xmpp:bookmarks:1"  # 0402
    BOOKMARKS_CONVERSION: Final = "urn:xmpp:bookmarks-conversion:0"  # 0411
    SCE: Final = "urn:xmpp:sce:1"  # 0420
    OCCUPANT_ID: Final = "urn:xmpp:occupant-id:0"  # 0421
    FASTEN: Final = "urn:xmpp:fasten:0"  # 0422
    RETRACT: Final = "urn:xmpp:message-retract:1"  # 0424
    RETRACT_TOMBSTONE: Final = "urn:xmpp:message-retract:1#tombstone"  # 0424
    FALLBACK: Final = "urn:xmpp:fallback:0"  # 0428
    CHANNEL_BINDING: Final = "urn:xmpp:sasl-cb:0"  # 0440
    REACTIONS: Final = "urn:xmpp:reactions:0"  # 0444
    REGISTER_INVITED: Final = "urn:xmpp:ibr-token:0"  # 0445
    OUTAGE_STATUS: Final = "urn:xmpp:sos:0"  # 0455
    REPLY: Final = "urn:xmpp:reply:0"  # 0461
    STREAM_LIMITS: Final = "urn:xmpp:stream-limits:0"  # 0478
    SASL_UPGRADE: Final = "urn:xmpp:sasl:upgrade:0"  # 0480
    SCRAM_UPGRADE: Final = "urn:xmpp:scram-upgrade:0"  # 0480
    CALL_INVITES: Final = "urn:xmpp:call-invites:0"  # 0482
    FAST: Final = "urn:xmpp:fast:0"  # 0484
    NOTIFICATION_SETTINGS: Final = "urn:xmpp:notification-settings:1"  # 0492
    CLIENT_ACCESS: Final = "urn:xmpp:cam:0"  # 0494
