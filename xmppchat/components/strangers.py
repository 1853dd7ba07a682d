"""Strangers: an account begins to write to only so many addresses outside its roster (reliability.md, limit 17).

Who sends spam needs new recipients all the time; people need a few. A recipient counts once, and not at all while it
is in the roster. Where anybody may register, accounts of a day have fewer: those of spammers are seldom older (V-40).
"""

from __future__ import annotations

from collections import OrderedDict

from xmppchat.core import events
from xmppchat.core.account import Account
from xmppchat.core.component import OUTBOUND, Component, ComponentConfig, Stage, on, stage
from xmppchat.core.pipeline import PASS, Passage, Refuse
from xmppchat.core.rates import TokenBucket
from xmppchat.core.services import RegistrationService, RosterService
from xmppchat.jid import JID
from xmppchat.protocol.errors import PolicyViolation
from xmppchat.protocol.stanza import Stanza

#: Accounts whose recipients are remembered, and recipients of each; the oldest are forgotten first.
MAX_ACCOUNTS = 10_000
MAX_KNOWN = 1_000
_DAY_MS = 86_400_000


class Acquaintances:
    """Whom an account has to do with beside its roster, and how many more it may begin with."""

    __slots__ = ("_buckets", "_known")

    def __init__(self, per_minute: int, per_hour: int, now: float) -> None:
        self._known: OrderedDict[str, None] = OrderedDict()
        self.limit(per_minute, per_hour, now)

    def limit(self, per_minute: int, per_hour: int, now: float) -> None:
        """So many new ones a minute from now on, and an hour on the first day; 0: any number."""
        limits = (("new_recipients_per_minute", per_minute, 60), ("new_recipients_on_first_day", per_hour, 3_600))
        self._buckets = {name: TokenBucket(most / period, most, now) for name, most, period in limits if most}

    def begin(self, now: float, *, is_new: bool) -> str:
        """Begin with one more; returns the name of the limit that forbids it, "" where none does."""
        taken: list[TokenBucket] = []
        for name, bucket in self._buckets.items():
            if not is_new and name == "new_recipients_on_first_day":
                continue
            taken.append(bucket)
            if bucket.take(now, 1) > 0:
                for each in taken:
                    each.take(now, -1)  # what is refused was not begun
                return name
        return ""

    def knows(self, bare: str) -> bool:
        """Whether `bare` is one of them."""
        return bare in self._known

    def add(self, bare: str) -> None:
        """`bare` is one of them from now on."""
        self._known[bare] = None
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


class Strangers(Component[ComponentConfig]):
    """Screens messages and subscription requests to addresses that the sender has nothing to do with yet."""

    name = "strangers"
    requires = (RegistrationService, RosterService)

    def setup(self) -> None:
        """Find the rosters."""
        self._registration = self.kernel.services.get(RegistrationService)
        self._roster = self.kernel.services.get(RosterService)
        self._accounts: OrderedDict[str, Acquaintances] = OrderedDict()

    @stage(Stage.SCREEN, OUTBOUND)
    def screen(self, passage: Passage) -> Refuse | None:
        """Refuse what goes to one stranger too many. (Nothing was begun: the sender may try again later.)"""
        limits = self.kernel.limits
        is_limited = limits.new_recipients_per_minute or limits.new_recipients_on_first_day
        if not is_limited or not _begins(passage.stanza):
            return PASS
        account, to = passage.account, passage.stanza.to
        if to is None or not to.local or to.bare == account.jid.bare or self._is_known(account, to):
            return PASS
        acquaintances = self._of(account)
        if forbids := acquaintances.begin(self.kernel.clock.monotonic(), is_new=self._is_new(account)):
            self.kernel.limit_counters.fired(forbids)
            how_long = "a minute" if forbids == "new_recipients_per_minute" else "an hour: your account is new"
            text = f"you begin to write to too many people at once; add them to your contacts, or wait {how_long}"
            return Refuse(PolicyViolation(text, type="wait"), "too many new recipients")
        acquaintances.add(to.bare)
        return PASS

    def reconfigured(self) -> None:
        """What was begun stays known; how much more may be begun is counted anew."""
        for acquaintances in self._accounts.values():
            acquaintances.limit(*self._limits(), self.kernel.clock.monotonic())

    @on(events.AccountDeleted)
    def forget(self, event: events.AccountDeleted) -> None:
        """A deleted account knows nobody."""
        self._accounts.pop(event.account.jid.bare, None)

    def _is_known(self, account: Account, other: JID) -> bool:
        acquaintances = self._accounts.get(account.jid.bare)
        return (acquaintances is not None and acquaintances.knows(other.bare)) or (
            self._roster.item(account, other) is not None
        )

    def _is_new(self, account: Account) -> bool:
        """Whether it may be one of those that are made by the dozen: where anybody may register, a day old at most."""
        return self._registration.is_open and self.kernel.clock.now() - account.created_at < _DAY_MS

    def _limits(self) -> tuple[int, int]:
        limits = self.kernel.limits
        return limits.new_recipients_per_minute, limits.new_recipients_on_first_day

    def _of(self, account: Account) -> Acquaintances:
        bare = account.jid.bare
        acquaintances = self._accounts.get(bare)
        if acquaintances is None:
            acquaintances = self._accounts[bare] = Acquaintances(*self._limits(), self.kernel.clock.monotonic())
            if len(self._accounts) > MAX_ACCOUNTS:
                self._accounts.popitem(last=False)
        return acquaintances


def _begins(stanza: Stanza) -> bool:
    """Whether this may begin something between two people."""
    if stanza.kind == "presence":
        return stanza.type == "subscribe"
    return stanza.kind == "message" and stanza.type != "error"
