"""Files on a storage as Proxmox VE 9.2 takes, names, lists, protects and prunes them."""

from __future__ import annotations

import hashlib
import re

import pytest
from pve_server import Answer, Server

LOCAL = "/nodes/pve/storage/local"
DATA = b"hello image " * 100
Part = tuple[str, bytes, str]


def upload(pve: Server, *parts: Part) -> Answer:
    """Sends a form whose parts are (name, content, file name)."""
    body = b""
    for name, content, file in parts:
        more = f'; filename="{file}"\r\nContent-Type: application/octet-stream' if file else ""
        head = f'--BOUND\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'
        body += head.encode() + content + b"\r\n"
    headers = {"Content-Type": "multipart/form-data; boundary=BOUND"}
    return pve.call("POST", f"{LOCAL}/upload", body=body + b"--BOUND--\r\n", headers=headers)


def file(name: str, data: bytes = DATA) -> Part:
    return ("filename", data, name)


def field(name: str, value: str) -> Part:
    return (name, value.encode(), "")


ISO = field("content", "iso")
SHA = hashlib.sha256(DATA).hexdigest()


def test_an_upload_is_checked_and_logged(pve: Server) -> None:
    sent = upload(pve, ISO, field("checksum-algorithm", "sha256"), field("checksum", SHA.upper()), file("a b.iso"))
    assert pve.done(sent) == "OK"
    log = pve.log(sent.data)
    assert re.fullmatch(r"starting file import from: /var/tmp/pveupload-[0-9a-f]{32}", log[0])
    assert log[1:5] == [
        "calculating checksum...OK, checksum verified",
        "target node: pve",
        "target file: /var/lib/vz/template/iso/a_b.iso",
        f"file size is: {len(DATA)}",
    ]
    assert log[-2:] == ["finished file import successfully", "TASK OK"]
    wrong = upload(pve, ISO, field("checksum-algorithm", "md5"), field("checksum", "0"), file("w.iso"))
    assert pve.done(wrong) == f"checksum mismatch: got '{hashlib.md5(DATA).hexdigest()}' != expect '0'"
    assert "w.iso" not in str(pve.get(f"{LOCAL}/content"))


@pytest.mark.parametrize(
    ("parts", "status", "text"),
    [
        ((file("c.iso"), ISO), 400, "property is missing and it is not optional"),
        ((ISO, ("file", DATA, "c.iso")), 500, "wrong field name 'file' for file upload, expected 'filename'"),
        ((ISO,), 500, "upload failed at "),
        ((ISO, field("checksum", "0"), field("checksum-algorithm", "md5"), file("c.iso")), 400, ""),
        ((ISO, file("c.txt")), 400, "wrong file extension"),
        ((field("content", "import"), file("c.txt")), 400, "invalid filename or wrong extension"),
        ((field("content", "backup"), file("c.tar")), 400, "does not have a value in the enumeration"),
    ],
)
def test_an_upload_that_is_refused(pve: Server, parts: tuple[Part, ...], status: int, text: str) -> None:
    answer = upload(pve, *parts)
    assert (answer.status, text in answer.text) == (status, True)
    assert not list((pve.state / "upload").iterdir())


def test_content_is_listed_as_pve_lists_it(pve: Server) -> None:
    vmid = pve.machine()
    rows = {row["volid"]: row for row in pve.get(f"{LOCAL}/content")}
    disk = rows[f"local:{vmid}/vm-{vmid}-disk-0.raw"]
    assert sorted(disk) == ["content", "ctime", "format", "parent", "size", "used", "vmid", "volid"]
    assert (disk["content"], disk["format"], disk["parent"]) == ("images", "raw", None)
    template = next(row for volid, row in rows.items() if volid.endswith("standard_13.1-2_amd64.tar.zst"))
    assert sorted(template) == ["content", "ctime", "format", "size", "volid"]
    assert template["format"] == "tzst"
    assert list(rows) == sorted(rows, key=str.lower)
    mine = pve.get(f"{LOCAL}/content", vmid=vmid)
    assert {row["content"] for row in mine} <= {"images", "import", "snippets"}  # as PVE: only some types are filtered


def test_volumes_are_allocated_and_removed(pve: Server) -> None:
    name = {"filename": "vm-9001-disk-7.qcow2", "vmid": 9001, "size": "64M"}
    assert pve.call("POST", f"{LOCAL}/content", name).data == "local:9001/vm-9001-disk-7.qcow2"
    again = pve.call("POST", f"{LOCAL}/content", name)
    assert again.message == "disk image '/var/lib/vz/images/9001/vm-9001-disk-7.qcow2' already exists"
    volume = f"{LOCAL}/content/9001/vm-9001-disk-7.qcow2"
    assert pve.get(volume)["format"] == "qcow2"
    assert pve.call("DELETE", volume, {"delay": 5}).data is None
    gone = pve.call("DELETE", volume)
    assert ":imgdel:9001@local:root@pam:" in gone.data
    assert pve.done(gone) == "OK"
    assert pve.log(gone.data)[0] == "disk image '/var/lib/vz/images/9001/vm-9001-disk-7.qcow2' does not exist"


def test_backups_are_noted_protected_and_pruned(pve: Server) -> None:
    vmid = pve.container()
    folder = pve.state / "storage" / "local" / "dump"
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"vzdump-lxc-{vmid}-2024_01_0{day}-00_00_00.tar.zst" for day in (1, 2, 3)]
    odd = f"vzdump-lxc-{vmid}-odd.tar.zst"
    for name in (*names, odd):
        (folder / name).write_bytes(b"x")
    volume = f"{LOCAL}/content/backup/{names[0]}"
    assert pve.call("PUT", volume, {"notes": "first\nsecond", "protected": 1}).data is None
    assert pve.get(volume)["notes"] == "first\nsecond"
    row = next(r for r in pve.get(f"{LOCAL}/content", vmid=vmid, content="backup") if r["volid"].endswith(names[0]))
    assert (row["notes"], row["protected"], row["subtype"], row["format"]) == ("first", 1, "lxc", "tar.zst")
    kept = pve.done(pve.call("DELETE", volume))
    assert kept == f"cannot remove protected volume 'backup/{names[0]}' on 'local'"
    wanted = {"prune-backups": "keep-last=1", "vmid": vmid}
    marks = [entry["mark"] for entry in pve.get(f"{LOCAL}/prunebackups", **wanted)]
    assert marks == ["protected", "remove", "keep", "renamed"]
    pruned = pve.call("DELETE", f"{LOCAL}/prunebackups", wanted)
    assert f":prunebackups:{vmid}@local:root@pam:" in pruned.data
    assert pve.done(pruned) == "OK"
    assert pve.log(pruned.data)[0] == f"removing backup 'local:backup/{names[1]}'"
    left = [r["volid"] for r in pve.get(f"{LOCAL}/content", vmid=vmid, content="backup")]
    assert left == [f"local:backup/{name}" for name in (names[0], names[2], odd)]
    assert pve.call("PUT", volume, {"notes": "", "protected": 0}).data is None
    assert (pve.get(volume)["notes"], pve.get(volume)["protected"]) == ("", 0)


def test_a_backup_job_tells_what_it_does(pve: Server) -> None:
    vmid = pve.container(mp0="local:1,mp=/data")
    wanted = {"vmid": vmid, "storage": "local", "mode": "stop", "notes-template": "{{guestname}} on {{cluster}}"}
    made = pve.call("POST", "/nodes/pve/vzdump", {**wanted, "prune-backups": "keep-last=2"})
    assert pve.done(made) == "OK"
    log = pve.log(made.data)
    assert log[1] == f"INFO: Starting Backup of VM {vmid} (lxc)"
    assert log[3:7] == [
        "INFO: status = stopped",
        "INFO: backup mode: stop",
        "INFO: ionice priority: 7",
        f"INFO: CT Name: ct{vmid}",
    ]
    assert "INFO: prune older backups with retention: keep-last=2" in log
    assert log[-3:] == ["INFO: Backup job finished successfully", "INFO: notified via target `mail-to-root`", "TASK OK"]
    entry = next(r for r in pve.get(f"{LOCAL}/content", content="backup", vmid=vmid))
    assert entry["notes"] == f"ct{vmid} on standalone node"
    assert f"hostname: ct{vmid}\n" in pve.get("/nodes/pve/vzdump/extractconfig", volume=entry["volid"])


def test_a_backup_job_that_fails(pve: Server) -> None:
    missing = pve.call("POST", "/nodes/pve/vzdump", {"vmid": 999, "storage": "local"})
    assert pve.done(missing) == "job errors"
    assert "ERROR: Backup of VM 999 failed - unable to find VM '999'" in pve.log(missing.data)
    nowhere = pve.call("POST", "/nodes/pve/vzdump", {"vmid": 999, "storage": "nope"})
    text = "storage 'nope' does not exist"
    expected = f"could not activate storage 'nope': {text} could not get storage information for 'nope': {text}"
    assert pve.done(nowhere) == expected
    assert pve.log(nowhere.data) == [f"TASK ERROR: {expected}"]
