"""Protocols through which components meet: they never import one another.

A component lists what it ``provides`` and ``requires``; ``kernel.services.get(RosterService)`` finds the provider.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

from xmppchat.core.services.accounts import (
    AccountService,
    DeviceService,
    Invitation,
    InvitationService,
    LoggedIn,
    PushService,
    Registration,
    RegistrationService,
)
from xmppchat.core.services.bots import BotService, SentMessage
from xmppchat.core.services.contacts import (
    BlockingService,
    CapsService,
    PresenceService,
    RosterItem,
    RosterService,
    SubscriptionService,
)
from xmppchat.core.services.contents import (
    ArchivedMessage,
    ArchiveService,
    ChatSettingsService,
    ContentView,
    Conversation,
    LastItem,
    NodeDescription,
    NodeService,
    PrivateXmlService,
)
from xmppchat.core.services.server import (
    DiscoService,
    Reader,
    ReloadService,
    ResumptionService,
    Successor,
)

ServiceT = TypeVar("ServiceT")


class Services:
    """Who provides what."""

    def __init__(self) -> None:
        self._providers: dict[type, object] = {}

    def provide(self, protocol: type, provider: object) -> None:
        """Register `provider`; there is one for each protocol."""
        self._providers[protocol] = provider

    def get(self, protocol: Callable[..., ServiceT]) -> ServiceT:
        """The provider of `protocol` (typed as a callable, since mypy wants no abstract class as ``type[T]``)."""
        return cast(ServiceT, self._providers[protocol])  # type: ignore[index]


__all__ = [
    "AccountService", "ArchiveService", "ArchivedMessage", "BlockingService", "BotService", "CapsService",
    "ChatSettingsService", "ContentView", "Conversation", "DeviceService", "DiscoService", "Invitation",
    "InvitationService", "LastItem", "LoggedIn", "NodeDescription", "NodeService", "PresenceService",
    "PrivateXmlService", "PushService", "Reader", "Registration", "RegistrationService", "ReloadService",
    "ResumptionService", "RosterItem", "RosterService", "SentMessage", "Services", "SubscriptionService", "Successor",
]  # fmt: skip
