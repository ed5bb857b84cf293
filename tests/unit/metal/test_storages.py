"""A storage is made of disks that hold nothing, and of no others; what was made is never taken away."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from metal import compare, disks, storages
from metal.actual import ActualNode, parse, script
from metal.desired import Card, Mirror
from metal.disks import Disk
from metal.exchange import Order
from metal.refusal import RefusedByNode

from tests.unit.metal.metal_nodes import WANTED, converged

TIB = 1 << 40
MADE = Mirror("pond", ("nvme-A_1", "nvme-B_2"))
DESIRED = replace(WANTED, storages=("local-zfs", "pond"), mirrors=(MADE,))


def node(**other: Disk) -> ActualNode:
    """One whose two disks are empty, but for what is said otherwise."""
    actual = converged()
    actual.values["zpool"] = "yes"
    actual.disks = {name: Disk(name, f"/dev/nvme{n}n1", TIB, "") for n, name in enumerate(MADE.disks)}
    actual.disks |= {disk.name: disk for disk in other.values()}
    return actual


def test_a_storage_is_made_of_two_empty_disks_and_then_nothing_is_left_to_do():
    actual = node()
    (step,) = storages.steps(DESIRED, actual)
    assert (step.subject, step.action) == ("storage pond", "create")
    assert step.differences == (("pool", "none", "ZFS mirror of nvme-A_1 and nvme-B_2"),)
    pool, storage = map(str, step.commands)
    assert pool.endswith("pond mirror /dev/disk/by-id/nvme-A_1 /dev/disk/by-id/nvme-B_2")
    assert "'comment=aihub:v1 hub=0123456789abcdef'" in pool
    assert " -f" not in pool.rpartition("\n")[2], "ZFS itself looks, too"
    assert storage.startswith("pvesh create /storage --storage pond --type zfspool --pool pond")
    assert step in [s for s in compare.steps(DESIRED, actual) if s.commands]
    actual.api["storage"].append({"storage": "pond", "type": "zfspool"})
    actual.pools["pond"] = WANTED.marker
    assert storages.steps(DESIRED, actual) == []
    assert list(storages.kept(DESIRED, actual)) == []


@pytest.mark.parametrize(
    ("disk", "text"),
    [
        (Disk("nvme-B_2", "/dev/nvme1n1", 0, ""), "there is no disk /dev/disk/by-id/nvme-B_2"),
        (Disk("nvme-B_2", "/dev/nvme1n1", TIB, "signature gpt; partition nvme1n1p1"), "not empty: signature gpt; part"),
        (Disk("nvme-B_2", "/dev/nvme1n1", TIB // 2, ""), "not of one size"),
        (Disk("nvme-B_2", "/dev/nvme0n1", TIB, ""), r"are names of one disk \(/dev/nvme0n1\)"),
    ],
)
def test_a_disk_that_is_not_free_is_refused_with_what_is_on_it(disk, text):
    with pytest.raises(RefusedByNode, match=text) as caught:
        compare.steps(DESIRED, node(other=disk))
    assert caught.value.kind == "precondition"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda actual: actual.values.pop("zpool"), "there is no zpool"),
        (lambda actual: actual.pools.update(pond="-"), "a ZFS pool of that name is there"),
        (
            lambda actual: actual.values.update({"folder /pond": "full"}),
            "/pond, where it would be mounted, is not empty",
        ),
    ],
)
def test_what_else_is_in_the_way_is_named(change, text):
    actual = node()
    change(actual)
    with pytest.raises(RefusedByNode, match=text):
        storages.steps(DESIRED, actual)


def test_a_run_that_was_killed_between_pool_and_storage_is_finished():
    actual = node(other=Disk("nvme-B_2", "/dev/nvme1n1", TIB, "part of a ZFS pool"))
    actual.pools["pond"] = WANTED.marker
    (step,) = storages.steps(DESIRED, actual)
    assert len(step.commands) == 1
    assert "zpool" not in str(step.commands[0])


def test_what_stands_in_for_a_pool_is_named_and_touches_no_disk():
    actual = converged()  # without a zpool, and without disks
    (step,) = storages.steps(replace(DESIRED, mirrors=(replace(MADE, stand_in="lab: a figure"),)), actual)
    assert step.differences == (("pool", "none", "ZFS mirror of nvme-A_1 and nvme-B_2 (lab: a figure)"),)
    (made,) = map(str, step.commands)
    assert made.startswith("pvesh create /storage --storage pond")


def test_what_hub_yml_has_no_more_is_kept_and_said():
    actual = node()
    actual.pools = {"pond": WANTED.marker, "theirs": "-"}
    (text,) = storages.kept(WANTED, actual)
    assert "storage pond was made for this hub and is kept" in text
    assert list(storages.kept(replace(DESIRED, removed=True), actual)) == [text]


def test_an_order_with_a_storage_is_read_back_as_it_was():
    order = Order(DESIRED)
    assert Order.read(order.as_json()) == order


@pytest.fixture(scope="module")
def marks(tmp_path_factory) -> dict[str, Path]:
    """Files that look as disks do: an empty one, a file system, a partition table, a swap area."""
    folder = tmp_path_factory.mktemp("disks")
    made = {name: folder / name for name in ("empty", "ext4", "table", "swap")}
    for path in made.values():
        with path.open("wb") as file:
            file.truncate(8 << 20)
    table = bytearray(512)
    table[446:462] = bytes([0, 0, 2, 0, 0x83, 0, 2, 0, 1, 0, 0, 0, 0, 8, 0, 0])
    table[510:] = b"\x55\xaa"
    with made["table"].open("r+b") as file:
        file.write(table)
    for name, program in (("ext4", "mkfs.ext4"), ("swap", "mkswap")):
        subprocess.run([f"/sbin/{program}", made[name]], capture_output=True, check=True)
    return made


@pytest.mark.parametrize(("name", "said"), [("empty", ""), ("ext4", "ext4"), ("table", "dos"), ("swap", "swap")])
def test_what_is_on_a_disk_is_seen_by_its_signature(marks, name, said):
    lines = _holds(str(marks[name]))
    assert "no block device" in lines  # a file is none, whatever is in it
    assert [line for line in lines if line.startswith("signature")] == ([f"signature {said}"] if said else [])


def test_what_can_not_be_looked_at_is_not_free(tmp_path):
    assert "not readable" in _holds(str(tmp_path / "gone"))


def test_the_reading_script_says_what_is_there(tmp_path):
    text = script(replace(DESIRED, mirrors=(Mirror("pond", ("nvme-not-there", "nvme-B_2")),)))
    begin = text.index("holds() {")
    part = "plain() { cat; }\n" + text[begin : text.rindex("wait\nfor")]
    done = subprocess.run(["/bin/sh", "-c", part], capture_output=True, text=True, check=False)
    disk = next(line for line in done.stdout.splitlines() if line.startswith("disk\tnvme-not-there"))
    assert disk.split("\t")[3] == "0"
    assert "no block device" in disk


def _holds(path: str) -> list[str]:
    done = subprocess.run(
        ["/bin/sh", "-c", f'{disks.HOLDS}holds "$1"', "-", path], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_the_whole_script_reads_the_api_and_removes_nothing_but_its_own_folder(tmp_path):
    """It is run here, with a pvesh that answers every question with an empty list: it writes nothing."""
    tools, pond, own = tmp_path / "bin", tmp_path / "pond", tmp_path / "own"
    for folder in (tools, pond, own):
        folder.mkdir()
    (tools / "pvesh").write_text("#!/bin/sh\necho '[]'\n")
    (tools / "pvesh").chmod(0o755)
    (pond / "data").write_text("theirs")
    here = os.uname().nodename.partition(".")[0]
    cards = (Card("card", "10de:2b85"),)
    wanted = replace(DESIRED, node=here, cards=cards, mirrors=(Mirror(str(pond)[1:], MADE.disks),))
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "TMPDIR": str(own)}
    done = subprocess.run(
        ["/bin/sh", "-c", script(wanted)], capture_output=True, text=True, check=True, env=environment
    )
    found = parse([line for line in done.stdout.splitlines() if not line.startswith("fail\tlspci")])
    assert {"network", "storage", "pools", "users", "roles", "acl", "status"} <= found.api.keys()
    assert found.values[f"folder {pond}"] == "full"
    assert (pond / "data").read_text() == "theirs"
    assert list(own.iterdir()) == []


def test_a_disk_is_looked_at_once_more_right_before_it_is_taken(tmp_path):
    (tmp_path / "zpool").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/log\n')
    (tmp_path / "zpool").chmod(0o755)
    (step,) = storages.steps(DESIRED, node())
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    taken = ["/bin/sh", "-c", str(step.commands[0])]
    done = subprocess.run(taken, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("/dev/disk/by-id/nvme-A_1: no block device")
    assert "create" not in (tmp_path / "log").read_text()
