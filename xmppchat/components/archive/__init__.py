"""Message archives (XEP-0313): what was said, kept for all devices of an account, under the same id everywhere."""

from xmppchat.components.archive.component import Archive
from xmppchat.components.archive.preferences import ArchivePreferences

__all__ = ["Archive", "ArchivePreferences"]
