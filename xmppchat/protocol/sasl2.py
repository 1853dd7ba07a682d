"""SASL2 (XEP-0388): what a client asks for with its login, and what it is told, as elements."""

from __future__ import annotations

import base64
import binascii
import contextlib
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from xmppchat.protocol import stream_management
from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS

#: Characters that are kept of a name which a client gives itself or its device.
MAX_NAME = 128
#: Upgrades (XEP-0480) that one login may ask for; there are as many mechanisms.
MAX_UPGRADES = 4


class InvalidRequest(ValueError):
    """``<authenticate/>`` is not as it should be; `condition` is one of RFC 6120 §6.5."""

    def __init__(self, condition: str, text: str) -> None:
        super().__init__(text)
        self.condition = condition
        self.text = text


@dataclass(frozen=True, slots=True)
class UserAgent:
    """Which client it is (§2.3): `id`, which stays the same for an installation (a UUID; "" where the client gives
    none), the names of its `software` and of the `device` it runs on."""

    id: str = ""
    software: str = ""
    device: str = ""


@dataclass(frozen=True, slots=True)
class BindRequest:
    """A resource is wanted (XEP-0386 §3.2), with the client's `tag` in it, and `features` from the start."""

    tag: str = ""
    features: tuple[Element, ...] = ()


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """A session is wanted (XEP-0198 §5); `handled` is what the client got of it, None where that is unknown."""

    previd: str
    handled: int | None


@dataclass(frozen=True, slots=True)
class TokenUse:
    """The login is by a token (XEP-0484 §3.4): its `count`, None where none is told; `is_last`: void it."""

    count: int | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class LoginRequest:
    """What a client wants with its login, all in one ``<authenticate/>``.

    `token_for` is the mechanism that it wants a token for (XEP-0484 §3.2), "" for none; `upgrades` are the mechanisms
    it would give keys for (XEP-0480), without "UPGR-".
    """

    mechanism: str
    initial: bytes | None
    user_agent: UserAgent = UserAgent()
    bind: BindRequest | None = None
    resume: ResumeRequest | None = None
    token: TokenUse | None = None
    token_for: str = ""
    upgrades: tuple[str, ...] = ()


def read_request(element: Element) -> LoginRequest:
    """What ``<authenticate/>`` says. Raises :class:`InvalidRequest`; what it does not know it leaves out."""
    initial: bytes | None = None
    agent, bind, resume, token, token_for = UserAgent(), None, None, None, ""
    upgrades: list[str] = []
    for child in element.elements():
        match child.namespace, child.name:
            case NS.SASL_2, "initial-response":
                initial = read_data(child)
            case NS.SASL_2, "user-agent":
                agent = _user_agent(child)
            case NS.BIND_2, "bind":
                bind = _bind(child)
            case NS.STREAM_MANAGEMENT, "resume":
                resume = ResumeRequest(child.get("previd"), stream_management.read_count(child))
            case NS.FAST, "fast":
                token = _token_use(child)
            case NS.FAST, "request-token":
                token_for = child.get("mechanism")
            case NS.SASL_UPGRADE, "upgrade":
                upgrades.append(child.text.strip().removeprefix("UPGR-"))
    return LoginRequest(
        element.get("mechanism"), initial, agent, bind, resume, token, token_for, tuple(upgrades[:MAX_UPGRADES])
    )


def read_data(element: Element) -> bytes:
    """Data of an exchange (§2.2): no "=" stands for nothing here. Raises :class:`InvalidRequest`."""
    try:
        return base64.b64decode(element.text.strip(), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("incorrect-encoding", f"the content of <{element.name}/> is not base64") from None


def _user_agent(element: Element) -> UserAgent:
    given = element.get("id")
    with contextlib.suppress(ValueError):  # what is none is as good, as long as it stays the same
        given = str(uuid.UUID(given))
    names = [" ".join((element.child_text(name) or "").split())[:MAX_NAME] for name in ("software", "device")]
    return UserAgent(given, *names)


def _bind(element: Element) -> BindRequest:
    features = tuple(child for child in element.elements() if child.namespace != NS.BIND_2)
    return BindRequest((element.child_text("tag") or "").strip(), features)


def _token_use(element: Element) -> TokenUse:
    text = element.get("count")
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    if text and not count:
        raise InvalidRequest("malformed-request", "the 'count' of <fast/> is a positive number (XEP-0484 §3.4)")
    return TokenUse(count, stream_management.is_true(element.get("invalidate")))


# --- what is said ---------------------------------------------------------------------------------------------------

def data_element(name: str, data: bytes) -> Element:
    """An element with data of an exchange (§2.2)."""
    return text_element(name, NS.SASL_2, base64.b64encode(data).decode())


def failure(condition: str, text: str) -> Element:
    """``<failure/>`` (§2.6.2)."""
    children = [Element(condition, NS.SASL)]
    if text:
        children.append(text_element("text", NS.SASL_2, text))
    return Element("failure", NS.SASL_2, None, children)


def success(identity: str, data: bytes | None, results: Iterable[Element]) -> Element:
    """``<success/>`` (§2.6.1) for `identity`, a full JID once a resource is bound; `results` are of inline requests."""
    children = [] if data is None else [data_element("additional-data", data)]
    children.append(text_element("authorization-identifier", NS.SASL_2, identity))
    return Element("success", NS.SASL_2, None, [*children, *results])


def continuation(data: bytes | None, task: str) -> Element:
    """``<continue/>`` (§2.6.3) with one task."""
    children = [] if data is None else [data_element("additional-data", data)]
    children.append(Element("tasks", NS.SASL_2, None, [text_element("task", NS.SASL_2, task)]))
    return Element("continue", NS.SASL_2, None, children)
