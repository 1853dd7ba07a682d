"""Whether the keys of an account are as they should be: rules over what it publishes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xmppchat.components.omemo import findings
from xmppchat.components.omemo.findings import Finding, Kind, Severity
from xmppchat.components.omemo.snapshot import Published
from xmppchat.components.omemo.versions import NEWER, OLDER, number, shortened
from xmppchat.core.runtime import timestamp

DAY_MS: Final = 86_400_000
_ORDER: Final = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """`now` in ms; fewer prekeys than `few_prekeys` are few, `unseen_days` without a word are long."""

    now: int
    few_prekeys: int
    unseen_days: int

    def is_recent(self, at: int) -> bool:
        """Whether `at` is not long ago."""
        return self.now - at < self.unseen_days * DAY_MS


Rule = Callable[[Published, Yardstick], Iterator[Finding]]


def examine(published: Sequence[Published], yardstick: Yardstick) -> list[Finding]:
    """All that is wrong, the worst first."""
    found = [finding for one in published for rule in RULES for finding in rule(one, yardstick)]
    found += _one_version(published)
    return sorted(found, key=lambda finding: _ORDER.index(finding.kind.severity))


def _of_device(kind: Kind, published: Published, device: int, **values: object) -> Finding:
    label = shortened(published.label(device))
    shown = f"{device} ({label})" if label else str(device)
    return Finding(kind, published.version.name, shown, {"id": device, **values})


def _list(published: Published, yardstick: Yardstick) -> Iterator[Finding]:
    name = published.version.name
    if published.devices is None and published.bundles:
        yield Finding(findings.LIST_MISSING, name, values={"count": len(published.bundles)})
    if published.devices is not None and published.devices.fault:
        yield Finding(findings.LIST_UNREADABLE, name, values={"fault": published.devices.fault})
    if published.left_out:
        yield Finding(findings.TOO_MANY, name, values={"count": published.left_out})


def _listed_devices(published: Published, yardstick: Yardstick) -> Iterator[Finding]:
    for device in published.devices.devices if published.devices is not None else ():
        bundle = published.bundles.get(device)
        if bundle is None:
            yield _of_device(findings.DEVICE_WITHOUT_BUNDLE, published, device)
        elif bundle.fault:
            yield _of_device(findings.BUNDLE_UNREADABLE, published, device, fault=bundle.fault)
        elif not bundle.prekeys:
            yield _of_device(findings.NO_PREKEYS, published, device)
        elif bundle.prekeys < yardstick.few_prekeys:
            yield _of_device(
                findings.FEW_PREKEYS, published, device, count=bundle.prekeys, least=yardstick.few_prekeys
            )
        if bundle is not None and not yardstick.is_recent(bundle.published_at):
            days = (yardstick.now - bundle.published_at) // DAY_MS
            yield _of_device(findings.UNSEEN, published, device, days=days)


def _unlisted_bundles(published: Published, yardstick: Yardstick) -> Iterator[Finding]:
    listed = published.devices
    if listed is None or listed.fault:
        return  # said once, for all of them
    for device, bundle in published.bundles.items():
        if device in listed.devices:
            continue
        date, list_date = _date(bundle.published_at), _date(listed.published_at)
        if yardstick.is_recent(bundle.published_at) and bundle.published_at <= listed.published_at:
            yield _of_device(findings.DEVICE_DROPPED, published, device, date=date, list_date=list_date)
        else:
            yield _of_device(findings.BUNDLE_WITHOUT_DEVICE, published, device, date=date)


def _strays(published: Published, yardstick: Yardstick) -> Iterator[Finding]:
    for name in published.strays:
        shown = shortened(name)
        yield Finding(findings.STRAY_BUNDLE, published.version.name, shown, {"name": shown})


def _nodes(published: Published, yardstick: Yardstick) -> Iterator[Finding]:
    """§5.3.1, §5.3.2: the access model is "open", the node of bundles keeps all there are; §8.1: items are kept."""
    version = published.version
    devices = len(published.devices.devices) if published.devices is not None else 0
    for node in published.nodes:
        device = number(node.name.removeprefix(version.bundles_node)) if version.has_node_each else 0
        if device and device not in published.bundles and node.items:
            continue  # one of those that are not looked at
        name, shown = shortened_node(node.name), str(device or "")
        if node.access_model != "open":
            values = {"node": name, "model": node.access_model}
            yield Finding(findings.ACCESS_MODEL, version.name, shown, values)
        if not node.persist_items:
            yield Finding(findings.NOT_KEPT, version.name, shown, {"node": name})
        is_shared = not version.has_node_each and node.name == version.bundles_node
        if is_shared and 0 < node.max_items < max(2, devices + 1):
            yield Finding(findings.MAX_ITEMS, version.name, values={"node": name, "count": node.max_items})


def _one_version(published: Sequence[Published]) -> Iterator[Finding]:
    """Devices of one version only, where somebody may miss the other: most clients speak the older one alone."""
    by_version = {one.version: one for one in published}
    for version, other in ((OLDER, NEWER), (NEWER, OLDER)):
        mine, its = by_version[version], by_version[other].devices
        if mine.devices is None or (its is None and other is NEWER):
            continue
        for device in mine.devices.devices:
            if its is None or (device not in its.devices and not its.fault):
                yield _of_device(findings.ONE_VERSION, mine, device, version=version.name, other=other.name)


def shortened_node(name: str) -> str:
    """The name of a node for people: garbage behind it is of no interest."""
    return name if len(name) <= 60 else name[:59] + "…"


def _date(at: int) -> str:
    return timestamp(at)[:10]


RULES: Final[Sequence[Rule]] = (_list, _listed_devices, _unlisted_bundles, _strays, _nodes)
