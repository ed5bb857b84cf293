"""What was made once on this machine and is served to every lab of it, named by what it was made from.

All of it lies in `lab.cache() / "made"`, whatever the number of labs and test runs:

- Who makes or takes an artifact holds the lock of the whole shared, and the artifact's own lock alone: a second lab
  waits for the first and then takes what that one made. Both end with the process that holds them.
- A record is written last, when all files of the artifact are in their places. What has no record is not there.
- `trim` holds the lock of the whole alone. Nobody makes anything meanwhile, so that a file without a record is what a
  killed maker left. It removes those, and artifacts by their last use; never one that a lab on this machine took,
  running or not, since a lab that is down may come up again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import lab as labs
from .lab import Lab
from .process import run, say

LIMIT = 20 << 30
"""Bytes that all artifacts may take together."""
REPORT = "PVELAB_REPORT"
"""Environment variable: a file that gets a line for each artifact that any lab takes."""


@dataclass(frozen=True)
class Record:
    """An artifact that is there. `files`: its parts, below `root()`; a part may belong to several artifacts."""

    path: Path
    files: tuple[str, ...]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Made:
    """What a maker hands over: files that are in their places below `root()`, and what else to know of them."""

    files: Collection[str]
    details: Mapping[str, Any]


@dataclass(frozen=True)
class Taken:
    """What a lab got."""

    kind: str
    name: str
    key: str
    outcome: str  # built | reused
    seconds: float
    details: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What is told about it."""
        return {name: getattr(self, name) for name in ("kind", "name", "key", "outcome", "seconds")}


def root() -> Path:
    """Where the artifacts of this machine lie."""
    return labs.cache() / "made"


def _make_root() -> None:
    """Root file systems are made below it."""
    labs.private(labs.cache())
    labs.private(root())


def key_of(*parts: object) -> str:
    """Names an artifact: the same inputs give the same key."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def ensure(
    lab: Lab, kind: str, name: str, key: str, make: Callable[[], Made], sound: Callable[[Record], bool] = lambda _: True
) -> Taken:
    """Gives a lab an artifact. `make` is called, on this machine by one process at a time, unless it is there.

    What is there and not `sound` is made again.
    """
    began = time.monotonic()
    with _shared(), _turn(kind, key, name, wait=True):
        record = _find(kind, key)
        if record is not None and not sound(record):
            say(name, "what is kept of it is not what was made: made again")
            record = None
        outcome = "reused" if record else "built"
        if record is None:
            record = _write(kind, key, name, make())
        taken = _taken(lab, Taken(kind, name, key, outcome, round(time.monotonic() - began, 1), record.details))
    if outcome == "built":
        trim()
    return taken


def reuse(lab: Lab, kind: str, name: str, key: str, sound: Callable[[Record], bool] = lambda _: True) -> Taken | None:
    """Gives a lab an artifact; None when it is not there or not `sound`, or when somebody is making it just now."""
    with _shared(), _turn(kind, key, name, wait=False) as ours:
        record = _find(kind, key) if ours else None
        if record is not None and not sound(record):
            record = None
        return _taken(lab, Taken(kind, name, key, "reused", 0.0, record.details)) if record else None


def _record(kind: str, key: str) -> Path:
    return root() / "records" / f"{kind}-{key}.json"


def _find(kind: str, key: str) -> Record | None:
    """An artifact's record; None unless every part of it is there."""
    path = _record(kind, key)
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    whole = all((root() / file).is_file() for file in found["files"])
    return Record(path, tuple(found["files"]), found["details"]) if whole else None


def _write(kind: str, key: str, name: str, made: Made) -> Record:
    path = _record(kind, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"name": name, "files": sorted(made.files), "details": made.details}))
    part.rename(path)
    return Record(path, tuple(made.files), made.details)


def _taken(lab: Lab, taken: Taken) -> Taken:
    """Notes the use: at the record, beside the lab's state, and where the environment asks for it."""
    os.utime(_record(taken.kind, taken.key))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    line = json.dumps({**taken.as_json(), "lab": lab.name, "time": now}) + "\n"
    for path in filter(None, (str(lab.artifacts), os.environ.get(REPORT))):
        with Path(path).open("a") as file:
            file.write(line)
    return taken


def used(lab: Lab) -> list[dict[str, Any]]:
    """What a lab took so far, the oldest first."""
    try:
        lines = lab.artifacts.read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        with suppress(ValueError):  # the end of a line may be missing where a disk was full
            found.append(json.loads(line))
    return found


@contextmanager
def _shared() -> Iterator[None]:
    _make_root()
    with (root() / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield


@contextmanager
def _turn(kind: str, key: str, name: str, *, wait: bool) -> Iterator[bool]:
    """Holds an artifact's lock; without `wait`, False when somebody else holds it."""
    path = root() / "locks" / f"{kind}-{key}"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not wait:
                yield False
                return
            say(name, "somebody else makes it: waited for")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield True


def trim(limit: int | None = None) -> list[str]:
    """Removes leftovers, then what was not used for longest until the rest fits; returns which artifacts went.

    Does nothing while anybody makes or takes an artifact: who comes last trims.
    """
    _make_root()
    with (root() / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return []
        existing = labs.names()
        pinned = {f"{entry['kind']}-{entry['key']}" for name in existing for entry in used(Lab(name))}
        kept, gone = _choose(LIMIT if limit is None else limit, pinned)
        for path in gone:
            path.unlink()
        _sweep({file for record in kept for file in record.files}, existing)
    return [path.stem for path in gone]


def _choose(limit: int, pinned: Collection[str]) -> tuple[list[Record], list[Path]]:
    """Which records stay, and which go: incomplete ones, then the least recently used."""
    paths = sorted((root() / "records").glob("*.json"), key=lambda path: path.stat().st_mtime)
    found = [(path, _find(*path.stem.split("-", 1))) for path in paths]
    kept = [record for _, record in found if record]
    gone = [path for path, record in found if record is None]
    for record in [record for record in kept if record.path.stem not in pinned]:
        if _size(kept) <= limit:
            break
        kept.remove(record)
        gone.append(record.path)
    return kept, gone


def _size(records: Iterable[Record]) -> int:
    return sum((root() / file).stat().st_size for file in {file for record in records for file in record.files})


def _sweep(wanted: Collection[str], existing: Collection[str]) -> None:
    """Removes what belongs to no artifact and to no lab."""
    here = root()
    left = [*here.glob("records/*.part"), *here.glob("locks/*")]  # nobody holds one of these locks now
    left += [path for path in here.glob("roots/*") if str(path.relative_to(here)) not in wanted]
    left += [path for path in here.glob("images/labs/*") if path.name not in existing]
    # What somebody pushed to a lab's registry by hand is in no record; the lab's own links say that it is needed.
    links = [link for name in existing for link in here.glob(f"images/labs/{name}/**/link")]
    linked = {link.read_text().rpartition(":")[2] for link in links}
    present = list(here.glob("images/blobs/*/*/*/data"))
    blobs = [path for path in present if path.parent.name not in linked]
    digests = {path.parent.name for path in present}
    left += [path for path in here.glob("verified/*") if path.name not in digests]
    left += [path.parent for path in blobs if str(path.relative_to(here)) not in wanted]
    if left:
        run(["xargs", "-0", "rm", "-rf", "--one-file-system"], stdin=b"\0".join(bytes(path) for path in left))
