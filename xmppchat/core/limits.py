"""Limits: what one peer may cost (table: docs/reliability.md).

One :class:`Limits` object holds them all; a named profile sets the defaults, and each can be overridden by
name. The comment behind a limit is its row in that table. 0 means "off" where the description says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xmppchat.core import networks
from xmppchat.core.networks import LOOPBACK
from xmppchat.core.rates import FAN_OUT, Rates, TokenBucket
from xmppchat.protocol.errors import StreamError, StreamPolicyViolation
from xmppchat.protocol.xmlreader import ReaderLimits

_HUGE = 1_000_000_000

#: No rates, no waiting: all clients of a test share an address, and its clock jumps.
_UNHURRIED: Mapping[str, float] = {
    "connections_per_address": 0, "authenticated_per_address": 0,
    "auth_failures_per_address": 0, "auth_failures_per_network": 0, "auth_failures_per_account": 0,
    "auth_failure_delay": 0,
    "registrations_per_hour": 0, "registrations_per_day": 0,
    "session_byte_rate": 0, "session_byte_burst": 0, "session_stanza_rate": 0, "session_stanza_burst": 0,
    "account_byte_rate": 0, "account_message_rate": 0, "account_presence_rate": 0, "account_iq_rate": 0,
    "account_fan_out_rate": 0, "new_recipients_per_minute": 0, "new_recipients_on_first_day": 0,
    "idle_seconds": 0, "archive_query_rate": 0,
}  # fmt: skip

#: What differs from the defaults in each profile.
PROFILES: Mapping[str, Mapping[str, float]] = {
    "default": {},
    # Rates and counts out of the way; the XML limits stay, they cost nothing.
    "benchmark": {
        **_UNHURRIED, "sessions_per_account": 100_000,
        "offline_messages": _HUGE, "offline_bytes": _HUGE, "roster_items": 1_000_000,
        "pending_subscriptions": 1_000_000,
    },
    # Counts as in operation, but no rates.
    "test": _UNHURRIED,
}  # fmt: skip


#: What the end of a stream by a bound (:class:`StreamPolicyViolation`.limit) is counted as: after login, and before.
_OF_STREAMS: Final[Mapping[str, tuple[str, str]]] = {
    "bytes": ("stanza_bytes", "untrusted_stanza_bytes"), "elements": ("stanza_elements", "untrusted_elements"),
    "depth": ("stanza_depth", "untrusted_depth"), "attributes": ("element_attributes", "untrusted_attributes"),
    "namespaces": ("namespaces", "namespaces"), "total": ("untrusted_total_bytes", "untrusted_total_bytes"),
    "name_bytes": ("name_bytes", "name_bytes"), "attribute_bytes": ("attribute_bytes", "attribute_bytes"),
    "rescan_bytes": ("rescan_bytes", "rescan_bytes"), "attempts": ("login_attempts", "login_attempts"),
}  # fmt: skip


def _limit(default: float, description: str, unit: str, *, ge: float = 1, le: float = _HUGE) -> Any:
    return Field(default, ge=ge, le=le, description=description, json_schema_extra={"unit": unit})


class Limits(BaseModel):
    """All limits. ``Limits(profile="test", roster_items=3)`` is the test profile with one override."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Literal["default", "benchmark", "test"] = Field(
        default="default",
        description='where the other limits start: "default", or for trials "benchmark", "test"',
    )

    # --- negotiation ----------------------------------------------------------------------------------------
    negotiation_seconds: float = _limit(
        60, "time a client has from connecting to being logged in", "s", le=3_600
    )  # 2
    negotiation_stall_seconds: float = _limit(30, "longest pause in it", "s", le=3_600)  # 2

    # --- one stanza; the least stanza_bytes is that of RFC 6120 §13.12 --------------------------------------
    stanza_bytes: int = _limit(262_144, "size of a stanza", "bytes", ge=10_000, le=67_108_864)  # 4
    stanza_elements: int = _limit(10_000, "elements in a stanza", "elements", ge=64, le=1_000_000)  # 6
    stanza_depth: int = _limit(64, "levels of elements in a stanza", "levels", ge=8, le=1_000)  # 7
    element_attributes: int = _limit(64, "attributes of an element", "attributes", ge=8, le=1_000)  # 8
    namespaces: int = _limit(64, "namespace declarations in scope", "declarations", ge=8, le=1_000)  # 9

    # --- the same before login; the least values let every real client log in -------------------------------
    untrusted_stanza_bytes: int = _limit(
        16_384, "size of an element before login", "bytes", ge=4_096, le=1_048_576
    )  # 3
    untrusted_elements: int = _limit(
        64, "elements in one element before login", "elements", ge=16, le=10_000
    )  # 3
    untrusted_depth: int = _limit(8, "levels of elements before login", "levels", ge=4, le=64)  # 3
    untrusted_attributes: int = _limit(
        32, "attributes of an element before login", "attributes", ge=8, le=1_000
    )  # 3
    untrusted_total_bytes: int = _limit(
        65_536, "all that a client may send before login", "bytes", ge=16_384, le=16_777_216
    )  # 3

    # --- who may connect ------------------------------------------------------------------------------------
    exempt_networks: tuple[str, ...] = Field(
        default=LOOPBACK,
        description="networks whose connections, and failed logins together, are not counted, such as your office's",
    )  # 11
    connections_per_address: int = _limit(
        20,
        "connections of one address that have not logged in; 0: this and the next three are off",
        "connections",
        ge=0,
    )  # 11
    connections_per_network: int = _limit(
        100, "the same of one /24 (IPv4) or /48 (IPv6)", "connections"
    )  # 11
    authenticated_per_address: int = _limit(
        2_000, "connections of one address (IPv6: of one /64) that have logged in; 0: any number", "connections", ge=0
    )  # 11
    connection_rate: float = _limit(10, "new connections of one address", "per s", ge=0.01)  # 11
    connection_burst: int = _limit(40, "new connections of one address at once", "connections")  # 11
    auth_failures_per_address: int = _limit(
        10, "failed logins of one address in 10 min before it has to wait; 0: off", "failures", ge=0
    )  # 12
    auth_failures_per_account: int = _limit(
        5,
        "failed logins to one account from one network in 5 min before it has to wait; 0: off",
        "failures",
        ge=0,
    )  # 12
    auth_failures_per_network: int = _limit(
        50, "failed logins of one /24 (IPv4) or /48 (IPv6) in 10 min before it has to wait; 0: off", "failures", ge=0
    )  # 12
    auth_failure_delay: float = _limit(
        2, "longest wait for the answer to a failed login, which begins with half a second; 0: none", "s", ge=0, le=10
    )  # 12
    registrations_per_hour: int = _limit(
        2, "accounts one network may register in an hour; 0: any number", "accounts", ge=0
    )  # 13
    registrations_per_day: int = _limit(
        5, "accounts one network may register in a day; 0: any number", "accounts", ge=0
    )  # 13

    open_invitations: int = _limit(
        10, "invitations of an account that nobody has used yet", "invitations", ge=0
    )  # 14
    invitations_per_day: int = _limit(20, "invitations an account may make in a day", "invitations", ge=0)  # 14

    # --- one account, one session ---------------------------------------------------------------------------
    sessions_per_account: int = _limit(
        20, "devices of an account that are connected at once", "sessions"
    )  # 15
    devices_per_account: int = _limit(
        50, "clients of an account that are remembered; one more, and the longest unused is forgotten", "clients"
    )  # 15
    session_byte_rate: int = _limit(
        16_384, "what a client may send for long; 0: off", "bytes per s", ge=0
    )  # 16
    session_byte_burst: int = _limit(
        524_288, "what it may send at once; at least one stanza has to pass; 0: off", "bytes", ge=0
    )  # 16
    session_stanza_rate: int = _limit(
        20, "stanzas a client may send for long; 0: off", "stanzas per s", ge=0
    )  # 17
    session_stanza_burst: int = _limit(200, "stanzas it may send at once; 0: off", "stanzas", ge=0)  # 17
    account_byte_rate: int = _limit(
        65_536, "what all devices of an account together may send for long; 0: off", "bytes per s", ge=0
    )  # 16
    account_byte_burst: int = _limit(2_097_152, "what they may send at once", "bytes")  # 16
    account_message_rate: float = _limit(
        10, "messages that all devices of an account together may send for long; 0: off", "messages per s", ge=0
    )  # 17
    account_message_burst: int = _limit(100, "messages they may send at once", "messages")  # 17
    account_presence_rate: float = _limit(
        5, "presence stanzas they may send for long; 0: off", "stanzas per s", ge=0
    )  # 17
    account_presence_burst: int = _limit(100, "presence stanzas they may send at once", "stanzas")  # 17
    account_iq_rate: float = _limit(15, "requests they may send for long; 0: off", "requests per s", ge=0)  # 17
    account_iq_burst: int = _limit(300, "requests they may send at once", "requests")  # 17
    account_fan_out_rate: float = _limit(
        200, "presence, and notifications of nodes, that an account may cause for long; 0: off", "stanzas per s", ge=0
    )  # 17
    account_fan_out_burst: int = _limit(10_000, "how many it may cause at once", "stanzas")  # 17
    new_recipients_per_minute: int = _limit(
        30, "addresses outside its roster that an account may begin to write to in a minute; 0: any number",
        "addresses", ge=0,
    )  # 17
    new_recipients_on_first_day: int = _limit(
        20, "the same in an hour, on an account's first day where anybody may register; 0: as later", "addresses", ge=0
    )  # 17
    idle_seconds: int = _limit(
        840, "silence after which a client is asked whether it is there; 0: only the system's TCP keep-alive asks",
        "s", ge=0, le=86_400,
    )  # 23

    unread_bytes: int = _limit(
        268_435_456, "what all connections together have not taken yet; more cuts those for whom most waits", "bytes",
        ge=16_777_216, le=1_099_511_627_776,
    )  # 19

    # --- streams that are managed (XEP-0198) ----------------------------------------------------------------
    resumption_seconds: int = _limit(
        600, "time a session waits for its client after its connection was lost", "s", le=604_800
    )  # 21
    push_resumption_seconds: int = _limit(
        86_400, "the same where the client is woken by push notifications (XEP-0357)", "s", le=604_800
    )  # 21
    hibernated_sessions: int = _limit(
        20, "sessions of an account that wait so; one more ends the oldest", "sessions"
    )  # 15
    hibernated_bytes: int = _limit(
        536_870_912, "size of all that such sessions keep, 4 KiB for each included; more ends those that wait longest",
        "bytes", ge=65_536, le=1_099_511_627_776,
    )  # 20
    unacknowledged_stanzas: int = _limit(
        1_000, "stanzas kept for a client that does not acknowledge them", "stanzas", ge=50
    )  # 20
    unacknowledged_bytes: int = _limit(2_097_152, "size of them all", "bytes", ge=65_536)  # 20
    acknowledgement_seconds: int = _limit(
        60, "time a client has to acknowledge when asked; then its connection counts as lost", "s", le=3_600
    )  # 22

    # --- what an account may keep ---------------------------------------------------------------------------
    offline_messages: int = _limit(1_000, "messages stored for an account that is away", "messages")  # 24
    offline_bytes: int = _limit(10_485_760, "size of them all", "bytes")  # 24
    archive_page: int = _limit(250, "messages of the archive in one page; more are on the next", "messages")  # 25
    archive_query_rate: float = _limit(
        10, "queries of the archive that a client may send for long, faster ones wait; 0: off", "queries per s", ge=0
    )  # 25
    archive_addresses: int = _limit(
        1_000, "addresses that an account may have archived always or never", "addresses", ge=0
    )  # 25
    roster_items: int = _limit(2_000, "contacts in a roster", "contacts")  # 29
    pending_subscriptions: int = _limit(
        200, "unanswered requests to see an account's presence", "requests"
    )  # 29
    blocked_addresses: int = _limit(2_000, "addresses an account may block", "addresses")  # 30
    abuse_reports_per_day: int = _limit(
        50, "reports of spam and abuse that an account may send in a day; more are not stored", "reports"
    )  # 30
    stored_xml_bytes: int = _limit(
        65_536, "a vCard without its photo, or one element of private XML", "bytes", ge=1_024
    )  # 31
    private_xml_bytes: int = _limit(1_048_576, "all private XML of an account", "bytes", ge=1_024)  # 31
    private_xml_elements: int = _limit(200, "elements of private XML of an account", "elements")  # 31

    # --- nodes of accounts (XEP-0060, XEP-0163); an avatar has to pass, in a stanza that may pass (row 4) ------
    pubsub_payload_bytes: int = _limit(196_608, "payload of an item of a node", "bytes", ge=1_024)  # 28
    pubsub_nodes: int = _limit(200, "nodes of an account", "nodes")  # 28
    pubsub_bytes: int = _limit(
        16_777_216, "all that the nodes of an account hold; 256 bytes are added for each item", "bytes", ge=1_024
    )  # 28
    pubsub_items: int = _limit(1_000, "items of a node; what a client means by \"max\"", "items")  # 27
    pubsub_entities: int = _limit(
        1_000,
        "subscriptions to the nodes of an account, or to one node of a pubsub service, and affiliations with them",
        "entries",
    )  # 27
    pubsub_service_nodes: int = _limit(1_000, "nodes of a pubsub service", "nodes", le=100_000)  # 28
    pubsub_created_nodes: int = _limit(50, "nodes of a pubsub service that one address may have made", "nodes")  # 28
    pubsub_service_bytes: int = _limit(
        268_435_456, "all that the nodes of a pubsub service hold, counted as those of an account", "bytes", ge=1_024
    )  # 28
    pubsub_service_subscriptions: int = _limit(
        200, "subscriptions that one address may have at a pubsub service", "subscriptions"
    )  # 27

    # --- push notifications (XEP-0357) ----------------------------------------------------------------------
    push_devices: int = _limit(
        10, "devices of an account that are woken; one more takes the place of the one enabled longest ago", "devices"
    )  # 51
    push_bytes: int = _limit(
        2_560, "what one sends to be woken by: address, node and options of its service", "bytes", ge=256, le=65_536
    )  # 51
    push_errors: int = _limit(
        16, "failures in a row after which a device is not notified any more", "failures"
    )  # 51
    pushes_per_hour: int = _limit(
        60, "notifications to a device in an hour; what comes faster shares one", "notifications", ge=12
    )  # 51

    @field_validator("exempt_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        networks.parse(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _apply_profile(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        profile = values.get("profile", "default")
        return {**PROFILES.get(profile, {}), **values} if isinstance(profile, str) else values

    def reader_trusted(self) -> ReaderLimits:
        """Bounds of the XML reader after login (rows 4, 6 to 9)."""
        return ReaderLimits(
            bytes=self.stanza_bytes, depth=self.stanza_depth, elements=self.stanza_elements,
            attributes=self.element_attributes, namespaces=self.namespaces,
        )  # fmt: skip

    def reader_untrusted(self) -> ReaderLimits:
        """Bounds of the XML reader before login (row 3)."""
        return ReaderLimits(
            bytes=self.untrusted_stanza_bytes, depth=self.untrusted_depth, elements=self.untrusted_elements,
            attributes=self.untrusted_attributes, attribute_bytes=8_192, namespaces=min(16, self.namespaces),
            rescan_bytes=524_288,
        )  # fmt: skip

    def session_rates(self, now: float) -> Rates | None:
        """What bounds the rate of a session (rows 16, 17). None where all is off."""
        return _rates({
            "session_byte_rate": ("bytes", self.session_byte_rate, self.session_byte_burst),
            "session_stanza_rate": ("stanzas", self.session_stanza_rate, self.session_stanza_burst),
        }, now)  # fmt: skip

    def account_rates(self, now: float) -> Rates | None:
        """What bounds the rate of all sessions of an account together (rows 16, 17). None where all is off."""
        return _rates({
            "account_byte_rate": ("bytes", self.account_byte_rate, self.account_byte_burst),
            "account_message_rate": ("message", self.account_message_rate, self.account_message_burst),
            "account_presence_rate": ("presence", self.account_presence_rate, self.account_presence_burst),
            "account_iq_rate": ("iq", self.account_iq_rate, self.account_iq_burst),
            FAN_OUT: ("", self.account_fan_out_rate, self.account_fan_out_burst),
        }, now)  # fmt: skip


def _rates(rates: Mapping[str, tuple[str, float, float]], now: float) -> Rates | None:
    """Buckets by option, of (what is counted, rate, burst). A burst of 0 with a rate is a burst of one second."""
    kept = {
        option: (counted, TokenBucket(rate, burst or rate, now)) for option, (counted, rate, burst) in rates.items()
        if rate
    }
    return Rates(kept) if kept else None


#: Limits that are counted: options, and fixed ones with their row of the table. (A rate is counted by its first
#: option; a bound that only forgets or cuts something stops nobody, and is not counted.)
FIXED: Final[Mapping[str, int]] = {
    "tls_handshake": 1, "name_bytes": 8, "attribute_bytes": 8, "rescan_bytes": 3, "connections_in_all": 11,
    "login_attempts": 12, "invitation_guesses": 12, "registrations_in_all": 13, "registration_attempts": 13,
    "sustained_excess": 17, "send_buffer": 19, "roster_groups": 29, "roster_names": 29, "password_checks": 53,
}  # fmt: skip
_UNCOUNTED: Final = {  # what somebody gets, or how long
    "profile", "exempt_networks", "auth_failure_delay", "resumption_seconds", "push_resumption_seconds", "archive_page",
}  # fmt: skip
COUNTED: Final = (*(name for name in Limits.model_fields if name not in _UNCOUNTED and "_burst" not in name), *FIXED)


class LimitCounters:
    """Counts which limit stopped somebody, by its name in :data:`COUNTED`, for metrics and tests."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(COUNTED, 0)

    def fired(self, name: str) -> None:
        """The limit `name` stopped somebody. Raises KeyError where it is none of :data:`COUNTED`."""
        self.counts[name] += 1

    def ended(self, error: StreamError, *, is_bound: bool) -> None:
        """A stream ended with `error`, after login (`is_bound`) or before."""
        names = _OF_STREAMS.get(error.limit) if isinstance(error, StreamPolicyViolation) else None
        if names is not None:
            self.fired(names[0] if is_bound else names[1])
