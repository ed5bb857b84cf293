"""The API as root@pam with a ticket: whoever else works on this Proxmox, and what metal does on a real node."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import requests
from metal.desired import Desired, Zone
from metal.rights import ROLES, grants

USER, POOL = "hub-small@pve", "hub-small"
BRIDGES = ("hubinfra", "hubprivate")
NODE = Desired(
    hub="small",
    hub_id="",
    node="pve",
    domain="",
    zones=tuple(Zone(bridge.removeprefix("hub"), bridge, "10.0.0.0/8", "10.0.0.1", True) for bridge in BRIDGES),
    flows=(),
    ports=(),
    records=(),
    names=(),
    storages=("local",),
    images="local",
)


class Root:
    """Calls with a ticket; a new one for a password, or one that another process got."""

    def __init__(self, port: int, certificate: Path, password: str = "", ticket: dict[str, str] | None = None) -> None:
        self.base = f"https://127.0.0.1:{port}/api2/json"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = str(certificate)
        self.ticket = ticket or self("POST", "/access/ticket", username="root@pam", password=password)
        self.session.cookies.set("PVEAuthCookie", self.ticket["ticket"])
        self.session.headers["CSRFPreventionToken"] = self.ticket["CSRFPreventionToken"]

    def call(self, method: str, path: str, /, **data: object) -> requests.Response:
        """One call, whatever comes of it."""
        send: dict[str, Any] = {"params": data} if method in ("GET", "DELETE") else {"data": data}
        return self.session.request(method, self.base + path, timeout=30, **send)

    def __call__(self, method: str, path: str, /, **data: object) -> Any:
        answer = self.call(method, path, **data)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.reason} {answer.text}"
        return answer.json()["data"]

    def task(self, method: str, path: str, /, **data: object) -> str:
        """A call that is a task, to its end."""
        upid, limit = self(method, path, **data), time.monotonic() + 20
        while (found := self("GET", f"/nodes/pve/tasks/{upid}/status"))["status"] != "stopped":
            assert time.monotonic() < limit, upid
            time.sleep(0.01)
        assert found["exitstatus"] == "OK", found
        return str(upid)

    def guests(self) -> dict[int, dict[str, Any]]:
        """All guests by VMID, as the node itself has them: the cluster's list may be some seconds behind."""
        listed = {g["vmid"]: g for g in self("GET", "/cluster/resources", type="vm")}
        found = [{"type": kind, **g} for kind in ("lxc", "qemu") for g in self("GET", f"/nodes/pve/{kind}")]
        return {g["vmid"]: {**listed.get(g["vmid"], {}), **g} for g in found}

    def config(self, vmid: int) -> dict[str, Any]:
        """A guest's config."""
        return dict(self("GET", f"/nodes/pve/{self.guests()[vmid]['type']}/{vmid}/config"))

    def sweep(self, keep: frozenset[int] = frozenset()) -> None:
        """Takes every fault, lock and guest away, whoever made them, but for those to keep."""
        self("DELETE", "/pvelab/faults")
        self.quiet()
        for vmid, guest in self.guests().items():
            if vmid in keep:
                continue
            self("DELETE", f"/pvelab/locks/{vmid}")
            if guest["status"] == "running":
                self.task("POST", f"/nodes/pve/{guest['type']}/{vmid}/status/stop")
            self.task("DELETE", f"/nodes/pve/{guest['type']}/{vmid}")

    def quiet(self) -> None:
        """Ends every running task and waits until none runs."""
        limit = time.monotonic() + 20
        while running := self("GET", "/nodes/pve/tasks", source="active"):
            for task in running:
                self.call("DELETE", f"/nodes/pve/tasks/{task['upid']}")
            assert time.monotonic() < limit, running
            time.sleep(0.02)

    def fault(self, **rule: object) -> None:
        """Lets one request of a token (or `count` of them) meet a fault."""
        answer = self.session.post(f"{self.base}/pvelab/faults", json={"only": "token", **rule}, timeout=30)
        assert answer.ok, answer.text

    def requests(self) -> list[dict[str, Any]]:
        """What tokens have asked for, as far back as it is remembered."""
        return [r for r in self("GET", "/pvelab/requests")["requests"] if "!" in r["user"]]


def grant(root: Root, **who: str) -> None:
    """The rights of a hub's user (`users`) or token (`tokens`)."""
    for one in grants(NODE):
        root("PUT", "/access/acl", path=one.path, roles=one.role, propagate=int(one.propagate), **who)


def prepare(root: Root) -> str:
    """Bridges, pool, roles, user, and a token with exactly its rights: its name and value."""
    for bridge in BRIDGES:
        root("POST", "/nodes/pve/network", iface=bridge, type="bridge", autostart=1)
    root.task("PUT", "/nodes/pve/network")
    root("POST", "/pools", poolid=POOL)
    for role, privileges in ROLES.items():
        root("POST", "/access/roles", roleid=role, privs=",".join(privileges))
    root("POST", "/access/users", userid=USER)
    made = root("POST", f"/access/users/{USER}/token/hub", privsep=1)
    grant(root, users=USER)
    grant(root, tokens=f"{USER}!hub")
    return f"{made['full-tokenid']}={made['value']}"
