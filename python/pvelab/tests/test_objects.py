"""Storages, network, backup jobs, high availability, tasks."""

from __future__ import annotations

import pytest
from pve_server import Server


def test_network_changes_wait_until_they_are_applied(pve: Server) -> None:
    base = "/nodes/pve/network"
    wanted = {"iface": "hubpriv", "type": "bridge", "cidr": "10.10.20.1/24", "autostart": 1}
    assert pve.call("POST", base, wanted).data is None
    assert pve.call("POST", base, wanted).errors == {"iface": "interface already exists"}
    listed = pve.call("GET", base).json
    assert "+iface hubpriv inet static" in listed["changes"]
    assert pve.call("DELETE", base).data is None
    assert "changes" not in pve.call("GET", base).json
    assert pve.call("POST", base, wanted).status == 200
    reload = pve.call("PUT", base, {})
    assert ":srvreload:networking:root@pam:" in reload.data
    assert pve.done(reload) == "OK"
    found = pve.get(f"{base}/hubpriv")
    assert (found["address"], found["netmask"], found["method"], found["active"]) == ("10.10.20.1", "24", "static", 1)
    assert pve.call("GET", f"{base}/nope").errors == {"iface": "interface does not exist"}


def test_storages_refuse_what_pve_refuses(pve: Server) -> None:
    made = pve.call("POST", "/storage", {"storage": "dump", "type": "dir", "path": "/mnt/dump", "content": "backup"})
    assert made.data == {"storage": "dump", "type": "dir"}
    again = pve.call("POST", "/storage", {"storage": "dump", "type": "dir", "path": "/mnt/dump"})
    assert again.message == "create storage failed: storage ID 'dump' already defined"
    lacking = pve.call("POST", "/storage", {"storage": "dump2", "type": "dir"})
    assert lacking.message == "missing value for required option 'path'"


def test_a_file_is_uploaded_and_deleted(pve: Server) -> None:
    boundary = "xx"
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="content"\r\n\r\niso\r\n']
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="filename"; filename="a b.iso"\r\n')
    parts.append(f"Content-Type: application/octet-stream\r\n\r\nDATA\r\n--{boundary}--\r\n")
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    base = "/nodes/pve/storage/local"
    sent = pve.call("POST", f"{base}/upload", body="".join(parts), headers=headers)
    assert pve.done(sent) == "OK"
    assert pve.get(f"{base}/content/local:iso/a_b.iso")["size"] == 4
    assert pve.done(pve.call("DELETE", f"{base}/content/local:iso/a_b.iso")) == "OK"


def test_backup_jobs(pve: Server) -> None:
    base = "/cluster/backup"
    job = {"id": "nightly", "schedule": "02:00", "all": 1, "storage": "local"}
    assert pve.call("POST", base, job).status == 200
    assert pve.get(f"{base}/nightly")["all"] == 1
    assert pve.call("GET", f"{base}/nope").errors == {"id": "No such job 'nope'"}
    assert pve.call("PUT", f"{base}/nope", {"all": 1}).message == "no such vzdump job"
    gone = pve.call("DELETE", f"{base}/nope")
    assert gone.status == 500
    assert gone.message.startswith("400 Parameter verification failed.")
    assert pve.call("DELETE", f"{base}/nightly").status == 200


def test_ha_groups_are_gone(pve: Server) -> None:
    assert pve.call("GET", "/cluster/ha/groups").message == "cannot index groups: ha groups have been migrated to rules"


def test_tasks(pve: Server) -> None:
    assert pve.call("GET", "/nodes/pve/tasks/nonsense/status").errors == {"upid": "unable to parse worker upid"}
    unknown = "UPID:pve:00000001:00000001:5F000000:vzstart:1:root@pam:"
    assert pve.call("GET", f"/nodes/pve/tasks/{unknown}/status").errors == {"upid": "no such task"}
    vmid = pve.container()
    listed = pve.call("GET", "/nodes/pve/tasks", {"vmid": vmid, "source": "all"}).json
    assert (listed["total"], listed["data"][0]["type"], listed["data"][0]["status"]) == (1, "vzcreate", "OK")
    log = pve.log(listed["data"][0]["upid"])
    assert log[-1] == "TASK OK"
    assert any("SHA256:" in line for line in log)


def test_what_the_lab_has_not_is_said(pve: Server) -> None:
    answer = pve.call("GET", "/nodes/pve/nope")
    assert (answer.status, answer.reason) == (501, "Method 'GET /nodes/pve/nope' not implemented")
    assert "not implemented: GET /nodes/pve/nope" in (pve.state / "server.log").read_text()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/nodes/pve/startall"),
        ("GET", "/nodes/pve/scan/zfs"),
        ("GET", "/cluster/ha/status/current"),
        ("GET", "/cluster/log"),
        ("POST", "/nodes/pve/qemu/999/vncproxy"),
        ("DELETE", "/cluster/sdn/zones/z1"),
        ("PUT", "/nodes/pve/qemu/999/cloudinit"),
        ("POST", "/nodes/pve/apt/update"),
        ("GET", "/nodes/pve/services/pveproxy/state"),
        ("GET", "/nodes/pve/firewall/log"),
        ("GET", "/cluster/firewall/rules"),
        ("PUT", "/nodes/pve/firewall/options"),
        ("GET", "/nodes/pve/lxc/999/firewall/aliases"),
        ("GET", "/nodes/pve/qemu/999/firewall/ipset"),
        ("GET", "/nodes/pve/aplinfo"),
        ("GET", "/cluster/options"),
        ("GET", "/access/groups"),
        ("GET", "/nodes/pve/qemu/999/agent/get-osinfo"),
    ],
)
def test_what_has_no_effect_here_is_not_taken(pve: Server, method: str, path: str) -> None:
    answer = pve.call(method, path)
    assert (answer.status, answer.message) == (501, f"Method '{method} {path}' not implemented")
    assert f"not implemented: {method} {path}" in (pve.state / "server.log").read_text()
