"""The subscription state machine (RFC 6121 Appendix A) as two tables.

A state is what one account knows of one contact: the subscription, whether its own request is pending ("out") and
whether the contact's is ("in"). A table says, for a state and a kind of presence, whether it is passed on and the
state afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from xmppchat.core.services import RosterItem


class State(NamedTuple):
    """One of the nine states of Appendix A.1."""

    subscription: str
    out: bool = False
    in_: bool = False

    @property
    def is_seen(self) -> bool:
        """Whether the contact gets the account's presence."""
        return self.subscription in ("from", "both")


NONE = State("none")
NONE_OUT = State("none", out=True)
NONE_IN = State("none", in_=True)
NONE_OUT_IN = State("none", out=True, in_=True)
TO = State("to")
TO_IN = State("to", in_=True)
FROM = State("from")
FROM_OUT = State("from", out=True)
BOTH = State("both")


class Outcome(NamedTuple):
    """What a presence of type subscribe and so on does: is it routed (outbound) or delivered (inbound), new state."""

    passes: bool
    state: State



#: Appendix A.2: what the account itself sends. A subscribe or unsubscribe is always routed.
OUTBOUND: Mapping[str, Mapping[State, Outcome]] = {
    "subscribe": {
        NONE: Outcome(True, NONE_OUT),
        NONE_OUT: Outcome(True, NONE_OUT),
        NONE_IN: Outcome(True, NONE_OUT_IN),
        NONE_OUT_IN: Outcome(True, NONE_OUT_IN),
        TO: Outcome(True, TO),
        TO_IN: Outcome(True, TO_IN),
        FROM: Outcome(True, FROM_OUT),
        FROM_OUT: Outcome(True, FROM_OUT),
        BOTH: Outcome(True, BOTH),
    },
    "unsubscribe": {
        NONE: Outcome(True, NONE),
        NONE_OUT: Outcome(True, NONE),
        NONE_IN: Outcome(True, NONE_IN),
        NONE_OUT_IN: Outcome(True, NONE_IN),
        TO: Outcome(True, NONE),
        TO_IN: Outcome(True, NONE_IN),
        FROM: Outcome(True, FROM),
        FROM_OUT: Outcome(True, FROM),
        BOTH: Outcome(True, FROM),
    },
    "subscribed": {
        NONE_IN: Outcome(True, FROM),
        NONE_OUT_IN: Outcome(True, FROM_OUT),
        TO_IN: Outcome(True, BOTH),
    },
    "unsubscribed": {
        NONE_IN: Outcome(True, NONE),
        NONE_OUT_IN: Outcome(True, NONE_OUT),
        TO_IN: Outcome(True, TO),
        FROM: Outcome(True, NONE),
        FROM_OUT: Outcome(True, NONE_OUT),
        BOTH: Outcome(True, TO),
    },
}

#: Appendix A.3: what arrives from the contact.
INBOUND: Mapping[str, Mapping[State, Outcome]] = {
    "subscribe": {
        NONE: Outcome(True, NONE_IN),
        NONE_OUT: Outcome(True, NONE_OUT_IN),
        TO: Outcome(True, TO_IN),
    },
    "unsubscribe": {
        NONE_IN: Outcome(True, NONE),
        NONE_OUT_IN: Outcome(True, NONE_OUT),
        TO_IN: Outcome(True, TO),
        FROM: Outcome(True, NONE),
        FROM_OUT: Outcome(True, NONE_OUT),
        BOTH: Outcome(True, TO),
    },
    "subscribed": {
        NONE_OUT: Outcome(True, TO),
        NONE_OUT_IN: Outcome(True, TO_IN),
        FROM_OUT: Outcome(True, BOTH),
    },
    "unsubscribed": {
        NONE_OUT: Outcome(True, NONE),
        NONE_OUT_IN: Outcome(True, NONE_IN),
        TO: Outcome(True, NONE),
        TO_IN: Outcome(True, NONE_IN),
        FROM_OUT: Outcome(True, FROM),
        BOTH: Outcome(True, FROM),
    },
}


def state_of(item: RosterItem | None) -> State:
    """The state an item stands for."""
    return NONE if item is None else State(item.subscription, item.ask, bool(item.request))


def step(table: Mapping[str, Mapping[State, Outcome]], kind: str, state: State) -> Outcome:
    """What presence of type `kind` does in `state`."""
    return table[kind].get(state, Outcome(False, state))
