"""What was seen on Proxmox VE's real code and is easily got wrong: one promise each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pve_server import Server

LXC, QEMU = "/nodes/pve/lxc", "/nodes/pve/qemu"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Zl0nMzvUkzqwZVr0YHqbdIMc5k0PfGYzmFXlrqV2y joe"
OF_ANOTHER_TYPE = KEY.replace("ssh-ed25519", "ssh-rsa")


@contextmanager
def lag(pve: Server, seconds: float) -> Iterator[None]:
    assert pve.call("PUT", "/pvelab/lag", {"seconds": seconds}).status == 200
    try:
        yield
    finally:
        pve.call("PUT", "/pvelab/lag", {"seconds": 0})


def listed(pve: Server, ident: str) -> Any:
    return next(item["status"] for item in pve.get("/cluster/resources") if item["id"] == ident)


def test_the_cluster_s_list_is_some_seconds_behind(pve: Server) -> None:
    vmid = pve.container()
    with lag(pve, 1.5):
        pve.get("/cluster/resources")
        begun = time.monotonic()
        assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/start", {})) == "OK"
        assert pve.get(f"{LXC}/{vmid}/status/current")["status"] == "running"
        assert listed(pve, f"lxc/{vmid}") == "stopped"
        while listed(pve, f"lxc/{vmid}") != "running":
            assert time.monotonic() - begun < 5
            time.sleep(0.1)
        assert time.monotonic() - begun > 1
    assert pve.done(pve.call("POST", f"{LXC}/{vmid}/status/stop", {})) == "OK"
    assert listed(pve, f"lxc/{vmid}") == "stopped"


def test_of_a_fresh_storage_nothing_is_known(pve: Server) -> None:
    fresh = {"storage": "fresh", "type": "dir", "path": "/mnt/fresh", "content": "iso"}
    try:
        with lag(pve, 60):
            pve.get("/cluster/resources")
            assert pve.call("POST", "/storage", fresh).status == 200
            assert listed(pve, "storage/pve/fresh") == "unknown"
            assert listed(pve, "storage/pve/local") == "available"
            assert next(s for s in pve.get("/nodes/pve/storage") if s["storage"] == "fresh")["active"] == 1
        assert listed(pve, "storage/pve/fresh") == "available"
    finally:
        pve.call("DELETE", "/storage/fresh")


@pytest.mark.parametrize(("path", "more"), [(LXC, {"ostemplate": "local:vztmpl/none.tar.gz"}), (QEMU, {})])
def test_a_guest_joins_its_pool_last(pve: Server, path: str, more: dict[str, Any]) -> None:
    """While it is made it is there, under a lock, and in no pool: who finds it then does not take it for the pool's."""
    vmid = next(pve.vmids)
    pve.call("POST", "/pools", {"poolid": "joined"})
    fault = pve.call(
        "POST", "/pvelab/faults", {"kind": "task-hang", "seconds": 1, "method": "POST", "path": f"{path}$"}
    )
    wanted = {"vmid": vmid, "pool": "joined", **more}
    if path == LXC:
        wanted["ostemplate"] = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
    try:
        made = pve.call("POST", path, wanted)
        assert pve.get(f"{path}/{vmid}/config")["lock"] == "create"
        assert pve.get("/pools/joined")["members"] == []
        assert pve.done(made) == "OK"
        assert [m["vmid"] for m in pve.get("/pools/joined")["members"]] == [vmid]
    finally:
        pve.call("DELETE", "/pvelab/faults", {"id": fault.data["id"]})
        pve.done(pve.call("DELETE", f"{path}/{vmid}"))
        pve.call("DELETE", "/pools/joined")


def test_a_create_that_fails_joins_no_pool(pve: Server) -> None:
    vmid = next(pve.vmids)
    pve.call("POST", "/pools", {"poolid": "joined"})
    wanted = {"vmid": vmid, "pool": "joined", "ostemplate": "local:vztmpl/none.tar.gz"}
    assert pve.done(pve.call("POST", LXC, wanted)).startswith(f"unable to create CT {vmid} - ")
    assert pve.get("/pools/joined")["members"] == []
    assert pve.call("DELETE", "/pools/joined").status == 200


def test_a_protected_guest_is_not_destroyed(pve: Server) -> None:
    for path, vmid, word in ((LXC, pve.container(), "CT"), (QEMU, pve.machine(), "VM")):
        assert pve.call("PUT", f"{path}/{vmid}/config", {"protection": 1}).status == 200
        refused = pve.call("DELETE", f"{path}/{vmid}", {"purge": 1})
        assert (refused.status, refused.message) == (500, f"can't remove {word} {vmid} - protection mode enabled")
        assert pve.get(f"{path}/{vmid}/config")["protection"] == 1
        assert pve.call("PUT", f"{path}/{vmid}/config", {"protection": 0}).status == 200
        assert pve.done(pve.call("DELETE", f"{path}/{vmid}")) == "OK"


def test_a_machine_does_not_start_without_its_bridge(pve: Server) -> None:
    vmid = pve.machine(net0="virtio,bridge=nobr")
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "bridge 'nobr' does not exist"
    assert pve.call("PUT", f"{QEMU}/{vmid}/config", {"net0": "virtio,bridge=vmbr0"}).status == 200
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "OK"


@pytest.mark.parametrize("key", ["ssh-ed25519 AAAA joe", "# a comment", OF_ANOTHER_TYPE, KEY[:60]])
def test_a_public_key_is_looked_into(pve: Server, key: str) -> None:
    vmid = pve.machine()
    encoded = key.replace("+", "%2B").replace("/", "%2F").replace(" ", "%20").replace("#", "%23")
    refused = pve.call("PUT", f"{QEMU}/{vmid}/config", {"sshkeys": encoded})
    assert (refused.status, refused.message) == (500, "SSH public key validation error")
    wanted = {"vmid": next(pve.vmids), "ostemplate": "local:vztmpl/x.tar.gz", "ssh-public-keys": key}
    assert pve.call("POST", LXC, wanted).message == "SSH public key validation error"
    good = KEY.replace("+", "%2B").replace("/", "%2F").replace(" ", "%20")
    assert pve.call("PUT", f"{QEMU}/{vmid}/config", {"sshkeys": good}).status == 200


def test_a_device_is_looked_for_when_it_is_set(pve: Server) -> None:
    vmid = pve.container()
    refused = pve.call("PUT", f"{LXC}/{vmid}/config", {"dev0": "/dev/none"})
    assert (refused.status, refused.message) == (500, "Device /dev/none does not exist")
    assert pve.call("PUT", f"{LXC}/{vmid}/config", {"dev0": "/dev/net/tun"}).status == 200


def test_a_machine_does_not_start_with_more_cores_than_the_node_has(pve: Server) -> None:
    cores = pve.get("/nodes/pve/status")["cpuinfo"]["cpus"]
    vmid = pve.machine(cores=cores + 1)
    text = f"MAX {cores} vcpus allowed per VM on this node"
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == text
    assert pve.call("PUT", f"{QEMU}/{vmid}/config", {"cores": cores}).status == 200
    assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/status/start", {})) == "OK"


def test_who_changes_a_card_may_use_its_old_bridge_too(pve: Server) -> None:
    """A card that is on a bridge which the caller may not use is not moved to one that it may."""
    pve.call("POST", "/access/users", {"userid": "nets@pve"})
    made = pve.call("POST", "/access/users/nets@pve/token/tt", {"privsep": 0}).data
    token = pve.as_token(f"nets@pve!tt={made['value']}")
    pve.call("PUT", "/access/acl", {"path": "/vms", "roles": "PVEVMAdmin", "users": "nets@pve"})
    use = {"path": "/sdn/zones/localnetwork/vmbr0", "roles": "PVESDNUser", "users": "nets@pve"}
    pve.call("PUT", "/access/acl", use)
    denied = "Permission check failed (/sdn/zones/localnetwork/secret, SDN.Use)"
    try:
        for path, vmid, card in (
            (QEMU, pve.machine(net0="virtio,bridge=secret"), "virtio,bridge=vmbr0"),
            (LXC, pve.container(net0="name=eth0,bridge=vmbr0"), "name=eth0,bridge=vmbr0,firewall=1"),
        ):
            if path == LXC:
                assert pve.call("PUT", f"{path}/{vmid}/config", {"net0": "name=eth0,bridge=secret"}).message
                assert "bridge=secret" in pve.get(f"{path}/{vmid}/config")["net0"]
            refused = token.call("PUT", f"{path}/{vmid}/config", {"net0": card})
            assert (refused.status, refused.message) == (403, denied), path
            pve.call("PUT", "/access/acl", {**use, "path": "/sdn/zones/localnetwork/secret"})
            assert token.call("PUT", f"{path}/{vmid}/config", {"net0": card}).status == 200
            pve.call("PUT", "/access/acl", {**use, "path": "/sdn/zones/localnetwork/secret", "delete": 1})
    finally:
        pve.call("DELETE", "/access/users/nets@pve")


def test_the_list_of_snapshots_has_no_order(pve: Server) -> None:
    vmid = pve.machine(scsi0="local:1,format=qcow2")
    names = [f"s{n}" for n in range(5)]
    for name in names:
        assert pve.done(pve.call("POST", f"{QEMU}/{vmid}/snapshot", {"snapname": name})) == "OK"
    found = [item["name"] for item in pve.get(f"{QEMU}/{vmid}/snapshot")]
    assert (sorted(found[:-1]), found[-1]) == (names, "current")
    assert found[:-1] not in (names, names[::-1])
