"""Compares a guest with what is wanted, on values freed from the ways Proxmox rewrites them; pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from aihub.model.types import format_size
from aihub.plan import Difference
from aihub.proxmox.properties import join, parse, stem
from aihub.proxmox.state import ActualGuest

from . import owned
from .desired import FIRMWARE_DISK, Wanted, disk_key, firmware_disk
from .normal import DEFAULTS, normal, parse_disk_size, shown


@dataclass
class Edit:
    """What one identity changes of a guest's config: keys to set, keys to take away, and how both are told."""

    put: dict[str, str] = field(default_factory=dict)
    delete: list[str] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)

    @property
    def keys(self) -> frozenset[str]:
        return frozenset(self.put) | frozenset(self.delete)

    def __bool__(self) -> bool:
        return bool(self.differences)


@dataclass(frozen=True)
class Deviation:
    """How one guest deviates: what each identity changes, what to grow, and what cannot be changed in place.

    `volumes` are the disks that nobody declared and that go with their data, by key; `unused` are volumes that are
    attached to nothing, and stay.
    """

    edits: Mapping[owned.Writer, Edit] = field(default_factory=dict)
    grow: int | None = None  # to so many bytes
    restart: bool = False
    cold: bool = False  # to be written while the guest is off: it shows nothing pending, or a disk is in use
    rebuild: tuple[str, ...] = ()  # why only a new guest can be right
    refused: tuple[str, ...] = ()  # what nobody can do
    new_host_keys: bool = False
    volumes: Mapping[str, str] = field(default_factory=dict)
    unused: Mapping[str, str] = field(default_factory=dict)

    @property
    def differences(self) -> tuple[Difference, ...]:
        """Everything that differs, whoever is to change it."""
        return tuple(d for edit in self.edits.values() for d in edit.differences)

    def __bool__(self) -> bool:
        return bool(self.differences or self.rebuild or self.refused)


def deviation(want: Wanted, have: ActualGuest, *, lose: bool = False) -> Deviation:
    """Everything in which an existing guest of ours differs from what is wanted.

    `lose`: its data may go, so that volumes that are attached to nothing go as well.
    """
    if rebuild := tuple(_rebuild_reasons(want, have)):
        return Deviation(rebuild=rebuild)
    edits: dict[owned.Writer, Edit] = {"root@node": Edit(), "token": Edit()}
    config = _config(have)
    for key, value in want.declared.items():
        if differences := differences_of(have.kind, key, config.get(key), value):
            edit = edits[_writer(want, key, config.get(key))]
            edit.put[key] = merged(key, config.get(key), value)
            edit.differences += differences
    if want.guest.gpu and have.kind == "vm" and FIRMWARE_DISK not in config:
        edits["token"].put[FIRMWARE_DISK] = firmware_disk(want.guest)
        edits["token"].differences.append(Difference(FIRMWARE_DISK, None, f"on {want.guest.storage}"))
    unused = {key: value for key, value in config.items() if stem(key) == "unused"}
    for key in [*_undeclared(want, config), *(unused if lose else ())]:
        edit = edits[_writer(want, key, config[key])]
        edit.delete.append(key)
        edit.differences.append(Difference(key, config[key], None))
    keys = edits["token"].keys | edits["root@node"].keys
    waiting = _waiting(want, have)
    edits["token"].differences += waiting
    grow, refused = _disk(want, have, edits["token"].differences)
    asks = keys | {d.field.partition(".")[0] for d in waiting}
    volumes = {key: config[key] for key in edits["token"].delete if owned.keeps_data(key, config[key])}
    at_boot = any(stem(key) in owned.AT_BOOT[have.kind] for key in keys)
    cold = have.running and (at_boot or bool(volumes.keys() - unused.keys()))
    return Deviation(
        edits=edits,
        grow=grow,
        restart=have.running and (bool(waiting) or cold or owned.restarts(have.kind, keys)),
        cold=cold,
        refused=tuple(refused),
        new_host_keys=have.kind == "vm" and any(stem(key) in owned.NEW_HOST_KEYS for key in asks),
        volumes=volumes,
        unused=unused,
    )


def waits_for_restart(want: Wanted, have: ActualGuest) -> bool:
    """Whether a change of ours, or a removal, is written but not in force in the running guest."""
    return bool(_waiting(want, have))


def merged(key: str, actual: str | None, value: str) -> str:
    """The value to write: ours, with the parts of the present one that are not ours to decide."""
    parts = owned.PARTS.get(key)
    if actual is None or parts is None:
        return value
    ours, theirs = parse(key, value), parse(key, actual)
    return join({**ours, **{k: v for k, v in theirs.items() if k not in parts and k not in ours}})


def _config(have: ActualGuest) -> Mapping[str, str]:
    return have.config or {}


def _writer(want: Wanted, key: str, present: str | None) -> owned.Writer:
    root = key in want.root_only or key in want.passing
    return "root@node" if root else owned.writer(want.guest, want.bridges, key, present, want.cards)


def _undeclared(want: Wanted, config: Mapping[str, str]) -> list[str]:
    """Hardware and reach that are there and that nobody declared, and what of ours is not wanted any more."""
    declared = want.declared.keys() | want.initial.keys()
    return [
        key
        for key, value in config.items()
        if key not in declared and (owned.gives(want.guest, key) or want.passing.get(key) == value)
    ]


def _waiting(want: Wanted, have: ActualGuest) -> list[Difference]:
    """What is written and not yet in force in the running guest."""
    return list(_present(want, have)) if have.running else []


def _present(want: Wanted, have: ActualGuest) -> Iterator[Difference]:
    config = _config(have)
    for key, present in have.current.items():
        wanted = want.declared.get(key)
        if wanted is not None and not differences_of(have.kind, key, config.get(key), wanted):
            yield from differences_of(have.kind, key, present, wanted)
    gone = {key: value for key, value in have.current.items() if key not in config and value is not None}
    yield from (Difference(key, gone[key], None) for key in _undeclared(want, gone))


def differences_of(kind: str, key: str, actual: str | None, value: str) -> list[Difference]:
    """The fields of one key that differ; a property string has one per part."""
    actual = DEFAULTS[kind].get(key) if actual is None else actual
    if key in owned.PARTS:
        return _part_differences(key, actual or "", value)
    if actual is not None and normal(key, actual) == normal(key, value):
        return []
    return [Difference(key, None if actual is None else shown(key, actual), shown(key, value))]


def _part_differences(key: str, actual: str, value: str) -> list[Difference]:
    ours, theirs = parse(key, value), parse(key, actual)
    if theirs.get("ip6") == "manual":
        del theirs["ip6"]  # no address
    names = sorted(ours.keys() | (theirs.keys() & owned.PARTS[key]))
    if key == "agent" and theirs.get("enabled", "0") == ours["enabled"]:
        return []
    return [
        Difference(f"{key}.{name}", theirs.get(name), ours.get(name))
        for name in names
        if (theirs.get(name) or "").upper() != (ours.get(name) or "").upper()
    ]


def _rebuild_reasons(want: Wanted, have: ActualGuest) -> list[str]:
    guest = want.guest
    if guest.kind != have.kind:
        return [f"it is a {have.kind}, hub.yml says {guest.kind}"]
    reasons = []
    storage, _ = disk_of(have)
    if storage and storage != guest.storage:
        reasons.append(f"its disk is on {storage}, hub.yml says {guest.storage}")
    if have.kind == "lxc" and _config(have).get("unprivileged", "0") != "1":
        reasons.append("it is a privileged container, hubs have unprivileged ones")
    if have.template:
        reasons.append("it was made a template, of which no guest can be made again")
    return reasons


def disk_of(have: ActualGuest) -> tuple[str, int | None]:
    """Storage and size in bytes of a guest's disk; the size is None where the config does not tell."""
    text = _config(have).get(disk_key(have.kind), "")
    parts = parse(disk_key(have.kind), text)
    return parts.get("volume", "").partition(":")[0], parse_disk_size(parts.get("size", ""))


def _disk(want: Wanted, have: ActualGuest, found: list[Difference]) -> tuple[int | None, list[str]]:
    _, size = disk_of(have)
    if size is None or size == want.guest.disk:
        return None, []
    if size > want.guest.disk:
        return None, [f"its disk has {format_size(size)}, hub.yml says {format_size(want.guest.disk)}: disks only grow"]
    found.append(Difference("disk", format_size(size), format_size(want.guest.disk)))
    return want.guest.disk, []
