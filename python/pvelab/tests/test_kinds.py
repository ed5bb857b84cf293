"""Kinds and keys of answers where PVE reads its own files again: objects for property strings, sorted lists."""

from __future__ import annotations

from pve_server import Server

SETS = "/cluster/firewall/ipset"


def test_a_backup_jobs_property_strings_are_objects(pve: Server) -> None:
    job = {"id": "typed", "schedule": "01:00", "all": 1, "fleecing": "enabled=0", "performance": "max-workers=4"}
    assert pve.call("POST", "/cluster/backup", job).status == 200
    found = pve.get("/cluster/backup/typed")
    assert (found["fleecing"], found["performance"]) == ({"enabled": 0}, {"max-workers": "4"})
    assert pve.call("PUT", "/cluster/backup/typed", {"exclude": "999"}).status == 200
    assert pve.get("/cluster/backup/typed")["all"] == 1
    assert pve.call("DELETE", "/cluster/backup/typed").status == 200


def test_a_machine_without_a_name_has_none_in_lists_of_backups(pve: Server) -> None:
    vmid = pve.machine()
    assert pve.call("PUT", f"/nodes/pve/qemu/{vmid}/config", {"delete": "name"}).status == 200
    (row,) = [g for g in pve.get("/cluster/backup-info/not-backed-up") if g["vmid"] == vmid]
    assert row == {"vmid": vmid, "type": "qemu"}
    assert pve.call("POST", "/cluster/backup", {"id": "one", "schedule": "01:00", "vmid": str(vmid)}).status == 200
    (tree,) = pve.get("/cluster/backup/one/included_volumes")["children"]
    assert tree["name"] is None
    assert pve.call("DELETE", "/cluster/backup/one").status == 200


def test_a_storages_content_directories_are_an_object(pve: Server) -> None:
    new = {"storage": "deep", "type": "dir", "path": "/srv/deep", "content": "iso", "content-dirs": "iso=isos"}
    assert pve.call("POST", "/storage", new).status == 200
    assert pve.get("/storage/deep")["content-dirs"] == {"iso": "isos"}
    assert pve.call("DELETE", "/storage/deep").status == 200


def test_entries_of_a_set_are_sorted_and_share_the_lists_digest(pve: Server) -> None:
    assert pve.call("POST", SETS, {"name": "sorted"}).status == 200
    for cidr in ("10.0.0.9", "10.0.0.10", "10.0.0.1"):
        assert pve.call("POST", f"{SETS}/sorted", {"cidr": cidr}).status == 200
    assert [e["cidr"] for e in pve.get(f"{SETS}/sorted")] == ["10.0.0.1", "10.0.0.10", "10.0.0.9"]
    digest = pve.get(f"{SETS}/sorted/10.0.0.9")["digest"]
    assert digest == pve.get(f"{SETS}/sorted")[0]["digest"]
    assert pve.call("PUT", f"{SETS}/sorted/10.0.0.9", {"comment": "x", "digest": digest}).status == 200


def test_an_alias_of_one_address_has_no_prefix(pve: Server) -> None:
    for name, cidr, kept in (("one", "10.0.0.7/32", "10.0.0.7"), ("net", "10.0.0.0/24", "10.0.0.0/24")):
        assert pve.call("POST", "/cluster/firewall/aliases", {"name": name, "cidr": cidr}).status == 200
        assert pve.get(f"/cluster/firewall/aliases/{name}")["cidr"] == kept


def test_an_empty_comment_is_none(pve: Server) -> None:
    assert pve.call("POST", "/pools", {"poolid": "quiet"}).status == 200
    assert pve.call("PUT", "/pools/quiet", {"comment": ""}).status == 200
    assert "comment" not in pve.get("/pools/quiet")
