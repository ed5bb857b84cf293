"""The node as Proxmox VE 9.2 answers for it: what the sources of pve-manager say, line by line of a table."""

from __future__ import annotations

from typing import Any

import pytest
from pve_server import Server

NODE = "/nodes/pve"
CHILDREN = {
    "": "aplinfo apt capabilities ceph certificates config disks dns firewall hardware hosts journal lxc migrateall "
    "netstat network qemu query-oci-repo-tags query-url-metadata replication report rrd rrddata scan sdn services "
    "spiceshell startall status stopall storage subscription suspendall syslog tasks termproxy time version vncshell "
    "vzdump wakeonlan",
    "/apt": "changelog repositories update versions",
    "/capabilities": "qemu",
    "/capabilities/qemu": "cpu cpu-flags machines migration",
    "/certificates": "acme custom info",
    "/disks": "list initgpt smart lvm lvmthin directory wipedisk zfs",
    "/hardware": "pci usb",
    "/scan": "cifs iscsi lvm nfs pbs zfs",
    "/sdn": "fabrics vnets zones",
    "/services/pveproxy": "state start stop restart reload",
    "/storage/local": "content download-url file-restore import-metadata identity oci-registry-pull prunebackups rrd "
    "rrddata status upload",
}
KEYS = {
    "/version": "version release repoid",
    "/time": "timezone time localtime",
    "/hosts": "data digest",
    "/storage/local/status": "type total used avail shared content active enabled",
    "/network/vmbr0": "autostart priority families method method6 address netmask cidr bridge_ports bridge_stp "
    "bridge_fd type active",
    "/network/lo": "autostart priority families method method6 type active",
    "/subscription": "status message url serverid",
    "/apt/repositories": "files errors digest infos standard-repos",
    "/vzdump/defaults": "all bwlimit compress dumpdir fleecing ionice lockwait mailnotification mode "
    "notification-mode performance pigz prune-backups quiet remove stdexcludes stop stopwait storage zstd",
}
ROWS = {
    "/network": "autostart priority families method method6 address netmask cidr bridge_ports bridge_stp bridge_fd "
    "type active iface",
    "/storage": "storage type total used avail shared content active enabled used_fraction",
    "/services": "service name desc state active-state unit-state",
    "/capabilities/qemu/cpu-flags": "name description supported-on",
}
REFUSED: list[tuple[str, str, dict[str, Any], str]] = [
    ("GET", "/query-oci-repo-tags", {"reference": "library/debian"},
     "command 'skopeo list-tags docker://library/debian' failed: exit code 1"),
    ("POST", "/wakeonlan", {}, "'pve' is local node, cannot wake my self!"),
    ("GET", "/ceph/status", {}, "binary not installed: /usr/bin/ceph-mon"),
    ("GET", "/storage/local/identity", {},
     "get_identity not implemented for this plugin at /usr/share/perl5/PVE/Storage/Plugin.pm line 2681."),
    ("GET", "/storage/local/prunebackups", {}, "no prune-backups options configured for storage 'local'"),
    ("GET", "/storage/nope/content", {}, "storage 'nope' does not exist"),
    ("GET", "/storage/local/content/local:iso/none.iso", {},
     "volume_size_info on 'local:iso/none.iso' failed - no format"),
    ("GET", "/storage/local/content/local:iso/x.exe", {}, "unable to parse directory volume name 'iso/x.exe'"),
    ("PUT", "/storage/local/content/local:iso/x.iso", {"notes": "a"}, "only backups can have notes"),
    ("PUT", "/storage/local/content/local:iso/x.iso", {"protected": 1}, "only backups support attribute 'protected'"),
    ("POST", "/storage/local/content", {"filename": "vm-9000-disk-0", "vmid": 9000, "size": "1G"},
     "unable to parse volume filename 'vm-9000-disk-0'"),
    ("POST", "/storage/local/content", {"filename": "a.subvol", "vmid": 9000, "size": "1G", "format": "raw"},
     "illegal name 'a.subvol' - wrong extension for format ('subvol != 'raw')"),
    ("POST", "/storage/local/content", {"filename": "a.subvol", "vmid": 9000, "size": "1G", "format": "subvol"},
     "storage does not support subvol quotas"),
    ("GET", "/vzdump/extractconfig", {"volume": "local:backup/vzdump-lxc-999-2024_01_01-00_00_00.tar"},
     "volume 'local:backup/vzdump-lxc-999-2024_01_01-00_00_00.tar' does not exist"),
    ("POST", "/network", {"iface": "vmbr8", "type": "bridge", "bridge_ports": "eth9"},
     "bridge 'vmbr8' - unable to find bridge port 'eth9'"),
    ("POST", "/network", {"iface": "bond9", "type": "bond"},
     "pvelab makes bridges alone, no interface of type 'bond'"),
    ("POST", "/network", {"iface": "vmbr8", "type": "OVSBridge"},
     "Open VSwitch is not installed (need package 'openvswitch-switch')"),
]  # fmt: skip
WRONG: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    ("GET", "/storage", {"storage": "nope"}, {"storage": "No such storage."}),
    ("GET", "/storage/nope/status", {}, {"storage": "No such storage."}),
    ("GET", "/storage/local/content/other:iso/x.iso", {}, {"volume": "storage ID mismatch (other != local)\n"}),
    ("POST", "/storage/local/content", {"filename": "a.raw", "vmid": 9000, "size": "1G", "format": "qcow2"},
     {"format": "different storage formats (qcow2 != raw)"}),
    ("GET", "/storage/local/file-restore/list",
     {"volume": "vzdump-lxc-999-2024_01_01-00_00_00.tar", "filepath": "/"},
     {"storage": "Only PBS storages supported for file-restore."}),
    ("POST", "/storage/local/download-url",
     {"content": "iso", "filename": "x.iso", "url": "http://h/x", "checksum": "a"},
     {"checksum-algorithm": "missing property required by 'checksum'"}),
    ("POST", "/vzdump", {}, {"vmid": "property is missing"}),
    ("POST", "/vzdump", {"vmid": 999, "all": 1}, {"all": "option conflicts with option 'vmid'"}),
    ("POST", "/vzdump", {"vmid": 999, "storage": "local", "notes-template": "{{who}} \\x"},
     {"notes-template": "found unknown: escape sequence '\\x' at char 8, variable 'who' at char 4\n"}),
    ("POST", "/network", {"iface": "vmbr8", "type": "bridge", "cidr6": "::1/64"},
     {"address": "::1 with type 'LOOPBACK', cannot be used as host IPv6 address."}),
    ("GET", "/tasks/nonsense/log", {}, {"upid": "unable to parse worker upid"}),
    ("DELETE", "/tasks/UPID:pve:00000001:00000001:00000001:a:b:root@pam:", {}, {"upid": "no such task"}),
]  # fmt: skip


@pytest.mark.parametrize("path", CHILDREN)
def test_a_directory_lists_exactly_its_children(pve: Server, path: str) -> None:
    assert sorted(next(iter(row.values())) for row in pve.get(NODE + path)) == sorted(CHILDREN[path].split())


@pytest.mark.parametrize("path", KEYS)
def test_a_result_has_exactly_these_keys(pve: Server, path: str) -> None:
    assert sorted(pve.get(NODE + path)) == sorted(KEYS[path].split())


@pytest.mark.parametrize("path", ROWS)
def test_a_row_has_exactly_these_keys(pve: Server, path: str) -> None:
    assert sorted(pve.get(NODE + path)[0]) == sorted(ROWS[path].split())


@pytest.mark.parametrize(("method", "path", "params", "text"), REFUSED)
def test_what_pve_refuses_with_500(pve: Server, method: str, path: str, params: dict[str, Any], text: str) -> None:
    answer = pve.call(method, NODE + path, params)
    assert (answer.status, answer.message, answer.reason) == (500, text, text)


@pytest.mark.parametrize(("method", "path", "params", "errors"), WRONG)
def test_what_pve_refuses_with_400(
    pve: Server, method: str, path: str, params: dict[str, Any], errors: dict[str, str]
) -> None:
    answer = pve.call(method, NODE + path, params)
    assert (answer.status, answer.errors) == (400, errors)


def test_settings_of_the_node_are_read(pve: Server) -> None:
    assert pve.get(f"{NODE}/config") == {}
    assert pve.get(f"{NODE}/dns") == {"search": "home.arpa", "dns1": "192.168.1.1"}
    assert "192.168.1.10 pve.home.arpa pve" in pve.get(f"{NODE}/hosts")["data"]
    assert pve.call("PUT", f"{NODE}/time", {"timezone": "UTC"}).status == 501


def test_an_interface_is_what_its_file_says(pve: Server) -> None:
    path = f"{NODE}/network"
    wanted = {"iface": "vmbr7", "type": "bridge", "cidr": "10.7.0.1/24", "comments": "hi", "bridge_vlan_aware": 1}
    assert pve.call("POST", path, wanted).data is None
    found = pve.get(f"{path}/vmbr7")
    assert (found["method"], found["netmask"], found["bridge_vids"]) == ("static", "24", "2-4094")
    assert (found["comments"], found["bridge_fd"], "active" in found) == ("hi\n", "0", False)
    assert pve.call("PUT", f"{path}/vmbr7", {"type": "bridge", "comments": "ho"}).data is None
    changed = pve.get(f"{path}/vmbr7")
    assert (changed["method"], changed["address"], changed["comments"]) == ("manual", "10.7.0.1", "ho\n")
    wrong = pve.call("PUT", f"{path}/vmbr7", {"type": "OVSBridge"})
    assert wrong.message == "Open VSwitch is not installed (need package 'openvswitch-switch')"
    assert pve.call("DELETE", path).data is None


def test_a_task_nobody_knows_has_a_log_that_says_so(pve: Server) -> None:
    answer = pve.call("GET", f"{NODE}/tasks/UPID:pve:00000001:00000001:00000001:a:b:root@pam:/log")
    assert answer.data == [{"n": 1, "t": "unable to open file - No such file or directory"}]


def test_a_task_log_comes_in_parts_or_as_a_file(pve: Server) -> None:
    started = pve.call("POST", f"{NODE}/qemu", {"vmid": next(pve.vmids), "scsi0": "local:1", "scsi1": "local:2"})
    assert pve.done(started) == "OK"
    log = f"{NODE}/tasks/{started.data}/log"
    part = pve.call("GET", log, {"start": 2, "limit": 1}).json
    assert (part["total"], part["data"]) == (3, [{"n": 3, "t": "TASK OK"}])
    file = pve.call("GET", log, {"download": 1})
    assert (file.headers["content-type"], file.text.splitlines()[-1]) == ("text/plain", "TASK OK")
    assert 'filename="task-pve-qmcreate-' in file.headers["content-disposition"]
    both = pve.call("GET", log, {"download": 1, "start": 1})
    assert both.message == "'download' cannot be used together with 'start' or 'limit' parameters"
