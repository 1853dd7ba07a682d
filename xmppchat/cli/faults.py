"""Which exceptions are an operator's business, and how they read."""

from __future__ import annotations


class CliError(Exception):
    """What was asked for cannot be done; the text is for the operator and tells the next step."""


def sentence(error: Exception) -> str | None:
    """What to print for `error`; None for a bug, which deserves its traceback."""
    from xmppchat.core.commands import CommandError
    from xmppchat.core.config import ConfigError
    from xmppchat.core.tables import DeclarationError
    from xmppchat.network.certificates import CertificateFault
    from xmppchat.network.control import ControlError, ServerNotRunning
    from xmppchat.storage.database import DatabaseError

    if isinstance(error, ConfigError):
        return str(error)
    known = (
        CliError, CommandError, DeclarationError, CertificateFault,
        ControlError, ServerNotRunning, DatabaseError,
    )  # fmt: skip
    if isinstance(error, known):
        return f"xmppchat: {error}"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"xmppchat: {where}{error.strerror}"
    return None
