"""Compares a guest with what is wanted, on values freed from the ways Proxmox rewrites them; pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aihub.model.resolved import bridge_of
from aihub.model.types import format_size
from aihub.names import TAG
from aihub.plan import Difference
from aihub.proxmox.properties import join, parse
from aihub.proxmox.state import ActualGuest

from .desired import MIB, Wanted, disk_key

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
WORDS = re.compile(r"[;,\s]+")
# What Proxmox takes for a key that is not there.
DEFAULTS = {
    "lxc": {"memory": "512", "swap": "512", "onboot": "0"},
    "vm": {"memory": "512", "sockets": "1", "cores": "1", "onboot": "0", "ostype": "other", "scsihw": "lsi"},
}
# Parts of a property string that are ours when we want the key at all: one more changes what the guest can
# reach. Every other part (a rate limit, the firewall switch) is left as it is.
OWNED_PARTS = {
    "net0": frozenset(
        {"model", "macaddr", "name", "bridge", "hwaddr", "ip", "gw", "type", "tag", "link_down", "trunks"}
    ),
    "ipconfig0": frozenset({"ip", "gw"}),
    "features": frozenset({"nesting"}),
    "agent": frozenset({"enabled"}),
}
# Keys that a running guest takes only at its next start; what is pending after the write decides.
NEEDS_RESTART = {
    "lxc": frozenset({"features", "nameserver", "searchdomain"}),
    "vm": frozenset({
        "cores", "sockets", "cpu", "memory", "ipconfig0", "nameserver", "searchdomain",
        "agent", "ostype", "scsihw", "serial0", "boot",
    }),
}  # fmt: skip
# A VM whose cloud-init network changes takes itself for a new one at its next boot and makes new host keys.
NEW_HOST_KEYS = frozenset({"ipconfig0", "nameserver", "searchdomain"})


@dataclass(frozen=True)
class Deviation:
    """How one guest deviates: what to PUT, what to grow, and what cannot be changed in place."""

    differences: tuple[Difference, ...] = ()
    put: Mapping[str, str] | None = None
    grow: int | None = None  # to so many bytes
    restart: bool = False
    rebuild: tuple[str, ...] = ()  # why only a new guest can be right
    refused: tuple[str, ...] = ()  # what nobody can do
    new_host_keys: bool = False

    def __bool__(self) -> bool:
        return bool(self.differences or self.rebuild or self.refused)


def deviation(want: Wanted, have: ActualGuest) -> Deviation:
    """Everything in which an existing guest of ours differs from what is wanted."""
    rebuild = tuple(_rebuild_reasons(want, have))
    if rebuild:
        return Deviation(rebuild=rebuild)
    put: dict[str, str] = {}
    found: list[Difference] = []
    waiting = False
    for key, value in want.config.items():
        differences = _differences(have.kind, key, _config(have).get(key), value)
        if differences:
            put[key] = merged(key, _config(have).get(key), value)
        elif key in have.current and have.running:
            differences = _differences(have.kind, key, have.current[key], value)
            waiting = waiting or bool(differences)
        found += differences
    grow, refused = _disk(want, have, found)
    return Deviation(
        differences=tuple(found),
        put=put or None,
        grow=grow,
        restart=have.running and (waiting or bool(NEEDS_RESTART[have.kind] & put.keys())),
        refused=tuple(refused),
        new_host_keys=have.kind == "vm" and bool(NEW_HOST_KEYS & put.keys()),
    )


def waits_for_restart(want: Wanted, have: ActualGuest) -> bool:
    """Whether a value of ours is written but not in force in the running guest."""
    return have.running and any(
        _differences(have.kind, key, have.current[key], value)
        for key, value in want.config.items()
        if key in have.current
    )


def merged(key: str, actual: str | None, value: str) -> str:
    """The value to write: ours, with the parts of the present one that are not ours to decide."""
    owned = OWNED_PARTS.get(key)
    if actual is None or owned is None:
        return value
    ours, theirs = parse(key, value), parse(key, actual)
    return join({**ours, **{k: v for k, v in theirs.items() if k not in owned and k not in ours}})


def _config(have: ActualGuest) -> Mapping[str, str]:
    return have.config or {}


def _differences(kind: str, key: str, actual: str | None, value: str) -> list[Difference]:
    """The fields of one key that differ; a property string has one per part."""
    actual = DEFAULTS[kind].get(key) if actual is None else actual
    if key in OWNED_PARTS:
        return _part_differences(key, actual or "", value)
    normal = NORMAL.get(key, str.strip)
    if actual is not None and normal(actual) == normal(value):
        return []
    show = _size if key in ("memory", "swap") else str
    return [Difference(key, None if actual is None else show(normal(actual)), show(normal(value)))]


def _part_differences(key: str, actual: str, value: str) -> list[Difference]:
    ours, theirs = parse(key, value), parse(key, actual)
    names = sorted(ours.keys() | (theirs.keys() & OWNED_PARTS[key]))
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
    zone = _zone(want, have)
    if zone and zone != guest.zone:
        reasons.append(f"it is in zone {zone}, hub.yml says {guest.zone}")
    if have.kind == "lxc" and _config(have).get("unprivileged", "0") != "1":
        reasons.append("it is a privileged container, hubs have unprivileged ones")
    return reasons


def _zone(want: Wanted, have: ActualGuest) -> str:
    """The zone it was made for: its tag and its bridge agree on it, unlike after an edit of one of them."""
    bridge = parse("net0", _config(have).get("net0", "")).get("bridge", "")
    tags = set(WORDS.split(_config(have).get("tags", ""))) - {TAG, ""}
    return next((zone for zone in tags if bridge == bridge_of(zone) != want.guest.bridge), "")


def disk_of(have: ActualGuest) -> tuple[str, int | None]:
    """Storage and size in bytes of a guest's disk; the size is None where the config does not tell."""
    text = _config(have).get(disk_key(have.kind), "")
    parts = parse(disk_key(have.kind), text)
    return parts.get("volume", "").partition(":")[0], parse_disk_size(parts.get("size", ""))


def parse_disk_size(text: str) -> int | None:
    """Bytes of a size as PVE writes it, like `64G` or `528K`; None for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text)
    return round(float(found[1]) * UNITS[found[2]]) if found else None


def _disk(want: Wanted, have: ActualGuest, found: list[Difference]) -> tuple[int | None, list[str]]:
    _, size = disk_of(have)
    if size is None or size == want.guest.disk:
        return None, []
    if size > want.guest.disk:
        return None, [f"its disk has {format_size(size)}, hub.yml says {format_size(want.guest.disk)}: disks only grow"]
    found.append(Difference("disk", format_size(size), format_size(want.guest.disk)))
    return want.guest.disk, []


def _words(text: str) -> str:
    return " ".join(filter(None, WORDS.split(text)))


def _tags(text: str) -> str:
    return ";".join(sorted({t.lower() for t in WORDS.split(text) if t}))


def _number(text: str) -> str:
    found = re.match(r"(?:current=)?(\d+)", text.strip())
    return str(int(found[1])) if found else text.strip()


def _size(mebibytes: str) -> str:
    return format_size(int(mebibytes) * MIB) if mebibytes.isdigit() and mebibytes != "0" else mebibytes


NORMAL: Mapping[str, Callable[[str], str]] = {
    "cores": _number,
    "sockets": _number,
    "memory": _number,
    "swap": _number,
    "onboot": _number,
    "tags": _tags,
    "nameserver": _words,
    "searchdomain": _words,
    "cpu": lambda text: text.strip().removeprefix("cputype="),
}
