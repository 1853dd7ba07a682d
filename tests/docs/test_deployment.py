"""What is shipped for operation: the unit is tight and understood by systemd, the container runs as nobody special."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from xmppchat.cli import generate
from xmppchat.core.config import ListenConfig

UNIT = generate.ROOT / "config" / "examples" / "systemd" / "xmppchat.service"
CONTAINERFILE = generate.ROOT / "Containerfile"


@pytest.fixture
def systemd() -> None:
    """Skip the test where there is no systemd; in CI that is a failure."""
    if shutil.which("systemd-analyze") is None:
        missing = "there is no systemd-analyze here (Debian: apt-get install systemd)"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)


def unit(path: Path = UNIT) -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read(path)
    return parser


def test_the_unit_says_what_the_server_does() -> None:
    service = unit()["Service"]
    assert service["Type"] == "notify-reload"
    assert service["User"] == "xmppchat"
    assert int(service["WatchdogSec"]) >= 10
    assert int(service["LimitNOFILE"]) >= 50_000
    assert service["CapabilityBoundingSet"] == ""
    older = unit(UNIT.with_name("xmppchat.service.d") / "before-systemd-253.conf")["Service"]
    assert (older["Type"], older["ExecReload"]) == ("notify", "/bin/kill -HUP $MAINPID")


@pytest.mark.usefixtures("systemd")
def test_the_unit_exposes_little() -> None:
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    level = re.search(r"Overall exposure level for xmppchat\.service: ([0-9.]+)", done.stdout)
    assert level is not None, done
    assert float(level.group(1)) <= 2.0


@pytest.mark.usefixtures("systemd")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    program = tmp_path / "xmppchat"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / "xmppchat.service"
    copy.write_text(UNIT.read_text().replace("/opt/xmppchat/bin/xmppchat", str(program)))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, timeout=60)
    # What systemd before 253 says; its drop-in stands beside the unit.
    known = "Failed to parse service type, ignoring: notify-reload"
    lines = [line for line in done.stderr.splitlines() if str(tmp_path) in line and known not in line]
    assert lines == []


def instructions() -> list[tuple[str, str]]:
    """(instruction, rest) of the Containerfile, continued lines joined."""
    lines = [line for line in CONTAINERFILE.read_text().splitlines() if line and not line.startswith("#")]
    text = "\n".join(lines).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines())]


def test_the_container() -> None:
    found = instructions()
    names = [name for name, _ in found]
    final = found[len(names) - 1 - names[::-1].index("FROM"):]
    said = dict(final)
    known = {"FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK",
             "ENTRYPOINT", "CMD"}
    assert set(names) <= known
    assert said["USER"] == "xmppchat"
    after_user = [name for name, _ in final][[name for name, _ in final].index("USER"):]
    assert "RUN" not in after_user  # nothing is made by the user, nothing by root after it
    assert said["VOLUME"] == said["WORKDIR"] == "/var/lib/xmppchat"
    listen = ListenConfig()
    assert shlex.split(said["EXPOSE"]) == [f"{listen.starttls_port}/tcp", f"{listen.direct_tls_port}/tcp"]
    assert said["HEALTHCHECK"].endswith('CMD ["xmppchat", "status"]')
    assert (said["ENTRYPOINT"], said["CMD"]) == ('["xmppchat"]', '["serve"]')


def test_what_the_container_copies_is_there() -> None:
    for name, rest in instructions():
        if name == "COPY" and "--from" not in rest:
            for source in shlex.split(rest)[:-1]:
                assert (generate.ROOT / source).exists(), source
        elif name == "FROM":
            assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim-\w+( AS build)?", rest)


def test_no_secret_and_no_foreign_file_goes_into_the_image() -> None:
    ignored = (generate.ROOT / ".containerignore").read_text().split()
    assert {".git", ".venv", "data"} <= set(ignored)
