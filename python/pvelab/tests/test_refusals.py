"""What PVE 9.2 says when it refuses something about a guest: status, message and errors, word for word.

The letters name the parts of the reference: A3 return quirks, A5 asymmetries, A6 what only root may do.
"""

from __future__ import annotations

from typing import Any

import pytest
from pve_server import Server

LXC, QEMU = "/nodes/pve/lxc", "/nodes/pve/qemu"
NO_FILE = "Configuration file 'nodes/pve/{}/{}.conf' does not exist"
NO_MACHINE = "unable to find configuration file for VM 999 on node 'pve'"
MODIFIED = "detected modified configuration - file changed by other user? Try again."
NEITHER = "both 'storage' and 'target-vmid' missing, either needs to be set"
GIVEN = "pvelab does not support giving a volume to another guest"
FORMAT = dict.fromkeys(("mp", "volume"), "property is missing and it is not optional")
Case = tuple[str, str, dict[str, Any], int, str, dict[str, str]]
BAD = "Parameter verification failed."


@pytest.fixture(scope="module")
def ids(pve: Server) -> dict[str, int]:
    """A stopped container `c`, a stopped machine `m` (one raw and one qcow2 disk), and running ones `C` and `M`."""
    raw_and_qcow2 = {"scsi0": "local:1", "scsi1": "local:1,format=qcow2", "ide2": "none,media=cdrom"}
    found = {"c": pve.container(mp0="local:1,mp=/data"), "m": pve.machine(**raw_and_qcow2)}
    found |= {"C": pve.container(), "M": pve.machine(agent="0", boot="order=scsi0;net0")}
    for base, name in ((LXC, "C"), (QEMU, "M")):
        assert pve.done(pve.call("POST", f"{base}/{found[name]}/status/start", {})) == "OK"
    return found


SYNC: list[Case] = [
    # a guest that does not exist (A5)
    *[("GET", f"{LXC}/999{p}", {}, 500, NO_FILE.format("lxc", 999), {}) for p in ("", "/config", "/status")],
    *[("GET", f"{QEMU}/999{p}", {}, 500, NO_FILE.format("qemu-server", 999), {}) for p in ("/config", "/pending")],
    ("DELETE", f"{LXC}/999", {}, 500, NO_FILE.format("lxc", 999), {}),
    ("DELETE", f"{QEMU}/999", {}, 500, NO_FILE.format("qemu-server", 999), {}),
    ("PUT", f"{QEMU}/999/config", {"cores": 1}, 500, NO_FILE.format("qemu-server", 999), {}),
    ("PUT", f"{LXC}/999/resize", {"disk": "rootfs", "size": "2G"}, 500, NO_FILE.format("lxc", 999), {}),
    ("POST", f"{QEMU}/999/snapshot", {"snapname": "s1"}, 500, NO_FILE.format("qemu-server", 999), {}),
    ("POST", f"{QEMU}/999/template", {}, 500, NO_FILE.format("qemu-server", 999), {}),
    ("POST", f"{LXC}/999/template", {}, 500, NO_FILE.format("lxc", 999), {}),
    ("POST", f"{LXC}/999/clone", {"newid": 998}, 500, NO_FILE.format("lxc", 999), {}),
    ("POST", f"{QEMU}/999/clone", {"newid": 998}, 500, NO_MACHINE, {}),
    ("POST", f"{LXC}/999/status/stop", {}, 500, "CT 999 not running", {}),
    ("POST", f"{LXC}/999/status/reboot", {}, 500, "VM 999 not running", {}),
    ("POST", f"{QEMU}/999/status/reset", {}, 500, NO_MACHINE, {}),
    # power (A5)
    ("POST", f"{LXC}/{{c}}/status/suspend", {}, 500, "CT {c} not running", {}),
    ("POST", f"{LXC}/{{C}}/status/resume", {}, 500, "CT {C} already running", {}),
    ("POST", f"{QEMU}/{{m}}/status/suspend", {}, 500, "VM {m} not running", {}),
    ("POST", f"{QEMU}/{{m}}/status/resume", {}, 500, "VM {m} not running", {}),
    ("POST", f"{QEMU}/{{m}}/status/reset", {}, 500, "VM {m} not running", {}),
    ("POST", f"{QEMU}/{{m}}/status/start", {"targetstorage": "local"}, 400, BAD,
     {"targetstorage": "targetstorage can only by used with migratedfrom."}),
    # configuration
    ("GET", f"{LXC}/{{c}}/config", {"snapshot": "nosuch"}, 500, "snapshot 'nosuch' does not exist", {}),
    ("GET", f"{LXC}/{{c}}/config", {"snapshot": "s1", "current": 1}, 400, BAD,
     dict.fromkeys(("snapshot", "current"), "cannot use 'snapshot' parameter with 'current'")),
    ("PUT", f"{LXC}/{{c}}/config", {"revert": "nosuch"}, 400, BAD, {"revert": "unknown option 'nosuch'"}),
    ("PUT", f"{LXC}/{{c}}/config", {"memory": 1024, "delete": "memory"}, 400, BAD,
     {"delete": "you can't use '-memory' and -delete memory' at the same time"}),
    ("PUT", f"{LXC}/{{c}}/config", {"memory": 1024, "revert": "memory"}, 400, BAD,
     {"revert": "you can't use '-memory' and '-revert memory' at the same time"}),
    ("PUT", f"{LXC}/{{c}}/config", {"delete": "rootfs"}, 500, "unable to delete required option 'rootfs'", {}),
    ("PUT", f"{LXC}/{{c}}/config", {"delete": "unprivileged"}, 500,
     "unable to delete read-only option: 'unprivileged'", {}),
    ("PUT", f"{LXC}/{{c}}/config", {"net1": "name=eth1,bridge=vmbr0,mtu=9000"}, 500,
     "net1: MTU size '9000' is bigger than bridge MTU '1500'", {}),
    ("PUT", f"{LXC}/{{c}}/config", {"net1": "name=eth1,bridge=nobr,mtu=1400"}, 500, "bridge 'nobr' does not exist", {}),
    ("PUT", f"{LXC}/{{c}}/config", {"mp1": "nostore:1,mp=/x"}, 500, "storage 'nostore' does not exist", {}),
    ("PUT", f"{QEMU}/{{m}}/config", {"cores": 2, "revert": "cores"}, 400, BAD,
     {"delete": "you can't use '-cores' and -revert cores' at the same time"}),
    ("PUT", f"{QEMU}/{{m}}/config", {"boot": "order=scsi9"}, 500,
     "invalid bootorder: device 'scsi9' does not exist'", {}),
    ("PUT", f"{QEMU}/{{m}}/config", {"memory": 512, "balloon": 1024}, 500,
     "balloon value too large (must be smaller than assigned memory)", {}),
    ("PUT", f"{QEMU}/{{m}}/config", {"scsi2": "local:1,import-from=local:import/x.qcow2"}, 400, BAD,
     {"scsi2": "'import-from' requires special syntax - use <storage ID>:0,import-from=<source>"}),
    ("PUT", f"{QEMU}/{{m}}/config", {"scsi2": "local:999999/vm-1-disk-0.raw"}, 500,
     "volume 'local:999999/vm-1-disk-0.raw' does not exist", {}),
    ("PUT", f"{QEMU}/{{m}}/config", {"sata0": "local:{m}/vm-{m}-disk-0.raw,format=qcow2"}, 500,
     "drive 'sata0' - volume 'local:{m}/vm-{m}-disk-0.raw' - "
     "'format=qcow2' option different from storage format 'raw'", {}),
    ("PUT", f"{QEMU}/{{m}}/config", {"hookscript": "local:iso/x.iso"}, 400, BAD,
     {"hookscript": "'local:iso/x.iso' is not in the snippets directory\n"}),
    # disks
    ("PUT", f"{LXC}/{{c}}/resize", {"disk": "mp9", "size": "2G"}, 500, "format error", FORMAT),
    ("PUT", f"{LXC}/{{c}}/resize", {"disk": "rootfs", "size": "1G"}, 500, "disk is already at specified size", {}),
    ("POST", f"{LXC}/{{c}}/move_volume", {"volume": "rootfs"}, 400, BAD,
     {"storage": NEITHER, "target-vmid": NEITHER}),
    ("POST", f"{LXC}/{{c}}/move_volume", {"volume": "mp0", "storage": "local", "target-vmid": 998}, 500,
     "either set storage or target-vmid, but not both", {}),
    ("POST", f"{LXC}/{{C}}/move_volume", {"volume": "rootfs", "storage": "local"}, 500,
     "cannot move volumes of a running container", {}),
    ("POST", f"{LXC}/{{c}}/move_volume", {"volume": "unused0", "storage": "local"}, 500,
     "cannot move volume 'unused0', only configured volumes can be moved to another storage", {}),
    ("POST", f"{LXC}/{{c}}/move_volume", {"volume": "mp0", "target-vmid": "{C}"}, 500, GIVEN, {}),
    ("POST", f"{QEMU}/{{m}}/move_disk", {"disk": "scsi0"}, 400, BAD, {"storage": NEITHER, "target-vmid": NEITHER}),
    ("POST", f"{QEMU}/{{m}}/move_disk", {"disk": "scsi0", "storage": "local"}, 500,
     "you can't move to the same storage with same format", {}),
    ("POST", f"{QEMU}/{{m}}/move_disk", {"disk": "scsi9", "storage": "local"}, 500, "disk 'scsi9' does not exist", {}),
    ("POST", f"{QEMU}/{{m}}/move_disk", {"disk": "ide2", "storage": "local"}, 500, "you can't move a cdrom", {}),
    ("POST", f"{QEMU}/{{m}}/move_disk", {"disk": "scsi0", "storage": "nostore"}, 500,
     "storage 'nostore' does not exist", {}),
    ("POST", f"{QEMU}/{{m}}/move_disk", {"disk": "scsi0", "target-vmid": "{M}"}, 500, GIVEN, {}),
    # clones
    ("POST", f"{LXC}/{{C}}/clone", {"newid": 997}, 500,
     "Full clone of a running container is only possible from a snapshot", {}),
    ("POST", f"{LXC}/{{c}}/clone", {"newid": 997, "full": 0}, 500,
     "Linked clone feature for 'local:{c}/vm-{c}-disk-1.raw' is not available", {}),
    ("POST", f"{LXC}/{{c}}/clone", {"newid": 997, "full": 0, "storage": "local"}, 500,
     "parameter 'storage' not allowed for linked clones", {}),
    ("POST", f"{LXC}/{{c}}/clone", {"newid": 997, "snapname": "nosuch"}, 500, "snapshot 'nosuch' does not exist", {}),
    ("POST", f"{LXC}/{{c}}/clone", {"newid": 997, "storage": "nostore"}, 500, "storage 'nostore' does not exist", {}),
    ("POST", f"{LXC}/{{c}}/clone", {"newid": 997, "pool": "nopool"}, 403,
     "Permission check failed (pool 'nopool' does not exist)", {}),
    ("POST", f"{QEMU}/{{m}}/clone", {"newid": 997, "full": 0}, 500,
     "Linked clone feature is not supported for 'local:{m}/vm-{m}-disk-0.raw' (scsi0)", {}),
    ("POST", f"{QEMU}/{{m}}/clone", {"newid": 997, "full": 0, "format": "raw"}, 500,
     "parameter 'format' not allowed for linked clones", {}),
    ("POST", f"{QEMU}/{{m}}/clone", {"newid": 997, "target": "other"}, 500, "no such cluster node 'other'", {}),
    # snapshots
    ("POST", f"{LXC}/{{c}}/snapshot", {"snapname": "vzdump"}, 500,
     "unable to use snapshot name 'vzdump' (reserved name)", {}),
    ("POST", f"{QEMU}/{{m}}/snapshot", {"snapname": "Pending"}, 500,
     "unable to use snapshot name 'pending' (reserved name)", {}),
    ("GET", f"{QEMU}/{{m}}/snapshot/nosuch/config", {}, 500, "snapshot 'nosuch' does not exist", {}),
    ("PUT", f"{QEMU}/{{m}}/snapshot/nosuch/config", {"description": "x"}, 500, "snapshot 'nosuch' does not exist", {}),
    ("GET", f"{LXC}/{{c}}/feature", {"feature": "copy", "snapname": "nosuch"}, 500,
     "snapshot 'nosuch' does not exist", {}),
    # templates
    ("POST", f"{LXC}/{{C}}/template", {}, 500, "you can't convert a CT to template if the CT is running", {}),
    ("POST", f"{QEMU}/{{M}}/template", {}, 500, "you can't convert a VM to template if VM is running", {}),
    # agent: nothing answers on a backend without processes (A5)
    ("POST", f"{QEMU}/{{m}}/agent/ping", {}, 500, "No QEMU guest agent configured", {}),
    ("POST", f"{QEMU}/{{M}}/agent/ping", {}, 500, "QEMU guest agent is not running", {}),
    ("GET", f"{QEMU}/{{M}}/agent/network-get-interfaces", {}, 500, "QEMU guest agent is not running", {}),
    ("POST", f"{QEMU}/{{M}}/agent/exec", {"command": "id"}, 500, "QEMU guest agent is not running", {}),
    ("GET", f"{QEMU}/{{M}}/agent/exec-status", {"pid": 1}, 500, "QEMU guest agent is not running", {}),
    ("POST", f"{QEMU}/{{M}}/agent", {"command": "ping"}, 500, "QEMU guest agent is not running", {}),
    # creation
    ("POST", LXC, {"vmid": 996, "ostemplate": "local:vztmpl/x.tar.gz", "mp0": "local:1,mp=/x"}, 500,
     "mount points configured, but 'rootfs' not set - aborting", {}),
    ("POST", LXC, {"vmid": 996, "ostemplate": "-"}, 500, "pipe requires cli environment", {}),
    ("POST", LXC, {"vmid": 996, "ostemplate": "local:iso/x.iso"}, 500,
     "unable to use volume local:iso/x.iso - content type needs to be 'vztmpl'", {}),
    ("POST", LXC, {"vmid": 996, "ostemplate": "local:vztmpl/x.tar.gz", "ssh-public-keys": "nonsense"}, 500,
     "SSH public key validation error", {}),
    ("POST", QEMU, {"vmid": 996, "archive": "local:backup/none.vma", "scsi0": "local:1"}, 400, BAD,
     {"scsi0": "option conflicts with option 'archive'"}),
    ("POST", QEMU, {"vmid": 996, "archive": "local:backup/vzdump-qemu-1-2026_01_01-00_00_00.vma"}, 500,
     "volume 'local:backup/vzdump-qemu-1-2026_01_01-00_00_00.vma' does not exist", {}),
]  # fmt: skip


def filled(value: Any, ids: dict[str, int]) -> Any:
    """A text with the VMIDs of the fixture in place of their letters."""
    if not isinstance(value, str):
        return value
    for name, vmid in ids.items():
        value = value.replace(f"{{{name}}}", str(vmid))
    return value


@pytest.mark.parametrize("case", SYNC, ids=lambda case: f"{case[0]} {case[1]} {case[4][:40]}")
def test_refusals(pve: Server, ids: dict[str, int], case: Case) -> None:
    method, path, params, status, message, errors = case
    answer = pve.call(method, filled(path, ids), {k: filled(v, ids) for k, v in params.items()} or None)
    assert (answer.status, answer.message) == (status, filled(message, ids))
    assert answer.errors == {k: filled(v, ids) for k, v in errors.items()}


def test_what_fails_in_a_task(pve: Server, ids: dict[str, int]) -> None:
    """A5: these answer 200 with a UPID, and the task says what is wrong."""
    c, m, M = ids["c"], ids["m"], ids["M"]
    cases = [
        ("POST", f"{LXC}/999/status/start", {}, NO_FILE.format("lxc", 999)),
        ("POST", f"{LXC}/999/snapshot", {"snapname": "s1"}, NO_FILE.format("lxc", 999)),
        ("DELETE", f"{QEMU}/{m}/snapshot/nosuch", None, "snapshot 'nosuch' does not exist"),
        ("POST", f"{LXC}/{c}/snapshot/nosuch/rollback", {}, "snapshot 'nosuch' does not exist"),
        ("POST", f"{LXC}/{c}/snapshot", {"snapname": "s1"}, "snapshot feature is not available"),
        ("POST", f"{QEMU}/{m}/snapshot", {"snapname": "s1"}, "snapshot feature is not available"),
        ("PUT", f"{QEMU}/{m}/resize", {"disk": "scsi0", "size": "512M"}, "shrinking disks is not supported"),
        ("PUT", f"{QEMU}/{m}/resize", {"disk": "ide2", "size": "+1G"}, "unable to parse volume ID 'none'"),
        ("PUT", f"{QEMU}/{m}/resize", {"disk": "scsi7", "size": "+1G"}, "disk 'scsi7' does not exist"),
        ("POST", f"{QEMU}/{M}/status/start", {}, f"VM {M} already running"),
        ("POST", f"{LXC}/{c}/status/resume", {},
         f"command 'lxc-checkpoint -n {c} -r --foreground -D /var/lib/vz/dump' failed: exit code 1"),
        ("POST", QEMU, {"vmid": 995, "scsi0": "local:0,import-from=local:import/none.qcow2"},
         "unable to create VM 995 - failed to stat '/var/lib/vz/import/none.qcow2'"),
        ("POST", QEMU, {"vmid": 995, "ide0": "local:cloudinit", "ide1": "local:cloudinit"},
         "unable to create VM 995 - ide0 - cloud-init drive is already attached at 'ide1'"),
    ]  # fmt: skip
    for method, path, params, text in cases:
        assert pve.done(pve.call(method, path, params)) == text, (method, path, params)
    assert pve.call("GET", f"{QEMU}/995/config").status == 500


def event(text: str, rest: str, wanted: str) -> dict[str, str]:
    """What is wrong with a schedule."""
    reason = f"unable to parse calendar event at '{rest}' - {wanted}"
    return {"schedule": f"invalid format - invalid calendar event '{text}' - {reason}\n\n"}


def field(name: str, key: str, reason: str) -> dict[str, str]:
    """What is wrong with one field of a property string."""
    return {name: f"invalid format - format error\n{name}.{key}: invalid format - {reason}\n\n"}


JOB, REPLICATION, MAP = "/cluster/backup", "/cluster/replication", "/cluster/mapping/dir"
WIDTH = "value must be an integer between 8 and 64 or 'host'"
PATH = "Value does not look like a valid absolute path. These symbols are currently not allowed in path: ;,=()"
FORMATS: list[tuple[str, str, dict[str, Any], dict[str, str]]] = [
    ("POST", JOB, {"all": 1, "schedule": "foo"}, event("foo", "foo", 'Context("weekday")')),
    ("POST", JOB, {"all": 1, "schedule": "5..2:00"},
     event("5..2:00", "5..2:00", 'Context("date or time specification")')),
    ("POST", "/cluster/jobs/realm-sync/s1", {"realm": "pve", "schedule": "Daily"},
     event("Daily", "Daily", 'Context("weekday")')),
    ("POST", REPLICATION, {"id": "100-0", "type": "local", "target": "pve", "schedule": "mon-fri"},
     event("mon-fri", "-fri", "Nom(Eof)")),
    ("GET", "/cluster/jobs/schedule-analyze", {"schedule": "2:30 foo"}, event("2:30 foo", " foo", "Nom(Eof)")),
    ("POST", REPLICATION, {"id": "50-0", "type": "local", "target": "pve"},
     {"id": "invalid format - invalid replication job id '50-0' (guest IDs < 100 are reserved)\n"}),
    ("POST", REPLICATION, {"id": "1234567890-0", "type": "local", "target": "pve"},
     {"id": "value does not match the regex pattern"}),
    ("PUT", f"{QEMU}/{{m}}/config", {"cpu": "host,phys-bits=5"}, field("cpu", "phys-bits", WIDTH)),
    ("PUT", f"{QEMU}/{{m}}/config", {"cpu": "host,phys-bits=100"}, field("cpu", "phys-bits", WIDTH)),
    ("PUT", f"{QEMU}/{{m}}/config", {"net0": "virtio,bridge=vmbr0\nname: x"},
     {"net0": "invalid format - missing key in comma-separated list property\n"}),
    ("PUT", f"{LXC}/{{c}}/config", {"timezone": "Etc/UTC"},
     {"timezone": "invalid format - invalid time zone 'Etc/UTC'\n"}),
    ("POST", MAP, {"id": "d1", "map": "node=pve,path=foo"}, field("map[0]", "path", PATH)),
    ("PUT", "/nodes/pve/config", {"acmedomain0": "name!"},
     field("acmedomain0", "domain", "value 'name!' does not look like a valid domain name!")),
]  # fmt: skip


@pytest.mark.parametrize("case", FORMATS, ids=lambda case: f"{case[0]} {case[1]} {sorted(case[3])[0]}")
def test_wrong_formats(pve: Server, ids: dict[str, int], case: tuple[str, str, dict[str, Any], dict[str, str]]) -> None:
    method, path, params, errors = case
    answer = pve.call(method, filled(path, ids), params)
    assert (answer.status, answer.message, answer.errors) == (400, BAD, errors)


def test_what_looks_wrong_and_is_taken(pve: Server, ids: dict[str, int]) -> None:
    """What PVE's own parsers and patterns let pass."""
    guest = f"{QEMU}/{ids['m']}/config"
    for params in ({"parallel0": "/dev/parport0junk"}, {"agent": "enabled=0,1"}, {"cpu": "host,phys-bits=08"}):
        assert pve.call("PUT", guest, params).status == 200, params
