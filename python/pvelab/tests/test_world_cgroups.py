"""Limits fit the machine's cgroup hierarchy and the lab's scale."""

from pathlib import Path

import pytest
from pvelab.world import cgroups
from pvelab.world.cgroups import MEMORY_FLOOR, Limits

V1 = "cgroup /sys/fs/cgroup/memory cgroup rw 0 0\n"
V2 = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n"


@pytest.mark.parametrize(("mounts", "version"), [(V1, "v1"), (V1 + V2, "hybrid"), (V2, "v2")])
def test_the_hierarchy_is_read_from_the_mounts(mounts: str, version: str) -> None:
    assert cgroups.detect(mounts) == version


def test_systemd_in_a_container_is_told_only_about_old_hierarchies() -> None:
    assert cgroups.init_arguments("v2") == []
    assert cgroups.init_arguments("hybrid")


def test_memory_and_cores_are_divided_by_the_factor() -> None:
    limits = Limits.scaled(16384, 12, 8)
    assert limits.memory == 2048 * 1024**2
    assert limits.settings("hybrid") == {
        "memory.limit_in_bytes": str(2048 * 1024**2),
        "cpu.cfs_period_us": "100000",
        "cpu.cfs_quota_us": "150000",
    }
    assert limits.settings("v2") == {"memory.max": str(2048 * 1024**2), "cpu.max": "150000 100000"}


def test_no_guest_is_scaled_below_what_it_can_boot_with_nor_above_what_it_declares() -> None:
    assert Limits.scaled(2048, 1, 8) == Limits(MEMORY_FLOOR, 1)
    assert Limits.scaled(256, 0.5, 8) == Limits(256 * 1024**2, 0.5)
    assert Limits.scaled(8192, 1, 8, least=1536 * 1024**2) == Limits(1536 * 1024**2, 1)
    assert Limits.scaled(8192, 1, 8, least=64 * 1024**2) == Limits(1024 * 1024**2, 1)


def test_no_cores_declared_means_no_cpu_limit() -> None:
    assert Limits.scaled(1024, 0, 8).settings("v2")["cpu.max"] == "max 100000"
    assert Limits.scaled(1024, 0, 8).settings("v1")["cpu.cfs_quota_us"] == "-1"


def test_a_lab_s_cgroups_go_from_every_hierarchy_and_others_stay(tmp_path: Path) -> None:
    for place in (
        "memory/pvelab-a/lxc.payload.110/inner",
        "unified/pvelab-a/lxc.monitor.110",
        "pvelab-a",
        "cpu/pvelab-ab",
    ):
        (tmp_path / place).mkdir(parents=True)
    busy = tmp_path / "memory/pvelab-a/lxc.payload.110/inner/cgroup.procs"
    busy.touch()  # a folder with a file stands for a cgroup that something runs in
    inner = busy.parent
    assert set(cgroups.remove("pvelab-a", tmp_path)) == {inner, inner.parent, inner.parent.parent}
    busy.unlink()
    assert cgroups.remove("pvelab-a", tmp_path) == []
    assert sorted(path.name for path in tmp_path.glob("**/pvelab*")) == ["pvelab-ab"]
