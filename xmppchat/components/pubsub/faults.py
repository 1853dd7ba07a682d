"""Errors with the conditions of ``pubsub#errors`` (XEP-0060 §12, §18.2) beside those of RFC 6120."""

from __future__ import annotations

from typing import TypeVar

from xmppchat.protocol.element import Element
from xmppchat.protocol.errors import BadRequest, FeatureNotImplemented, ItemNotFound, StanzaError
from xmppchat.protocol.namespaces import NS

ErrorT = TypeVar("ErrorT", bound=StanzaError)


class NoSuchNode(ItemNotFound):
    """The node does not exist. It has the number of older times, too, which RFC 6120 left out and clients may ignore.

    profanity takes a list of devices for empty by ``code='404'`` alone, and else never adds itself to the first one.
    """

    def to_element(self) -> Element:
        return super().to_element().replace(attributes={"code": "404"})


def with_condition(error: ErrorT, condition: str, feature: str | None = None) -> ErrorT:
    """`error` with ``<condition xmlns='…pubsub#errors'/>``, perhaps naming a `feature`."""
    error.details = (*error.details, Element(condition, NS.PUBSUB_ERRORS, {"feature": feature}))
    return error


def unsupported(feature: str, text: str) -> FeatureNotImplemented:
    """This is not supported, here or at this node."""
    return with_condition(FeatureNotImplemented(text), "unsupported", feature)


def no_such_node() -> NoSuchNode:
    """The node does not exist (§6.5.9.11, §7.2.3.2, §8.2.3.5)."""
    return NoSuchNode("there is no such node")


def node_required() -> BadRequest:
    """The request names no node (§7.2.3.3, §8.2.3.3)."""
    return with_condition(BadRequest("which node? Add a 'node'"), "nodeid-required")


def invalid_payload(text: str) -> BadRequest:
    """The payload is not one (§7.1.3.6)."""
    return with_condition(BadRequest(text), "invalid-payload")
