"""A6: what only root@pam by ticket may do: a token of root, with all its privileges, meets the same walls."""

from __future__ import annotations

from typing import Any

import pytest
from pve_server import TEMPLATE, Server

LXC, QEMU = "/nodes/pve/lxc", "/nodes/pve/qemu"
DENIED = "Permission check failed ({})"
DEVICE = DENIED.format("configuring device passthrough is only allowed for root@pam")
FLAGS = DENIED.format("changing feature flags (except nesting) is only allowed for root@pam")
PRIVILEGED = DENIED.format("changing feature flags for privileged container is only allowed for root@pam")
BIND = DENIED.format("mount point type bind is only allowed for root@pam")
HOOK = DENIED.format("changing the hookscript is only allowed for root@pam")


@pytest.fixture(scope="module")
def token(pve: Server) -> Server:
    made = pve.call("POST", "/access/users/root@pam/token/walls", {"privsep": 0})
    return pve.as_token(f"{made.data['full-tokenid']}={made.data['value']}")


@pytest.fixture(scope="module")
def ids(pve: Server) -> dict[str, int]:
    machine = pve.machine(hostpci0="host=0000:01:00.0")
    return {"c": pve.container(), "p": pve.container(unprivileged=0), "m": machine}


WALLS: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("PUT", f"{LXC}/{{c}}/config", {"dev0": "/dev/null"}, 403, DEVICE),
    ("PUT", f"{LXC}/{{c}}/config", {"features": "nesting=1,keyctl=1"}, 403, FLAGS),
    ("PUT", f"{LXC}/{{c}}/config", {"features": "fuse=1"}, 403, FLAGS),
    ("PUT", f"{LXC}/{{p}}/config", {"features": "nesting=1"}, 403, PRIVILEGED),
    ("PUT", f"{LXC}/{{c}}/config", {"mp0": "/mnt/models,mp=/models"}, 403, BIND),
    ("PUT", f"{LXC}/{{c}}/config", {"hookscript": "local:snippets/x.sh"}, 403, HOOK),
    ("PUT", f"{LXC}/{{c}}/config", {"net0": "name=eth0,bridge=vmbr0"}, 200, ""),
    ("PUT", f"{LXC}/{{c}}/config", {"features": "nesting=1"}, 200, ""),
    ("PUT", f"{QEMU}/{{m}}/config", {"hostpci1": "host=0000:02:00.0"}, 500,
     "only root can set 'hostpci1' config for non-mapped devices"),
    ("PUT", f"{QEMU}/{{m}}/config", {"hostpci0": "mapping=gpu"}, 500,
     "only root can set 'hostpci0' config for non-mapped devices"),
    ("PUT", f"{QEMU}/{{m}}/config", {"hostpci2": "mapping=gpu,pcie=1"}, 200, ""),
    ("PUT", f"{QEMU}/{{m}}/config", {"args": "-S"}, 500, "only root can set 'args' config"),
    ("PUT", f"{QEMU}/{{m}}/config", {"lock": "backup"}, 500, "only root can set 'lock' config"),
    ("PUT", f"{QEMU}/{{m}}/config", {"usb0": "host=1-2"}, 500, "only root can set 'usb0' config for real devices"),
    ("PUT", f"{QEMU}/{{m}}/config", {"usb0": "spice"}, 200, ""),
    ("PUT", f"{QEMU}/{{m}}/config", {"serial0": "/dev/ttyS0"}, 500,
     "only root can modify 'serial0' config for real devices"),
    ("PUT", f"{QEMU}/{{m}}/config", {"serial0": "socket"}, 200, ""),
    ("PUT", f"{QEMU}/{{m}}/config", {"delete": "hostpci0"}, 500,
     "only root can set 'hostpci0' config for non-mapped devices"),
    ("PUT", f"{QEMU}/{{m}}/config", {"scsi5": "/dev/sdb"}, 500, "Only root can pass arbitrary filesystem paths."),
    ("POST", f"{QEMU}/{{m}}/clone", {"newid": 993}, 500,
     "only root can set 'hostpci0' config for non-mapped devices"),
    ("POST", LXC, {"vmid": 993, "ostemplate": TEMPLATE, "rootfs": "local:1", "dev0": "/dev/null"}, 403, DEVICE),
    ("POST", LXC, {"vmid": 993, "ostemplate": TEMPLATE, "rootfs": "local:1", "features": "keyctl=1"}, 403, FLAGS),
    ("POST", LXC, {"vmid": 993, "ostemplate": TEMPLATE, "rootfs": "/mnt/root"}, 403, BIND),
    ("POST", QEMU, {"vmid": 993, "hostpci0": "0000:01:00"}, 500,
     "only root can set 'hostpci0' config for non-mapped devices"),
    ("POST", QEMU, {"vmid": 993, "serial0": "/dev/ttyS0"}, 500, "only root can set 'serial0' config for real devices"),
    *[(method, f"{QEMU}/{{m}}{path}", {"skiplock": 1, **more}, 400, "Parameter verification failed.") for
      method, path, more in (("PUT", "/config", {"cores": 1}), ("POST", "/status/start", {}), ("DELETE", "", {}),
                             ("POST", "/status/stop", {}), ("PUT", "/resize", {"disk": "scsi0", "size": "+1G"}))],
]  # fmt: skip


@pytest.mark.parametrize("wall", WALLS, ids=lambda wall: f"{wall[0]} {wall[1]} {wall[2]}")
def test_walls(token: Server, ids: dict[str, int], wall: tuple[str, str, dict[str, Any], int, str]) -> None:
    method, path, params, status, message = wall
    answer = token.call(method, path.format(**ids), params)
    assert (answer.status, answer.message) == (status, message)
    if "skiplock" in params:
        assert answer.errors == {"skiplock": "Only root may use this option."}


def test_a_ticket_of_root_passes(pve: Server) -> None:
    container, machine = pve.container(dev0="/dev/null", features="keyctl=1,nesting=1"), pve.machine()
    assert pve.get(f"{LXC}/{container}/config")["features"] == "keyctl=1,nesting=1"  # A3: kept as it was sent
    for options in ({"hostpci1": "host=0000:02:00.0"}, {"args": "-S"}, {"serial0": "/dev/ttyS0"}):
        assert pve.call("PUT", f"{QEMU}/{machine}/config", options).status == 200
