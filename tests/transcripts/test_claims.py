"""What transcripts claim about stanza ids can be false: with a server that gives one too many, they fail."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from xmppchat.components.archive import Archive
from xmppchat.core.pipeline import Archived
from xmppchat.testing.memory import MemoryDriver
from xmppchat.testing.runner import Mismatch, run
from xmppchat.testing.transcript import parse

ARCHIVE = Path(__file__).parent / "archive"


@pytest_asyncio.fixture
async def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[MemoryDriver]:
    """A server that gives an id to everything, also to what it does not keep."""
    keep = Archive._keep

    def always(self: Archive, *arguments: Any) -> Any:
        kept = keep(self, *arguments)
        return kept if isinstance(kept, Archived) else Archived(self.kernel.ids.sortable())

    monkeypatch.setattr(Archive, "_keep", always)
    driver = MemoryDriver(tmp_path)
    await driver.start()
    yield driver
    await driver.stop()


@pytest.mark.parametrize("name", ["not_kept", "preferences", "roster_only"])
async def test_no_id_is_a_claim_that_can_fail(lying: MemoryDriver, name: str) -> None:
    path = ARCHIVE / f"{name}.xmpp"
    with pytest.raises(Mismatch, match="<stanza-id/>, which is not expected"):
        await run(parse(path.read_text(), Path(path.name)), lying)
