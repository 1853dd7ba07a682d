"""The server under attack: two hosts, everything logged that ever is."""

from __future__ import annotations

import os
import re
from pathlib import Path

from attack_client import Attacker, Place
from live_server import Certificates, LiveServer, wait_for
from observation import Process

A, B = "a.test", "b.test"
#: An external component that the server expects.
GATEWAY = f"gateway.{A}"
#: The address of an account that may administer the first host, for tests that make it.
ADMIN = f"capulet@{A}"
PASSWORD = "correct horse battery staple"


class Target(LiveServer):
    """xmppchat with two hosts and the given limits profile, logging everything it ever logs; who guesses is told at
    once, for the tests' time."""

    def __init__(
        self, directory: Path, certificates: Certificates, other: Certificates, profile: str, storage_url: str = ""
    ) -> None:
        super().__init__(directory, certificates, domain=A, environment={"PYTHONASYNCIODEBUG": ""})
        self._other = other
        self._profile = profile
        self._storage_url = storage_url
        self.component_secret = ""

    def prepare(self) -> None:
        """A second host, the profile, the log level, an external component."""
        super().prepare()
        config = self.config_file.read_text()
        host = f'[hosts."{A}"]\n'
        assert host in config
        config = config.replace(host, f'{host}admins = ["{ADMIN}"]\n')
        if self._storage_url:
            without = re.sub(r"(?m)^\[storage\]\n(.+\n)*", "", config)
            config = f'{without}\n[storage]\nurl = "{self._storage_url}"\n'
        self.config_file.write_text(config)
        with self.config_file.open("a") as file:
            file.write(
                f'\n[hosts."{B}"]\ncertificate = "{self._other.chain}"\nkey = "{self._other.key}"\n'
                f'[limits]\nprofile = "{self._profile}"\nauth_failure_delay = 0\n[logging]\nlevel = "debug"\n'
            )
        self.component_secret = self.add_component(GATEWAY)

    def add(self, jid: str, password: str = PASSWORD) -> None:
        """Adds an account at either host."""
        self.run(
            "user", "add", jid, "--password-stdin", "--config", str(self.config_file), given=f"{password}\n"
        )

    @property
    def process(self) -> Process:
        """What the system says of the server."""
        return Process(self.pid)

    def connect(self, domain: str = A, *, port: int = 5222, source: str = "") -> Attacker:
        """A new connection, nothing sent yet."""
        ca = self.certificates.ca if domain == A else self._other.ca
        return Attacker(Place(self.address, ca, domain), port=port, source=source)

    def login(self, user: str, domain: str = A, *, resource: str = "", source: str = "") -> Attacker:
        """A client that is logged in."""
        return self.connect(domain, source=source).secure().login(user, PASSWORD, resource)

    def logs(self, text: str) -> None:
        """Returns once the log holds `text`."""
        wait_for(lambda: text in self.log(), 10, lambda: f"{text!r} in the log\n{self.log()[-3_000:]}")


def scale(small: int, large: int) -> int:
    """How often something is repeated: `large` where XMPPCHAT_SOAK is set (minutes, not seconds)."""
    return large if os.environ.get("XMPPCHAT_SOAK") else small


def edit(path: Path, old: str, new: str) -> None:
    """Write `new` for `old`, which stands there, into a file."""
    text = path.read_text()
    assert old in text, f"{old!r} is not in {path}"
    path.write_text(text.replace(old, new))
