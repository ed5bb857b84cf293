"""Containers at their edges: what is stored before it is refused, lost volumes, devices, what waits for a restart."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pve_server import TEMPLATE, Answer, Server, start, stop

LXC = "/nodes/pve/lxc"
NO_BRIDGE = "bridge 'nobr' does not exist"


@pytest.fixture(scope="module")
def gpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A node with one card of NVIDIA."""
    folder: Path = tmp_path_factory.mktemp("gpus")
    config = folder / "node.json"
    config.write_text(json.dumps({"gpus": [{"name": "rtx5090", "id": "10de:2b85"}]}))
    server = start(folder / "state", "--config", str(config))
    yield server
    stop(server, signal.SIGTERM)


@pytest.fixture(scope="module")
def token(pve: Server) -> Server:
    made = pve.call("POST", "/access/users/root@pam/token/edges", {"privsep": 0})
    return pve.as_token(f"{made.data['full-tokenid']}={made.data['value']}")


def put(pve: Server, vmid: int, **options: Any) -> Answer:
    return pve.call("PUT", f"{LXC}/{vmid}/config", options)


def begin(pve: Server, vmid: int) -> str:
    return pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {}))


def told(pve: Server) -> dict[str, dict[str, Any]]:
    return {task["upid"]: task for task in pve.get("/cluster/tasks")}


def lose(pve: Server, volid: str) -> None:
    answer = pve.call("DELETE", f"/nodes/pve/storage/local/content/{volid}")
    assert pve.done(answer) == "OK"


def test_a_change_is_stored_although_the_container_could_not_be_built(pve: Server) -> None:
    vmid = pve.container(net0="name=eth0,bridge=nobr,link_down=1")
    answer = put(pve, vmid, hostname="renamed")
    assert (answer.status, answer.message) == (500, NO_BRIDGE)
    assert pve.get(f"{LXC}/{vmid}/config")["hostname"] == "renamed"
    assert begin(pve, vmid) == NO_BRIDGE
    assert put(pve, vmid, net0="name=eth0").message == "bridge '' does not exist"
    assert begin(pve, vmid) == "bridge '' does not exist"
    assert put(pve, vmid, net0="name=eth0,bridge=vmbr0").status == 200
    assert begin(pve, vmid) == "OK"


def test_cards_are_looked_at_in_the_order_of_their_names(pve: Server) -> None:
    vmid = pve.container(net2="name=eth2,bridge=two", net10="name=eth10,bridge=ten")
    assert put(pve, vmid, cores=1).message == "bridge 'ten' does not exist"


def test_a_template_is_not_built(pve: Server) -> None:
    vmid = pve.container(net0="name=eth0,bridge=nobr")
    assert pve.call("POST", f"{LXC}/{vmid}/template", {}).status == 200
    for _ in range(200):
        if pve.get(f"{LXC}/{vmid}/config").get("template"):
            break
    assert put(pve, vmid, hostname="kept").status == 200


def test_a_replaced_mount_point_leaves_its_volume(pve: Server) -> None:
    vmid = pve.container()
    assert put(pve, vmid, mp0="local:1,mp=/x").status == 200
    assert put(pve, vmid, mp0="local:1,mp=/y").status == 200
    found = pve.get(f"{LXC}/{vmid}/config")
    assert found["unused0"] == f"local:{vmid}/vm-{vmid}-disk-1.raw"
    assert found["mp0"] == f"local:{vmid}/vm-{vmid}-disk-2.raw,mp=/y,size=1G"
    assert put(pve, vmid, mp0=f"local:{vmid}/vm-{vmid}-disk-2.raw,mp=/z").status == 200
    assert "unused1" not in pve.get(f"{LXC}/{vmid}/config")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/dev/nosuch", "Device /dev/nosuch does not exist"),
        ("/dev/nvidia0", "Device /dev/nvidia0 does not exist"),
        ("/dev/dri/renderD129", "Device /dev/dri/renderD129 does not exist"),
        ("/dev/net", "/dev/net is not a device"),
        ("/dev/shm", "/dev/shm is not a device"),
        ("/dev/null/x", "Error accessing device /dev/null/x"),
    ],
)
def test_devices_that_are_none(pve: Server, path: str, text: str) -> None:
    answer = put(pve, pve.container(), dev0=path)
    assert (answer.status, answer.message) == (500, text)
    wanted = {"vmid": next(pve.vmids), "ostemplate": TEMPLATE, "rootfs": "local:1", "dev0": path}
    created = pve.call("POST", LXC, wanted)
    assert (created.status, created.message) == (500, text)


def test_the_devices_of_the_nodes_cards(gpus: Server) -> None:
    paths = ("/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/dri/card1", "/dev/dri/renderD129", "/dev/fuse")
    vmid = gpus.container(**{f"dev{n}": f"{path},gid=44" for n, path in enumerate(paths)})
    assert begin(gpus, vmid) == "OK"
    assert put(gpus, vmid, dev9="/dev/nvidia1").message == "Device /dev/nvidia1 does not exist"
    assert put(gpus, vmid, dev9="/dev/kfd").message == "Device /dev/kfd does not exist"


def test_what_the_nodes_say_of_their_tasks(pve: Server) -> None:
    upid = pve.call("POST", f"{LXC}/{pve.container()}/status/start", {})
    assert pve.done(upid) == "OK"
    found = told(pve)
    assert len(found) <= 25
    assert not any("pstart" in task for task in found.values())
    ended = found[upid.data]
    assert set(ended) == {"upid", "node", "starttime", "type", "id", "user", "status", "endtime", "saved"}
    assert ended["saved"] == "1"


def test_a_running_task_is_told_by_its_process(pve: Server) -> None:
    vmid = pve.container()
    rule = {"kind": "task-hang", "path": f"/{vmid}/status/start$", "seconds": "2"}
    assert pve.call("POST", "/pvelab/faults", rule).status == 200
    first = pve.call("POST", f"{LXC}/{vmid}/status/start", {})
    keys = {"upid", "node", "pid", "starttime", "type", "id", "user"}
    assert set(told(pve)[first.data]) == keys  # of a task just started it is not known where its end is kept
    second = pve.call("POST", f"{LXC}/{pve.container()}/status/start", {})
    assert told(pve)[first.data] | {"saved": "0"} == told(pve)[first.data]
    assert (pve.done(second), pve.done(first)) == ("OK", "OK")
    assert "pid" not in told(pve)[first.data]


def test_a_limit_without_cores_is_a_text(pve: Server) -> None:
    vmid = pve.container(cpulimit="1.5")
    listed = next(row for row in pve.get(LXC) if row["vmid"] == vmid)
    assert (listed["cpus"], pve.get(f"{LXC}/{vmid}/status/current")["cpus"]) == ("1.5", "1.5")
    resources = {row.get("vmid"): row for row in pve.get("/cluster/resources", type="vm")}
    assert resources[vmid]["maxcpu"] == 1.5
    assert put(pve, vmid, cores=2).status == 200
    assert pve.get(f"{LXC}/{vmid}/status/current")["cpus"] == 2


def test_deleting_what_only_waits_keeps_it_waiting(pve: Server) -> None:
    vmid = pve.container()
    assert begin(pve, vmid) == "OK"
    assert put(pve, vmid, features="nesting=1").status == 200
    assert put(pve, vmid, delete="features").status == 200
    waiting = {item["key"]: item for item in pve.get(f"{LXC}/{vmid}/pending")}["features"]
    assert waiting == {"key": "features", "pending": "nesting=1"}


def test_a_deleted_option_that_waits_for_another_value(pve: Server) -> None:
    vmid = pve.container(features="nesting=1")
    assert begin(pve, vmid) == "OK"
    assert put(pve, vmid, features="nesting=1,keyctl=1").status == 200
    assert put(pve, vmid, delete="features").status == 200
    waiting = {item["key"]: item for item in pve.get(f"{LXC}/{vmid}/pending")}["features"]
    assert waiting == {"key": "features", "value": "nesting=1", "pending": "nesting=1,keyctl=1", "delete": 1}
    assert "features" not in pve.get(f"{LXC}/{vmid}/config")
    assert pve.get(f"{LXC}/{vmid}/config", current=1)["features"] == "nesting=1"
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/stop", {})) == "OK"
    assert begin(pve, vmid) == "OK"
    assert pve.get(f"{LXC}/{vmid}/config")["features"] == "nesting=1,keyctl=1"


@pytest.mark.parametrize(
    ("idmap", "text"),
    [
        ("u:0:1000:1;u:0:1000:2", "'u 0 1000 2': container uid 0 is also mapped by entry 'u 0 1000 1'"),
        ("g:5:2000:9;g:0:1000:6", "'g 5 2000 9': container gid 5 is also mapped by entry 'g 0 1000 6'"),
        ("u:0:1000:5;u:10:1004:1", "'u 10 1004 1': host uid 1004 is also mapped by entry 'u 0 1000 5'"),
    ],
)
def test_overlapping_id_maps(pve: Server, idmap: str, text: str) -> None:
    answer = put(pve, pve.container(), mp0=f"local:1,mp=/x,idmap={idmap}")
    assert (answer.status, answer.message) == (500, f"invalid map entry {text}")


def test_id_maps_side_by_side(pve: Server) -> None:
    vmid = pve.container()
    assert put(pve, vmid, mp0="local:1,mp=/x,idmap=u:0:1000:1;u:1:1001:9;g:0:1000:1").status == 200
    assert put(pve, vmid, mp1="local:1,mp=/y,idmap=passthrough").status == 200


@pytest.mark.parametrize("archive", ["foo", "/nosuch/no.tar.gz"])
def test_an_archive_that_is_no_volume(pve: Server, token: Server, archive: str) -> None:
    for restore, verb in ((0, "create"), (1, "restore")):
        vmid = next(pve.vmids)
        wanted = {"vmid": vmid, "ostemplate": archive, "rootfs": "local:1", "restore": restore}
        assert token.call("POST", LXC, wanted).status == 500
        ended = pve.done(pve.call("POST", LXC, wanted))
        assert ended == f"unable to {verb} CT {vmid} - can't find file '{archive}'"
        assert pve.call("GET", f"{LXC}/{vmid}/config").status == 500


def test_a_disk_to_create_with_must_be_there(pve: Server) -> None:
    vmid = next(pve.vmids)
    volid = f"local:{vmid}/vm-{vmid}-disk-9.raw"
    wanted = {"vmid": vmid, "ostemplate": TEMPLATE, "rootfs": volid}
    ended = pve.done(pve.call("POST", LXC, wanted))
    assert ended == f"unable to create CT {vmid} - volume '{volid}' does not exist"


@pytest.mark.parametrize(("key", "number"), [("rootfs", 0), ("mp3", 1)])
def test_lost_volumes(pve: Server, key: str, number: int) -> None:
    vmid = pve.container(mp3="local:1,mp=/x")
    volid = f"local:{vmid}/vm-{vmid}-disk-{number}.raw"
    lose(pve, volid)
    text = f"volume '{volid}' does not exist"
    resized = pve.call("PUT", f"{LXC}/{vmid}/resize", {"disk": key, "size": "+1G"})
    assert (resized.status, resized.message) == (500, text)
    moved = pve.call("POST", f"{LXC}/{vmid}/move_volume", {"volume": key, "storage": "local"})
    assert pve.done(moved) == text


def test_what_is_off_is_shown_until_its_deletion_is_done(pve: Server) -> None:
    """PVE takes an option that waits for its deletion out of the answer only where its value is true in Perl."""
    vmid = pve.container(console=0, tty=1)
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {})) == "OK"
    assert pve.call("PUT", f"{LXC}/{vmid}/config", {"delete": "console,tty"}).status == 200
    config = pve.get(f"{LXC}/{vmid}/config")
    assert config["console"] == 0
    assert "tty" not in config
