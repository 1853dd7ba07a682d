"""What every client has: connecting again and again, requests with answers, archive queries, a record of messages."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from dataclasses import replace

from . import namespaces as ns
from .connection import Connection, Lost, Refused
from .log import Log
from .payload import Payload
from .plan import ClientPlan, Plan
from .xml import Node, attribute, escape


class Unknown(Refused):
    """The archive knows nothing of an id that it gave: it has to be read from the beginning (XEP-0313 §4.3.2)."""


class Page:
    """One answered archive query: `rows` are (archive id, forwarded message, time stamp) in the order of the page."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, Node, str]] = []
        self.is_complete = False
        self.first = self.last = ""
        self.count: int | None = None


class Client:
    """A client of one account. Subclasses say in `live` what it does while it is logged in."""

    def __init__(self, plan: Plan, client: ClientPlan, log: Log) -> None:
        self.plan = plan
        self.client = client
        self.log = log
        self.bare = f"{client.account}@{plan.endpoint.domain}"
        self.random = random.Random(f"{plan.seed}/{client.name}")
        self.connections = 0
        self.heard = 0.0
        self._connection: Connection | None = None
        self._answers: dict[str, asyncio.Future[Node]] = {}
        self._queries: dict[str, Page] = {}
        self._ids = itertools.count(1)

    @property
    def connection(self) -> Connection:
        """The connection; Lost where there is none."""
        if self._connection is None:
            raise Lost("not connected")
        return self._connection

    async def connect(self) -> None:
        """Log in, trying again until the server is back; Lost after the plan's patience."""
        endpoint = self.plan.endpoint
        if self.client.proxy_port:
            endpoint = replace(endpoint, address="127.0.0.1", port=self.client.proxy_port)
        deadline = time.monotonic() + self.plan.patience
        pause = 0.03
        while True:
            connection = None
            try:
                connection = await Connection.open(endpoint)
                await connection.log_in(self.client.account, self.plan.password)
            except (Lost, Refused) as error:
                if connection is not None:
                    connection.abort()
                if time.monotonic() > deadline:
                    raise Lost(f"gave up: {error}") from None
                await asyncio.sleep(pause * self.random.uniform(0.5, 1.5))
                pause = min(pause * 1.3, 0.3)
                continue
            self._connection = connection
            self.connections += 1
            self.heard = time.monotonic()
            self.log.write("connected", conn=self.connections)
            return

    def disconnected(self, why: str) -> None:
        """The connection is gone: nothing that was asked will be answered."""
        if self._connection is not None:
            self._connection.abort()
            self._connection = None
            self.log.write("lost", conn=self.connections, why=why)
        answers, self._answers = self._answers, {}
        self._queries = {}
        for future in answers.values():
            if not future.done():
                future.set_exception(Lost(why))
                future.exception()  # somebody may have stopped waiting

    def forget_session(self) -> None:
        """What the server keeps of this client is of no use."""

    def violation(self, what: str) -> None:
        """The server did what it must not."""
        self.log.write("violation", what=what, conn=self.connections)

    # --- requests -------------------------------------------------------------------------------------------------

    def send(self, text: str) -> None:
        """Send a stanza."""
        self.connection.write(text)

    async def request(self, kind: str, payload: str, to: str = "") -> Node:
        """Ask; the answer, which may be an error; raises Lost."""
        number = f"q{self.connections}.{next(self._ids)}"
        future: asyncio.Future[Node] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        address = f" to={attribute(to)}" if to else ""
        self.send(f"<iq type='{kind}' id='{number}'{address}>{payload}</iq>")
        try:
            return await future
        finally:
            self._answers.pop(number, None)

    async def page(self, size: int, *, after: str | None = None, before: str | None = None) -> Page:
        """Ask for a page of the own archive (XEP-0313 §4.2): with `before` the last one before it ("": of all)."""
        query = f"m{self.connections}.{next(self._ids)}"
        page = self._queries[query] = Page()
        where = ""
        if after:
            where = f"<after>{escape(after)}</after>"
        elif before is not None:
            where = f"<before>{escape(before)}</before>"
        answer = await self.request(
            "set",
            f"<query xmlns='{ns.MAM}' queryid='{query}'><set xmlns='{ns.RSM}'><max>{size}</max>{where}</set></query>",
        )
        self._queries.pop(query, None)
        fin = answer.find("fin", ns.MAM)
        if after and _is_unknown(answer):
            raise Unknown(f"the archive does not know {after}, which it told before")
        if answer.get("type") != "result" or fin is None:
            raise Refused(f"archive query: {answer!r}")
        page.is_complete = fin.get("complete") in ("true", "1")
        result_set = fin.find("set", ns.RSM)
        for child in result_set.children if result_set is not None else ():
            if child.name in ("first", "last"):
                setattr(page, child.name, child.text)
            elif child.name == "count":
                page.count = int(child.text)
        told = (page.first, page.last)
        seen = (page.rows[0][0], page.rows[-1][0]) if page.rows else ("", "")
        if told != seen:
            self.violation(f"a page says {told} and holds {seen}")
        return page

    # --- what comes -----------------------------------------------------------------------------------------------

    async def read(self) -> None:
        """Handle what comes until the connection is lost."""
        while True:
            node = await self.connection.element()
            self.heard = time.monotonic()
            self.received(node)

    def received(self, node: Node) -> None:
        """A top-level element came."""
        if node.namespace == ns.STREAM and node.name == "error":
            if any(child.namespace != ns.STREAM_ERROR for child in node.children):
                self.violation(f"stream error {node!r}")  # nothing a client of ours does deserves one of an extension
                self.forget_session()
            raise Lost(f"stream error {[child.name for child in node.children]}")
        if node.name == "message":
            self._message(node)
        elif node.name == "iq":
            self._iq(node)

    def _iq(self, node: Node) -> None:
        number = node.get("id")
        if node.get("type") in ("result", "error"):
            future = self._answers.get(number)
            if future is not None and not future.done():
                future.set_result(node)
            return
        sender = f" to={attribute(node.get('from'))}" if node.get("from") else ""
        self.send(f"<iq type='result' id={attribute(number)}{sender}/>")

    def _message(self, node: Node) -> None:
        result = node.find("result", ns.MAM)
        if result is not None:
            self._result(node, result)
            return
        for direction in ("sent", "received"):
            carbon = node.find(direction, ns.CARBONS)
            if carbon is not None:
                if node.get("from") != self.bare:
                    self.violation(f"a carbon from {node.get('from')!r}")
                inner = _forwarded(carbon)
                if inner is not None:
                    self.record(inner, f"carbon-{direction}")
                return
        if node.get("type") == "error":
            error = node.find("error", ns.CLIENT)
            condition = next((child.name for child in error.children), "") if error is not None else ""
            self.log.write("bounce", id=node.get("id"), sender=node.get("from"), condition=condition)
            return
        self.record(node, "offline" if node.find("delay", ns.DELAY) is not None else "live")

    def _result(self, node: Node, result: Node) -> None:
        if node.get("from") not in ("", self.bare):
            self.violation(f"a result from {node.get('from')!r}")
        page = self._queries.get(result.get("queryid"))
        inner = _forwarded(result)
        if page is None or inner is None:
            return
        forwarded = result.find("forwarded", ns.FORWARD)
        delay = forwarded.find("delay", ns.DELAY) if forwarded is not None else None
        page.rows.append((result.get("id"), inner, delay.get("stamp") if delay is not None else ""))

    def record(self, message: Node, via: str, archive_id: str | None = None) -> str | None:
        """Log a message that came; the id it has in the own archive, if it tells one."""
        key = key_of(message)
        if not key:
            return None
        own = archive_id
        for child in message.every("stanza-id", ns.STANZA_ID):
            if child.get("by") != self.bare:
                self.violation(f"stanza-id by {child.get('by')!r} in {via} of {key}")
            elif own is not None and own != child.get("id"):
                self.violation(f"two ids, {own} and {child.get('id')}, in {via} of {key}")
            else:
                own = child.get("id")
        origin = message.find("origin-id", ns.STANZA_ID)
        self.log.write(
            "recv", via=via, body=key, sid=own, mid=message.get("id"),
            oid=origin.get("id") if origin is not None else None, sender=message.get("from"), to=message.get("to"),
            conn=self.connections,
        )  # fmt: skip
        return own


def key_of(message: Node) -> str:
    """What tells a message of the harness from all others: its body, or of a receipt its id; "" where it is none."""
    body = message.find("body", ns.CLIENT)
    if body is not None:
        text = body.text
    else:
        text = message.get("id") if message.find("received", ns.RECEIPTS) is not None else ""
    return text if Payload.parse(text) is not None else ""


def _is_unknown(answer: Node) -> bool:
    error = answer.find("error", ns.CLIENT)
    return error is not None and error.find("item-not-found", ns.STANZA_ERROR) is not None


def _forwarded(wrapper: Node) -> Node | None:
    forwarded = wrapper.find("forwarded", ns.FORWARD)
    return forwarded.find("message", ns.CLIENT) if forwarded is not None else None
