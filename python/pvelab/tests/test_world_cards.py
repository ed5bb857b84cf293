"""What a machine of a lab sees of its cards, and the programs of the packages that stand in for a driver."""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import pytest
from pvelab.backend import Card
from pvelab.world import cards, driver_packages, lab, lxc, properties
from pvelab.world.lab import Lab
from pvelab.world.lxc import Machine

BIG = Card("0000:01:00.0", "10de:2b85", 1024)
OTHER = Card("0000:05:00.0", "10de:ffff", 2048)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    monkeypatch.setattr(lab, "STATES", tmp_path / "states")
    monkeypatch.setattr(lab, "RUNTIME", tmp_path / "run")
    monkeypatch.setattr(driver_packages, "make", lambda folder: folder.mkdir())
    return Lab("a")


def seen(here: Lab, name: str = "0000:01:00.0") -> dict[str, str]:
    text = (here.containers / "311" / "cards" / "seen" / name).read_text()
    assert text.startswith("# simulated by pvelab")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def smi(here: Lab, *arguments: str, module: str = driver_packages.DRIVER) -> tuple[int, str]:
    """The stand-in for nvidia-smi, on the facts of a machine."""
    loaded = here.containers / "module"
    loaded.write_text(module + "\n")
    text = files("pvelab.world").joinpath("driver/nvidia-smi").read_text()
    for place, there in (
        ("/run/lab-nvidia/module", str(loaded)),
        ("/dev/lab-cards", str(here.containers / "311" / "cards" / "seen")),
        ("[ -c /dev/nvidiactl ]", "true"),
        ("@VERSION@", driver_packages.DRIVER),
    ):
        assert place in text
        text = text.replace(place, there)
    done = subprocess.run(["sh", "-s", "--", *arguments], input=text, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip() + done.stderr.strip()


def test_a_machine_sees_the_cards_that_it_was_started_with(here: Lab) -> None:
    cards.give(here, 311, [BIG, OTHER])
    assert seen(here)["name"] == "NVIDIA GeForce RTX 5090 (simulated)"
    assert (seen(here)["memory"], seen(here)["answers"]) == ("32607", "yes")
    assert (seen(here, "0000:02:00.0")["name"], seen(here, "0000:02:00.0")["memory"]) == (
        "NVIDIA 10de:ffff (simulated)", "2048",
    )  # fmt: skip
    (entry,) = cards.mounts(here, 311)
    assert entry.endswith("dev/lab-cards none bind,ro,create=dir 0 0")
    assert f"lxc.mount.entry = {entry}" in lxc.config(Machine("311", here.run, "app", mounts=[entry]), "v2", "group")


def test_a_machine_without_a_card_sees_nothing_of_its_former_one(here: Lab) -> None:
    cards.give(here, 311, [BIG])
    cards.give(here, 311, [])
    cards.lose(here, 311, [BIG])  # no card to lose
    found = {path.name for path in (here.containers / "311" / "cards" / "seen").iterdir()}
    assert found == {"README", "packages"}


def test_the_driver_reports_its_cards_and_says_that_they_are_simulated(here: Lab) -> None:
    cards.give(here, 311, [BIG])
    asked = "--query-gpu=name,pci.device_id,memory.total,driver_version"
    assert smi(here, asked, "--format=csv,noheader,nounits") == (
        0, f"NVIDIA GeForce RTX 5090 (simulated), 0x2b8510de, 32607, {driver_packages.DRIVER}",
    )  # fmt: skip
    assert smi(here, "-L")[1].startswith("GPU 0: NVIDIA GeForce RTX 5090 (simulated) (UUID: GPU-")
    assert "SIMULATED by pvelab" in smi(here)[1]
    assert "simulated by pvelab" in smi(here, "--version")[1]
    assert smi(here, "--query-gpu=colour")[0] == 2


@pytest.mark.parametrize(
    ("there", "code", "said"), [([], 15, "GPU is lost"), ([OTHER], 15, "GPU is lost"), ([BIG], 0, "GPU 0")]
)
def test_a_card_that_leaves_the_bus_is_lost(here: Lab, there: list[Card], code: int, said: str) -> None:
    cards.give(here, 311, [BIG])
    cards.lose(here, 311, there)
    found = smi(here, "-L")
    assert (found[0], said in found[1]) == (code, True)


def test_a_card_that_is_dead_at_the_start_is_none(here: Lab) -> None:
    cards.give(here, 311, [Card(BIG.place, BIG.ident, alive=False)])
    assert smi(here, "-L") == (6, "No devices were found")


def test_libraries_of_another_version_than_the_module_do_not_work(here: Lab) -> None:
    cards.give(here, 311, [BIG])
    code, said = smi(here, "-L", module="570.10.01")
    assert (code, said.splitlines()[1]) == (18, "NVML library version: 580.173")


def test_the_packages_say_what_they_are(tmp_path: Path) -> None:
    driver_packages.make(tmp_path / "packages")
    index = (tmp_path / "packages" / "Packages").read_text()
    assert index.count("Description: stand-in of pvelab") == len(driver_packages.PACKAGES) == index.count("SHA256: ")
    (deb,) = (tmp_path / "packages").glob("nvidia-driver-cuda_*.deb")
    listed = subprocess.run(["dpkg-deb", "-c", str(deb)], capture_output=True, text=True, check=True).stdout
    assert "-rwxr-xr-x root/root" in listed and "./usr/bin/nvidia-smi" in listed


NODES = ["/dev/nvidia0", "/dev/nvidiactl"]


def driven(here: Lab, *places: str) -> None:
    """The node, whose driver has these cards."""
    cards.prepare_node(here)
    (here.containers / "node" / "cards" / "driver" / "cards").write_text("".join(f"{place}\n" for place in places))


def test_a_container_sees_the_card_of_its_device_node_by_the_nodes_driver(here: Lab) -> None:
    driven(here, OTHER.place, BIG.place)
    entries = cards.share(here, 311, [BIG, OTHER], NODES)
    assert seen(here, OTHER.place)["name"] == "NVIDIA 10de:ffff (simulated)"
    assert not (here.containers / "311" / "cards" / "seen" / BIG.place).exists()
    assert [entry.split()[:2] for entry in entries[1:3]] == [
        ["/dev/null", "dev/nvidia0"], ["/dev/null", "dev/nvidiactl"],
    ]  # fmt: skip
    assert "dev/lab-driver none bind,ro,create=dir" in entries[3]
    assert "proc/driver none bind,ro" in entries[4]
    cards.lose(here, 311, [BIG])
    assert smi(here, "-L")[0] == 15


def test_a_container_that_gave_up_its_device_nodes_sees_no_card(here: Lab) -> None:
    driven(here, BIG.place)
    assert cards.share(here, 311, [BIG], []) == [], "it never had one"
    cards.share(here, 311, [BIG], NODES)
    entries = cards.share(here, 311, [BIG], [])
    assert len(entries) == 1, "the packages stay, as those of other sources do"
    assert not (here.containers / "311" / "cards" / "seen" / BIG.place).exists()


def test_the_devices_of_a_container_in_their_order() -> None:
    config = {"dev1": "path=/dev/nvidiactl,mode=0666", "dev0": "/dev//nvidia0,gid=44", "devices": "no", "net0": "x"}
    assert properties.devices(config) == NODES
