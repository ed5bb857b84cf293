"""Nodes as people have them, each a file of tests/cases/cards: what metal does, what it refuses, what Proxmox says.

The bus reaches metal as lspci prints it. With `start` the same bus is the emulated Proxmox VE's, and a VM is started
there with the mappings of the file: a refusal of ours comes before one of Proxmox's, or before worse.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from aihub.names import Layout
from metal import boot, cards, guard, hardware
from metal.actual import ActualNode, File
from metal.compare import notes, steps
from metal.desired import Card, Desired
from metal.refusal import RefusedByNode
from metal.steps import Step, Upload
from pvelab.running import Running, running
from pvelab.world.lspci import block
from ruamel.yaml import YAML

from tests.unit.metal.metal_nodes import WANTED, converged

FOLDER = Path(__file__).parents[2] / "cases" / "cards"
FILES = sorted(FOLDER.glob("*.yml"))
GIB = 1 << 30
BOOT, BEFORE, AFTER = 1_000_000, 999_000, 1_001_000
NOTHING = {
    "subsystem_vendor": "", "subsystem_device": "", "group": -1, "driver": "", "name": "simulated", "revision": "a1",
}  # fmt: skip


def case(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(path)
    found["bus"] = [{**NOTHING, **{k: str(v) if k != "group" else v for k, v in one.items()}} for one in found["bus"]]
    return found


def wanted(found: dict[str, Any]) -> Desired:
    card = Card("rtx5090", "10de:2b85", found.get("subsystem", ""))
    return replace(WANTED, cards=(card,), memory=64 * GIB)


def node(found: dict[str, Any]) -> ActualNode:
    """A node that is as the hub wants it but for its cards."""
    desired, actual = wanted(found), converged(wanted(found))
    actual.devices = hardware.devices("".join(block(one, set(), set()) for one in found["bus"]).splitlines())
    actual.values |= {
        "kernel": found.get("kernel", "6.17.2-1-pve"),
        "processor": "GenuineIntel",
        "booted with": found.get("booted", "BOOT_IMAGE=/vmlinuz quiet"),
        "boot": str(BOOT),
        "grub": "yes",
    }
    mark = "somebody's" if found.get("foreign") else desired.marker
    actual.api["mappings"] = [
        {"id": name, "description": mark, "map": [text]} for name, text in found.get("mappings", {}).items()
    ]
    actual.api["status"] = {"memory": {"total": 128 * GIB}}
    if "prepared" in found:
        prepare(desired, actual, BEFORE if found["prepared"] == "before the boot" else AFTER)
    return actual


def prepare(desired: Desired, actual: ActualNode, when: int) -> None:
    """What metal's own steps leave on a node with one card that fits."""
    devices = [device for device in actual.devices if device.id in ("10de:2b85", "10de:22e8")]
    here = cards.Found(desired.cards[0], tuple(devices))
    ready = replace(actual, devices=devices)
    for step in [*boot.preparation(desired, ready, [here]), guard.step(desired, ready, [here])]:
        put(actual, step, when)


def put(actual: ActualNode, step: Step, when: int) -> None:
    for one in step.commands:
        if isinstance(one, Upload):
            digest = hashlib.sha256(one.text.encode()).hexdigest()
            actual.files[one.path] = File(f"{one.mode} root root", digest, when)
        elif "kernel pin" in one:
            version = one.split()[-1]
            actual.values |= {"pin": version, "pinned": version}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_what_is_done_and_what_is_refused_before_anything_is(path):
    found = case(path)
    desired, actual = wanted(found), node(found)
    if "refused" in found:
        with pytest.raises(RefusedByNode) as caught:
            cards.waits_for_boot(desired, actual, cards.find(desired, actual), steps(desired, actual))
        assert found["refused"] in caught.value.what
        assert found["hint"] in caught.value.hint
        assert caught.value.kind == "precondition"
        return
    every = steps(desired, actual)
    assert [step.subject for step in every if step.commands] == found.get("changes", [])
    here = cards.find(desired, actual)
    reboot = cards.waits_for_boot(desired, actual, here, every)
    assert (found["reboot"] in reboot) if "reboot" in found else not reboot
    if "ids" in found:
        assert cards.bound(here, actual.devices) == {"rtx5090": found["ids"]}
    assert here[0].path == found.get("path", here[0].path)
    for text in found.get("notes", []):
        assert any(text in note for note in notes(desired, actual))


@pytest.mark.parametrize("path", [path for path in FILES if "refused" not in case(path)], ids=lambda path: path.stem)
def test_what_was_done_is_not_done_again(path):
    found = case(path)
    desired, actual = wanted(found), node(found)
    for step in steps(desired, actual):
        put(actual, step, AFTER)
        for command in step.commands:
            if step.kind == "mapping" and isinstance(command, str):
                words = command.split()
                text = words[words.index("--map") + 1]
                actual.api["mappings"] = [{"id": "rtx5090", "description": desired.marker, "map": [text]}]
    assert [step.subject for step in steps(desired, actual) if step.commands] == []


class Api:
    """The emulated Proxmox VE, as root."""

    def __init__(self, server: Running) -> None:
        self.url, self.session = server.url, requests.Session()
        self.session.verify, self.session.trust_env = str(server.ca), False
        login = self("POST", "/access/ticket", {"username": "root@pam", "password": server.password})
        self.session.cookies.set("PVEAuthCookie", login["ticket"])
        self.session.headers["CSRFPreventionToken"] = login["CSRFPreventionToken"]

    def __call__(self, method: str, path: str, data: dict[str, Any] | None = None) -> Any:
        answer = self.session.request(method, self.url + path, json=data, timeout=30)
        assert answer.status_code == 200, (answer.status_code, answer.reason, answer.text)
        return answer.json()["data"]

    def ended(self, upid: str) -> str:
        for _ in range(1000):
            status = self("GET", f"/nodes/pve/tasks/{upid}/status")
            if status["status"] == "stopped":
                return str(status["exitstatus"])
            time.sleep(0.01)
        raise AssertionError(upid)


@pytest.fixture(scope="module")
def api() -> Iterator[Api]:
    with running() as server:
        found = Api(server)
        made = {"vmid": 900, "name": "ai", "machine": "q35", "bios": "ovmf", "efidisk0": "local:1", "cores": 1}
        assert found.ended(found("POST", "/nodes/pve/qemu", {**made, "hostpci0": "mapping=rtx5090,pcie=1"})) == "OK"
        yield found


@pytest.mark.parametrize("path", [path for path in FILES if "start" in case(path)], ids=lambda path: path.stem)
def test_what_proxmox_says_at_the_start_of_a_vm_with_that_mapping(api, path):
    found = case(path)
    api("PUT", "/pvelab/pci", {"devices": found["bus"]})
    for name, text in found["mappings"].items():
        api("POST", "/cluster/mapping/pci", {"id": name, "map": [text]})
    try:
        (listed,) = api("GET", "/cluster/mapping/pci?check-node=pve")
        assert [one["message"].strip() for one in listed["checks"]] == (
            [] if found["start"] == "OK" else ["Invalid configuration: " + found["start"].partition(": ")[2]]
        )
        assert api.ended(api("POST", "/nodes/pve/qemu/900/status/start")) == found["start"]
        if found["start"] == "OK":
            assert api.ended(api("POST", "/nodes/pve/qemu/900/status/stop")) == "OK"
    finally:
        api("DELETE", "/cluster/mapping/pci/rtx5090")


def test_a_hub_without_cards_reads_nothing_of_them_and_a_former_one_is_put_back():
    layout = Layout(WANTED.hub)
    assert not [step for step in steps(WANTED, converged()) if step.kind in ("flags", "binding", "kernel", "mapping")]
    found = case(FOLDER / "ready.yml")
    actual = node(found)
    gone = {step.subject: step for step in steps(WANTED, actual) if step.commands}
    assert list(gone) == [
        "PCI mapping rtx5090",
        "kernel flags",
        "drivers of its cards",
        "kernel",
        "guard of its cards",
        *list(gone)[5:],
    ]
    assert {gone[name].action for name in list(gone)[:5]} == {"delete"}
    assert layout.card_options in "".join(map(str, gone["drivers of its cards"].commands))


def test_what_a_guest_still_has_stays_until_the_guest_is_changed():
    found = case(FOLDER / "ready.yml")
    actual, holding = node(found), replace(WANTED, held=("rtx5090",))
    kinds = {step.kind for step in steps(holding, actual) if step.commands}
    assert not kinds & {"flags", "binding", "kernel", "mapping", "rights"}


def test_a_hub_that_goes_down_takes_its_mapping_and_its_boot_settings_with_it():
    found = case(FOLDER / "ready.yml")
    gone = replace(wanted(found), removed=True)
    kinds = [step.kind for step in steps(gone, node(found)) if step.commands]
    assert {"mapping", "flags", "binding", "kernel"} <= set(kinds)
    theirs = node({**found, "foreign": True})
    assert "mapping" not in [step.kind for step in steps(gone, theirs)], "a mapping of somebody else stays"
