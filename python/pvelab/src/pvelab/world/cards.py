"""What a guest sees of the cards that it was started with: facts in /dev/lab-cards, and packages of a driver.

No card is there and nothing computes. A file for each card says what it is and whether it answers, so that a card can
be gone, moved or dead. The driver is a machine's own to install: the packages beside the facts stand in for it. A
container shares its node's: what that has loaded, and which cards it has, is in /dev/lab-driver.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..backend import Card
from . import driver_packages, rootfs
from .lab import Lab

SEEN = "dev/lab-cards"
HOSTS = "hosts"  # beside what the machine sees: which card of the node each is
PACKAGES = "packages"
NODE = "node"
DRIVER = "dev/lab-driver"
SIMULATED = "simulated by pvelab: no card is here, and nothing computes\n"


@dataclass(frozen=True)
class Model:
    """What a driver reports of a card: its name, memory in MiB, power limit in watts."""

    name: str
    memory: int
    power: int


MODELS = {
    "10de:2b85": Model("NVIDIA GeForce RTX 5090", 32607, 575),
    "10de:2503": Model("NVIDIA GeForce RTX 3060", 12288, 170),
    "10de:2504": Model("NVIDIA GeForce RTX 3060", 12288, 170),
}


def mounts(lab: Lab, vmid: int) -> list[str]:
    """Entries of lxc's configuration."""
    return [f"{lab.seen / str(vmid) / 'cards' / 'seen'} {SEEN} none bind,ro,create=dir 0 0"]


def node_mounts(lab: Lab) -> list[str]:
    """Those of the node, which may load a driver itself."""
    folder = lab.seen / NODE / "cards"
    return [
        f"{folder / 'seen'} {SEEN} none bind,ro,create=dir 0 0",
        f"{folder / 'driver'} {DRIVER} none bind,create=dir 0 0",
    ]


def prepare_node(lab: Lab) -> None:
    """Writes what the node that is about to start sees: packages, and that it has loaded nothing yet."""
    folder = _folder(lab, NODE)
    _fill(lab, folder, {})
    (folder / "driver" / "proc" / "nvidia").mkdir(parents=True)
    for path in (folder / "driver", folder / "driver" / "proc", folder / "driver" / "proc" / "nvidia"):
        path.chmod(0o755)


def give(lab: Lab, vmid: int, given: Sequence[Card]) -> None:
    """Writes what a machine that is about to start sees of its cards; of those of its last start nothing stays.

    The packages are there without a card, too, as those of other sources are: what once named them goes on working.
    """
    _fill(lab, _folder(lab, vmid), {_address(number): card for number, card in enumerate(given, 1)})


def share(lab: Lab, vmid: int, there: Sequence[Card], paths: Sequence[str]) -> list[str]:
    """What a container that is about to start sees of the node's driver, by the device nodes that it is given.

    Entries of lxc's configuration; none where it was never given one.
    """
    numbers = sorted(int(found[1]) for path in paths if (found := re.fullmatch(r"/dev/nvidia(\d+)", path)))
    if not paths and not _folder(lab, vmid).exists():
        return []
    listed = _folder(lab, NODE) / "driver" / "cards"
    driven = listed.read_text().split() if listed.exists() else []
    places = {driven[number] for number in numbers if number < len(driven)}
    _fill(lab, _folder(lab, vmid), {card.place: card for card in there if card.place in places})
    state = lab.seen / NODE / "cards" / "driver"
    nodes = [f"/dev/null {path[1:]} none bind,create=file 0 0" for path in paths]
    loaded = [f"{state} {DRIVER} none bind,ro,create=dir 0 0", f"{state / 'proc'} proc/driver none bind,ro 0 0"]
    return [*mounts(lab, vmid), *nodes, *(loaded if paths else [])]


def _fill(lab: Lab, folder: Path, given: Mapping[str, Card]) -> None:
    """A folder anew, with the facts of the cards by the addresses that their guest knows them by."""
    rootfs.remove(folder)
    seen = folder / "seen"
    seen.mkdir(parents=True)
    _write(seen / "README", SIMULATED)
    for address, card in given.items():
        _write(seen / address, facts(lab, address, card, "yes" if card.alive else "no"))
    _write(folder / HOSTS, "".join(f"{at} {card.place} {card.ident} {card.memory}\n" for at, card in given.items()))
    driver_packages.make(seen / PACKAGES)
    for path in (folder, seen, seen / PACKAGES):
        path.chmod(0o755)


def lose(lab: Lab, vmid: int, there: Sequence[Card]) -> None:
    """A machine that runs sees of each of its cards whether that is still where it was, and answers."""
    folder = _folder(lab, vmid)
    if not (folder / HOSTS).exists():
        return
    known = {(card.place, card.ident): card for card in there}
    for line in (folder / HOSTS).read_text().splitlines():
        address, place, ident, memory = line.split()
        now = known.get((place, ident))
        card = Card(place, ident, int(memory))
        _write(folder / "seen" / address, facts(lab, address, card, "yes" if now and now.alive else "lost"))


def facts(lab: Lab, address: str, card: Card, answers: str) -> str:
    """A card as the machine's driver reads it: a NAME=VALUE a line."""
    model = MODELS.get(card.ident, Model(f"NVIDIA {card.ident}", card.memory, 0))
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"pvelab:{lab.name}:{card.place}:{card.ident}")
    vendor, _, device = card.ident.partition(":")
    lines = {
        "address": address, "vendor": f"0x{vendor}", "device": f"0x{device}",
        "name": f"{model.name} (simulated)", "uuid": f"GPU-{identity}", "memory": model.memory, "power": model.power,
        "answers": answers,
    }  # fmt: skip
    return f"# {SIMULATED}" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _address(number: int) -> str:
    """Where a q35 machine has its hostpciN: each behind a port of its own."""
    return f"0000:{number:02x}:00.0"


def _folder(lab: Lab, vmid: int | str) -> Path:
    return lab.containers / str(vmid) / "cards"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.new")
    part.write_text(text)
    part.chmod(0o644)
    part.replace(path)
