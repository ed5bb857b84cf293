"""The node's own driver of a card that containers share: made, kept, mended, held up by another, taken off again."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from aihub.names import CARD_NODES, Layout
from metal import cards, driver, rights
from metal.actual import ActualNode, File, Unit
from metal.compare import steps
from metal.desired import Card, Desired, Driver
from metal.hardware import Device
from metal.refusal import RefusedByNode
from metal.steps import Step, Upload

from tests.unit.metal.metal_nodes import REMOVED, WANTED, converged

NAMES = Layout(WANTED.hub)
PACKAGES = ("nvidia-kernel-open-dkms", "nvidia-driver-cuda")
LAB = Driver("file:/dev/lab-cards/packages/", "", "", "580", PACKAGES)
REAL = replace(LAB, url="https://one.example/", key="https://one.example/key", fingerprint="AB", headers=("headers",))
BIG, SMALL = Card("big", "10de:2b85", shared=True), Card("small", "10de:2504")
SHARED = replace(WANTED, cards=(BIG,), driver=LAB)
BOOT = 1_000_000


def card(slot: int, ident: str, held_by: str = "") -> Device:
    return Device(f"0000:0{slot}:00.0", "0300", ident, driver=held_by, group=slot)


def node(*devices: Device, **values: str) -> ActualNode:
    actual = converged()
    actual.devices = list(devices) or [card(1, BIG.id)]
    actual.values |= {"kernel": "6.17.2-1-pve", "processor": "GenuineIntel", "grub": "yes", "boot": str(BOOT), **values}
    actual.units[NAMES.driver_unit] = Unit("", "inactive", 0)
    actual.api["status"] = {"memory": {"total": 128 << 30}}
    return actual


def needed(desired: Desired, actual: ActualNode) -> dict[str, Step]:
    return {step.kind: step for step in steps(desired, actual) if step.commands}


def lines(step: Step) -> str:
    return "\n".join(one for one in step.commands if isinstance(one, str))


def done(actual: ActualNode, step: Step, when: int = BOOT + 10) -> None:
    """What a step leaves, as the next reading finds it."""
    for one in step.commands:
        if isinstance(one, Upload):
            digest = hashlib.sha256(one.text.encode()).hexdigest()
            actual.files[one.path] = File(f"{one.mode} root root", digest, when)
    actual.packages |= {*PACKAGES}
    actual.kept_back |= {*PACKAGES}
    actual.values["driver packages"] = " ".join(PACKAGES)
    if "systemctl restart" in lines(step):
        actual.values["card nodes"] = " ".join(CARD_NODES)
        actual.devices = [replace(one, driver="nvidia") if one.id == BIG.id else one for one in actual.devices]
    running = "active" if actual.values.get("card nodes") else "inactive"
    actual.units[NAMES.driver_unit] = Unit("enabled", running, when)


def reboot(desired: Desired, actual: ActualNode) -> str:
    every = steps(desired, actual)
    return cards.waits_for_boot(desired, actual, cards.find(desired, actual), every)


def with_driver() -> ActualNode:
    actual = node()
    done(actual, needed(SHARED, actual)["driver"])
    return actual


def test_a_node_gets_the_driver_and_nothing_that_takes_the_card_from_it() -> None:
    actual = node()
    found = needed(SHARED, actual)
    assert set(found) == {"driver"}, "no flags, no vfio, no mapping, no hook script"
    text = lines(found["driver"])
    assert "install -y --no-install-recommends nvidia-kernel-open-dkms nvidia-driver-cuda" in text
    assert "apt-mark hold" in text
    assert f"systemctl restart {NAMES.driver_unit}" in text
    assert '[ -c "$n" ]' in text
    assert not reboot(SHARED, actual)
    assert not [one for one in rights.grants(SHARED) if "mapping" in one.path]
    done(actual, found["driver"])
    assert needed(SHARED, actual) == {}


def test_a_real_node_builds_the_module_for_the_kernel_that_runs_and_trusts_one_key() -> None:
    text = lines(needed(replace(SHARED, driver=REAL), node())["driver"])
    assert "https://one.example/key AB" in text
    assert 'nvidia-driver-cuda headers "proxmox-headers-$(uname -r)"' in text
    assert "List-Cleanup" not in text, "its tools come from the node's other sources"


@pytest.mark.parametrize("by", ["vfio-pci", "nouveau"])
def test_a_card_that_another_driver_has_waits_for_a_boot(by: str) -> None:
    actual = node(card(1, BIG.id, by))
    found = needed(SHARED, actual)
    assert f"card big at 0000:01:00.0, which containers share, is held by {by}" in reboot(SHARED, actual)
    assert "systemctl enable" in lines(found["driver"])
    assert "systemctl restart" not in lines(found["driver"]), "it would find no card"
    done(actual, found["driver"], BOOT - 10)
    with pytest.raises(RefusedByNode, match=f"was rebooted, and card big .* held by {by}") as caught:
        reboot(SHARED, actual)
    assert "a VM of others" in caught.value.hint
    actual.devices = [card(1, BIG.id)]
    assert "systemctl restart" in lines(needed(SHARED, actual)["driver"]), "as it is free now"


def test_a_vms_card_is_kept_from_the_nodes_driver() -> None:
    both = replace(SHARED, cards=(BIG, SMALL))
    free, bound = (card(2, SMALL.id, by) for by in ("", "vfio-pci"))
    actual = node(card(1, BIG.id), free)
    assert "card small at 0000:02:00.0 is not vfio-pci's yet" in reboot(both, actual)
    assert "systemctl restart" not in lines(needed(both, actual)["driver"])
    ready = node(card(1, BIG.id), bound)
    found = needed(both, ready)
    assert {"driver", "mapping", "binding", "flags", "guard", "rights"} == set(found)
    assert "ids=10de:2504 " in next(
        one.text for one in found["binding"].commands if isinstance(one, Upload) and one.path == NAMES.card_options
    )
    assert "systemctl restart" in lines(found["driver"])
    assert not reboot(both, ready)


def test_a_card_that_nobody_named_would_be_taken_too() -> None:
    other = card(3, "10de:2684")
    with pytest.raises(RefusedByNode, match=r"another NVIDIA card, 0000:03:00.0 10de:2684") as caught:
        steps(SHARED, node(card(1, BIG.id), other))
    assert "nodes.pve.gpus" in caught.value.hint
    needed(SHARED, node(card(1, BIG.id), replace(other, driver="vfio-pci")))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda n: n.packages.discard(PACKAGES[1]), "packages"),
        (lambda n: n.kept_back.discard(PACKAGES[1]), "packages held"),
        (lambda n: n.values.update({"card nodes": "/dev/nvidia0 /dev/nvidiactl"}), "device nodes"),
        (lambda n: n.units.update({NAMES.driver_unit: Unit("enabled", "failed", 0)}), "device nodes"),
        (lambda n: n.units.update({NAMES.driver_unit: Unit("disabled", "active", 9)}), f"{NAMES.driver_unit} at boot"),
        (lambda n: n.files.pop(NAMES.driver_options), NAMES.driver_options),
        (lambda n: n.files.pop(NAMES.driver_done), f"{NAMES.driver_options} in force"),
        (lambda n: n.files.pop(NAMES.driver_pin), NAMES.driver_pin),
    ],
)
def test_what_is_lost_is_made_again(change: Any, field: str) -> None:
    actual = with_driver()
    change(actual)
    assert field in [name for name, _, _ in needed(SHARED, actual)["driver"].differences]


def test_what_was_not_there_before_goes_with_the_last_container_and_what_was_stays() -> None:
    actual = with_driver()
    assert not needed(replace(WANTED, sharing=True), actual), "a container still has its device nodes"
    gone = needed(WANTED, actual)["driver"]
    assert gone.action == "delete"
    assert "purge" in lines(gone)
    assert lines(gone).splitlines()[-1].endswith(f"{NAMES.driver_packages} {NAMES.driver_done}"), "what reminds is last"
    actual.values["driver packages"] = ""
    assert "purge" not in lines(needed(WANTED, actual)["driver"])
    assert "driver" in needed(REMOVED, actual)
    assert driver.removal(WANTED, node()) == []


def test_a_card_that_is_passed_on_again_waits_for_the_boot_that_takes_it_from_the_driver() -> None:
    alone = replace(WANTED, cards=(replace(BIG, shared=False),), memory=1 << 30)
    assert "is held by the node's driver nvidia" in reboot(alone, with_driver())
