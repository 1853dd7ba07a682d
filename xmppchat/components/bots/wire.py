"""OMEMO on the wire, in both namespaces: our elements on one side, what the libraries work with on the other.

The XML was read and judged by our reader; here it is looked at whether it is what it should be, and bounded.
Whatever is wrong with something from outside is a :class:`Malformed`.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Callable, Iterable
from typing import Any, Final, ParamSpec, TypeVar

import x3dh
import xeddsa
from oldmemo import oldmemo
from omemo import Bundle, DeviceList, EncryptedKeyMaterial, KeyExchange, Message, SignedLabel
from twomemo import twomemo

from xmppchat.protocol.element import Element, text_element
from xmppchat.protocol.namespaces import NS

#: Devices in a list, keys in a bundle, at most.
MAX_DEVICES: Final = 100
MAX_PRE_KEYS: Final = 500
#: XEP-0384 §5.1.
MAX_ID: Final = 2**31 - 1
#: Bytes of a payload at most; stanzas are bounded besides.
_KEY: Final = 32
_SIGNATURE: Final = 64

P = ParamSpec("P")
R = TypeVar("R")


class Malformed(ValueError):
    """What came from outside is not what it should be; the text says what is wrong."""


def _judging(what: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Whatever the libraries raise about bytes from outside (they have no common error) is one :class:`Malformed`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def judged(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return function(*args, **kwargs)
            except Malformed:
                raise
            except Exception as error:
                raise Malformed(f"the {what} is damaged ({type(error).__name__})") from error

        return judged

    return decorate


# --- lists of devices (XEP-0384 §5.3.1) ------------------------------------------------------------------------------

@_judging("list of devices")
def devices(element: Element, namespace: str) -> DeviceList:
    """Ids in a list of devices, with the label and its signature where there are both."""
    name = "devices" if namespace == NS.OMEMO else "list"
    if not element.is_named(name, namespace):
        raise Malformed("it is no list of devices")
    found: DeviceList = {}
    for device in element.find_all("device")[:MAX_DEVICES]:
        label, signature = device.get("label"), device.get("labelsig")
        signed = SignedLabel(label, _bytes(signature)) if label and signature and namespace == NS.OMEMO else None
        found[_id(device.get("id"))] = signed
    return found


def devices_element(found: DeviceList, namespace: str) -> Element:
    """A list of devices; the older namespace has no labels."""
    children = []
    for number, signed in found.items():
        label = signed if namespace == NS.OMEMO else None
        children.append(Element("device", namespace, {
            "id": str(number), "label": None if label is None else label.label,
            "labelsig": None if label is None else _text(label.signature),
        }))  # fmt: skip
    return Element("devices" if namespace == NS.OMEMO else "list", namespace, None, children)


# --- bundles (§5.3.2) ------------------------------------------------------------------------------------------------

@_judging("bundle")
def bundle(element: Element, namespace: str, owner: str, device_id: int) -> Bundle:
    """The public keys of a device of the bare JID `owner`."""
    if not element.is_named("bundle", namespace):
        raise Malformed("it is no bundle")
    return (_bundle_2 if namespace == NS.OMEMO else _bundle_1)(element, owner, device_id)


def _bundle_2(element: Element, owner: str, device_id: int) -> Bundle:
    signed, pre_keys = _child(element, "spk"), _pre_keys(element, "pk")
    ids = {_sized(_bytes(key.text), _KEY): _id(key.get("id")) for key in pre_keys}
    identity = _sized(_bytes(_child(element, "ik").text), _KEY)
    signature = _sized(_bytes(_child(element, "spks").text), _SIGNATURE)
    public = x3dh.Bundle(identity, _sized(_bytes(signed.text), _KEY), signature, frozenset(ids))
    return twomemo.BundleImpl(owner, device_id, public, _id(signed.get("id")), ids)


def _bundle_1(element: Element, owner: str, device_id: int) -> Bundle:
    """The identity key is one of Curve25519 there, and its sign stands in the signature."""
    parse = oldmemo.StateImpl.parse_public_key
    signed, pre_keys = _child(element, "signedPreKeyPublic"), _pre_keys(element, "preKeyPublic")
    signature = bytearray(_sized(_bytes(_child(element, "signedPreKeySignature").text), _SIGNATURE))
    sign = bool(signature[-1] >> 7)
    signature[-1] &= 0x7F
    curve = _sized(parse(_bytes(_child(element, "identityKey").text)), _KEY)
    identity = xeddsa.curve25519_pub_to_ed25519_pub(curve, sign)
    ids = {_sized(parse(_bytes(key.text)), _KEY): _id(key.get("preKeyId"), least=0) for key in pre_keys}
    public = x3dh.Bundle(identity, _sized(parse(_bytes(signed.text)), _KEY), bytes(signature), frozenset(ids))
    return oldmemo.BundleImpl(owner, device_id, public, _id(signed.get("signedPreKeyId"), least=0), ids)


def bundle_element(made: Bundle) -> Element:
    """``<bundle/>`` of our own device."""
    if isinstance(made, twomemo.BundleImpl):
        return _bundle_element_2(made)
    assert isinstance(made, oldmemo.BundleImpl)
    return _bundle_element_1(made)


def _bundle_element_2(made: twomemo.BundleImpl) -> Element:
    keys, ids = made.bundle, made.pre_key_ids
    return Element("bundle", NS.OMEMO, None, [
        text_element("spk", NS.OMEMO, _text(keys.signed_pre_key), {"id": str(made.signed_pre_key_id)}),
        text_element("spks", NS.OMEMO, _text(keys.signed_pre_key_sig)),
        text_element("ik", NS.OMEMO, _text(keys.identity_key)),
        Element("prekeys", NS.OMEMO, None, [
            text_element("pk", NS.OMEMO, _text(key), {"id": str(number)}) for key, number in ids.items()
        ]),
    ])


def _bundle_element_1(made: oldmemo.BundleImpl) -> Element:
    keys, write = made.bundle, oldmemo.StateImpl.serialize_public_key
    namespace = NS.OMEMO_AXOLOTL
    signature = bytearray(keys.signed_pre_key_sig)
    signature[-1] |= keys.identity_key[-1] & 0x80
    curve = xeddsa.ed25519_pub_to_curve25519_pub(keys.identity_key)
    pre_keys = [
        text_element("preKeyPublic", namespace, _text(write(key)), {"preKeyId": str(number)})
        for key, number in made.pre_key_ids.items()
    ]
    signed_id = {"signedPreKeyId": str(made.signed_pre_key_id)}
    return Element("bundle", namespace, None, [
        text_element("signedPreKeyPublic", namespace, _text(write(keys.signed_pre_key)), signed_id),
        text_element("signedPreKeySignature", namespace, _text(bytes(signature))),
        text_element("identityKey", namespace, _text(write(curve))),
        Element("prekeys", namespace, None, pre_keys),
    ])


# --- messages (§5.5) -------------------------------------------------------------------------------------------------

def sender_id(element: Element) -> int:
    """The id of the device that `element`, an ``<encrypted/>``, is from. Raises :class:`Malformed`."""
    return _id(_child(element, "header").get("sid"))


def key_for(element: Element, owner: str, device_id: int) -> Element | None:
    """The ``<key/>`` in an ``<encrypted/>`` for a device of `owner`, None where there is none."""
    header = element.find("header")
    if header is None:
        return None
    lists = [header]
    if element.namespace == NS.OMEMO:
        lists = [keys for keys in header.find_all("keys") if keys.get("jid") == owner]
    wanted = str(device_id)
    return next((key for keys in lists for key in keys.find_all("key") if key.get("rid") == wanted), None)


@_judging("encrypted message")
def message(element: Element, key: Element, sender: str, owner: str, device_id: int, identity_key: bytes) -> Message:
    """The message in an ``<encrypted/>`` of the bare JID `sender`, with the `key` for a device of `owner` alone.

    `identity_key` is that of the sending device: the older namespace leaves out one bit of it.
    """
    content: Any
    payload, data = element.find("payload"), _bytes(key.text)
    exchange: KeyExchange | None = None
    material: EncryptedKeyMaterial
    if element.namespace == NS.OMEMO:
        if key.get("kex") in ("true", "1"):
            exchange, data = twomemo.KeyExchangeImpl.parse(data)
        material = twomemo.EncryptedKeyMaterialImpl.parse(data, owner, device_id)
        kind = twomemo.ContentImpl
        content = kind.make_empty() if payload is None else kind(_bytes(payload.text))
    else:
        if key.get("prekey") in ("true", "1"):
            exchange, data = oldmemo.KeyExchangeImpl.parse(data, bool(identity_key[-1] >> 7))
        material = oldmemo.EncryptedKeyMaterialImpl.parse(data, owner, device_id)
        iv, kind_1 = _child(element, "header").child_text("iv"), oldmemo.ContentImpl
        is_empty = payload is None or not iv
        content = kind_1.make_empty() if is_empty else kind_1(_bytes(payload.text), _bytes(iv))  # type: ignore
    return Message(element.namespace, sender, sender_id(element), content, frozenset({(material, exchange)}))


def message_element(made: Message) -> Element:
    """``<encrypted/>``."""
    is_new = made.namespace == NS.OMEMO
    by_owner: dict[str, list[Element]] = {}
    for material, exchange in made.keys:
        by_owner.setdefault(material.bare_jid, []).append(_key_element(material, exchange, made.namespace))
    header: list[Element] = []
    if is_new:
        header = [Element("keys", NS.OMEMO, {"jid": jid}, keys) for jid, keys in sorted(by_owner.items())]
    else:
        header = [key for keys in by_owner.values() for key in keys]
    children: list[Element] = []
    content: Any = made.content
    if not content.empty:
        children.append(text_element("payload", made.namespace, _text(content.ciphertext)))
        if not is_new:
            header.append(text_element("iv", made.namespace, _text(content.initialization_vector)))
    sid = {"sid": str(made.device_id)}
    return Element("encrypted", made.namespace, None, [Element("header", made.namespace, sid, header), *children])


def _key_element(material: Any, exchange: Any, namespace: str) -> Element:
    data = material.serialize()
    attributes: dict[str, str | None] = {"rid": str(material.device_id)}
    if exchange is not None and namespace == NS.OMEMO:
        data, attributes["kex"] = exchange.serialize(data), "true"
    elif exchange is not None:
        (data, _), attributes["prekey"] = exchange.serialize(data), "true"
    return text_element("key", namespace, _text(data), attributes)


# --- parts -----------------------------------------------------------------------------------------------------------

def _child(element: Element, name: str) -> Element:
    child = element.find(name)
    if child is None:
        raise Malformed(f"it has no <{name}/>")
    return child


def _pre_keys(element: Element, name: str) -> Iterable[Element]:
    keys = _child(element, "prekeys").find_all(name)[:MAX_PRE_KEYS]
    if not keys:
        raise Malformed("the bundle has no keys that could be used once")
    return keys


def _id(text: str, *, least: int = 1) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10) or not least <= int(text) <= MAX_ID:
        raise Malformed("an id is a number from 1 to 2147483647")
    return int(text)


def _bytes(text: str) -> bytes:
    return base64.b64decode("".join(text.split()), validate=True)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _sized(data: bytes, size: int) -> bytes:
    if len(data) != size:
        raise Malformed(f"a key or signature has {len(data)} bytes, not {size}")
    return data
