"""What gives a guest hardware or reach and stands in no hub.yml goes; what only root may touch is root's to write."""

from __future__ import annotations

import pytest

CT, VM = "/nodes/pve/lxc/110", "/nodes/pve/qemu/201"


def starts(lab, vmid):
    tasks = lab.root("GET", "/nodes/pve/tasks", vmid=vmid, source="all", limit=200)
    return sum(task["type"] in ("vzstart", "qmstart") for task in tasks)


def writes(lab):
    """Every change, whoever asked for it."""
    requests = lab.root("GET", "/pvelab/requests")["requests"]
    return [r for r in requests if r["method"] != "GET" and not r["path"].startswith("/pvelab")]


def pending(lab, path):
    return [item["key"] for item in lab.root("GET", f"{path}/pending") if "pending" in item or "delete" in item]


FOREIGN = "name=eth1,bridge=vmbr0,ip=192.168.1.77/24"


def test_a_card_that_nobody_declared_is_taken_away_by_root_where_the_token_has_no_say(lab, hub):
    lab.root("PUT", f"{CT}/config", net1=FOREIGN, description="ask Kim\n" + lab.root.config(110)["description"])
    assert hub("plan") == 3
    assert "net1 differs as root@node" in hub.said
    hub.ok("up")
    assert "net1" not in lab.root.config(110)
    assert lab.root.config(110)["description"].startswith("ask Kim\n"), "what is a person's stays"
    assert hub("plan") == 0


def test_what_was_passed_through_by_hand_goes_and_counts_until_it_took_effect(lab, hub):
    lab.root("PUT", f"{CT}/config", dev0="/dev/net/tun")
    lab.root("PUT", f"{VM}/config", serial1="/dev/ttyS0", net1="virtio,bridge=hubprivate", ipconfig1="ip=10.0.0.9/24")
    for kind, vmid in (("lxc", 110), ("qemu", 201)):
        lab.root.task("POST", f"/nodes/pve/{kind}/{vmid}/status/stop")
    hub.ok("up")
    assert not {"dev0"} & lab.root.config(110).keys()
    assert not {"serial1", "net1", "ipconfig1"} & lab.root.config(201).keys()
    lab.root("PUT", f"{CT}/config", dev0="/dev/net/tun")
    lab.root("PUT", f"{CT}/config", delete="dev0")
    before = starts(lab, 110)
    assert pending(lab, CT) == ["dev0"]
    assert hub("plan") == 3
    assert "restarts" in hub.said
    hub.ok("up")
    assert starts(lab, 110) == before + 1
    assert pending(lab, CT) == []
    assert hub("plan") == 0


def test_a_second_address_of_a_card_goes(lab, hub):
    net0 = lab.root.config(110)["net0"]
    lab.root("PUT", f"{CT}/config", net0=f"{net0},ip6=fd00::5/64,rate=10")
    assert hub("plan") == 3
    hub.ok("up")
    assert "ip6" not in lab.root.config(110)["net0"]
    assert "rate=10" in lab.root.config(110)["net0"]


@pytest.mark.parametrize("present", ["bridge=vmbr0", "bridge=hubinfra,tag=7"])
def test_a_card_on_a_foreign_bridge_or_vlan_comes_back(lab, hub, present):
    net0 = lab.root.config(110)["net0"]
    lab.root("PUT", f"{CT}/config", net0=net0.replace("bridge=hubinfra", present))
    hub.ok("up")
    assert lab.root.config(110)["net0"] == net0


@pytest.mark.parametrize(
    ("path", "vmid", "disk", "guest"),
    [(CT, 110, {"mp0": "local:1,mp=/data"}, "db"), (VM, 201, {"scsi1": "local:1"}, "ai")],
)
def test_a_disk_that_nobody_declared_goes_with_its_data_only_when_that_is_allowed(lab, hub, path, vmid, disk, guest):
    (key,) = disk
    lab.root("PUT", f"{path}/config", **disk)
    before = len(writes(lab))
    assert hub("plan") == 3
    assert f"data at risk: everything on {key} (local:" in hub.said
    assert hub("up") == 4
    assert f"--allow-destroy {guest}" in hub.said
    assert len(writes(lab)) == before
    hub.ok("up", allow=(guest,))
    assert not [k for k in lab.root.config(vmid) if k == key or k.startswith("unused")]
    volumes = lab.root("GET", "/nodes/pve/storage/local/content", content="rootdir" if key == "mp0" else "images")
    kept = [v["volid"] for v in volumes if v.get("vmid") == vmid and "cloudinit" not in v["volid"]]
    assert len(kept) == 1, kept
    assert lab.root.guests()[vmid]["status"] == "running"
    assert hub("plan") == 0


def test_a_volume_that_is_attached_to_nothing_is_kept_and_named(lab, hub):
    lab.root("PUT", f"{VM}/config", scsi1="local:1")
    lab.root("PUT", f"{VM}/config", delete="scsi1")
    assert hub("plan") == 0
    assert "attached to nothing, and kept: unused0 (local:201/vm-201-disk-" in hub.said
    hub.ok("up", allow=("ai",))
    assert "unused0" not in lab.root.config(201)


def test_a_cd_goes_without_a_word_about_data(lab, hub):
    lab.root("PUT", f"{VM}/config", ide3="none,media=cdrom")
    hub.ok("up")
    assert "ide3" not in lab.root.config(201)


def test_an_address_of_a_machine_is_in_force_when_up_is_over(lab, hub):
    """Proxmox takes it at once and shows nothing pending; the guest learns it when it boots."""
    lab.root("PUT", f"{VM}/config", ipconfig0="ip=10.10.20.99/24,gw=10.10.20.1")
    before = starts(lab, 201)
    assert hub("up", crash="PUT /nodes/pve/qemu/201/config:after") == -9
    assert lab.root.guests()[201]["status"] == "stopped", "killed here, the next run starts it"
    hub.ok("up")
    assert starts(lab, 201) == before + 1
    assert lab.root.config(201)["ipconfig0"] == "ip=10.10.20.11/24,gw=10.10.20.1"
    assert hub("plan") == 0


ROOTED = {"root_only": {"features": "nesting=1,keyctl=1", "dev0": "/dev/net/tun"}}


def test_a_guest_gets_what_only_root_may_set_before_it_starts(lab, fresh):
    assert fresh("plan", **ROOTED) == 3
    order = [line.split()[:3] for line in fresh.output.splitlines() if " db " in f" {line} "]
    assert [action for _, _, action in order] == ["create:", "update:", "start:"]
    assert "features, dev0: only root may set it as root@node" in fresh.said
    before, begun = len(writes(lab)), starts(lab, 110)
    fresh.ok("up", **ROOTED)
    made = [(r["path"].removeprefix("/api2/json"), "!hub" in r["user"]) for r in writes(lab)[before:]]
    assert [one for one in made if "/lxc" in one[0]] == [
        ("/nodes/pve/lxc", True),
        (f"{CT}/config", True),  # its tags
        (f"{CT}/config", False),
        (f"{CT}/status/start", True),
    ]
    config = lab.root.config(110)
    assert (config["features"], config["dev0"]) == ("nesting=1,keyctl=1", "/dev/net/tun")
    assert fresh("plan", **ROOTED) == 0
    fresh.ok("up", **ROOTED)
    assert starts(lab, 110) == begun + 1


def test_what_root_set_is_kept_right_and_goes_when_it_is_no_longer_declared(lab, fresh):
    fresh.ok("up", **ROOTED)
    lab.root("PUT", f"{CT}/config", delete="dev0", features="nesting=1")
    assert fresh("plan", **ROOTED) == 3
    fresh.ok("up", **ROOTED)
    assert lab.root.config(110)["dev0"] == "/dev/net/tun"
    assert lab.root.config(110)["features"] == "nesting=1,keyctl=1"
    fresh.ok("up")
    assert "dev0" not in lab.root.config(110)
    assert fresh("plan") == 0
