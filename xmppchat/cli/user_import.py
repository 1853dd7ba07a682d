"""``xmppchat user import``: reads a file of accounts, checks it all, then sends it to the server in parts."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from xmppchat.cli import environment, invoke
from xmppchat.cli.faults import CliError
from xmppchat.components.accounts import records
from xmppchat.components.accounts.records import Record
from xmppchat.core.config import ServerConfig
from xmppchat.network import control

#: Accounts in one request, which are committed in one step, and bytes: quoted once more they fit the control socket.
PART = 200
PART_BYTES = control.MAX_BYTES // 4
#: Faults and names that are shown; of more, the number.
SHOWN = 20


def import_file(
    path: Path, config: str, *, dry_run: bool, skip_existing: bool, replace_passwords: bool
) -> int:
    """Import the accounts in the file at `path`; returns the exit status, 1 where some were refused."""
    if skip_existing and replace_passwords:
        raise CliError("--skip-existing and --replace-passwords exclude each other")
    loaded = environment.load(config)
    found = _read(path, loaded)
    options = {"dry_run": dry_run, "skip_existing": skip_existing, "replace_passwords": replace_passwords}
    total: Counter[str] = Counter()
    refused: list[str] = []
    parts = list(_parts(found))
    requests = ({"accounts": f"[{','.join(part)}]", **options} for part in parts)
    with _progress(len(parts)) as advance:

        def done(answer: Any) -> None:
            refused.extend(answer.pop("names"))
            total.update(answer)
            advance()

        try:
            invoke.run_many(loaded, "user import-part", requests, done)
        except BaseException:
            if total and not dry_run:
                kept = total["added"] + total["replaced"]
                print(f"stopped: {kept} accounts were imported; import the rest with --skip-existing", file=sys.stderr)
            raise
    _report(total, refused, dry_run=dry_run)
    return int(bool(refused))


def _read(path: Path, config: ServerConfig) -> list[Record]:
    """All accounts of the file. Raises :class:`CliError` with every fault and its line."""
    default = next(iter(config.hosts))
    found: list[Record] = []
    faults: list[str] = []
    lines_of: dict[str, int] = {}
    for number, values in _lines(path):
        try:
            if isinstance(values, str):
                raise ValueError(values)
            one = records.record(values, default)
            if one.account.domain not in config.hosts:
                raise ValueError(f"{one.account.domain} is not served here; the hosts are {', '.join(config.hosts)}")
            first = lines_of.setdefault(one.account.bare, number)
            if first != number:
                raise ValueError(f"{one.account.bare} stands in line {first}, too")
        except ValueError as error:
            faults.append(f"{path}:{number}: {error}")
        else:
            found.append(one)
    if faults:
        more = f"\n… and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
        raise CliError("\n".join(faults[:SHOWN]) + more + "\nnothing was changed")
    if not found:
        raise CliError(f"{path}: holds no accounts")
    return found


def _parts(found: Sequence[Record]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for one in found:
        text = json.dumps(one.plain(), ensure_ascii=False)
        size += len(text.encode())
        if part and (len(part) == PART or size > PART_BYTES):
            yield part
            part, size = [], len(text.encode())
        part.append(text)
    yield part


def _lines(path: Path) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    try:
        if str(path) == "-":
            yield from records.lines(io.StringIO(sys.stdin.read().removeprefix("\ufeff")))
        else:
            with path.open(encoding="utf-8-sig", newline="") as file:
                yield from records.lines(file)
    except OSError as error:
        raise CliError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CliError(f"{path}: is not UTF-8 text") from None


@contextlib.contextmanager
def _progress(parts: int) -> Iterator[Callable[[], object]]:
    """A bar on a terminal, nothing elsewhere; gives the function that moves it on by a part."""
    console = Console(stderr=True)
    columns = (TextColumn("importing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("import", total=parts)
        yield lambda: progress.advance(task)


def _report(total: Counter[str], refused: Sequence[str], *, dry_run: bool) -> None:
    done = "would be " if dry_run else ""
    words = {"added": "added", "replaced": "given new passwords", "skipped": "left as they are"}
    print(", ".join(f"{total[name]} {'' if name == 'skipped' else done}{text}" for name, text in words.items()
                    if total[name] or name == "added"))  # fmt: skip
    if refused:
        names = ", ".join(refused[:SHOWN]) + (f" and {len(refused) - SHOWN} more" if len(refused) > SHOWN else "")
        print(
            f"{len(refused)} refused: {total['exist']} exist already (--skip-existing or --replace-passwords), "
            f"{total['reserved']} are names of deleted accounts (`xmppchat user forget`): {names}",
            file=sys.stderr,
        )
