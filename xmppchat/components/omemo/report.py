"""How findings are shown: rows for the owner of an account, for the admin, and one for each account."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from xmppchat.components.omemo.findings import Finding, Severity
from xmppchat.components.omemo.snapshot import Published
from xmppchat.core.account import Account


def for_owner(account: Account, published: Sequence[Published], found: Sequence[Finding]) -> list[dict[str, object]]:
    """Rows for the owner, one that says so where nothing is wrong."""
    rows: list[dict[str, object]] = [
        {
            "how bad": finding.kind.severity.value, "device": finding.device or "-", "for": finding.version,
            "what is wrong": finding.wrong, "what to do": finding.remedy(account.jid.bare),
        }
        for finding in found
    ]  # fmt: skip
    return rows or [
        {"how bad": "all well", "device": "-", "for": "-", "what is wrong": summary(published), "what to do": "nothing"}
    ]


def for_admin(account: Account, published: Sequence[Published], found: Sequence[Finding]) -> list[dict[str, object]]:
    """The same for the admin, with the name of each finding and what both can do."""
    bare = account.jid.bare
    rows: list[dict[str, object]] = [
        {
            "severity": finding.kind.severity.value, "finding": finding.kind.name, "for": finding.version,
            "device": finding.device or "-", "what is wrong": finding.wrong,
            "what the owner can do": finding.remedy(bare), "what you can do": finding.remedy(bare, is_admin=True),
        }
        for finding in found
    ]  # fmt: skip
    return rows or [{
        "severity": "all well", "finding": "-", "for": "-", "device": "-", "what is wrong": summary(published),
        "what the owner can do": "-", "what you can do": "-",
    }]  # fmt: skip


def in_overview(account: Account, found: Sequence[Finding]) -> dict[str, object]:
    """The row of an account; none (empty) where there are but notes."""
    counted = Counter(finding.kind.severity for finding in found)
    names = dict.fromkeys(finding.kind.name for finding in found if finding.kind.severity is not Severity.NOTE)
    if not names:
        return {}
    return {
        "account": account.jid.bare, "errors": counted[Severity.ERROR], "warnings": counted[Severity.WARNING],
        "findings": ", ".join(names),
    }  # fmt: skip


def summary(published: Sequence[Published]) -> str:
    """What there is, in a sentence."""
    used = [one for one in published if one.is_used]
    if not used:
        return "nothing: no app has published keys here, so nobody can encrypt to this account"
    parts = []
    for one in used:
        devices = len(one.devices.devices) if one.devices is not None else 0
        least = min((bundle.prekeys for bundle in one.bundles.values()), default=0)
        keys = f", each with {least} or more one-time keys" if one.bundles else ""
        parts.append(f"{one.version.name}: {devices} device{'' if devices == 1 else 's'}{keys}")
    return f"nothing; {'; '.join(parts)}"
