"""Who asks what gets which answer: status, words and kinds, step by step, as PVE 9.2 gives them."""

from __future__ import annotations

from typing import Any

import pytest
from pve_server import Server

MISSING = "property is missing and it is not optional"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
CHANGED = "detected modified configuration - file changed by other user? Try again."
OLD = "0" * 40
BOTH = "keep-all=1,keep-last=3"
WRONG = "invalid format - "
CALENDAR = "invalid calendar event 'mon..x' - unable to parse calendar event at '..x' - Nom(Eof)\n\n"
NO_TOKEN = "URI '/access/ticket' not available with API token, need proper ticket.\n"
Step = tuple[str, str, dict[str, Any], Any]  # method, path, parameters, what is expected


def _text(answer: Any) -> Any:
    """What a step is compared with: 200, a message, or the errors by field."""
    if answer.status == 200:
        return 200
    return answer.errors or answer.message


def run(pve: Server, base: str, steps: list[Step]) -> None:
    """Every step on its own; all that differ are shown together."""
    found = [(step, _text(pve.call(step[0], base + step[1], step[2]))) for step in steps]
    assert [(step[:3], said) for step, said in found if said != step[3]] == []


def kinds(value: Any) -> Any:
    """A result with every value replaced by the name of its type."""
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list) else type(value).__name__


@pytest.mark.parametrize(
    ("path", "key", "names"),
    [
        ("/", "subdir", "version cluster nodes storage access pools"),
        ("/access", "subdir", "users groups roles acl domains openid tfa ticket password"),
        ("/access/openid", "subdir", "auth-url login"),
        (
            "/cluster",
            "name",
            "replication metrics notifications config firewall backup backup-info ha acme ceph jobs mapping"
            " bulk-action sdn log options resources status tasks nextid qemu",
        ),
        ("/cluster/firewall", "name", "aliases rules options groups ipset macros refs"),
        ("/cluster/ha", "id", "status resources groups rules"),
        ("/cluster/ha/status", "name", "current manager_status disarm-ha arm-ha"),
        ("/cluster/jobs", "subdir", "schedule-analyze realm-sync"),
        ("/cluster/mapping", "name", "dir pci usb"),
        ("/cluster/backup-info", "subdir", "not-backed-up"),
    ],
)
def test_directories_name_their_children(pve: Server, path: str, key: str, names: str) -> None:
    assert {item[key] for item in pve.get(path)} == set(names.split())


def test_users(pve: Server) -> None:
    failed = "create user failed: "
    steps: list[Step] = [
        ("POST", "", {"userid": "ann@pve", "password": "secret123", "comment": "A"}, 200),
        ("POST", "", {"userid": "ann@pve"}, f"{failed}user 'ann@pve' already exists"),
        ("POST", "", {"userid": "al"}, {"userid": f"{WRONG}user name 'al' is too short\n"}),
        (
            "POST",
            "",
            {"userid": "sam@pam", "password": "longenough"},
            f"{failed}change password failed: user 'sam' does not exist",
        ),
        (
            "POST",
            "",
            {"userid": "ann@pve", "email": "x"},
            {"email": f"{WRONG}value does not look like a valid email address\n"},
        ),
        ("POST", "", {"userid": "new@pve", "groups": "none"}, f"{failed}no such group 'none'"),
        ("POST", "", {}, {"userid": MISSING}),
        ("PUT", "/zed@pve", {"comment": "x"}, "update user failed: no such user ('zed@pve')"),
        ("GET", "/zed@pve", {}, "no such user ('zed@pve')"),
        ("DELETE", "/zed@pve", {}, 200),
    ]
    run(pve, "/access/users", steps)
    assert pve.get("/access/users/ann@pve") == {
        "enable": 1,
        "expire": 0,
        "comment": "A",
        "email": "",
        "groups": [],
        "tokens": None,
    }
    assert pve.call("DELETE", "/access/users/ann@pve").status == 200


def test_tokens(pve: Server) -> None:
    pve.call("POST", "/access/users", {"userid": "tom@pve"})
    base = "/access/users/tom@pve/token"
    made = pve.call("POST", f"{base}/one", {"privsep": 0}).data
    assert (made["info"], made["full-tokenid"]) == ({"privsep": "0"}, "tom@pve!one")
    assert pve.call("POST", f"{base}/two", {}).data["info"] == {"privsep": 1}
    refused = "updating token info failed: 400 Parameter verification failed.\ndelete: unknown option 'privsep'"
    steps: list[Step] = [
        ("POST", "/one", {}, {"tokenid": "Token already exists."}),
        ("POST", "/x", {}, {"tokenid": "value does not match the regex pattern"}),
        ("PUT", "/one", {"delete": "privsep"}, refused),
        ("GET", "/none", {}, "no such token 'none' for user 'tom@pve'"),
        ("DELETE", "/none", {}, "no such token 'none' for user 'tom@pve'"),
    ]
    run(pve, base, steps)
    assert pve.call("PUT", f"{base}/one", {"privsep": 1}).data == {"privsep": "1", "expire": 0}
    assert pve.get(f"{base}/one") == {"privsep": 1, "expire": 0}
    pve.call("DELETE", "/access/users/tom@pve")


def test_realms_are_the_two_of_every_node(pve: Server) -> None:
    nobody = Server(pve.state, pve.port, pve.process)
    assert {r["realm"]: r["type"] for r in nobody.get("/access/domains")} == {"pam": "pam", "pve": "pve"}
    assert pve.get("/access/domains/pam").keys() == {"type", "comment", "plugin", "digest"}
    run(pve, "/access/domains", [("GET", "/nope", {}, "domain 'nope' does not exist")])


def test_ha_resources(pve: Server) -> None:
    first, second = pve.machine(), pve.container()
    one, two = f"vm:{first}", f"ct:{second}"
    resources = "/cluster/ha/resources"
    run(
        pve,
        resources,
        [
            ("POST", "", {"sid": one}, 200),
            ("POST", "", {"sid": second, "state": "stopped"}, 200),
            ("POST", "", {"sid": one}, f"create resource failed: resource ID '{one}' already defined"),
            ("POST", "", {"sid": "fa:1"}, "unknown section type 'fa'"),
            ("POST", "", {"sid": "vm:abc"}, "invalid VMID"),
            ("POST", "", {"sid": "99999"}, "unable to detect SID from VMID - VM/CT 99999 does not exist"),
            ("GET", "/vm:99999", {}, "no such resource 'vm:99999'"),
        ],
    )
    assert {r["sid"]: r.get("state") for r in pve.get(resources)} == {one: None, two: "stopped"}
    assert [r["sid"] for r in pve.get(resources, type="ct")] == [two]
    assert pve.get(f"/nodes/pve/qemu/{first}/status/current")["ha"] == {"managed": 1, "state": "started"}
    run(pve, resources, [("DELETE", f"/{one}", {}, 200), ("DELETE", f"/{two}", {}, 200)])
    gone = f"cannot delete service '{one}', not HA managed!"
    run(pve, resources, [("DELETE", f"/{one}", {}, gone)])


def test_jobs(pve: Server) -> None:
    base, nested = "/cluster/backup", "400 Parameter verification failed.\n"
    run(
        pve,
        base,
        [
            ("POST", "", {}, {"schedule": "neither 'starttime' nor 'schedule' were set"}),
            ("POST", "", {"schedule": "daily"}, f"{nested}vmid: property is missing"),
            (
                "POST",
                "",
                {"schedule": "daily", "vmid": "100", "all": 1},
                f"{nested}all: option conflicts with option 'vmid'",
            ),
            ("POST", "", {"schedule": "daily", "id": "j1", "all": 1}, 200),
            ("POST", "", {"schedule": "daily", "id": "j1", "all": 1}, "Job 'j1' already exists"),
            (
                "POST",
                "",
                {"schedule": "mon..x", "all": 1},
                {"schedule": f"{WRONG}{CALENDAR}"},
            ),
            ("PUT", "/j1", {}, "no options specified"),
            ("PUT", "/j1", {"vmid": "105"}, 200),
            ("PUT", "/j1", {"delete": "nope"}, f"{nested}delete: unknown option 'nope'"),
            (
                "POST",
                "",
                {"schedule": "daily", "all": 1, "fleecing": "enabled=1"},
                {"fleecing": f"{WRONG}'storage' parameter is required when 'enabled' is set\n"},
            ),
        ],
    )
    assert pve.get(f"{base}/j1").keys() == {"id", "type", "schedule", "enabled", "vmid"}
    assert kinds(pve.get(base)[-1]["next-run"]) == "int"
    assert pve.get(f"{base}/j1/included_volumes") == {"children": [{"id": 105, "type": "unknown", "leaf": 1}]}
    pve.call("DELETE", f"{base}/j1")


@pytest.mark.parametrize(
    ("kind", "given", "word"),
    [
        ("pci", "node=pve,path=0000:01:00.0,id=10de:2204", "hardware"),
        ("usb", "node=pve,id=1234:5678", "hardware"),
        ("dir", "node=pve,path=/srv", "directory"),
    ],
)
def test_mappings(pve: Server, kind: str, given: str, word: str) -> None:
    base, failed = f"/cluster/mapping/{kind}", f"update {word} mapping failed: "
    run(
        pve,
        base,
        [
            ("POST", "", {"id": "mm", "map": given}, 200),
            ("POST", "", {"id": "mm", "map": given}, f"create {word} mapping failed: {kind} ID 'mm' already defined"),
            ("PUT", "/mm", {"map": given, "delete": "map"}, f"{failed}unable to delete required option 'map'"),
            ("PUT", "/mm", {"map": given, "delete": "nope"}, f"{failed}no such option 'nope'"),
            ("PUT", "/mm", {"map": given, "digest": OLD}, f"{failed}{CHANGED}"),
            ("PUT", "/none", {"map": given}, f"{failed}{kind} ID 'none' does not exist"),
        ],
    )
    listed = next(item for item in pve.get(base, **{"check-node": "pve"}) if item["id"] == "mm")
    assert listed.keys() == {"id", "type", "map", "digest", "errors" if kind == "usb" else "checks"}
    pve.call("DELETE", f"{base}/mm")


def test_storages(pve: Server) -> None:
    failed = "update storage failed: "
    run(
        pve,
        "/storage",
        [
            ("POST", "", {"storage": "d1", "type": "dir"}, "missing value for required option 'path'"),
            (
                "POST",
                "",
                {"storage": "d1", "type": "dir", "path": "/mnt/d1/", "server": "x"},
                "unexpected property 'server'",
            ),
            ("POST", "", {"storage": "d1", "type": "dir", "path": "/mnt/d1", "content": "iso"}, 200),
            (
                "POST",
                "",
                {"storage": "d1", "type": "dir", "path": "/mnt/d1"},
                "create storage failed: storage ID 'd1' already defined",
            ),
            ("PUT", "/d1", {"path": "/x"}, {"path": UNKNOWN}),
            ("PUT", "/d1", {"delete": "path"}, f"{failed}unable to delete required option 'path'"),
            ("PUT", "/d1", {"delete": "bogus"}, f"{failed}no such option 'bogus'"),
            ("PUT", "/d1", {"content": ""}, f"{failed}got undefined value for option 'content'"),
            (
                "PUT",
                "/d1",
                {"prune-backups": "keep-all=1,keep-last=3"},
                {"prune-backups": f"{WRONG}keep-all cannot be set together with other options.\n"},
            ),
            ("PUT", "/none", {"content": "iso"}, f"{failed}storage 'none' does not exist"),
            ("POST", "", {"storage": "n1", "type": "nfs", "server": "1.2.3.4", "export": "/x", "disable": 1}, 200),
        ],
    )
    assert pve.get("/storage/d1").keys() == {"storage", "type", "path", "content", "digest"}
    nfs = pve.get("/storage/n1")
    assert (nfs["path"], nfs["shared"], nfs["disable"], nfs["content"]) == ("/mnt/pve/n1", 1, 1, "images")
    run(pve, "/storage", [("DELETE", "/d1", {}, 200), ("DELETE", "/n1", {}, 200)])


def test_a_pool_names_itself(pve: Server) -> None:
    pve.call("POST", "/pools", {"poolid": "self", "comment": "c"})
    assert pve.get("/pools/self") == {"poolid": "self", "comment": "c", "members": []}
    pve.call("DELETE", "/pools/self")


def test_privileges_reach_down_the_tree(pve: Server) -> None:
    pve.call("POST", "/access/users", {"userid": "eve@pve"})
    pve.call("PUT", "/access/acl", {"path": "/mapping/pci/gpu", "roles": "PVEMappingUser", "users": "eve@pve"})
    pve.call("PUT", "/access/acl", {"path": "/", "roles": "PVEAuditor", "users": "eve@pve"})
    found = pve.get("/access/permissions", userid="eve@pve")
    assert {"/", "/mapping", "/mapping/pci", "/mapping/pci/gpu", "/vms"} <= found.keys()
    assert pve.get("/access/permissions", userid="nobody@pve") == {}
    made = pve.call("POST", "/access/users/eve@pve/token/tt", {}).data
    token = pve.as_token(f"eve@pve!tt={made['value']}")
    assert token.get("/access/users") == []
    pve.call("DELETE", "/access/users/eve@pve")


def test_permissions_name_a_missing_parameter_by_a_dash(pve: Server) -> None:
    pve.call("POST", "/access/users", {"userid": "may@pve"})
    made = pve.call("POST", "/access/users/may@pve/token/tt", {}).data
    token = pve.as_token(f"may@pve!tt={made['value']}")
    run(
        token,
        "",
        [
            ("DELETE", "/pools", {}, "Permission check failed (/pool/-, Pool.Allocate)"),
            ("POST", "/access/ticket", {}, f"Permission check failed ({NO_TOKEN})"),
            ("GET", "/cluster/sdn", {}, "Permission check failed (/sdn, SDN.Audit)"),
        ],
    )  # fmt: skip
    pve.call("DELETE", "/access/users/may@pve")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/cluster/replication", []),
        ("/cluster/acme/account", []),
        ("/cluster/config/nodes", []),
        ("/cluster/config/apiversion", "1"),
        ("/cluster/config/qdevice", {}),
        ("/cluster/config/totem", None),
        ("/cluster/config/join", "node is not in a cluster, no join info available!"),
        ("/cluster/ceph/status", "binary not installed: /usr/bin/ceph-mon"),
        ("/cluster/acme/plugins/none", "ACME plugin 'none' not defined"),
        ("/cluster/replication/100-0", "no such replication job '100-0'"),
    ],
)
def test_what_was_never_set_up_says_so(pve: Server, path: str, expected: Any) -> None:
    answer = pve.call("GET", path)
    assert (answer.data if answer.status == 200 else answer.message) == expected
