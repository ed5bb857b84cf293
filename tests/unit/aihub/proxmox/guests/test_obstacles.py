"""What has to be asked for is asked before the first step: high availability, linked clones, snapshots."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.errors import PreconditionFailed
from aihub.proxmox.errors import Lost, RefusedByProxmox
from aihub.proxmox.guests.obstacles import check
from aihub.proxmox.guests.plan import down_plan, plan
from aihub.proxmox.state import ActualGuest, ActualGuests

VM = "/nodes/pve/qemu/201"


def api(answers):
    def get(path, **_):
        answer = answers.get(path, {})
        if isinstance(answer, Exception):
            raise answer
        return answer

    return get


def test_a_guest_that_nobody_manages_may_go(hub, world):
    check(api({f"{VM}/status/current": {"ha": {"managed": 0}}}), down_plan(hub, world()).changes, world())


@pytest.mark.parametrize("do", ["remove", "restart", "start"])
def test_a_managed_guest_is_neither_stopped_nor_started(hub, world, have, do):
    actual = {
        "remove": world(),
        "restart": world(ai=have("ai", {"cores": "1"})),
        "start": world(ai=have("ai", status="stopped")),
    }[do]
    changes = (down_plan(hub, actual) if do == "remove" else plan(hub, actual)).changes
    with pytest.raises(PreconditionFailed, match="guest ai: it is managed by Proxmox's high availability") as caught:
        check(api({f"{VM}/status/current": {"ha": {"managed": 1, "state": "started"}}}), changes, actual)
    assert "ha-manager remove vm:201" in caught.value.hint
    check(api({}), changes, actual)


def test_a_managed_guest_takes_what_needs_no_stop(hub, world, have):
    actual = world(ai=have("ai", {"onboot": "0"}))
    check(api({f"{VM}/status/current": {"ha": {"managed": 1}}}), plan(hub, actual).changes, actual)


@pytest.mark.parametrize(
    "disk",
    ["local-zfs:base-201-disk-0/vm-300-disk-0,size=8G", "local:201/base-201-disk-0.qcow2/300/vm-300-disk-0.qcow2"],
)
def test_a_template_stays_while_linked_clones_rest_on_it(hub, world, have, disk):
    silent = ActualGuest(302, "vm", "dead", "silent", "unknown")
    gone = ActualGuest(303, "vm", "pve", "gone", "stopped")
    clone = ActualGuest(300, "vm", "pve", "clone", "running")
    template = world(ai=have("ai", template=True, status="stopped"))
    actual = ActualGuests({**template.guests, 300: clone, 302: silent, 303: gone}, {302: "its node is offline"})
    answers = {
        "/nodes/pve/qemu/300/config": {"scsi0": disk},
        "/nodes/pve/qemu/303/config": Lost("no answer"),
        f"{VM}/status/current": RefusedByProxmox("no", status=403),
    }
    changes = plan(hub, actual).changes
    with pytest.raises(PreconditionFailed, match=r"linked clones rest on its disk: clone \(VMID 300\)"):
        check(api(answers), changes, actual)
    answers["/nodes/pve/qemu/300/config"] = {"scsi0": disk.replace("base-201", "base-2010")}
    check(api(answers), changes, actual)


def test_a_disk_that_a_snapshot_holds_is_not_taken_off_and_then_kept(hub, world, have):
    actual = world(ai=have("ai", {"scsi1": "tank:vm-201-disk-1,size=8G", "parent": "before"}))
    changes = plan(hub, actual, allow_destroy={"ai"}).changes
    answers = {
        f"{VM}/snapshot": [{"name": "before"}, {"name": "current"}],
        f"{VM}/snapshot/before/config": {"scsi1": "tank:vm-201-disk-1,size=8G"},
    }
    with pytest.raises(PreconditionFailed, match="snapshot before holds a disk that is to go") as caught:
        check(api(answers), changes, actual)
    assert "qm delsnapshot 201 before" in caught.value.hint
    answers[f"{VM}/snapshot/before/config"] = {"scsi0": "local-zfs:vm-201-disk-0,size=100G"}
    check(api(answers), changes, actual)


def test_a_snapshot_is_no_difference(hub, world, have):
    assert plan(hub, world(ai=have("ai", {"parent": "before"}))).is_empty


def test_an_answer_that_does_not_come_lets_nothing_pass(hub, world):
    with pytest.raises(Lost):
        check(api({f"{VM}/status/current": Lost("no answer")}), down_plan(hub, world()).changes, world())


def test_what_is_still_to_be_made_is_not_asked_for(hub):
    nobody = ActualGuests({})

    def get(path, **_):
        raise AssertionError(path)

    check(get, plan(hub, nobody).changes, nobody)
    check(get, [], replace(nobody))
