"""Bots: accounts that the server reads and writes for, encrypted if need be (XEP-0384).

The server holds the key of a bot's device, and says so. Keys of people never come here. What the parts are is told in
docs/adr/0019-bots.md; encryption needs the extra ``omemo``, without which bots speak in clear.
"""

from __future__ import annotations

from xmppchat.components.bots.component import Bots

__all__ = ["Bots"]
