"""Kinds and keys of answers where PVE reads its own files again: objects for property strings, sorted lists."""

from __future__ import annotations

from pve_server import Server


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


def test_an_empty_comment_is_none(pve: Server) -> None:
    assert pve.call("POST", "/pools", {"poolid": "quiet"}).status == 200
    assert pve.call("PUT", "/pools/quiet", {"comment": ""}).status == 200
    assert "comment" not in pve.get("/pools/quiet")
