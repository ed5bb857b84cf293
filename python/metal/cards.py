"""The cards that guests get, found by what they are and never by where they are; and what keeps one from its guest.

What only a person can mend is refused before anything is changed: a card that is not there, that does not answer, or
that can't be told from another; an IOMMU that is off; a group that holds more than the card. What a boot mends is no
refusal, as long as that boot is still to come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aihub.names import Layout

from .actual import ActualNode
from .desired import Card, Desired
from .hardware import BRIDGE, Device
from .refusal import RefusedByNode
from .steps import Step

VFIO = "vfio-pci"
NVIDIA = "nvidia"
"""The node's own driver of a card that containers share."""
BOOT = frozenset({"flags", "binding", "driver"})  # the kinds of steps that count from the next boot on
_OFF = re.compile(r"\b(intel_iommu|amd_iommu|iommu)=off\b")
_ALWAYS_ON = (6, 8)  # the first kernel that uses an Intel IOMMU without being told


@dataclass(frozen=True)
class Found:
    """A card where it is at this moment: its functions, the one that it is known by first."""

    card: Card
    functions: tuple[Device, ...]

    @property
    def main(self) -> Device:
        return self.functions[0]

    @property
    def path(self) -> str:
        """What its mapping names: the whole card, or the one function that it is."""
        return self.main.slot if self.main.address.endswith(".0") else self.main.address


def find(desired: Desired, actual: ActualNode) -> list[Found]:
    """Every wanted card. Raises RefusedByNode with all that a person has to see to, before anything is changed."""
    found, wrong, hints = [], [], []
    for card in desired.cards:
        answer = _one(desired.node, card, actual.devices)
        if isinstance(answer, Found):
            found.append(answer)
        trouble = _unfit(desired.node, answer, actual) if isinstance(answer, Found) else answer
        if trouble:
            wrong.append(trouble[0])
            hints.append(trouble[1])
    if wrong:
        raise RefusedByNode("precondition", "\n".join(wrong), "; ".join(dict.fromkeys(hints)))
    return found


def passed(found: Sequence[Found]) -> list[Found]:
    """Those of them that a VM has alone."""
    return [one for one in found if not one.card.shared]


def _one(node: str, card: Card, devices: Sequence[Device]) -> Found | tuple[str, str]:
    """The card, or what is wrong and what to do about it."""
    same = [device for device in devices if device.id == card.id]
    matching = [device for device in same if card.subsystem in ("", device.subsystem)]
    if not matching:
        return _absent(node, card, same, devices)
    if len(matching) > 1:
        return _equal(node, card, matching)
    (main,) = matching
    others = [device for device in devices if device.slot == main.slot and device != main]
    functions = (main, *others) if main.address.endswith(".0") else (main,)
    if dead := [device for device in functions if device.dead]:
        text = f"card {card.name} at {dead[0].address} does not answer (it reads as ff only)"
        return text, "it has not come back from a reset: switch the node off and on; a warm reboot may not be enough"
    return Found(card, functions)


def _absent(node: str, card: Card, same: Sequence[Device], devices: Sequence[Device]) -> tuple[str, str]:
    if same:
        there = ", ".join(f"{device.subsystem or 'none'} at {device.address}" for device in same)
        text = f"node {node} has {card.id} for card {card.name}, but of subsystem {there} and not {card.subsystem}"
        return text, f"write the subsystem that it has under nodes.{node}.gpus.{card.name} in hub.yml"
    displays = [device for device in devices if device.kind.startswith("03")]
    has = ", ".join(f"{device.id} at {device.address}" for device in displays) or "none"
    text = f"node {node} has no card {card.id}, which hub.yml calls {card.name}; its display devices: {has}"
    return text, (
        f"see that the card is seated and has power, or write the id that `lspci -nn` shows under nodes.{node}.gpus"
    )


def _equal(node: str, card: Card, matching: Sequence[Device]) -> tuple[str, str]:
    places = ", ".join(f"{device.address} (subsystem {device.subsystem or 'none'})" for device in matching)
    text = f"node {node} has {len(matching)} cards {card.id} that {card.name} may be: {places}"
    if len({device.subsystem for device in matching}) == len(matching):
        return text, f'add `subsystem: "VENDOR:DEVICE"` to nodes.{node}.gpus.{card.name}: it tells them apart'
    return text, (
        "nothing but the slot tells them apart, and a slot's number changes: take one of them out of the node, or "
        "`gpu:` off the guest"
    )


def _unfit(node: str, found: Found, actual: ActualNode) -> tuple[str, str] | None:
    """Why a card that is there can't be passed on, whatever is set on the node; None where it can."""
    if found.card.shared:
        return None
    if not any(device.group is not None for device in actual.devices):
        return _no_iommu(node, actual)
    group = [d for d in actual.devices if d.group is not None and d.group == found.main.group]
    if strange := [d for d in group if d.slot != found.main.slot and not d.kind.startswith(BRIDGE)]:
        text = f"card {found.card.name} at {found.path} shares IOMMU group {found.main.group} with "
        text += ", ".join(map(str, strange))
        return text, (
            "Proxmox would take all of them from the node when the guest starts: put the card into another slot (one "
            "of the processor's own), or switch on ACS in the firmware"
        )
    return None


def _no_iommu(node: str, actual: ActualNode) -> tuple[str, str] | None:
    text = f"node {node} runs without an IOMMU: no device is in a group"
    if said := _OFF.search(actual.values.get("booted with", "")):
        return f"{text}, and its kernel was started with {said[0]}", f"take {said[0]} off the kernel's command line"
    if _version(actual.values.get("kernel", "")) < _ALWAYS_ON and not _told(actual):
        return None  # this kernel has to be told, and it will be
    return text, "switch on VT-d (Intel) or AMD-Vi, IOMMU (AMD) in the node's firmware"


def _version(kernel: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return (int(found[1]), int(found[2])) if found else _ALWAYS_ON


def _told(actual: ActualNode) -> bool:
    return "intel_iommu=on" in actual.values.get("booted with", "").split()


def bound(found: Sequence[Found], devices: Sequence[Device]) -> dict[str, list[str]]:
    """The ids by which vfio-pci takes each card at boot, by the card's name.

    One that a device beside the cards has too is left out: that would be taken from the node with it.
    """
    slots = {one.main.slot for one in found}
    others = {device.id for device in devices if device.slot not in slots}
    return {one.card.name: [d.id for d in one.functions if d.id not in others] for one in found}


def shared_ids(desired: Desired, found: Sequence[Found], devices: Sequence[Device]) -> Iterator[str]:
    """A sentence for each function that is not taken at boot."""
    taken = {ident for ids in bound(found, devices).values() for ident in ids}
    for one in found:
        for device in one.functions:
            if device.id not in taken:
                text = f"node {desired.node}: {device} of card {one.card.name} has the id of another device, too"
                yield f"{text}: it is not taken at boot, Proxmox takes it when the guest starts"


def waits_for_boot(desired: Desired, actual: ActualNode, found: Sequence[Found], steps: Sequence[Step]) -> str:
    """Why the node has to be rebooted before its cards can be passed on; empty where it need not be.

    Raises RefusedByNode where a boot has come and did not help.
    """
    alone = passed(found)
    held = [*_held(alone, actual), *_in_the_way(found)]
    off = bool(alone) and not any(device.group is not None for device in actual.devices)
    if not held and not off:
        return ""
    text = "; ".join(held) if held else "its IOMMU is off"
    if _late(desired, actual) or any(step.kind in BOOT and step.commands for step in steps):
        return text
    if off:
        hint = "switch on VT-d in the node's firmware, then look at `dmesg | grep -e DMAR -e IOMMU` there"
        raise RefusedByNode("precondition", f"node {desired.node} was rebooted, and its IOMMU is still off", hint)
    raise RefusedByNode(
        "precondition",
        f"node {desired.node} was rebooted, and {text}",
        "something else takes it first: look in /etc/modprobe.d and /etc/modules-load.d of the node for lines of "
        "others, then update-initramfs -u -k all and reboot; where a VM of others has had it since, a reboot is enough",
    )


def _held(found: Sequence[Found], actual: ActualNode) -> Iterator[str]:
    taken = bound(found, actual.devices)
    for one in found:
        for device in one.functions:
            if device.id in taken[one.card.name] and device.driver not in ("", VFIO):
                yield f"card {one.card.name} at {device.address} is held by the node's driver {device.driver}"


def _in_the_way(found: Sequence[Found]) -> Iterator[str]:
    """What keeps the node's driver from a card that containers share, or would let it take a VM's."""
    shared = [one for one in found if one.card.shared]
    for one in shared:
        if one.main.driver not in ("", NVIDIA):
            yield f"card {one.card.name} at {one.main.address}, which containers share, is held by {one.main.driver}"
    for one in passed(found) if shared else ():
        if not one.main.driver:
            yield f"card {one.card.name} at {one.main.address} is not {VFIO}'s yet, and the node's driver would take it"


def loads(found: Sequence[Found]) -> bool:
    """Whether the node's driver, loaded now, gets the card that containers share, and no VM's."""
    return not any(_in_the_way(found)) and all(one.main.driver == VFIO for one in passed(found))


def _late(desired: Desired, actual: ActualNode) -> bool:
    """Whether what we have set was set after the node's last boot."""
    layout = Layout(desired.hub)
    since = int(actual.values.get("boot") or 0)
    done = (layout.flags_done, layout.binding_done, layout.driver_done)
    stamps = [actual.files[path] for path in done if path in actual.files]
    return any(stamp.changed >= since for stamp in stamps)
