"""``xmppchat status``: whether the server runs, for people and for whoever watches over it."""

from __future__ import annotations

import sys

from xmppchat.cli import environment, output
from xmppchat.network import control

#: How long a server may take to answer before it counts as hanging, s.
SECONDS = 10.0


def status(config: str, *, as_json: bool) -> int:
    """Print what the running server says of itself; the exit status: 1 where none answers. Opens no database."""
    loaded = environment.load(config)
    try:
        result = control.call(loaded.control_socket, "status", {}, timeout=SECONDS)
    except control.ServerNotRunning as error:
        print(f"xmppchat: {error}; start it by `xmppchat serve`", file=sys.stderr)
        return 1
    output.show(result, as_json=as_json)
    return 0
