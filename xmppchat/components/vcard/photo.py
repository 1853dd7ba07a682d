"""Images as vCards (XEP-0153) and nodes (XEP-0084) have them: base64, hashes, what they are. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS

#: What images begin with, and their media types.
_BEGINNINGS: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)  # fmt: skip
#: What an image is called of which nothing is known: what XEP-0084 §4.1 has for granted.
_DEFAULT_TYPE: Final = "image/png"
#: Characters of a media type.
MAX_TYPE: Final = 64


@dataclass(frozen=True, slots=True)
class Photo:
    """An image: its bytes, the SHA-1 of them in hexadecimal, its media type."""

    image: bytes
    hash: str
    type: str

    def data(self) -> Element:
        """``<data/>`` (XEP-0084 §4.1)."""
        return text_element("data", NS.AVATAR_DATA, base64.b64encode(self.image).decode())

    def metadata(self) -> Element:
        """``<metadata/>`` (XEP-0084 §4.2); width and height where they can be read off."""
        size = dimensions(self.image)
        info = Element("info", NS.AVATAR_METADATA, {
            "bytes": str(len(self.image)), "id": self.hash, "type": self.type,
            "width": None if size is None else str(size[0]), "height": None if size is None else str(size[1]),
        })
        return Element("metadata", NS.AVATAR_METADATA, None, (info,))


def decode(text: str) -> bytes:
    """The bytes that base64 `text` stands for; whitespace and missing padding do not matter. Raises ValueError."""
    packed = "".join(text.split())
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("this is no base64") from None


def photo_of(element: Element) -> Photo | None:
    """The image in ``<PHOTO/>`` (XEP-0153 §4.5), None where there is none. Raises ValueError where it is no base64."""
    text = element.child_text("BINVAL")
    image = decode(text) if text is not None else b""
    if not image:
        return None
    said = (element.child_text("TYPE") or "").strip()
    return Photo(image, hash_of(image), media_type(image) or (said if is_media_type(said) else _DEFAULT_TYPE))


def photo_element(media_type: str, text: str) -> Element:
    """``<PHOTO/>`` with the base64 `text` of an image."""
    return Element("PHOTO", NS.VCARD, None, [
        text_element("TYPE", NS.VCARD, media_type), text_element("BINVAL", NS.VCARD, text),
    ])


def hash_of(image: bytes) -> str:
    """What an image goes by (XEP-0084 §4.2.1): no secret hangs on it."""
    return hashlib.sha1(image, usedforsecurity=False).hexdigest()


def media_type(image: bytes) -> str:
    """The media type by what the bytes are, which counts (XEP-0153 §5), "" where that is not known."""
    if image[:4] == b"RIFF" and image[8:12] == b"WEBP":
        return "image/webp"
    return next((found for beginning, found in _BEGINNINGS if image.startswith(beginning)), "")


def is_media_type(text: str) -> bool:
    """Whether `text` may be the type of an avatar: one of images or videos (XEP-0084 §4.2.1)."""
    return text.startswith(("image/", "video/")) and len(text) <= MAX_TYPE and text.isascii() and text.isprintable()


def dimensions(image: bytes) -> tuple[int, int] | None:
    """Width and height in pixels, None where they cannot be read off the header."""
    kind = media_type(image)
    if kind == "image/png" and image[12:16] == b"IHDR" and len(image) >= 24:
        return _plausible(*struct.unpack(">II", image[16:24]))
    if kind == "image/gif" and len(image) >= 10:
        return _plausible(*struct.unpack("<HH", image[6:10]))
    if kind == "image/jpeg":
        return next(_frames(image), None)
    return None


def _frames(image: bytes) -> Iterator[tuple[int, int]]:
    """The sizes in the frame headers of a JPEG (ISO 10918-1 §B.2.2), as far as its segments hang together."""
    position = 2
    while position + 9 <= len(image) and image[position] == 0xFF:
        marker, length = image[position + 1], int.from_bytes(image[position + 2 : position + 4], "big")
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">HH", image[position + 5 : position + 9])
            size = _plausible(width, height)
            if size is not None:
                yield size
        position += 2 + max(2, length)


def _plausible(width: int, height: int) -> tuple[int, int] | None:
    return (width, height) if 0 < width < 65_536 and 0 < height < 65_536 else None
