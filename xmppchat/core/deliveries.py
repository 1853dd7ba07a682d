"""Deliveries: which devices have a message already, so that what is delivered later shows nothing twice.

All that counts is an order: of a message (the id it is archived under, or the moment it was sent) and of what a session
asked for (:class:`~xmppchat.core.session.Session`, `takes_since` and the like). Where it cannot be told, a session has
it not: shown twice under one id is better than lost.
"""

from __future__ import annotations

from xmppchat.core.account import Account
from xmppchat.core.session import Session
from xmppchat.protocol import stanza_ids
from xmppchat.protocol.delay import is_delayed
from xmppchat.protocol.message_content import is_for_copies
from xmppchat.protocol.stanza import Stanza


class Past:
    """A message to an account that was sent at `moment` (see :meth:`~xmppchat.core.runtime.Ids.moment`).

    Where the server held it back in between that was not its first delivery: then copies were made when it came, and
    only the archive knows when that was. A message that no archive has may have been meant for who was there as much
    as `slack` earlier, and for nobody who came since.
    """

    __slots__ = ("_archived", "_came", "_is_late", "_moment", "_stanza")

    def __init__(self, account: Account, stanza: Stanza, moment: int, slack: int = 0) -> None:
        own = account.jid
        self._stanza = stanza
        self._moment = moment
        self._archived = stanza_ids.id_of(stanza.children, own)
        self._is_late = is_delayed(stanza, own.domain)
        self._came = self._archived or (0 if self._is_late else moment - slack)

    def is_fetched_by(self, session: Session) -> bool:
        """Whether the client of `session` finds it in the archive, which it reads (XEP-0313 §5.1.1)."""
        return 0 < self._archived <= session.fetches_up_to

    def was_taken_by(self, session: Session) -> bool:
        """Whether `session`, which takes what is for the bare address, did so when it was sent."""
        return session.takes_since <= (self._moment if self._is_late else self._came)

    def was_copied_to(self, session: Session, *, is_for_one: bool = False) -> bool:
        """Whether a carbon of it went to `session` (XEP-0280). `is_for_one`: another device, of which it was, is gone.

        What is for the bare address is copied to those who do not get it themselves.
        """
        stanza = self._stanza
        if not 0 < session.copies_since <= self._came or stanza.from_ == session.jid:
            return False
        if not is_for_one and session.takes_messages and session.takes_since <= self._came:
            return False
        return is_for_copies(stanza, is_inbound=True, has_reason=bool(self._archived))
