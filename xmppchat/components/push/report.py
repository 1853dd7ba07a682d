"""How registrations are shown to people: every state in words, and no capability."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from xmppchat.components.push.payload import NO_ANSWER
from xmppchat.components.push.registrations import Ending, Registration, is_live
from xmppchat.core.account import Account
from xmppchat.core.runtime import timestamp

#: What a failure means, and what helps.
WORDS: Final[Mapping[str, str]] = {
    NO_ANSWER: "no answer in time: is the app server up, and can this server reach it?",
    "item-not-found": "the app server does not know this device any more; it registers again when its app is opened",
    "forbidden": "the app server refuses this server: a wrong secret; the app registers again when it is opened",
    "not-allowed": "the app server refuses this device; the app registers again when it is opened",
    "gone": "the app server has moved away",
    "remote-server-not-found": "the app server's domain cannot be reached from here: look at its DNS and ours",
    "remote-server-timeout": "the app server's domain does not answer: is it up, is it attached?",
    "service-unavailable": "nobody takes notifications at this address: is it an app server?",
    "postponed": "this server has too many requests open; try again in a minute",
    "resource-constraint": "the app server has too much to do",
    "internal-server-error": "the app server failed; its log may say why",
}
_ENDINGS: Final = {
    Ending.REFUSED: "refused", Ending.ERRORS: "too many errors in a row; tried again once a day",
    Ending.SERVICE: "the app server wants no more",
}  # fmt: skip


def words(failure: str) -> str:
    """A failure in words."""
    return f"{failure}: {WORDS[failure]}" if failure in WORDS else failure


def abbreviated(node: str) -> str:
    """Enough of a node to tell it from others: whoever knows it all may wake the device."""
    return f"{node[:min(4, len(node) // 4)]}… ({len(node)})" if node else "(none)"


def status(account: Account, registration: Registration, now: int) -> dict[str, object]:
    """A row of ``push status``."""
    return {
        "app server": registration.app_server.full,
        "node": abbreviated(registration.node),
        "device": registration.resource,
        "listed as": str(registration.device_id) if registration.device_id else "-",
        "state": _state(registration),
        "connected": is_live(account, registration),
        "enabled": _moment(registration.enabled_at),
        "last push": _moment(registration.published_at),
        "last success": _moment(registration.succeeded_at),
        "last error": f"{registration.error} at {_moment(registration.failed_at)}" if registration.failed_at else "-",
        "errors in a row": registration.errors,
        "next try": _moment(registration.retry_at) if registration.retry_at > now else "-",
    }


def outcome(registration: Registration, failure: str | None, seconds: float) -> dict[str, object]:
    """A row of ``push test``; `failure` is "" where the app server took it, None where there was no try."""
    if failure is None:
        told = "not tried: the app server wants no more; its app enables it again"
    elif failure:
        told = words(failure)
    else:
        told = f"accepted by the app server after {seconds * 1000:.0f} ms; what becomes of it there is its affair"
    return {
        "app server": registration.app_server.full, "node": abbreviated(registration.node),
        "device": registration.resource, "outcome": told,
    }


def _state(registration: Registration) -> str:
    if not registration.disabled_at:
        return "on"
    return f"off since {_moment(registration.disabled_at)}: {_ENDINGS[registration.ending]}"


def _moment(at: int) -> str:
    return timestamp(at) if at else "-"
