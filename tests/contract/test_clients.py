"""Clients that nobody here wrote."""

from __future__ import annotations

import shutil
import subprocess
import time
from typing import Any

import pytest
from proxmoxer import ProxmoxAPI
from proxmoxer.core import ResourceException

from tests.contract.conftest import PASSWORD, TEMPLATE, Server


def wait(px: Any, upid: str) -> str:
    for _ in range(400):
        status = px.nodes("pve").tasks(upid).status.get()
        if status["status"] == "stopped":
            return str(status["exitstatus"])
        time.sleep(0.01)
    raise AssertionError(upid)


@pytest.mark.parametrize("way", ["password", "token"])
def test_proxmoxer_makes_changes_and_removes_a_container(pve: Server, way: str) -> None:
    proof: dict[str, str] = {"password": PASSWORD}
    if way == "token":
        value = pve.call("POST", "/access/users/root@pam/token/proxmoxer", {"privsep": 0}).data["value"]
        proof = {"token_name": "proxmoxer", "token_value": value}
    trust = str(pve.state / "pve-ssl.pem")
    px = ProxmoxAPI("127.0.0.1", port=pve.port, user="root@pam", verify_ssl=trust, **proof)
    vmid = next(pve.vmids)
    node = px.nodes("pve")
    upid = node.lxc.post(vmid=vmid, ostemplate=TEMPLATE, rootfs="local:1", features="nesting=1", unprivileged=1)
    assert wait(px, upid) == "OK"
    node.lxc(vmid).config.put(memory=1024)
    assert node.lxc(vmid).config.get()["memory"] == 1024
    assert wait(px, node.lxc(vmid).status.start.post()) == "OK"
    with pytest.raises(ResourceException) as refused:
        node.lxc(vmid).config.put(onboot=True)
    assert refused.value.errors == {"onboot": "type check ('boolean') failed - got 'True'"}
    assert wait(px, node.lxc(vmid).status.shutdown.post()) == "OK"
    assert wait(px, node.lxc(vmid).delete(purge=1)) == "OK"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_with_a_token(pve: Server) -> None:
    made = pve.call("POST", "/access/users/root@pam/token/curl", {"privsep": 0}).data
    header = f"Authorization: PVEAPIToken={made['full-tokenid']}={made['value']}"
    url = f"https://127.0.0.1:{pve.port}/api2/json/cluster/nextid"
    argv = ["curl", "-sS", "--noproxy", "*", "--cacert", str(pve.state / "pve-ssl.pem"), "-H", header, url]
    found = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert found.stdout.startswith('{"data":"')
