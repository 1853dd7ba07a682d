"""The judge: from what clients saw and what archives hold, whether the delivery contract was kept (reliability.md).

It needs nothing of the server. Each rule adds violations; the verdict counts them and shows the smallest example.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .history import History
from .oracle.archive import Row
from .oracle.log import Event
from .oracle.payload import Payload, digest
from .oracle.plan import ClientPlan
from .rebuilt import rebuilt


@dataclass(frozen=True, slots=True)
class Violation:
    """A breach of the contract. `rule` is its kind, `body` the message, if it is about one."""

    rule: str
    text: str
    body: str = ""


@dataclass(slots=True)
class Verdict:
    """What a run showed."""

    sent: int
    acknowledged: int
    resent: int
    bounced: int
    rows: int
    violations: list[Violation] = field(default_factory=list)

    @property
    def counts(self) -> Counter[str]:
        """Violations by rule."""
        return Counter(violation.rule for violation in self.violations)

    def line(self) -> str:
        """The result in one line."""
        counts = self.counts
        lost, twice, order = counts["lost"], counts["duplicated"], counts["order"]
        others = sum(counts.values()) - lost - twice - order
        return (
            f"{self.acknowledged:,} messages acknowledged ({self.resent:,} of them sent again), {lost} lost, "
            f"{twice} duplicated, order {'kept' if not order else f'broken {order} times'}, {others} other violations"
        )


def judge(history: History) -> Verdict:
    """Apply every rule."""
    sendings = history.sendings.values()
    verdict = Verdict(
        sent=len(sendings),
        acknowledged=sum(sending.is_acked for sending in sendings),
        resent=sum(sending.is_acked and sending.times_sent > 1 for sending in sendings),
        bounced=sum(bool(sending.bounces) for sending in sendings),
        rows=sum(len(rows) for rows in history.archives.values()),
    )
    for rule in RULES:
        verdict.violations += rule(history)
    return verdict


def explain(history: History, verdict: Verdict, examples: int = 3) -> str:
    """Counts by rule, and the smallest counter-examples with their timelines."""
    lines = [f"{count} x {rule}" for rule, count in verdict.counts.items()]
    shown: Counter[str] = Counter()
    for violation in verdict.violations:
        shown[violation.rule] += 1
        if shown[violation.rule] <= examples:
            lines += ["", f"{violation.rule}: {violation.text}"]
            if violation.body and shown[violation.rule] == 1:
                lines += [f"    {line}" for line in history.timeline(violation.body)]
    return "\n".join(lines)


# --- rules ------------------------------------------------------------------------------------------------------------


def _bodies(rows: Sequence[Row]) -> list[str]:
    return [row.body for row in rows if row.body]


def acknowledged_is_kept(history: History) -> Iterator[Violation]:
    """C1, C5: what was acknowledged is in both archives, unless it was refused."""
    held = {account: set(_bodies(rows)) for account, rows in history.archives.items()}
    for sending in history.sendings.values():
        if sending.is_acked and not sending.bounces:
            for account in sending.archives:
                if sending.body not in held[account]:
                    yield Violation("lost", f"{sending.body} is not in the archive of {account}", sending.body)


def acknowledged_arrived(history: History) -> Iterator[Violation]:
    """C5: what its recipient does not archive was shown to one of its devices at least, unless it was refused."""
    shown: dict[str, set[str]] = defaultdict(set)
    for client in history.plan.clients:
        shown[client.account].update(event["body"] for event in _received(history, client))
    for sending in history.sendings.values():
        is_due = sending.is_acked and not sending.bounces and sending.recipient not in sending.archives
        if is_due and sending.body not in shown[sending.recipient]:
            yield Violation("lost", f"{sending.body} reached no device of {sending.recipient}", sending.body)


def both_or_neither(history: History) -> Iterator[Violation]:
    """C5: a message is in both archives or in neither, acknowledged or not; and not where it was refused."""
    held = {account: set(_bodies(rows)) for account, rows in history.archives.items()}
    for sending in history.sendings.values():
        there = [account for account in sending.archives if sending.body in held[account]]
        if sending.bounces and sending.recipient in there:
            yield Violation("refused and kept", f"{sending.body}: {sending.bounces}", sending.body)
        elif not sending.bounces and there and len(there) < len(sending.archives):
            yield Violation("half archived", f"{sending.body} is only in the archive of {there[0]}", sending.body)


def archived_once(history: History) -> Iterator[Violation]:
    """C2, C7: each message once in an archive, and none that nobody sent or that is another one's."""
    for account, rows in history.archives.items():
        for body, count in Counter(_bodies(rows)).items():
            sending = history.sendings.get(body)
            if count > 1:
                yield Violation("duplicated", f"{body} is {count} times in the archive of {account}", body)
            if sending is None:
                yield Violation("invented", f"{body} in the archive of {account} was never sent", body)
            elif account not in sending.archives:
                yield Violation("leaked", f"{body} is in the archive of {account}", body)


def order_is_kept(history: History) -> Iterator[Violation]:
    """C3: in every archive, the messages of one sender to one peer stand as they were sent."""
    for account, rows in history.archives.items():
        last: dict[tuple[str, str], Payload] = {}
        for row in _first_of_each(rows):
            payload = Payload.parse(row.body)
            assert payload is not None
            key = (payload.sender, payload.conversation)
            previous = last.get(key)
            if previous is not None and payload.seq < previous.seq:
                yield Violation("order", f"{row.body} stands behind {previous.seq} in {account}", row.body)
            if previous is not None and payload.seq == previous.seq + 1 and payload.previous != digest(previous.text()):
                yield Violation("altered", f"{row.body} does not fit the one before it", row.body)
            last[key] = payload


def one_order_for_both(history: History) -> Iterator[Violation]:
    """C3: both sides of a conversation have its messages, of all devices, in the same order."""
    conversations: dict[frozenset[str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for account, rows in history.archives.items():
        for row in _first_of_each(rows):
            sending = history.sendings.get(row.body)
            if sending is not None:
                conversations[frozenset(sending.archives)][account].append(row.body)
    for sides in conversations.values():
        if len(sides) == 2:
            (one, first), (other, second) = sides.items()
            common = set(first) & set(second)
            for left, right in zip(
                (body for body in first if body in common), (body for body in second if body in common), strict=True
            ):
                if left != right:
                    yield Violation("order", f"{one} has {left} where {other} has {right}", left)
                    break


def ids_increase(history: History) -> Iterator[Violation]:
    """C3: ids are unique in an archive; where they are numbers, they increase."""
    for account, rows in history.archives.items():
        ids = [row.id for row in rows]
        if len(set(ids)) != len(ids):
            yield Violation("ids", f"an id stands twice in the archive of {account}")
        numbers = [int(text) for text in ids if text.isdigit()]
        if len(numbers) == len(ids) and numbers != sorted(numbers):
            yield Violation("ids", f"ids go back in the archive of {account}")


def one_id_everywhere(history: History) -> Iterator[Violation]:
    """XEP-0359: live, in carbons, stored and in results, a message has the id of its row in the receiver's archive."""
    ids: dict[str, dict[str, list[str]]] = {}
    for account, rows in history.archives.items():
        ids[account] = defaultdict(list)
        for row in rows:
            ids[account][row.body].append(row.id)
    for client in history.plan.clients:
        own = ids[client.account]
        for event in _received(history, client):
            kept = own.get(event["body"])
            if kept and event.get("sid") not in kept:
                text = f"{event['body']} came as {event.get('sid')} by {event['via']}, its row is {kept}"
                yield Violation("ids", text, event["body"])


def shown_is_kept(history: History) -> Iterator[Violation]:
    """C2: what a device was shown is on disk. C7: it was sent, and to this account or by it."""
    held = {account: set(_bodies(rows)) for account, rows in history.archives.items()}
    for client in history.plan.clients:
        for event in _received(history, client):
            sending = history.sendings.get(event["body"])
            if sending is None or client.account not in sending.parties:
                yield Violation("leaked", f"{event['body']} was shown to {client.name}", event["body"])
            elif client.account in sending.archives and event["body"] not in held[client.account]:
                yield Violation("shown, not kept", f"{event['body']} was shown to {client.name}", event["body"])


def devices_are_complete(history: History) -> Iterator[Violation]:
    """C4: what a device saw live and by its archive after the last it saw is the whole archive."""
    for client in history.plan.clients:
        seen = {event["body"] for event in _received(history, client)}
        for row in history.archives[client.account]:
            if row.body and row.body not in seen and _must_have_seen(history, client, row):
                yield Violation("missed", f"{client.name} ({client.kind}) never saw {row.body}", row.body)


def _must_have_seen(history: History, client: ClientPlan, row: Row) -> bool:
    sending = history.sendings.get(row.body)
    if client.kind == "tail" or sending is None:
        return sending is not None
    if sending.sender.name == client.name:
        return False  # it is its own
    if client.has_carbons:
        return True
    # Without carbons, a device is not told what others send or what is for another device only.
    return sending.to == f"{client.account}@{history.plan.endpoint.domain}" and sending.sender.account != client.account


def reads_are_consistent(history: History) -> Iterator[Violation]:
    """C4: every read during the run is a gapless piece of the final archive, right behind what it asked for."""
    for client in history.plan.clients:
        ids = [row.id for row in history.archives[client.account]]
        place = {archive_id: index for index, archive_id in enumerate(ids)}
        for event in history.events[client.name]:
            if event["event"] == "page":
                start = place.get(event["after"], -1) + 1
                if event["after"] and event["after"] not in place:
                    yield Violation("reads", f"{client.name} was given the id {event['after']}, which is gone")
                elif event["ids"] != ids[start : start + len(event["ids"])]:
                    yield Violation("reads", f"{client.name} read {_difference(event['ids'], ids[start:])}")
        if client.kind == "tail":
            followed = [event["sid"] for event in _received(history, client)]
            ours = [row.id for row in history.archives[client.account] if row.body]
            if followed != ours:
                yield Violation("reads", f"{client.name} followed {_difference(followed, ours)}")


def history_is_rebuilt(history: History) -> Iterator[Violation]:
    """C2, C3, C4: what a device shows of what each other device wrote to each address is the archive, each once."""
    for client in history.plan.clients:
        if client.kind == "tail" or client.account in history.plan.unkept:
            continue  # judged by the reads; without ids nobody can tell one that comes twice
        shown, twice = rebuilt(history.events[client.name])
        for body in twice:
            yield Violation("shown twice", f"{client.name} cannot tell that it has {body} already", body)
        ours = _by_direction(history, client, shown)
        kept = _by_direction(history, client, [row.body for row in _first_of_each(history.archives[client.account])])
        for direction, bodies in ours.items():
            seen = set(bodies)
            for left, right in zip(bodies, (body for body in kept[direction] if body in seen), strict=False):
                if left != right:
                    yield Violation("order", f"{client.name} shows {left} where {right} stands", left)
                    break


def _by_direction(history: History, client: ClientPlan, bodies: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """Bodies by who wrote them and to which address; without those of the device itself."""
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for body in bodies:
        sending = history.sendings.get(body)
        if sending is not None and sending.sender.name != client.name:
            found[sending.sender.name, sending.to].append(body)
    return found


def live_order(history: History) -> Iterator[Violation]:
    """C3: on one session, the messages from one account to one address come live in the order of the archive.

    Nothing is promised between both directions of a conversation or between a bare and a full JID (RFC 6120 §10.1
    speaks of one pair of entities), nor between messages and copies: what was stored for the account is handed out
    while others come at once.
    """
    for client in history.plan.clients:
        rows = history.archives[client.account]
        twice = {body for body, count in Counter(_bodies(rows)).items() if count > 1}  # judged elsewhere
        place = {row.body: index for index, row in enumerate(rows) if row.body not in twice}
        last: dict[tuple[str, str, bool], int] = {}
        seen: set[tuple[str, bool]] = set()
        for event in history.events[client.name]:
            if event["event"] == "session":
                last, seen = {}, set()
            elif event["event"] == "recv" and event["via"] != "mam" and event["via"] != "tail":
                body, is_copy = event["body"], event["via"].startswith("carbon")
                sending = history.sendings.get(body)
                if sending is None or (body, is_copy) in seen or body not in place:
                    continue
                seen.add((body, is_copy))
                direction = (sending.sender.account, sending.to, is_copy)
                if place[body] < last.get(direction, -1):
                    yield Violation("order", f"{client.name} saw {body} late ({event['via']})", body)
                last[direction] = place[body]


def clients_were_content(history: History) -> Iterator[Violation]:
    """What a client noticed by itself, such as an acknowledgement of more than it sent."""
    for client, events in history.events.items():
        for event in events:
            if event["event"] == "violation":
                yield Violation("protocol", f"{client}: {event['what']}")


#: All rules, the gravest first.
RULES: tuple[Callable[[History], Iterator[Violation]], ...] = (
    acknowledged_is_kept, acknowledged_arrived, archived_once, both_or_neither, shown_is_kept, order_is_kept,
    one_order_for_both, devices_are_complete, history_is_rebuilt, reads_are_consistent, live_order, ids_increase,
    one_id_everywhere, clients_were_content,
)  # fmt: skip


def _received(history: History, client: ClientPlan) -> Iterator[Event]:
    return (event for event in history.events[client.name] if event["event"] == "recv")


def _first_of_each(rows: Sequence[Row]) -> Iterator[Row]:
    """Rows of the harness's messages; of duplicates the first, which are judged elsewhere."""
    seen: set[str] = set()
    for row in rows:
        if row.body and row.body not in seen:
            seen.add(row.body)
            yield row


def _difference(found: Sequence[str], expected: Sequence[str]) -> str:
    for index, archive_id in enumerate(found):
        if index >= len(expected) or archive_id != expected[index]:
            return f"id {archive_id} at place {index} where {expected[index : index + 1]} stands"
    return f"{len(found)} ids of {len(expected)}"
