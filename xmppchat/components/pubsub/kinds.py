"""The two kinds of pubsub services: an account's (XEP-0163), and one at an address of its own (XEP-0060)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from xmppchat.components.pubsub.config import DEFAULT, FIELDS, SERVICE_DEFAULT, SERVICE_FIELDS, Fields, NodeConfig
from xmppchat.core.account import Account
from xmppchat.core.component import IqRequest


@dataclass(frozen=True, slots=True)
class Kind:
    """What nodes are like there: the configuration of a new one, and the `fields` that a configuration has."""

    default: NodeConfig
    fields: Fields


PERSONAL: Final = Kind(DEFAULT, FIELDS)
SERVICE: Final = Kind(SERVICE_DEFAULT, SERVICE_FIELDS)


def is_service(account: Account) -> bool:
    """Whether `account` is a pubsub service of its own address."""
    return not account.jid.local


def kind_of(account: Account) -> Kind:
    """That of the nodes of `account`."""
    return SERVICE if is_service(account) else PERSONAL


class Creators(Protocol):
    """Who makes nodes at a service of its own address."""

    def may_create(self, request: IqRequest) -> bool:
        """Whether the sender of `request` may."""

