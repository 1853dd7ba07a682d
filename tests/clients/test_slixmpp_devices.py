"""slixmpp on two devices of one account: carbons in both directions, and a device that sleeps (XEP-0280, XEP-0352)."""

from __future__ import annotations

from live_server import NewUser
from slix import MakeSlix, Slix
from slixmpp import JID
from slixmpp.stanza import Message
from waiting import until


class Device(Slix):
    """A client with carbons; :attr:`copies` are the bodies it was shown so: ("sent" or "received", body)."""

    copies: list[tuple[str, str]]


def with_carbons(client: Slix) -> Device:
    client.__class__ = Device
    assert isinstance(client, Device)
    client.copies = []
    for plugin in ("xep_0280", "xep_0352", "xep_0085"):
        client.register_plugin(plugin)

    def keep(kind: str) -> None:
        def handler(message: Message) -> None:
            inner = message[f"carbon_{kind}"]  # the one that was forwarded
            client.copies.append((kind, inner["body"]))

        client.add_event_handler(f"carbon_{kind}", handler)

    keep("sent")
    keep("received")
    return client


async def test_two_devices_see_the_whole_conversation(slix: MakeSlix, new_user: NewUser) -> None:
    her, him = new_user("juliet"), new_user("romeo")
    phone, laptop, romeo = with_carbons(slix(her)), with_carbons(slix(her)), slix(him)
    for client in (phone, laptop, romeo):
        await client.login()
    for device in (phone, laptop):
        await device.plugin["xep_0280"].enable()
    romeo.say(phone.boundjid.full, "By whose direction found'st thou out this place?")
    await until(lambda: laptop.copies, lambda: str(laptop.copies))
    phone.say(him.jid, "By love")
    await romeo.sees_bodies("By love")
    await until(lambda: len(laptop.copies) == 2, lambda: str(laptop.copies))
    romeo.say(her.jid, "To all")
    for device in (phone, laptop):
        await until(lambda device=device: "To all" in device.bodies, lambda device=device: str(device.bodies))
        await device.settle()
    assert laptop.copies == [("received", "By whose direction found'st thou out this place?"), ("sent", "By love")]
    assert phone.copies == []
    assert phone.bodies == ["By whose direction found'st thou out this place?", "To all"]
    assert laptop.bodies == ["To all"]
    await laptop.plugin["xep_0280"].disable()
    romeo.say(phone.boundjid.full, "For one")
    await until(lambda: "For one" in phone.bodies, lambda: str(phone.bodies))
    await laptop.settle()
    assert len(laptop.copies) == 2


async def test_a_device_that_sleeps_is_woken_by_what_matters(slix: MakeSlix, new_user: NewUser) -> None:
    her, him = new_user("juliet"), new_user("romeo")
    phone, romeo = with_carbons(slix(her)), slix(him)
    for client in (phone, romeo):
        await client.login()
    assert phone.plugin["xep_0352"].enabled
    phone.plugin["xep_0352"].send_inactive()
    await phone.settle()  # the answer is urgent, and tells that it is inactive by now
    to = JID(phone.boundjid.full)
    for show in ("away", "xa", "dnd"):
        romeo.send_presence(pto=to, pshow=show)
    romeo.say(phone.boundjid.full, "Wake up")
    await phone.sees_bodies("Wake up")
    assert [presence["type"] for presence in phone._presences_of(him.jid)] == ["dnd"]
    romeo.send_presence(pto=to, pshow="away")
    romeo.send_presence(pto=to, pshow="chat")
    await romeo.settle(her.jid)
    phone.plugin["xep_0352"].send_active()
    await phone.settle()
    assert [presence["type"] for presence in phone._presences_of(him.jid)] == ["dnd", "chat"]
