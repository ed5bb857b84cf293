"""What people do to a hub's guests by hand is put right in one `up`, or refused in words before anything is touched."""

from __future__ import annotations

import pytest

from tests.contract.provision_lab import TEMPLATE

CT, VM = "/nodes/pve/lxc/110", "/nodes/pve/qemu/201"
PLACES = {110: CT, 201: VM}


@pytest.fixture
def hub(lab):
    """A small hub that is up, on a node whose lists are as old as on a real one; gone again afterwards."""
    found = lab.hub("hub")
    found.ok("up")
    lab.root("PUT", "/pvelab/lag", seconds=3600)
    yield found
    lab.root("PUT", "/pvelab/lag", seconds=0)
    for vmid in lab.root.guests():
        kind = lab.root.guests()[vmid]["type"]
        lab.root.call("DELETE", f"/cluster/ha/resources/{'ct' if kind == 'lxc' else 'vm'}:{vmid}")
        lab.root("DELETE", f"/pvelab/locks/{vmid}")
        lab.root.call("PUT", f"/nodes/pve/{kind}/{vmid}/config", protection=0)
    for vmid in sorted(set(lab.root.guests()) - set(PLACES), reverse=True):  # clones before what they rest on
        stop(lab, f"/nodes/pve/{lab.root.guests()[vmid]['type']}/{vmid}")
        lab.root.task("DELETE", f"/nodes/pve/{lab.root.guests()[vmid]['type']}/{vmid}")
    lab.root.sweep()


def stop(lab, path):
    if lab.root("GET", f"{path}/status/current")["status"] == "running":
        lab.root.task("POST", f"{path}/status/stop")


def status(lab, path):
    found = lab.root("GET", f"{path}/status/current")
    return found.get("qmpstatus", found["status"])


def tasks(lab, vmid):
    listed = lab.root("GET", "/nodes/pve/tasks", vmid=vmid, source="all", limit=200)
    return [task["type"] for task in listed]


def writes(lab):
    requests = lab.root("GET", "/pvelab/requests")["requests"]
    return len([r for r in requests if r["method"] != "GET" and not r["path"].startswith("/api2/json/pvelab")])


def repaired(lab, hub, *said):
    """The plan says it, one `up` makes it true, and nothing is left to do."""
    assert hub("plan") == 3, hub.output
    for text in said:
        assert text in hub.said
    hub.ok("up")
    assert hub("plan") == 0, hub.output


def refused(lab, hub, verb, *said, code=4, **more):
    """Nothing is written, and it is said why, and what to do."""
    before, running = writes(lab), {vmid: status(lab, path) for vmid, path in PLACES.items()}
    for one in dict.fromkeys(("plan", verb) if verb == "up" else (verb,)):
        assert hub(one, **more) == code, hub.output
        for text in said:
            assert text in hub.said, hub.said
        assert "run the same command again" not in hub.said
    assert writes(lab) == before
    assert {vmid: status(lab, path) for vmid, path in PLACES.items()} == running


@pytest.mark.parametrize("path", [CT, VM])
def test_a_stop_by_hand_is_seen_at_once(lab, hub, path):
    lab.root.task("POST", f"{path}/status/stop")
    repaired(lab, hub, "it is stopped")
    assert status(lab, path) == "running"


def test_what_was_just_started_is_not_started_again(lab, hub):
    lab.root.task("POST", f"{VM}/status/stop")
    hub.ok("up")
    before = tasks(lab, 201)
    assert hub("plan") == 0
    hub.ok("up")
    assert tasks(lab, 201) == before


def test_a_change_that_restarts_a_machine_says_so_right_after_it_was_started(lab):
    """The cluster's list still has it stopped then."""
    found = lab.hub("hub")
    lab.root("PUT", "/pvelab/lag", seconds=3600)
    try:
        found.ok("up")
        found.write({"memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 10GiB"})
        assert found("plan") == 3
        assert "restarts" in found.said
    finally:
        lab.root("PUT", "/pvelab/lag", seconds=0)
        lab.root.sweep()


def test_a_paused_machine_is_a_difference_and_goes_on(lab, hub):
    lab.root.task("POST", f"{VM}/status/suspend")
    repaired(lab, hub, "it is paused")
    assert status(lab, VM) == "running"
    assert tasks(lab, 201)[0] == "qmresume"


def test_a_hibernated_machine_goes_on_with_its_memory(lab, hub):
    lab.root.task("POST", f"{VM}/status/suspend", todisk=1)
    memory = lab.root.config(201)["vmstate"]
    repaired(lab, hub, "it is hibernated: it goes on where it was, with its memory")
    assert (status(lab, VM), tasks(lab, 201)[0]) == ("running", "qmresume")
    assert not {"lock", "vmstate"} & lab.root.config(201).keys()
    log = lab.root("GET", "/nodes/pve/tasks", vmid=201, source="all", limit=1)[0]["upid"]
    lines = [line["t"] for line in lab.root("GET", f"/nodes/pve/tasks/{log}/log", limit=0)]
    assert "Resuming suspended VM" in lines, (memory, lines)


@pytest.mark.parametrize("how", [{}, {"todisk": 1}])
def test_what_sleeps_is_changed_once_it_goes_on(lab, hub, how):
    lab.root.task("POST", f"{VM}/status/suspend", **how)
    hub.write({"memory: 2GiB, disk: 10GiB": "memory: 3GiB, disk: 10GiB"})
    repaired(lab, hub, "restarts")
    assert lab.root.config(201)["memory"] in (3072, "3072")


@pytest.mark.parametrize("how", [{}, {"todisk": 1}])
def test_what_sleeps_can_be_removed(lab, hub, how):
    lab.root.task("POST", f"{VM}/status/suspend", **how)
    hub.ok("down")
    assert lab.root.guests() == {}


@pytest.mark.parametrize("vmid", [110, 201])
def test_a_locked_guest_is_left_alone_and_so_are_its_siblings(lab, hub, vmid):
    path, tool = PLACES[vmid], "pct" if vmid == 110 else "qm"
    lab.root("PUT", f"{path}/config", memory=512)
    lab.root("PUT", f"{PLACES[311 - vmid]}/config", onboot=0)
    lab.root("PUT", f"{path}/config", lock="backup")
    refused(lab, hub, "up", "it is locked (backup)", f"{tool} unlock {vmid}")
    refused(lab, hub, "down", "it is locked (backup)")
    lab.root("DELETE", f"/pvelab/locks/{vmid}")
    repaired(lab, hub)


def test_a_protected_guest_keeps_down_from_removing_its_siblings(lab, hub):
    lab.root("PUT", f"{VM}/config", protection=1)
    assert hub("plan") == 0
    refused(lab, hub, "down", "guest ai: it is protected", "qm set 201 --protection 0")


@pytest.mark.parametrize("vmid", [110, 201])
def test_a_managed_guest_is_neither_stopped_nor_started_by_us(lab, hub, vmid):
    """Its manager is only asked, and acts later: a removal would find it running."""
    sid, path = f"{'ct' if vmid == 110 else 'vm'}:{vmid}", PLACES[vmid]
    lab.root("POST", "/cluster/ha/resources", sid=sid, state="started")
    for verb in ("stop", "restart"):
        refused(lab, hub, verb, "high availability", f"ha-manager remove {sid}", only=["ai" if vmid == 201 else "db"])
    refused(lab, hub, "down", "high availability", f"ha-manager remove {sid}")
    lab.root("PUT", f"{path}/config", onboot=0)
    repaired(lab, hub)  # what needs no stop is done
    if vmid == 201:
        lab.root("PUT", f"{path}/config", cores=1)
        refused(lab, hub, "up", "high availability")


def test_a_guest_made_a_template_is_made_anew_only_when_nothing_rests_on_it(lab, hub):
    lab.root.task("POST", f"{VM}/status/stop")
    lab.root.task("POST", f"{VM}/template")
    assert hub("plan") == 3
    assert "it was made a template" in hub.said
    assert hub("up") == 4
    assert "--allow-destroy ai" in hub.said
    lab.root.task("POST", f"{VM}/clone", newid=300, name="clone", full=0)
    refused(lab, hub, "up", "linked clones rest on its disk: clone (VMID 300)", allow=("ai",))
    lab.root.task("DELETE", "/nodes/pve/qemu/300")
    hub.ok("up", allow=("ai",))
    assert status(lab, VM) == "running"
    assert hub("plan") == 0


@pytest.mark.parametrize("other", ["", "theirs"])
def test_a_guest_that_left_the_pool_is_brought_back_by_root(lab, hub, other):
    lab.root("PUT", "/pools/hub-small", vms=110, delete=1)
    if other:
        lab.root.call("POST", "/pools", poolid=other)
        lab.root("PUT", f"/pools/{other}", vms=110)
    lab.root("PUT", f"{CT}/config", memory=512)
    repaired(lab, hub, "where the token has no say as root@node")
    assert lab.root.guests()[110]["pool"] == "hub-small"
    assert lab.root.config(110)["memory"] == 1024


@pytest.mark.parametrize(("vmid", "extra"), [(110, {"memory": 512}), (201, {"cores": 1})])
def test_a_card_on_a_foreign_bridge_comes_back_as_root_and_the_other_changes_go_on(lab, hub, vmid, extra):
    path, before = PLACES[vmid], lab.root.config(vmid)
    lab.root("PUT", f"{path}/config", net0=before["net0"].replace("bridge=hub", "bridge=vmbr0,link_down=0,mtu=1400,x=")
             .split(",x=")[0] + ("" if vmid == 201 else ",gw=10.10.10.1,hwaddr=BC:24:11:00:00:6E,ip=10.10.10.11/24"),
             **extra)  # fmt: skip
    repaired(lab, hub, "net0.bridge", "as root@node")
    now = lab.root.config(vmid)
    assert "vmbr0" not in now["net0"]
    assert all(str(now[key]) == str(before[key]) for key in extra)


@pytest.mark.parametrize("text", ["", "aihub:v1 hub=00112233445566ff vmid=110 guest=bd", "aihub:v1 hub=0011 vmid=110"])
def test_an_edited_marker_makes_a_guest_foreign_and_the_line_to_put_back_is_printed(lab, hub, text):
    mark = lab.root.config(110)["description"].splitlines()[0]
    lab.root("PUT", f"{CT}/config", description=text)
    refused(lab, hub, "up", "VMID 110", code=4 if "guest=bd" in text else 6)
    if "guest=bd" not in text:
        assert f"put this line back: {mark}" in hub.said
    lab.root("PUT", f"{CT}/config", description=mark)
    assert hub("plan") == 0


def copied(lab, vmid=300, **more):
    mark = "aihub:v1 hub=00112233445566ff vmid=110 guest=db"
    net0 = "name=eth0,bridge=hubinfra,ip=10.10.10.11/24,hwaddr=BC:24:11:00:00:6E"
    values = {"hostname": "db", "rootfs": "local:1", "tags": "aihub;infra", "description": mark, "net0": net0, **more}
    lab.root.task("POST", "/nodes/pve/lxc", vmid=vmid, ostemplate=TEMPLATE, **values)


@pytest.mark.parametrize("more", [{}, {"pool": "hub-small"}, {"tags": "theirs", "description": "theirs"}])
def test_a_copy_of_a_guest_that_runs_is_a_conflict_and_one_that_is_off_is_none(lab, hub, more):
    copied(lab, **more)
    lab.root("PUT", f"{CT}/config", memory=512)
    repaired(lab, hub)
    lab.root.task("POST", "/nodes/pve/lxc/300/status/start")
    lab.root("PUT", f"{CT}/config", memory=512)
    refused(lab, hub, "up", "VMID 300), which is not ours", "10.10.10.11", code=6)


def test_a_copy_that_runs_is_seen_though_nothing_else_is_to_be_done(lab, hub):
    copied(lab)
    assert hub("plan") == 0
    lab.root.task("POST", "/nodes/pve/lxc/300/status/start")
    refused(lab, hub, "up", "db (VMID 300), which is not ours, runs with its", code=6)


def test_a_create_of_a_killed_run_whose_task_is_at_work_is_waited_for(lab):
    """It is locked and in no pool until it is done, and then it is neither: nobody has to be root for that."""
    found = lab.hub("hub")
    try:
        lab.root.fault(kind="task-hang", method="POST", path="/nodes/pve/lxc$", seconds=3)
        assert found("up", crash="POST /nodes/pve/lxc:after") == -9
        assert found("plan") == 3, found.output
        assert "an earlier run's task is still at work on VMID 110" in found.said
        assert "pct unlock" not in found.said
        found.ok("up")
        assert found("plan") == 0
        assert {vmid: status(lab, path) for vmid, path in PLACES.items()} == {110: "running", 201: "running"}
    finally:
        lab.root.sweep()


def test_what_a_died_create_left_is_refused_by_plan_before_its_sibling_is_made(lab):
    found = lab.hub("hub")
    try:
        lab.root.fault(kind="task-fail", method="POST", path="/nodes/pve/lxc$", message="worker died")
        lab.root.fault(kind="storage-full", method="POST", path="/nodes/pve/qemu$")
        assert found("up") == 1
        before = writes(lab)
        for verb in ("plan", "up"):
            assert found(verb) == 4
            assert "pct unlock 110; pct destroy 110" in found.said
        assert writes(lab) == before
        assert 201 not in lab.root.guests()
    finally:
        lab.root.sweep()


def test_a_new_number_is_refused_and_with_leave_to_lose_the_data_the_old_guest_goes_first(lab, hub):
    hub.write({"vmid: 110": "vmid: 119"})
    refused(lab, hub, "up", "it has VMID 110, hub.yml says 119", "put `vmid: 110` back")
    before = len(lab.root("GET", "/pvelab/requests")["requests"])
    hub.ok("up", allow=("db",))
    made = [
        (r["method"], r["path"].removeprefix("/api2/json")) for r in lab.root("GET", "/pvelab/requests")["requests"]
    ]
    order = [one for one in made[before:] if one in (("DELETE", CT), ("POST", "/nodes/pve/lxc"))]
    assert order == [("DELETE", CT), ("POST", "/nodes/pve/lxc")]
    assert hub("plan") == 0
    assert set(lab.root.guests()) == {119, 201}


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("cores: 2, memory: 1GiB", "cores: 500, memory: 1GiB", "guest db: hub.yml says 500 cores, node pve has"),
        ("cores: 2, memory: 2GiB", "cores: 500, memory: 2GiB", "guest ai: hub.yml says 500 cores, node pve has"),
        ("memory: 1GiB", "memory: 8000GiB", "guest db: hub.yml says 8000GiB of memory, node pve has"),
        ("disk: 8GiB", "disk: 90000GiB", "guest db: hub.yml says a disk of 90000GiB, storage local has"),
    ],
)
def test_more_than_the_node_has_is_refused_before_a_sibling_is_changed(lab, hub, old, new, said):
    lab.root("PUT", f"{VM}/config", onboot=0)
    hub.write({old: new})
    refused(lab, hub, "up", said)
