"""What a machine sees of the cards that it was started with: facts in /dev/lab-cards, and packages of a driver.

No card is there and nothing computes. A file for each card says what it is and whether it answers, so that a card can
be gone, moved or dead. The driver is a machine's own to install: the packages beside the facts stand in for it.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..backend import Card
from . import driver_packages, rootfs
from .lab import Lab

SEEN = "dev/lab-cards"
HOSTS = "hosts"  # beside what the machine sees: which card of the node each is
PACKAGES = "packages"
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


def give(lab: Lab, vmid: int, given: Sequence[Card]) -> None:
    """Writes what a machine that is about to start sees of its cards; of those of its last start nothing stays.

    The packages are there without a card, too, as those of other sources are: what once named them goes on working.
    """
    folder = _folder(lab, vmid)
    rootfs.remove(folder)
    seen = folder / "seen"
    seen.mkdir(parents=True)
    _write(seen / "README", SIMULATED)
    for number, card in enumerate(given, 1):
        _write(seen / _address(number), facts(lab, number, card, "yes" if card.alive else "no"))
    _write(folder / HOSTS, "".join(f"{card.place} {card.ident} {card.memory}\n" for card in given))
    driver_packages.make(seen / PACKAGES)
    for path in (folder, seen, seen / PACKAGES):
        path.chmod(0o755)


def lose(lab: Lab, vmid: int, there: Sequence[Card]) -> None:
    """A machine that runs sees of each of its cards whether that is still where it was, and answers."""
    folder = _folder(lab, vmid)
    if not (folder / HOSTS).exists():
        return
    known = {(card.place, card.ident): card for card in there}
    for number, line in enumerate((folder / HOSTS).read_text().splitlines(), 1):
        place, ident, memory = line.split()
        now = known.get((place, ident))
        card = Card(place, ident, int(memory))
        _write(folder / "seen" / _address(number), facts(lab, number, card, "yes" if now and now.alive else "lost"))


def facts(lab: Lab, number: int, card: Card, answers: str) -> str:
    """A card as the machine's driver reads it: a NAME=VALUE a line."""
    model = MODELS.get(card.ident, Model(f"NVIDIA {card.ident}", card.memory, 0))
    identity = uuid.uuid5(uuid.NAMESPACE_URL, f"pvelab:{lab.name}:{card.place}:{card.ident}")
    vendor, _, device = card.ident.partition(":")
    lines = {
        "address": _address(number), "vendor": f"0x{vendor}", "device": f"0x{device}",
        "name": f"{model.name} (simulated)", "uuid": f"GPU-{identity}", "memory": model.memory, "power": model.power,
        "answers": answers,
    }  # fmt: skip
    return f"# {SIMULATED}" + "".join(f"{key}={value}\n" for key, value in lines.items())


def _address(number: int) -> str:
    """Where a q35 machine has its hostpciN: each behind a port of its own."""
    return f"0000:{number:02x}:00.0"


def _folder(lab: Lab, vmid: int) -> Path:
    return lab.containers / str(vmid) / "cards"


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.new")
    part.write_text(text)
    part.chmod(0o644)
    part.replace(path)
