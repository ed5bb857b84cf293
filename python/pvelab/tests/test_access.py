"""Users, tokens, privileges, and the walls that only root@pam by ticket passes."""

from __future__ import annotations

from itertools import count

import pytest
from pve_server import TEMPLATE, Server

NAMES = count(1)
GUEST = "VM.Allocate,VM.Audit,VM.Config.CPU,VM.Config.Memory,VM.Config.Disk,VM.Config.Network,VM.Config.Options"
GUEST += ",VM.Config.HWType,VM.PowerMgmt,Pool.Audit"


@pytest.fixture
def token(pve: Server) -> Server:
    """A token with a pool of its own and the rights a hub needs."""
    n = next(NAMES)
    user, pool = f"u{n}@pve", f"pool{n}"
    pve.call("POST", "/pools", {"poolid": pool})
    pve.call("POST", "/access/users", {"userid": user})
    made = pve.call("POST", f"/access/users/{user}/token/hub", {"privsep": 1}).data
    assert made["full-tokenid"] == f"{user}!hub"
    pve.call("POST", "/access/roles", {"roleid": f"Guest{n}", "privs": GUEST})
    grants = ((f"/pool/{pool}", f"Guest{n}"), ("/storage/local", "PVEDatastoreUser"), ("/sdn/zones", "PVESDNUser"))
    for path, role in grants:
        for who in ({"users": user}, {"tokens": made["full-tokenid"]}):
            assert pve.call("PUT", "/access/acl", {"path": path, "roles": role, **who}).status == 200
    asked = pve.as_token(f"{made['full-tokenid']}={made['value']}")
    asked.pool = pool  # type: ignore[attr-defined]
    return asked


def test_a_token_sees_and_makes_only_what_it_may(pve: Server, token: Server) -> None:
    foreign, vmid = pve.container(), next(pve.vmids)
    wanted = {"vmid": vmid, "ostemplate": TEMPLATE, "rootfs": "local:1", "net0": "name=eth0,bridge=vmbr0"}
    refused = token.call("POST", "/nodes/pve/lxc", wanted)
    assert (refused.status, refused.message) == (403, "Permission check failed")
    assert token.done(token.call("POST", "/nodes/pve/lxc", {**wanted, "pool": token.pool})) == "OK"  # type: ignore[attr-defined]
    assert [g["vmid"] for g in token.get("/cluster/resources", type="vm")] == [vmid]
    hidden = token.call("GET", f"/nodes/pve/lxc/{foreign}/config")
    assert (hidden.status, hidden.message) == (403, f"Permission check failed (/vms/{foreign}, VM.Audit)")


def test_permissions_are_checked_before_parameters(token: Server) -> None:
    assert token.call("POST", "/access/users", {"nonsense": 1}).status in (403, 500)
    assert token.call("POST", "/storage", {"nonsense": 1}).status == 403


def test_a_token_cannot_log_in(token: Server) -> None:
    answer = token.call("PUT", "/access/password", {"userid": "root@pam", "password": "12345678"})
    text = "Permission check failed (URI '/access/password' not available with API token, need proper ticket.\n)"
    assert (answer.status, answer.json["message"].rstrip("\n")) == (403, text)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dev0": "/dev/dri/renderD128"}, "configuring device passthrough is only allowed for root@pam"),
        ({"features": "nesting=1,keyctl=1"}, "changing feature flags (except nesting) is only allowed for root@pam"),
        ({"mp0": "/srv,mp=/srv"}, "mount point type bind is only allowed for root@pam"),
    ],
)
def test_even_a_token_of_root_is_not_root_for_containers(pve: Server, options: dict[str, str], text: str) -> None:
    made = pve.call("POST", f"/access/users/root@pam/token/t{next(NAMES)}", {"privsep": 0}).data
    root = pve.as_token(f"{made['full-tokenid']}={made['value']}")
    vmid = pve.container()
    refused = root.call("PUT", f"/nodes/pve/lxc/{vmid}/config", options)
    assert (refused.status, refused.message) == (403, f"Permission check failed ({text})")
    assert pve.call("PUT", f"/nodes/pve/lxc/{vmid}/config", options).status == 200


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"hostpci0": "0000:01:00"}, "only root can set 'hostpci0' config for non-mapped devices"),
        ({"args": "-x"}, "only root can set 'args' config"),
    ],
)
def test_even_a_token_of_root_is_not_root_for_machines(pve: Server, options: dict[str, str], text: str) -> None:
    made = pve.call("POST", f"/access/users/root@pam/token/t{next(NAMES)}", {"privsep": 0}).data
    root = pve.as_token(f"{made['full-tokenid']}={made['value']}")
    vmid = pve.machine()
    refused = root.call("PUT", f"/nodes/pve/qemu/{vmid}/config", options)
    assert (refused.status, refused.message) == (500, text)
    mapped = root.call("PUT", f"/nodes/pve/qemu/{vmid}/config", {"hostpci0": "mapping=gpu,pcie=1"})
    assert mapped.status == 200


def test_users_tokens_roles_and_acls_refuse_what_pve_refuses(pve: Server) -> None:
    pve.call("POST", "/access/users", {"userid": "bob@pve"})
    again = pve.call("POST", "/access/users", {"userid": "bob@pve"})
    assert again.message == "create user failed: user 'bob@pve' already exists"
    assert pve.call("GET", "/access/users/zed@pve").message == "no such user ('zed@pve')"
    pve.call("POST", "/access/users/bob@pve/token/t1", {})
    double = pve.call("POST", "/access/users/bob@pve/token/t1", {})
    assert double.errors == {"tokenid": "Token already exists."}
    wrong = pve.call("POST", "/access/roles", {"roleid": "R", "privs": "VM.Nope"})
    assert wrong.errors == {"privs": "invalid format - invalid privilege 'VM.Nope'\n"}
    path = pve.call("PUT", "/access/acl", {"path": "/nope/x", "roles": "PVEAdmin", "users": "bob@pve"})
    assert path.errors == {"path": "invalid ACL path '/nope/x'"}


def test_pools(pve: Server) -> None:
    vmid = pve.container()
    pve.call("POST", "/pools", {"poolid": "hub"})
    assert pve.call("POST", "/pools", {"poolid": "hub"}).message == "create pool failed: pool 'hub' already exists"
    assert pve.call("PUT", "/pools", {"poolid": "hub", "vms": vmid}).status == 200
    full = pve.call("DELETE", "/pools/hub")
    assert full.message == f"delete pool failed: pool 'hub' is not empty (contains VM {vmid})"
    assert [m["vmid"] for m in pve.get("/pools", poolid="hub")[0]["members"]] == [vmid]
