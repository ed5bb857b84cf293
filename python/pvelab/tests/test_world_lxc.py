"""The lxc config of node and guests: what they may and what they may not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pvelab.world import lab, lxc
from pvelab.world.cgroups import Limits
from pvelab.world.errors import LabError
from pvelab.world.lab import Lab
from pvelab.world.lxc import Link, Machine


def of(**options: Any) -> list[str]:
    machine = Machine(**{"name": "110", "rootfs": Path("/x/rootfs"), "hostname": "db", **options})
    return lxc.config(machine, "hybrid", "pvelab-a").splitlines()


def test_an_unprivileged_guest_runs_under_the_uid_map() -> None:
    lines = of(unprivileged=True)
    assert "lxc.idmap = u 0 100000 65536" in lines
    assert "lxc.mount.auto = proc:rw sys:mixed cgroup:rw:force" in lines
    dropped = max(number for number, line in enumerate(lines) if line.startswith("lxc.cap.drop = "))
    assert dropped > lines.index("lxc.include = /usr/share/lxc/config/userns.conf"), "that file drops nothing"


def test_a_privileged_guest_reaches_neither_clock_nor_modules_nor_global_sysctls() -> None:
    lines = of()
    dropped = next(line.split()[2:] for line in lines if line.startswith("lxc.cap.drop = "))
    assert {"sys_time", "sys_module", "sys_rawio", "syslog", "mac_admin", "mac_override"} <= set(dropped)
    assert "lxc.mount.auto = proc:mixed sys:mixed cgroup:rw:force" in lines
    assert not any("nesting.conf" in line for line in lines)


def test_no_guest_reaches_the_hosts_disks() -> None:
    lines = of()
    assert "lxc.cgroup.devices.deny = a" in lines
    assert not any(line.startswith("lxc.cgroup.devices.allow = b ") and "rw" in line for line in lines)


def test_nesting_is_off_unless_the_config_asks_for_it() -> None:
    assert not any("nesting.conf" in line for line in of(unprivileged=True, nesting=False))
    assert any("nesting.conf" in line for line in of(unprivileged=True, nesting=True))


def test_the_node_shares_the_labs_namespace_and_a_guest_without_cards_has_none() -> None:
    assert "lxc.net.0.type = none" in of(links=None)
    assert "lxc.net.0.type = empty" in of(links=[])


def test_a_card_is_a_port_of_its_bridge() -> None:
    lines = of(links=[Link("eth0", "hubinfra", "veth110i0", "BC:24:11:00:00:6E")])
    assert {"lxc.net.0.link = hubinfra", "lxc.net.0.veth.pair = veth110i0"} <= set(lines)


def test_limits_are_written_for_the_machines_hierarchy() -> None:
    machine = Machine("110", Path("/x"), "db", limits=Limits(1024, 1))
    assert "lxc.cgroup2.memory.max = 1024" in lxc.config(machine, "v2", "pvelab-a")
    assert "lxc.cgroup.memory.limit_in_bytes = 1024" in lxc.config(machine, "hybrid", "pvelab-a")


def test_a_monitor_which_outlives_us_has_nothing_of_our_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLOUD_PASSWORD", "of somebody")
    monkeypatch.setattr(lab, "STATES", tmp_path)

    def enter(argv: Sequence[str]) -> list[str]:
        show = ["sh", "-c", f"env > {tmp_path}/environment"]
        return [*argv[: argv.index("lxc-start")], *show] if "lxc-start" in argv else ["true"]

    with pytest.raises(LabError, match="did not start"):
        lxc.Lxc(Lab("a"), enter).start("110")
    found = {line.partition("=")[0] for line in (tmp_path / "environment").read_text().splitlines()}
    assert found - {"PWD", "_", "SHLVL"} == {"PATH", "HOME", "LANG"}
