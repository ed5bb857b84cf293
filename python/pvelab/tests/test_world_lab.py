"""A lab's name and settings."""

import os
from pathlib import Path

import pytest
from pvelab.api.store import Document
from pvelab.world import lab, rootfs, server, teardown
from pvelab.world.errors import LabError
from pvelab.world.lab import Config, Lab
from pvelab.world.rootfs import Recipe

NODE = {"name": "pve", "address": "192.168.1.10", "subnet": "192.168.1.0/24", "memory": 1}


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "A", "x" * 40, "a b"])
def test_a_name_that_is_no_path_part_is_refused(name: str) -> None:
    with pytest.raises(LabError):
        Lab(name)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(LabError, match="'subnet'"):
        Config.parse({"node": {"name": "pve", "address": "192.168.1.10"}})


def test_a_wrong_subnet_is_an_error_of_the_settings() -> None:
    with pytest.raises(LabError, match="wrong"):
        Config.parse({"node": {**NODE, "subnet": "192.168.1.300/24"}})


def test_a_root_file_system_is_named_by_what_it_is_made_from() -> None:
    one, two = Recipe("trixie", ("b", "a")), Recipe("trixie", ("a", "b", "a"))
    assert one.digest([], [], []) == two.digest([], [], [])
    assert one.digest([], [], []) != one.digest(["deb http://other.example/debian trixie main"], [], [])
    assert one.digest([], [], ["a certificate"]) != one.digest([], [], [])


@pytest.mark.skipif(os.geteuid() != 0, reason="writes as the node's root")
def test_the_nodes_interfaces_file_is_in_pves_form(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "STATES", tmp_path)
    made = Lab("small")
    made.rootfs("node").mkdir(parents=True)
    ifaces = {"hubinfra": {"type": "bridge", "cidr": "10.0.0.1/24", "autostart": 1, "comments": "x"}}
    document = Document(tmp_path / "network.json", {"active": {}, "pending": ifaces})
    files = server.NetworkFiles(made, document)
    folder = made.rootfs("node") / "etc/network"
    text = (folder / "interfaces.new").read_text()
    assert "auto hubinfra\niface hubinfra inet static\n\taddress 10.0.0.1/24\n\tbridge-ports none\n" in text
    assert text.endswith("#x\n\nsource /etc/network/interfaces.d/*\n")
    files.data = {"active": ifaces, "pending": None}
    files.save()
    assert (folder / "interfaces").read_text() == text
    assert not (folder / "interfaces.new").exists()


def test_a_removal_killed_half_way_leaves_no_lab_without_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lab, teardown):
        monkeypatch.setattr(module, "STATES", tmp_path)
        monkeypatch.setattr(module, "RUNTIME", tmp_path / "run")
    made = Lab("small")
    (made.state / "nodes").mkdir(parents=True)

    class Killed(BaseException): ...

    def killed(path: Path) -> None:
        if path.exists():
            raise Killed

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(rootfs, "remove", killed)
        teardown._forget(made)
    assert lab.names() == []
    assert not made.state.exists()
    (made.state / "nodes").mkdir(parents=True)  # the lab is made anew meanwhile
    teardown._forget(made)
    assert list(tmp_path.iterdir()) == []
