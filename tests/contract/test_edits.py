"""An edit of a guest in hub.yml is right at Proxmox after one `up`, and after one more when it is taken back."""

from __future__ import annotations

import pytest

CT, VM = "/nodes/pve/lxc/110", "/nodes/pve/qemu/201"
DB = "vmid: 110, kind: lxc, zone: infra, address: 10.10.10.11, cores: 2, memory: 1GiB, disk: 8GiB"
AI = "vmid: 201, kind: vm, zone: private, address: 10.10.20.11, cores: 2, memory: 2GiB, disk: 10GiB"


@pytest.fixture
def hub(lab, hub):
    """A small hub that is up, on a node whose lists lag; gone again afterwards."""
    lab.root("PUT", "/pvelab/lag", seconds=3600)
    yield hub
    lab.root("PUT", "/pvelab/lag", seconds=0)


def world(lab):
    """The guests' settings and state, but for what Proxmox counts."""
    counted = ("digest", "vmgenid", "meta", "smbios1")
    configs = {path: lab.root("GET", f"{path}/config") for path in (CT, VM)}
    status = {path: lab.root("GET", f"{path}/status/current")["status"] for path in (CT, VM)}
    return {p: {k: v for k, v in c.items() if k not in counted} for p, c in configs.items()}, status


def edited(text, **changes):
    """A guest's line with some of its values replaced."""
    values = dict(part.split(": ") for part in text.split(", "))
    return ", ".join(f"{key}: {value}" for key, value in (values | changes).items())


EDITS = {
    "memory of a container": (DB, {"memory": "2GiB"}, False, ("memory", "2048")),
    "memory of a machine": (AI, {"memory": "3GiB"}, True, ("memory", "3072")),
    "cores of a container": (DB, {"cores": "1"}, False, ("cores", "1")),
    "cores of a machine": (AI, {"cores": "3"}, True, ("cores", "3")),
    "address of a container": (DB, {"address": "10.10.10.21"}, False, ("net0", "ip=10.10.10.21/24")),
    "address of a machine": (AI, {"address": "10.10.20.21"}, True, ("ipconfig0", "ip=10.10.20.21/24")),
    "zone of a container": (DB, {"zone": "private", "address": "10.10.20.31"}, True, ("net0", "bridge=hubprivate")),
    "zone of a machine": (AI, {"zone": "infra", "address": "10.10.10.31"}, True, ("net0", "bridge=hubinfra")),
}


@pytest.mark.parametrize("edit", EDITS)
def test_an_edit_comes_true_and_back(lab, hub, edit):
    text, changes, restarts, (key, value) = EDITS[edit]
    path, before = CT if text == DB else VM, world(lab)
    hub.write({text: edited(text, **changes)})
    assert hub("plan") == 3
    assert ("restarts" in hub.said) == restarts, hub.output
    assert "as root@node" not in hub.said
    assert "data at risk" not in hub.said
    hub.ok("up")
    assert hub("plan") == 0, hub.output
    assert value in str(lab.root.config(110 if path == CT else 201)[key])
    assert world(lab)[1] == before[1]

    hub.write({})
    hub.ok("up")
    assert hub("plan") == 0
    assert world(lab) == before


REFUSED = {
    "a smaller disk": (DB, {"disk": "4GiB"}, 4, "disks only grow"),
    "another kind": (DB, {"kind": "vm"}, 4, "--allow-destroy db"),
    "another number": (AI, {"vmid": "202"}, 4, "put `vmid: 201` back"),
    "more cores than there are": (AI, {"cores": "400"}, 4, "hub.yml says 400 cores"),
}


@pytest.mark.parametrize("edit", REFUSED)
def test_an_edit_that_cannot_be_done_in_place_touches_nobody(lab, hub, edit):
    text, changes, code, said = REFUSED[edit]
    other, more = (AI, {"memory": "3GiB"}) if text == DB else (DB, {"memory": "2GiB"})
    before = world(lab)
    hub.write({text: edited(text, **changes), other: edited(other, **more)})
    assert hub("up") == code
    assert said in hub.said
    assert world(lab) == before
    hub.write({})
    assert hub("plan") == 0


def test_a_bigger_disk_grows_and_a_new_name_is_no_new_guest(lab, hub):
    disk = lab.root.config(110)["rootfs"].partition(",")[0]
    hub.write({"  db: {": "  store: {id: db, ", "disk: 8GiB": "disk: 9GiB"})
    hub.ok("up")
    assert hub("plan") == 0
    assert lab.root.config(110)["rootfs"] == f"{disk},size=9G"
    assert lab.root.config(110)["hostname"] == "store"


def test_two_guests_that_change_places_are_the_same_guests(lab, hub):
    """Each takes what the other one gives up."""
    before = world(lab)[0]
    swapped = {
        DB: edited(DB, zone="private", address="10.10.20.11"),
        AI: edited(AI, zone="infra", address="10.10.10.11"),
    }
    hub.write(swapped)
    hub.ok("up")
    assert hub("plan") == 0
    assert [world(lab)[0][path][disk] for path, disk in ((CT, "rootfs"), (VM, "scsi0"))] == [
        before[CT]["rootfs"],
        before[VM]["scsi0"],
    ]
