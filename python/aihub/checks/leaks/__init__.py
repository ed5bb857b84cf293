"""Where the hub's own secrets lie and should not: an exact search on guests, on the node and on this machine.

A guest searches for what is its own. For all that is not, it hands over what there is to search (`fed`), and this
machine does: nothing of somebody else's secret gets to a guest, not even a hash.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from aihub import names, process, ssh, words
from aihub.model.resolved import MACHINE, Hub, SecretRef
from aihub.parallel import Answers, results, threads
from aihub.paths import ROOT
from aihub.secrets import copies
from aihub.state.directory import State
from aihub.vault.calls import certain
from aihub.vault.client import Vault, operator
from aihub.vault.kv import KV

from . import fed
from .on_guest import SHORTEST, lines_of, rows

CONTROLLER = "controller"
LABS = Path("/var/lib/pvelab")
ENVIRONMENT = "environment"
"""The waiver of a stack whose program takes its secrets from its environment, and hands that on to its children."""
TOKEN, KEY, LOGIN = "node/token", "controller/ssh", "controller/login"

_PROGRAM = Path(__file__).with_name("on_guest.py")
_CLOCKS = 60.0  # seconds that two machines' clocks may differ
_TIME_LIMIT = {False: 300.0, True: 3600.0}
_LARGEST = 64 << 20
_SECRET_KEYS = ("value", "password", "a", "b", "new", "spare")
_GUEST_MEDIA = ("processes", "docker", "journal", "files", "modes")
# Every certificate with its key, and not the authority's: `tls.pem`, and KIND_NAME.pem of those who show one.
_PEM = tuple(f"{names.secret_folder('*')}/{name}.pem" for name in ("tls", "*_*"))
_OWN = ("/etc/hub/agent/secret-id", *_PEM, f"{names.data('*')}/tls/listener.key")
_COPIES = {f"{names.DOOR_FOLDER}/tls.pem": (f"{names.secret_folder(MACHINE)}/tls.pem",)}
_PRIVATE = ("/run/hub", "/etc/hub/agent", names.DOOR_FOLDER)
_LATER = ("/var/lib/docker/overlay2", "/var/lib/docker/volumes", "/var/lib/containerd", "/var/log/journal")


@dataclass(frozen=True)
class Known:
    """Every secret of the hub that its operator can read. Several may have one label: the lines of a key."""

    values: tuple[tuple[str, str], ...] = field(repr=False)
    files: Mapping[str, Mapping[str, Collection[str]]]  # guest -> file -> labels of what belongs there
    since: float  # none of them is older
    waived: frozenset[str] = frozenset()  # labels of what a stack may have in the environment of its own processes

    def with_value(self, label: str, value: str) -> Known:
        """One more, for a test that plants it."""
        return replace(self, values=(*self.values, (label, value)))


@dataclass(frozen=True, order=True)
class Hit:
    """A secret where it does not belong, by its name in the vault."""

    medium: str
    place: str
    secret: str
    encoding: str

    @property
    def in_environment(self) -> bool:
        """Whether it is what a process was started with, as its own user and root can see."""
        return self.medium == "processes" and re.match(r"/proc/\d+/environ\b", self.place) is not None

    def __str__(self) -> str:
        return f"{self.place}: {self.secret} ({self.encoding})"


@dataclass(frozen=True)
class Found:
    """What a scan of one machine found; `blind` says what it could not look at."""

    machine: str
    hits: tuple[Hit, ...]
    seen: Mapping[str, int]
    blind: tuple[str, ...]
    seconds: float
    cut: tuple[str, ...] = ()  # where a limit of bytes or time left something out
    waived: tuple[Hit, ...] = ()  # in the environment of a process whose stack has a waiver for that

    def without(self, labels: Collection[str]) -> Found:
        """What was found of these secrets in the environment of processes stands apart; anywhere else it is a hit."""
        apart = {hit for hit in self.hits if hit.secret in labels and hit.in_environment}
        return replace(self, hits=tuple(hit for hit in self.hits if hit not in apart), waived=tuple(sorted(apart)))


class Told(TypedDict):
    """What a scan answers, whoever answers it."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True)  # type: ignore[misc]

    hits: Annotated[list[Annotated[list[str], Field(min_length=4, max_length=4)]], Field(max_length=10_000)]
    seen: dict[str, int]
    blind: Annotated[list[str], Field(max_length=100)]
    seconds: Annotated[float, Field(ge=0, le=1e6)]


def known(hub: Hub, state: State, vault: Vault) -> Known:
    """All secrets as they are now, those of rotations in flight too. Raises what the vault raises."""
    labels: dict[str, str] = {}
    files: dict[str, dict[str, set[str]]] = {}
    born: list[float] = []

    def take(path: str) -> dict[str, str]:
        entry = vault.read(path)
        about = vault.get(f"{KV}/metadata/{path}") or {}
        if entry is None:
            return {}
        born.append(certain(str(about["created_time"])).timestamp())
        data = {key: value for key, value in entry.data.items() if key in _SECRET_KEYS}
        pieces = {key: pieces_of(value) if path in given else [value] for key, value in data.items()}
        for key, found in pieces.items():
            for piece in found:
                labels.setdefault(piece, f"{path}#{key}")
        return {key: labels[found[0]] for key, found in pieces.items() if found}

    given = {ref.path for ref in hub.secrets if ref.given}
    waived: set[str] = set()
    for ref in hub.secrets:
        taken = take(ref.path)
        _belongs(hub, ref, taken, files)
        if ENVIRONMENT in hub.instance(ref.instance).stack.waivers:
            waived |= set(taken.values())
    for ref in hub.handed:
        _belongs(hub, ref, take(ref.path), files)
    read = {ref.path for ref in hub.secrets}
    for path in [*(pair.path for pair in hub.pairs if pair.path not in read), *vault.list("operator/rotation")]:
        take(path)
    values = [(label, value) for value, label in labels.items()]
    return Known((*values, *_of_controller(state)), files, min(born, default=0.0) - _CLOCKS, frozenset(waived))


def pieces_of(value: str) -> list[str]:
    """What of a value that a person gave can be searched for: long enough lines, of a key only the secret ones."""
    lines = lines_of(value) if "PRIVATE KEY-----" in value else [line.strip() for line in value.splitlines()]
    return [line for line in lines if len(line) >= SHORTEST and not line.startswith("-----")]


def guest(state: State, known: Known, name: str, *, deep: bool = False) -> Found:
    """Scans a guest: what changed since the oldest of the secrets was made; nothing older can hold one. What is not
    `deep` leaves out images and volumes, files above 64 MiB, and logs older than a day.
    """
    files = known.files.get(name, {})
    here = {label for labels in files.values() for label in labels}
    own, others = ([one for one in known.values if (one[0] in here) is its] for its in (True, False))
    asked = compose(replace(known, values=tuple(own)), {**files, **_COPIES}, _GUEST_MEDIA, deep)
    media = {key: asked[key] for key in ("marker", "roots", "skip", "largest", "deep")}
    request = fed.request(media, _OWN, deep=deep)
    with threads(1) as beside:
        elsewhere = beside.submit(fed.search, state, name, _PROGRAM, request, others)
        found = _there(state, name, {**asked, "own": _OWN, "private": _PRIVATE}, deep)
        ((handed, summary, seconds),) = results([elsewhere])
    unseen = [f"{medium}: what is certainly there was not handed over" for medium in _missing(handed, summary)]
    return replace(
        found,
        hits=tuple(sorted({*found.hits, *(Hit(*hit) for hit in handed.hits)})),
        blind=(*found.blind, *map(words.line, summary["blind"]), *unseen),
        seconds=max(found.seconds, round(seconds, 2)),
        cut=tuple(map(words.line, summary["cut"])),
    ).without(known.waived & here)


def _missing(handed: fed.Fed, summary: fed.Summary) -> list[str]:
    """The media in which the search did not find what is in each of them, and that no limit cut."""
    every = [medium for medium in ("processes", "journal", "files") if medium not in handed.controls]
    return [medium for medium in every if not any(cut.startswith(medium) for cut in summary["cut"])]


def node(state: State, known: Known, *, deep: bool = False) -> Found:
    """Scans the node, where Proxmox itself keeps the value of our API token."""
    store = ("/etc/pve/priv/token.cfg", *(f"/var/lib/pve-cluster/config.db{end}" for end in ("", "-wal")))
    request = compose(known, dict.fromkeys(store, (TOKEN,)), ("processes", "journal", "files"), deep)
    return _there(state, ssh.NODE, request, deep)


def controller(state: State, known: Known, *, lab: str = "", deep: bool = False) -> Found:
    """Scans what aihub leaves on this machine: state, Ansible's files, the checkout, temporary files, the lab's own."""
    allowed: dict[str, Collection[str]] = {str(state.token): (TOKEN,)}
    allowed |= {str(state.key): (KEY,), str(state.vault_login): (LOGIN,)}
    allowed[str(state.copies)] = tuple(f"{path}#value" for path in copies.paths(state))
    roots = [_root(state.directory), _root(Path.home() / ".ansible"), _root(ROOT / ".ansible")]
    roots.append(_root(Path(tempfile.gettempdir()), known.since, mine=True))
    skip: list[str] = []
    if lab:
        folder = LABS / lab
        allowed[str(folder / "api" / "access.json")] = (TOKEN,)  # the emulated Proxmox must know it
        roots.append(_root(folder))
        skip = [f"{folder}/{name}" for name in ("lxc/*/rootfs", "images", "snapshots")]
    media = ("processes", "files", *(("git",) if (ROOT / ".git").exists() else ()))
    request = compose(known, allowed, media, deep)
    request |= {"roots": roots, "skip": skip, "checkout": str(ROOT)}
    program = [sys.executable, "-I", str(_PROGRAM), request["marker"]]
    done = process.run(program, stdin=json.dumps(request).encode(), timeout=_TIME_LIMIT[deep])
    found = _found(CONTROLLER, ssh.answer(CONTROLLER, done.stdout, Told))
    return found.without(known.waived) if lab else found  # a lab's guests run on this machine, and are seen from it


def everywhere(
    state: State, known: Known, machines: Collection[str], *, lab: str = "", deep: bool = False
) -> Answers[str, Found]:
    """Scans these machines at the same time: guests, `node`, `controller`."""

    def scan(name: str) -> Found:
        if name == CONTROLLER:
            return controller(state, known, lab=lab, deep=deep)
        return node(state, known, deep=deep) if name == ssh.NODE else guest(state, known, name, deep=deep)

    return Answers(machines, scan)


def _belongs(hub: Hub, ref: SecretRef, labels: Mapping[str, str], files: dict[str, dict[str, set[str]]]) -> None:
    instance = hub.instance(ref.instance)
    here = files.setdefault(instance.guest.name, {})
    for name, text in ref.files.items():
        place = here.setdefault(f"{names.secret_folder(instance.stack.name)}/{name}", set())
        place.update(label for key, label in labels.items() if f"{{{key}}}" in text)


def _of_controller(state: State) -> Iterator[tuple[str, str]]:
    yield LOGIN, operator(state)[1]
    if state.token.exists():
        yield TOKEN, state.token.read_text().strip().rpartition("=")[2]
    for line in lines_of(state.key.read_text()):
        yield KEY, line


def compose(known: Known, allowed: Mapping[str, Collection[str]], media: Sequence[str], deep: bool) -> dict[str, Any]:
    """What a scan is asked: which secrets, of which only pieces and sums travel, and where each of them belongs."""
    salt = secrets.token_bytes(16)
    return {
        "salt": salt.hex(),
        "marker": f"aihub-scan-{secrets.token_hex(8)}",
        "rows": [row for label, value in known.values for row in rows(label, value, salt)],
        "own": (),
        "allowed": {path: sorted(labels) for path, labels in allowed.items()},
        "media": media,
        "roots": [_root(Path("/"), known.since)],
        "skip": () if deep else _LATER,
        "largest": 0 if deep else _LARGEST,
        "private": (),
        "deep": deep,
    }


def _root(path: Path, since: float = 0.0, *, mine: bool = False) -> dict[str, Any]:
    return {"path": str(path), "since": max(since, 0.0), "mine": mine}


def _there(state: State, alias: str, request: Mapping[str, Any], deep: bool) -> Found:
    told = ssh.ask(state, alias, _PROGRAM, request, Told, request["marker"], timeout=_TIME_LIMIT[deep])
    return _found(alias, told)


def _found(machine: str, told: Told) -> Found:
    hits = tuple(Hit(*map(words.line, hit)) for hit in told["hits"])
    return Found(machine, hits, told["seen"], tuple(map(words.line, told["blind"])), told["seconds"])
