"""Reading: few calls, only what matters, and pending values told from those in force."""

from __future__ import annotations

import threading
import time

import pytest
from aihub.errors import PreconditionFailed
from aihub.names import Marker
from aihub.proxmox.errors import Lost, RefusedByProxmox, understood
from aihub.proxmox.facts import Room, read_facts
from aihub.proxmox.state import many, read

KINDS = {"vm": ("lxc", "qemu")}
LINE = "aihub:v1 hub=00112233445566ff vmid=110 guest=db"


class Api:
    """Answers from a table and remembers what was asked."""

    def __init__(self, answers):
        listed = [
            one
            for one in answers.get("/cluster/resources", ())
            if "vmid" in one and one["node"] == "pve" and one["type"] == "lxc"
        ]
        self.answers, self.calls = {"/nodes/pve/lxc": listed, "/nodes/pve/qemu": [], **answers}, []

    def __call__(self, path, **params):
        self.calls.append(path)
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        if kind := params.get("type") if path == "/cluster/resources" and isinstance(answer, list) else None:
            return [
                one
                for one in answer
                if not isinstance(one, dict) or one.get("type") in (None, *KINDS.get(kind, (kind,)))
            ]
        return answer


def resource(vmid, name, **more):
    return {"vmid": vmid, "name": name, "type": "lxc", "node": "pve", "status": "running", **more}


def test_only_our_own_and_those_on_our_numbers_have_their_config_read(hub):
    api = Api({
        "/cluster/resources": [
            resource(110, "db", pool="hub-small"),
            resource(111, "foreign"),
            resource(150, "left", pool="hub-small"),
            resource(160, "tagged", tags="aihub;infra"),
            *(resource(n, f"other{n}") for n in range(1000, 1200)),
        ],
        **{f"/nodes/pve/lxc/{n}/pending": [{"key": "hostname", "value": "x"}] for n in (110, 111, 150, 160)},
    })  # fmt: skip
    found = read(api, hub)
    assert len(api.calls) == 6
    assert len(found.guests) == 204
    assert found.guests[1000].config is None
    assert found.guests[110].config == {"hostname": "x"}


def test_whether_a_guest_runs_is_its_node_s_word(hub):
    """The cluster's list is up to ten seconds behind."""
    api = Api({
        "/cluster/resources": [resource(110, "db"), resource(111, "foreign")],
        "/nodes/pve/lxc": [{"vmid": 110, "status": "stopped"}],
        **{f"/nodes/pve/lxc/{n}/pending": [] for n in (110, 111)},
    })  # fmt: skip
    found = read(api, hub)
    assert {vmid: guest.running for vmid, guest in found.guests.items()} == {110: False, 111: True}


def test_pending_values_are_what_will_be_and_the_present_ones_are_kept_beside(hub):
    api = Api({
        "/cluster/resources": [resource(110, "db")],
        "/nodes/pve/lxc/110/pending": [
            {"key": "memory", "value": 512, "pending": 1024},
            {"key": "swap", "value": 0},
            {"key": "nameserver", "value": "10.0.0.1", "delete": 1},
            {"key": "features", "pending": "nesting=1"},
            {"key": "digest", "value": "abc"},
            {"key": "lock", "value": "backup"},
            {"key": "description", "value": f"{LINE}\n"},
        ],
    })  # fmt: skip
    found = read(api, hub).guests[110]
    assert found.config == {"memory": "1024", "swap": "0", "features": "nesting=1", "description": f"{LINE}\n"}
    assert found.current == {"memory": "512", "nameserver": "10.0.0.1", "features": None}
    assert (found.digest, found.lock) == ("abc", "backup")
    assert found.marker == Marker("00112233445566ff", 110, "db")


def test_what_waits_for_a_restart_is_not_in_force(hub):
    waiting = [{"key": "net0", "value": "ip=1.2.3.4/24", "pending": "ip=1.2.3.5/24"}, {"key": "cores", "value": 2}]
    waiting += [{"key": "mp0", "value": "x", "delete": 1}, {"key": "features", "pending": "nesting=1"}]
    api = Api({"/cluster/resources": [resource(110, "db")], "/nodes/pve/lxc/110/pending": waiting})
    assert read(api, hub).guests[110].in_force == {"net0": "ip=1.2.3.4/24", "cores": "2", "mp0": "x"}


def test_a_guest_that_vanishes_between_two_calls_is_not_there(hub):
    gone = RefusedByProxmox("Configuration file 'nodes/pve/lxc/110.conf' does not exist", status=500)
    found = read(Api({"/cluster/resources": [resource(110, "db")], "/nodes/pve/lxc/110/pending": gone}), hub)
    assert not found.guests


def test_other_refusals_are_not_taken_for_absence(hub):
    broken = RefusedByProxmox("unable to read", status=500)
    with pytest.raises(RefusedByProxmox):
        read(Api({"/cluster/resources": [resource(110, "db")], "/nodes/pve/lxc/110/pending": broken}), hub)


def test_a_create_that_died_leaves_a_bare_config(hub):
    api = Api({
        "/cluster/resources": [resource(110, "VM 110")],
        "/nodes/pve/lxc/110/pending": [{"key": "lock", "value": "create"}, {"key": "digest", "value": "x"}],
    })  # fmt: skip
    found = read(api, hub).guests[110]
    assert found.bare
    assert found.lock == "create"


def test_facts_are_gathered_for_the_guests_in_question(hub):
    api = Api({
        "/cluster/resources": [
            {"type": "node", "node": "pve", "status": "unknown"},
            {"type": "storage", "storage": "local", "node": "pve", "status": "available", "content": "vztmpl,import"},
            {"type": "storage", "storage": "tank", "node": "pve", "status": "unknown", "content": "rootdir"},
            resource(300, "other"),
            resource(301, "hidden"),
            resource(302, "off", status="stopped"),
            resource(150, "ours", pool="hub-small"),
            {**resource(303, "far"), "node": "dead"},
            {"type": "node", "node": "dead", "status": "offline"},
        ],
        "/nodes/pve/storage/local/content": [{"volid": "local:vztmpl/x.tar.zst"}],
        "/nodes/pve/network": [{"iface": "vmbr0"}],
        "/nodes/pve/storage/tank/status": {"active": 1, "total": 8 << 40},
        "/nodes/pve/status": {"cpuinfo": {"cpus": 16}, "memory": {"total": 64 << 30}},
        "/pools": [{"poolid": "hub-small"}],
        "/access/permissions": {"/": {"VM.Audit": 1}},
        "/cluster/nextid": RefusedByProxmox("bad", status=400, fields={"vmid": "VM 110 already exists"}),
        "/nodes/pve/lxc/300/config": {"net0": "name=eth0,hwaddr=bc:24:11:00:00:01,ip=10.0.0.7/24", "tags": "x"},
        "/nodes/pve/lxc/301/config": RefusedByProxmox("no", status=403),
        "/nodes/pve/lxc/150/config": {"description": LINE.replace("110", "150"), "net0": "ip=10.0.0.8/24"},
    })  # fmt: skip
    found = read_facts(api, hub, frozenset({110, 111}))
    assert found.taken == dict.fromkeys((110, 111), "VM 110 already exists")
    assert found.volumes == {"pve:local:vztmpl/x.tar.zst"}
    assert found.storages["pve", "tank"].available, "the list knows nothing yet: the node was asked"
    assert found.storages["pve", "tank"].size == 8 << 40
    assert found.rooms == {"pve": Room(16, 64 << 30)}
    assert [(n.vmid, n.macs, n.addresses) for n in found.neighbours] == [(300, {"BC:24:11:00:00:01"}, {"10.0.0.7"})]


@pytest.mark.parametrize(
    ("nodes", "said"),
    [
        ([("proxmox", "online"), ("two", "online")], "Proxmox has no node pve: it knows proxmox, two"),
        ([("pve", "offline")], "node pve is offline"),
    ],
)
def test_a_node_that_is_called_otherwise_or_is_off_is_said_in_words(hub, nodes, said):
    listed = [{"type": "node", "node": node, "status": state} for node, state in nodes]
    with pytest.raises(PreconditionFailed, match=said) as caught:
        read_facts(Api({"/cluster/resources": listed}), hub)
    assert "run the same command again" not in caught.value.hint


def near(vmid, **more):
    return {
        "/cluster/resources": [resource(vmid, "x", **more), {"type": "node", "node": "dead", "status": "offline"}],
        f"/nodes/pve/lxc/{vmid}/pending": Lost("the node does not answer"),
    }


def test_a_guest_on_a_node_that_is_off_is_not_asked_for(hub):
    found = read(Api(near(110, node="dead")), hub)
    assert found.unread == {110: "its node dead is offline"}
    assert found.guests[110].status == "unknown"


def test_a_stranger_that_cannot_be_read_stops_nobody_and_one_of_ours_does(hub):
    found = read(Api(near(300, tags="aihub")), hub)
    assert found.unread == {300: "the node does not answer"}
    for ours in (near(110), near(300, pool="hub-small")):
        with pytest.raises(Lost):
            read(Api(ours), hub)


def machine(**said):
    place = "/nodes/pve/qemu/201"
    return {
        "/cluster/resources": [{**resource(201, "ai", status="unknown"), "type": "qemu"}],
        f"{place}/pending": [{"key": "name", "value": "ai"}, {"key": "lock", "value": "suspended"}],
        f"{place}/status/current": said,
    }


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"status": "running", "qmpstatus": "running"}, "running"),
        ({"status": "running", "qmpstatus": "paused"}, "paused"),
        ({"status": "running", "qmpstatus": "io-error"}, "paused"),
        ({"status": "stopped", "qmpstatus": "stopped"}, "stopped"),
    ],
)
def test_what_a_machine_does_is_its_monitors_word(hub, said, status):
    found = read(Api(machine(**said)), hub).guests[201]
    assert (found.status, found.hibernated, found.held) == (status, True, "")


def test_an_error_among_many_reads_waits_for_no_other():
    release = threading.Event()

    def look(number):
        if number == 0:
            raise RefusedByProxmox("no", status=403)
        assert release.wait(10)

    started = time.monotonic()
    try:
        with pytest.raises(RefusedByProxmox):
            many(look, list(range(9)))
        assert time.monotonic() - started < 2
    finally:
        release.set()


@pytest.mark.parametrize("nonsense", [None, 5, {"a": 1}, ["x"], [{}]])
def test_an_answer_of_another_shape_says_nothing(hub, nonsense):
    found = understood(lambda: read(Api({"/cluster/resources": nonsense}), hub))
    with pytest.raises(Lost, match="makes no sense"):
        found()
