"""The judge can say no: each breach of the contract, planted in a small history, is found, and a clean one is clean."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from faults.history import History, Sending
from faults.oracle.archive import Row
from faults.oracle.connection import Endpoint
from faults.oracle.payload import Chains
from faults.oracle.plan import ClientPlan, Plan
from faults.rebuilt import rebuilt
from faults.reconcile import judge

_CLIENTS = [
    ClientPlan("a", "phone"), ClientPlan("b", "phone"), ClientPlan("b", "laptop"),
    ClientPlan("b", "tail", kind="tail"), ClientPlan("c", "phone"),
]  # fmt: skip


def history(count: int = 3) -> History:
    """a's phone wrote to b, who answered each message by the laptop; all is acknowledged, seen and kept."""
    plan = Plan("r", 1, Endpoint("", 0, "d", ""), "", ["a", "b", "c"], _CLIENTS, "")
    result = History(plan, {}, {client.name: [] for client in _CLIENTS}, {"a": [], "b": [], "c": []})
    phone, laptop = Chains("r", "a.phone"), Chains("r", "b.laptop")
    for number in range(1, count + 1):
        _say(result, phone.next("a>b"), _CLIENTS[0], "b", number)
        _say(result, laptop.next("b>a"), _CLIENTS[2], "a", number)
    return result


def _say(history: History, body: str, sender: ClientPlan, peer: str, number: int) -> None:
    history.sendings[body] = Sending(body, sender, f"{peer}@d", body, number, is_acked=True)
    for account in (sender.account, peer):
        rows = history.archives[account]
        rows.append(Row(str(1000 * (account == "b") + len(rows)), body, "", "", body, body, ""))
        for client in _CLIENTS:
            if client.account == account and client.name != sender.name:
                via = "tail" if client.kind == "tail" else "live" if account == peer else "carbon-sent"
                event = {"event": "recv", "via": via, "body": body, "sid": rows[-1].id, "t": 0}
                history.events[client.name].append(event)


def lose(history: History) -> None:
    del history.archives["b"][2]


def lose_both(history: History) -> None:
    del history.archives["a"][-1]
    del history.archives["b"][-1]


def double(history: History) -> None:
    history.archives["a"].append(replace(history.archives["a"][0], id="77"))


def swap(history: History) -> None:
    rows = history.archives["a"]
    rows[0], rows[2] = replace(rows[2], id=rows[0].id), replace(rows[0], id=rows[2].id)


def swap_two_senders(history: History) -> None:
    rows = history.archives["b"]
    rows[0], rows[1] = replace(rows[1], id=rows[0].id), replace(rows[0], id=rows[1].id)


def forget_carbon(history: History) -> None:
    del history.events["b.phone"][3]


def hole_in_tail(history: History) -> None:
    del history.events["b.tail"][2]


def foreign_id(history: History) -> None:
    history.events["b.phone"][0]["sid"] = "0"


def refuse_what_is_kept(history: History) -> None:
    next(iter(history.sendings.values())).bounces.append("resource-constraint")


def invent(history: History) -> None:
    history.archives["a"].append(Row("99", "r/a>b/a.phone/9/x", "", "", "", "", ""))


def leak(history: History) -> None:
    history.events["c.phone"].append(history.events["b.phone"][0])


def alter(history: History) -> None:
    for rows in history.archives.values():
        for index, row in enumerate(rows):
            if "/a.phone/2/" in row.body:
                rows[index] = replace(row, body=row.body[:-4] + "0000")


def go_back(history: History) -> None:
    history.archives["a"][1] = replace(history.archives["a"][1], id="0")
    history.archives["a"][0] = replace(history.archives["a"][0], id="1")


def read_with_a_gap(history: History) -> None:
    ids = [row.id for row in history.archives["b"]]
    history.events["b.phone"].append({"event": "page", "after": ids[0], "ids": ids[2:4], "t": 0})


def show_twice(history: History) -> None:
    history.events["b.phone"].append({**history.events["b.phone"][0], "sid": "777"})


def show_without_id(history: History) -> None:
    del history.events["b.laptop"][0]["sid"]


def put_a_page_in_the_wrong_order(history: History) -> None:
    events, rows = history.events["b.phone"], history.archives["b"]
    of_a = [rows[0], rows[4]]
    events[:] = [event for event in events if event["sid"] not in [row.id for row in of_a]]
    events.append({"event": "page", "after": "", "ids": [row.id for row in reversed(of_a)], "t": 0})
    events += [{"event": "recv", "via": "mam", "body": row.body, "sid": row.id, "t": 0} for row in reversed(of_a)]


def late(history: History) -> None:
    events = history.events["b.phone"]
    events[0], events[2] = events[2], events[0]


def acknowledge_too_much(history: History) -> None:
    history.events["a.phone"].append({"event": "violation", "what": "h=9 after 1", "t": 0})


@pytest.mark.parametrize(
    ("breach", "rule"),
    [
        (lose, "lost"), (lose_both, "lost"), (double, "duplicated"), (swap, "order"), (swap_two_senders, "order"),
        (forget_carbon, "missed"), (hole_in_tail, "missed"), (hole_in_tail, "reads"), (foreign_id, "ids"),
        (refuse_what_is_kept, "refused and kept"), (invent, "invented"), (leak, "leaked"), (alter, "altered"),
        (go_back, "ids"), (read_with_a_gap, "reads"), (late, "order"), (acknowledge_too_much, "protocol"),
        (lose, "shown, not kept"), (show_twice, "shown twice"), (show_without_id, "ids"),
        (put_a_page_in_the_wrong_order, "order"),
    ],
)  # fmt: skip
def test_a_breach_is_found(breach: Callable[[History], None], rule: str) -> None:
    clean = history()
    assert judge(clean).violations == []
    broken = copy.deepcopy(clean)
    breach(broken)
    assert judge(broken).counts[rule] > 0


def test_what_was_not_acknowledged_may_be_missing_in_both_but_not_in_one() -> None:
    lost = history()
    list(lost.sendings.values())[-1].is_acked = False
    for client in _CLIENTS:
        lost.events[client.name] = [event for event in lost.events[client.name] if "/b.laptop/3/" not in event["body"]]
    del lost.archives["a"][-1]
    assert judge(lost).counts.keys() >= {"half archived"}
    del lost.archives["b"][-1]
    assert judge(lost).violations == []


def test_a_refused_message_is_no_loss() -> None:
    refused = history()
    last = list(refused.sendings.values())[-1]
    last.bounces.append("resource-constraint")
    for account in ("a", "b"):
        del refused.archives[account][-1]
    for client in _CLIENTS:
        refused.events[client.name] = [event for event in refused.events[client.name] if event["body"] != last.body]
    assert judge(refused).violations == []


def unkept() -> History:
    """As `history`, but b archives nothing."""
    result = history()
    result.plan = replace(result.plan, unkept=("b",))
    result.archives["b"].clear()  # type: ignore[attr-defined]
    result.events["b.tail"].clear()
    for sending in result.sendings.values():
        sending.unkept = frozenset({"b"})
    for client in ("b.phone", "b.laptop"):
        for event in result.events[client]:
            del event["sid"]
    return result


def test_what_nobody_archives_has_to_arrive_somewhere() -> None:
    assert judge(unkept()).violations == []
    lost = unkept()
    body = lost.events["b.phone"][0]["body"]
    del lost.events["b.phone"][0]
    assert judge(lost).violations == [], "the laptop has it"
    del lost.events["b.laptop"][0]
    assert [violation.body for violation in judge(lost).violations if violation.rule == "lost"] == [body]


def test_what_is_archived_against_the_wish_is_found() -> None:
    kept = unkept()
    kept.archives["b"].extend(history().archives["b"][:1])  # type: ignore[attr-defined]
    assert judge(kept).counts["leaked"] == 1


@pytest.mark.parametrize(
    ("events", "shown", "twice"),
    [
        (["1 one", "2 two"], ["one", "two"], []),
        (["1 one", "1 one"], ["one"], []),
        (["1 one", "7 one"], ["one"], ["one"]),
        (["1 one", "4 four", "page 1", "mam 2 two", "mam 3 three"], ["one", "two", "three", "four"], []),
        (["1 one", "4 four", "page 1", "mam 2 two", "mam 4 four", "mam 5 five"], ["one", "two", "four", "five"], []),
        (["1 one", "own", "2 two", "page 2", "mam 3 three", "mam 4 own"], ["one", "two", "three", "own"], []),
        (["own", "1 one", "2 own", "page 2", "mam 3 three"], ["one", "own", "three"], []),
        (["page ", "mam 1 one", "mam 2 two", "page ", "mam 1 one", "mam 2 two"], ["one", "two"], []),
    ],
)
def test_a_history_is_put_together_as_a_client_does_it(events: list[str], shown: list[str], twice: list[str]) -> None:
    assert rebuilt(map(_event, events)) == (shown, twice)


def _event(text: str) -> dict[str, str]:
    match text.split(" "):
        case ["page", after]:
            return {"event": "page", "after": after}
        case ["mam", archive_id, body]:
            return {"event": "recv", "via": "mam", "sid": archive_id, "body": body}
        case [archive_id, body]:
            return {"event": "recv", "via": "live", "sid": archive_id, "body": body}
        case _:
            return {"event": "intent", "body": text}


def test_the_oracle_shares_no_code_with_the_server() -> None:
    known = {"__future__", "asyncio", "base64", "collections", "dataclasses", "functools", "hashlib", "hmac"}
    known |= {"itertools", "json", "pathlib", "random", "secrets", "socket", "ssl", "sys", "time", "typing", "xml"}
    for file in (Path(__file__).parent / "oracle").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            assert {name.partition(".")[0] for name in names} <= known, (file, names)
