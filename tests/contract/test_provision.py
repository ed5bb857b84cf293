"""aihub's provisioning against the Proxmox API of pvelab, over HTTPS with the token that metal makes."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest
from aihub import process
from aihub.proxmox.client import Proxmox
from aihub.proxmox.root import Root
from aihub.reading import load
from pvelab.backend_none import host_key

from tests.contract.provision_lab import TEMPLATE
from tests.contract.stand_ins import Node


def writes(lab):
    return [r for r in lab.root("GET", "/pvelab/requests")["requests"] if r["method"] != "GET" and "!hub" in r["user"]]


def test_up_makes_the_declared_guests_and_a_second_up_writes_nothing(lab, hub):
    guests = lab.root.guests()
    assert {(v, g["name"], g["status"], g["pool"]) for v, g in guests.items()} == {
        (110, "db", "running", "hub-small"),
        (201, "ai", "running", "hub-small"),
    }
    config = lab.root.config(110)
    assert config["tags"] == "aihub;infra"
    assert config["description"] == "aihub:v1 hub=00112233445566ff vmid=110 guest=db\naihub:image debian-13\n"
    assert "size=10G" in lab.root.config(201)["scsi0"]
    assert hub("plan") == 0
    assert hub.journal == []
    before = len(writes(lab))
    hub.ok("up")
    assert len(writes(lab)) == before


def test_drift_made_by_hand_is_seen_and_repaired(lab, hub):
    root = lab.root
    root("PUT", "/nodes/pve/lxc/110/config", memory=512, tags="mine", delete="searchdomain")
    root.task("POST", "/nodes/pve/qemu/201/status/stop")
    assert hub("plan") == 3
    hub.ok("up")
    assert root.config(110)["memory"] == 1024
    assert root.config(110)["tags"] == "aihub;infra"
    assert root.config(110)["searchdomain"] == "small.home.arpa"
    assert root.guests()[201]["status"] == "running"
    assert hub("plan") == 0


def test_a_guest_removed_by_hand_is_made_again(lab, hub):
    lab.root.task("POST", "/nodes/pve/lxc/110/status/stop")
    lab.root.task("DELETE", "/nodes/pve/lxc/110")
    assert hub("plan") == 3
    hub.ok("up")
    assert lab.root.guests()[110]["status"] == "running"


def test_more_memory_and_disk_in_hub_yml(lab, hub):
    hub.write({"memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 12GiB", "memory: 1GiB": "memory: 2GiB"})
    started = lab.root("GET", "/nodes/pve/lxc/110/status/current")["uptime"]
    hub.ok("up")
    assert lab.root.config(201)["memory"] in ("3072", 3072)
    assert "size=12G" in lab.root.config(201)["scsi0"]
    assert lab.root("GET", "/nodes/pve/lxc/110/status/current")["uptime"] >= started
    assert hub("plan") == 0


def test_the_text_that_people_put_into_a_description_stays(lab, hub):
    marker = lab.root.config(110)["description"].strip()
    lab.root("PUT", "/nodes/pve/lxc/110/config", description=f"ask Kim\n{marker}\nsecond floor", memory=512)
    hub.ok("up")
    assert lab.root.config(110)["description"].splitlines()[0] == "ask Kim"


def decoy(lab, vmid, name, description="somebody else's"):
    lab.root.task(
        "POST",
        "/nodes/pve/lxc",
        vmid=vmid,
        hostname=name,
        ostemplate=TEMPLATE,
        rootfs="local:1",
        description=description,
        net0="name=eth0,bridge=vmbr0,ip=192.168.1.50/24",
    )


def test_a_foreign_guest_on_our_number_is_a_conflict_before_anything_is_written(lab, hub):
    decoy(lab, 300, "neighbour")
    config, before = lab.root.config(300), len(writes(lab))
    hub.write({"vmid: 201": "vmid: 300"})
    assert hub("up") == 6
    assert "VMID 300 belongs to neighbour" in hub.said
    assert lab.root.config(300) == config
    assert len(writes(lab)) == before


def test_a_foreign_guest_with_our_address_is_a_conflict(lab):
    decoy(lab, 300, "neighbour")
    lab.root("PUT", "/nodes/pve/lxc/300/config", net0="name=eth0,bridge=vmbr0,ip=10.10.10.11/24")
    lab.root.task("POST", "/nodes/pve/lxc/300/status/start")
    found = lab.hub("hub")
    try:
        assert found("up") == 6
        assert "10.10.10.11 is used by neighbour (VMID 300)" in found.said
    finally:
        lab.root.sweep()


def test_down_leaves_what_is_not_ours(lab, hub):
    decoy(lab, 300, "db")
    decoy(lab, 301, "forged", "aihub:v1 hub=00112233445566ff vmid=110 guest=db")
    before = lab.root.config(300), lab.root.config(301)
    hub.ok("down")
    assert set(lab.root.guests()) == {300, 301}
    assert (lab.root.config(300), lab.root.config(301)) == before
    assert hub.journal == []


def test_another_storage_needs_permission_to_lose_the_data(lab, hub):
    hub.write({"db: {vmid: 110, kind: lxc": "db: {vmid: 110, kind: vm"})
    assert hub("plan") == 3
    assert hub("up") == 4
    assert "--allow-destroy db" in hub.said
    assert lab.root.guests()[110]["type"] == "lxc"
    hub.ok("up", allow=("db",))
    assert lab.root.guests()[110]["type"] == "qemu"


def test_a_guest_that_left_hub_yml_goes_only_when_named(lab, hub):
    line = next(text for text in (hub.directory / "hub.yml").read_text().splitlines() if "  ai:" in text)
    hub.write({line: ""})
    hub.ok("up")
    assert 201 in lab.root.guests()
    hub.ok("up", allow=("ai",))
    assert set(lab.root.guests()) == {110}


def test_a_missing_image_bridge_or_right_is_named_before_anything_is_written(lab):
    found = lab.hub("hub", changes={"private: {subnet": "public: {subnet", "zone: private": "zone: public"})
    image = lab.server_state / "storage" / "local" / "import" / "debian-13-genericcloud-amd64.qcow2"
    aside = image.rename(image.with_suffix(".aside"))
    before = len(writes(lab))
    try:
        assert found("up") == 4
    finally:
        aside.rename(image)
    assert "OS image local:import/debian-13-genericcloud-amd64.qcow2 is not there" in found.said
    assert "bridge hubpublic of zone public is not there" in found.said
    assert "the token lacks SDN.Use on /sdn/zones/localnetwork/hubpublic" in found.said
    assert len(writes(lab)) == before


def test_on_the_first_day_a_missing_image_is_named_before_the_node_is_changed(lab):
    found = lab.hub("hub")
    image = lab.server_state / "storage" / "local" / "import" / "debian-13-genericcloud-amd64.qcow2"
    aside = image.rename(image.with_suffix(".aside"))
    try:
        found.forget()
        assert found("trust", "up") == 4
    finally:
        aside.rename(image)
    assert "OS image local:import/debian-13-genericcloud-amd64.qcow2 is not there" in found.said
    assert "the token lacks" not in found.said, "the rights are still to come"
    assert not [write for write in found.made if "token" in write or write.startswith("POST")]


def test_a_failed_create_is_reported_cleaned_up_and_made_by_the_next_run(lab, fresh):
    lab.root.fault(kind="storage-full", method="POST", path="/nodes/pve/lxc$")
    assert fresh("up") == 1
    assert "guest db: " in fresh.said
    assert "vzcreate ended with: unable to create CT 110" in fresh.said
    assert "No space left on device" in fresh.said
    assert "TASK ERROR: unable to create CT 110" in fresh.said
    assert 110 not in lab.root.guests()
    assert lab.root.guests()[201]["status"] == "running", "the others go on"
    assert [e["guest"] for e in fresh.journal] == ["ai"], "only the first contact with the other is open"
    fresh.ok("up")
    assert fresh.journal == []


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "vmid", "tool"), [("lxc", 110, "pct"), ("qemu", 201, "qm")])
def test_what_a_died_create_left_is_named_with_roots_command_until_it_is_gone(lab, fresh, kind, vmid, tool):
    lab.root.fault(kind="task-fail", method="POST", path=f"/nodes/pve/{kind}$", message="worker died")
    assert fresh("up") == 1
    for _ in range(2):
        assert f"{tool} unlock {vmid}; {tool} destroy {vmid}" in fresh.said
        assert fresh("up") in (1, 4)
        lab.root("DELETE", f"/pvelab/locks/{vmid}")
    lab.root.task("DELETE", f"/nodes/pve/{kind}/{vmid}")
    fresh.ok("up")
    assert fresh("plan") == 0
    assert fresh.journal == []


@pytest.mark.slow
def test_a_token_with_rights_on_the_number_clears_it_without_root(lab, fresh):
    lab.root("PUT", "/access/acl", users="hub-small@pve", path="/vms/110", roles="HubGuest")
    lab.root("PUT", "/access/acl", tokens="hub-small@pve!hub", path="/vms/110", roles="HubGuest")
    lab.root.fault(kind="task-fail", method="POST", path="/nodes/pve/lxc$", message="worker died")
    assert fresh("up") == 1
    lab.root("DELETE", "/pvelab/locks/110")
    fresh.ok("up")
    assert fresh("plan") == 0
    assert fresh.journal == []


@pytest.mark.slow
def test_an_empty_config_that_the_journal_does_not_know_is_not_ours(lab, fresh):
    lab.root.fault(kind="task-fail", method="POST", path="/nodes/pve/lxc$")
    assert fresh("up") == 1
    journal = fresh.state.journal
    aside = journal.rename(journal.with_suffix(".aside"))
    try:
        assert fresh("up") == 6
        assert "VMID 110 belongs to" in fresh.said
    finally:
        aside.rename(journal)
        lab.root("DELETE", "/pvelab/locks/110")


def test_a_guest_that_something_else_locks_is_left_alone_and_named(lab, hub):
    lab.root("PUT", "/nodes/pve/lxc/110/config", memory=512)
    lab.root("PUT", "/nodes/pve/lxc/110/config", lock="backup")
    assert hub("up") == 4
    assert "it is locked (backup)" in hub.said
    assert "pct unlock 110" in hub.said
    lab.root("DELETE", "/pvelab/locks/110")
    hub.ok("up")


@pytest.mark.parametrize(("when", "code"), [("shown", 6), pytest.param("made", 1, marks=pytest.mark.slow)])
def test_an_edit_after_the_plan_was_made_is_not_overwritten(lab, hub, when, code):
    lab.root("PUT", "/nodes/pve/lxc/110/config", memory=512)
    assert hub("up", between=[when, "lxc", 110, {"cores": 1}]) == code
    assert "somebody changed" in hub.said
    assert "since the plan was made" in hub.said
    assert lab.root.config(110)["memory"] == 512
    hub.ok("up")
    assert lab.root.config(110)["cores"] == 2


@pytest.mark.slow
def test_an_edit_that_takes_our_work_away_is_no_conflict(lab, hub):
    """What a late write of a killed run does: it brings the guest nearer to hub.yml."""
    lab.root("PUT", "/nodes/pve/lxc/110/config", memory=512, cores=1)
    hub.ok("up", between=["made", "lxc", 110, {"cores": 2}])
    assert lab.root.config(110)["memory"] == 1024


@pytest.mark.slow
def test_host_keys_are_those_of_the_create_log(lab, fresh):
    fresh.ok("up")
    pinned = {line.split(",")[0]: line.split()[2] for line in fresh.state.known_hosts.read_text().splitlines()}
    assert pinned == {name: base64.b64encode(host_key(name)).decode() for name in ("db", "ai")}


@pytest.mark.slow
def test_a_host_key_that_the_create_log_does_not_name_is_refused(lab, fresh):
    fresh.ok("up")
    fresh.write({"  db: {": "  store: {"})  # the stand-in for a scan still answers with the key of db
    assert fresh("up", allow=("db",)) == 6
    assert "not with one that the create task printed" in fresh.said


@pytest.mark.slow
def test_trust_and_the_first_up_of_a_new_controller(lab, fresh):
    fresh.forget()
    fresh.ok("trust", "up")
    assert fresh.state.token.read_text().startswith("hub-small@pve!hub=")
    assert fresh.state.certificate.read_text() == (lab.directory / "certificate.pem").read_text()
    assert {line.split(",")[0] for line in fresh.state.known_hosts.read_text().splitlines()} == {"node", "db", "ai"}


@pytest.mark.slow
def test_down_shows_what_goes_off_the_node_before_anything_goes(lab, hub):
    assert hub("down", allow=("db",)) == 4  # the other one's data was not given up
    shown = hub.said.partition("plan: ")[0]
    assert shown.index("VMID 201 is removed") < shown.index("delete: token hub-small@pve!hub")
    assert hub.state.token.exists()
    assert set(lab.root.guests()) == {110, 201}


@pytest.mark.slow
def test_down_without_a_token_shows_what_is_left_on_the_node(lab, hub):
    for vmid in (110, 201):
        lab.root.task("POST", f"/nodes/pve/{'lxc' if vmid == 110 else 'qemu'}/{vmid}/status/stop")
        lab.root.task("DELETE", f"/nodes/pve/{'lxc' if vmid == 110 else 'qemu'}/{vmid}")
    hub.state.token.unlink()
    hub.ok("down")
    assert "delete: token hub-small@pve!hub" in hub.said.partition("plan: ")[0]
    assert not lab.root.call("GET", "/access/users/hub-small@pve/token/hub").ok


@pytest.mark.slow
def test_down_that_died_after_the_token_is_finished_by_root_s_own_look(lab, hub):
    token = hub.state.token.read_text()
    hub.ok("down")
    hub.state.token.write_text(token)  # the node has none by that name any more
    hub.ok("down")
    assert not hub.state.token.exists()
    hub.ok("down")


@pytest.mark.slow
def test_down_without_a_token_leaves_guests_that_are_still_there(lab, hub):
    hub.state.token.unlink()
    assert hub("down") == 4
    assert "of this hub's guests db, ai are still there" in hub.said
    assert set(lab.root.guests()) == {110, 201}


def test_root_sees_the_guests_and_facts_that_the_token_sees(lab, hub, monkeypatch):
    """Before there is a token, and while it is refused, the same is read through pvesh on the node."""
    decoy(lab, 300, "neighbour")
    lab.root.task("POST", "/nodes/pve/lxc/300/status/start")
    node = Node(lab.root, lab.directory / "certificate.pem", hub.lease)
    monkeypatch.setattr(process, "run", node.run)
    token = Proxmox("127.0.0.1", lab.port, lab.token, lab.directory / "certificate.pem")
    declared, root = load.load(hub.directory / "hub.yml", target="pve"), Root(hub.state)
    assert root.read(declared) == token.read(declared)
    found, seen = root.facts(declared), token.facts(declared)
    assert found == replace(seen, permissions=None, bridges=found.bridges)
    assert found.bridges["pve"] == seen.bridges["pve"] | {"vmbr0"}, "the token does not see the LAN's"
    assert [n.vmid for n in found.neighbours] == [300]


@pytest.mark.parametrize(("name", "kind", "vmid"), [("db", "lxc", 110), ("ai", "qemu", 201)])
def test_a_guest_is_stopped_and_started_by_its_name(lab, hub, name, kind, vmid):
    hub.ok("stop", only=(name,))
    hub.ok("stop", only=(name,))
    states = {v: g["status"] for v, g in lab.root.guests().items()}
    assert states == {110: "running", 201: "running", vmid: "stopped"}
    assert hub("plan") == 3
    hub.ok("start", only=(name,))
    hub.ok("start", only=(name,))
    assert hub("plan") == 0
    before = len(writes(lab))
    hub.ok("restart", only=(name,))
    path = f"/api2/json/nodes/pve/{kind}/{vmid}/status"
    assert [request["path"] for request in writes(lab)[before:]] == [f"{path}/shutdown", f"{path}/start"]


def test_a_guest_of_somebody_else_is_never_stopped(lab, hub):
    lab.root("PUT", "/nodes/pve/qemu/201/config", description="somebody else's")
    assert hub("stop", only=("ai",)) == 6
    assert lab.root.guests()[201]["status"] == "running"
    assert "ai" in hub.said


def test_a_locked_guest_is_not_stopped_and_the_lock_is_named(lab, hub):
    lab.root("PUT", "/nodes/pve/qemu/201/config", lock="backup")
    assert hub("restart", only=("ai",)) == 4
    assert "backup" in hub.said
    assert lab.root.guests()[201]["status"] == "running"


def test_a_name_that_is_not_in_the_file_stops_nothing(lab, hub):
    assert hub("stop", only=("a",)) == 2
    assert {g["status"] for g in lab.root.guests().values()} == {"running"}
