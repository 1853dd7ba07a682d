"""Profiles: vCards (XEP-0054), vCard4 (XEP-0292) and avatars (XEP-0084, XEP-0153, XEP-0398), in step.

`component.py` answers for vCards, `avatars.py` keeps the image and what presence says of it, `vcard4.py` is the mapping
between the two kinds of vCards, `photo.py` knows images. What is published at nodes is `pubsub`'s.

Example::

    [Client] romeo

    romeo sends:
        <iq type="set" id="v1"><vCard xmlns="vcard-temp"><FN>Romeo</FN></vCard></iq>
        <iq type="get" id="v2"><vCard xmlns="vcard-temp"/></iq>
    romeo receives:
        <iq type="result" id="v1" from="{romeo.bare}" to="{romeo.full}"/>
        <iq type="result" id="v2" from="{romeo.bare}" to="{romeo.full}">
            <vCard xmlns="vcard-temp"><FN>Romeo</FN></vCard>
        </iq>
"""

from xmppchat.components.vcard.component import Vcard

__all__ = ["Vcard"]
