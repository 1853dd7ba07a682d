"""V-17, V-44, V-53: photos and lists of bookmarks that become something else at the server."""

from __future__ import annotations

import base64
from collections.abc import Callable

from attack_target import Target, scale
from observation import MIB

PNG = b"\x89PNG\r\n\x1a\n"


def vcard(text: str) -> bytes:
    photo = f"<PHOTO><BINVAL>{text}</BINVAL></PHOTO>"
    return f"<iq type='set' id='q'><vCard xmlns='vcard-temp'>{photo}</vCard></iq>".encode()


def bookmarks(entries: str) -> bytes:
    storage = f"<storage xmlns='storage:bookmarks'>{entries}</storage>"
    return f"<iq type='set' id='q'><query xmlns='jabber:iq:private'>{storage}</query></iq>".encode()


def test_a_photo_of_ten_megabytes_ends_the_stream(target: Target, bystander: Callable[[], float]) -> None:
    with target.login("mallory") as client:
        client.restart()
        before = target.process.rss
        client.send(vcard(base64.b64encode(bytes(10 * MIB)).decode())).until_closed()
        # The client may see a reset in place of the error: it was still sending.
        assert client.condition in {"policy-violation", ""}
    assert bystander() < 1
    assert target.process.rss - before < 8 * MIB
    with target.login("mallory") as client:
        client.restart()
        client.send(b"<iq type='get' id='q'><vCard xmlns='vcard-temp'/></iq>")
        assert b"<PHOTO" not in client.until(b"</iq>")


def test_photos_that_are_none(target: Target) -> None:
    """Each is refused or harmless, and the server goes on."""
    image = base64.b64encode(PNG + b"\xff" * 40).decode()
    with target.login("mallory") as client:
        for text, is_taken in (
            ("%%%", False), ("====", False), ("A", False), ("&#233;", False),
            ("", True), (" \t\n", True), (image, True), ("\n".join(image), True),
            (base64.b64encode(b"\xff\xd8\xff" + b"\xff\xc0\x00\x02" * 5_000).decode(), True),
        ):  # fmt: skip
            client.restart()
            client.send(vcard(text))
            answer = client.until(lambda received: b"<iq" in received and (b"/>" in received or b"</iq>" in received))
            assert (b"type='result'" in answer) is is_taken, (text[:40], answer)
        client.restart()
        client.send(vcard(""))
        client.until(b"id='q'")


def test_a_bomb_of_bookmarks(target: Target, bystander: Callable[[], float]) -> None:
    """One stanza becomes as many changes as a node holds items: bounded, and on its sender's account."""
    lists = ["".join(f"<conference jid='{name}{n}@r.example'/>" for n in range(1_000)) for name in "ab"]
    with target.login("mallory") as client:
        client.restart()
        client.send(bookmarks(lists[0] + lists[1]))
        assert b"<policy-violation" in client.until(b"</iq>")
        slowest = 0.0
        for number in range(scale(2, 20)):
            client.restart()
            client.send(bookmarks(lists[number % 2]))
            slowest = max(slowest, bystander())
            client.until(b"id='q'")
        assert slowest < 2
        client.restart()
        client.send(bookmarks(""))
        client.until(b"id='q'")
