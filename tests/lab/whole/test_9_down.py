"""`down` leaves nothing behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

pytestmark = [pytest.mark.lab, pytest.mark.last]


def traces(lab: str) -> dict[str, list[str]]:
    """Whatever of a lab is still on this machine; others, whose names may begin alike, do not count."""
    own = re.compile(rf"pvelab[-/]{re.escape(lab)}(?![\w-])")
    run = lambda *argv: subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()  # noqa: E731
    processes = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            processes.append(path.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    found = {
        "namespaces": run("ip", "netns"),
        "mounts": Path("/proc/self/mounts").read_text().splitlines(),
        "links": run("ip", "-o", "link"),
        "processes": processes,
        "files": [str(path) for place in ("/run", "/var/lib") for path in Path(place).glob("pvelab/*")],
        "cgroups": [str(path) for path in Path("/sys/fs/cgroup").glob("**/pvelab-*")],
    }
    return {kind: [line for line in lines if own.search(line)][:5] for kind, lines in found.items()}


def host_network() -> str:
    """The machine's own addresses, routes, rules and forwarding."""
    parts = [
        subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        for argv in (["ip", "-o", "addr"], ["ip", "route", "show", "table", "all"], ["nft", "list", "ruleset"])
    ]
    return "".join(parts) + Path("/proc/sys/net/ipv4/ip_forward").read_text()


def test_the_host_s_own_network_is_never_touched(hub):
    text = host_network()
    assert "hubinfra" not in text
    assert "pvelab" not in text


def test_down_leaves_no_container_mount_namespace_rule_or_process(hub):
    before = traces(hub.lab)
    assert before["namespaces"], "the search finds a lab that is there"
    assert before["processes"]
    assert before["cgroups"], "lxc makes them there"
    assert before["mounts"]
    network = host_network()
    hub.ok("down", "--yes")
    assert not {kind: found for kind, found in traces(hub.lab).items() if found}
    assert host_network() == network
