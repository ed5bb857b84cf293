"""Proxmox's own firewall puts a bridge of its own between a guest and its zone: its port is bound there, too.

No lab has that firewall. Here are the same bridges and ports under the same names, and the rules as the node gets them.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from metal import texts
from metal.desired import Port

from tests.attacks import frames
from tests.attacks.frames import Machine
from tests.unit.metal.metal_nodes import WANTED

pytestmark = pytest.mark.slow

MACHINES = NODE, BEHIND, BESIDE, OUTSIDE = tuple(
    f"hub-firewall-{os.getpid()}-{name}" for name in ("node", "behind", "beside", "outside")
)
ME = Machine("bc:24:11:00:00:6e", IPv4Address("10.10.10.11"))
OTHER = Machine("bc:24:11:00:00:6f", IPv4Address("10.10.10.12"))
PORTS = (
    Port("db", "infra", 110, "lxc", ME.mac, str(ME.address)),
    Port("cache", "infra", 111, "lxc", OTHER.mac, str(OTHER.address)),
)
MADE = f"""
link add hubinfra type bridge
link set hubinfra up
address add 10.10.10.1/24 dev hubinfra
link add fwbr110i0 type bridge
link set fwbr110i0 up
link add fwpr110p0 type veth peer name fwln110i0
link set fwpr110p0 master hubinfra up
link set fwln110i0 master fwbr110i0 up
link add veth110i0 type veth peer name eth0 address {ME.mac} netns {BEHIND}
link set veth110i0 master fwbr110i0 up
link add veth111i0 type veth peer name eth0 address {OTHER.mac} netns {BESIDE}
link set veth111i0 master hubinfra up
link set lo up
link add uplink0 type veth peer name eth0 netns {OUTSIDE}
link set uplink0 up
address add 9.9.9.1/24 dev uplink0
"""

KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)
except ConnectionRefusedError:
    print("refused")
except TimeoutError:
    print("silent")
"""


def run(where: str, *words: str) -> str:
    """Runs a command in a network namespace."""
    done = subprocess.run(["ip", "netns", "exec", where, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def bridges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The bridges and machines; and the node's rules, not loaded yet."""
    if os.geteuid() != 0:
        pytest.fail("this makes network namespaces: run `make test` as root, or `make check` without", pytrace=False)
    rules = tmp_path_factory.mktemp("rules") / "walls.nft"
    rules.write_text(texts.render("walls.nft.j2", replace(WANTED, ports=PORTS)))
    try:
        for name in MACHINES:
            subprocess.run(["ip", "netns", "add", name], check=True)
        for line in MADE.strip().splitlines():
            run(NODE, "ip", *line.split())
        for name, machine in ((BEHIND, ME), (BESIDE, OTHER)):
            run(name, "ip", "address", "add", f"{machine.address}/24", "dev", "eth0")
            run(name, "ip", "link", "set", "eth0", "up")
            run(name, "ip", "route", "add", "default", "via", "10.10.10.1")
        run(OUTSIDE, "ip", "address", "add", "9.9.9.9/24", "dev", "eth0")
        run(OUTSIDE, "ip", "link", "set", "eth0", "up")
        run(OUTSIDE, "ip", "route", "add", "default", "via", "9.9.9.1")
        run(NODE, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        yield rules
    finally:
        for name in MACHINES:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def heard(sender: str, ear: str, sent: dict[str, str]) -> set[str]:
    """The frames that one machine heard of all that another sent, by name."""
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(run, ear, "python3", "-c", frames.HEAR, json.dumps(["eth0", 3]))
        run(sender, "python3", "-c", frames.SEND, json.dumps(["eth0", list(sent.values())]))
        return set(json.loads(listening.result()))


@pytest.mark.parametrize("behind", [True, False], ids=["out of the firewall", "into the firewall"])
def test_a_port_behind_the_firewall_carries_its_own_guest_and_nothing_else(bridges: Path, behind: bool) -> None:
    """Without the rules each of these frames passes; with them what is each guest's own, both ways, and no other."""
    sender, ear, me, other = (BEHIND, BESIDE, ME, OTHER) if behind else (BESIDE, BEHIND, OTHER, ME)
    node = Machine(run(NODE, "cat", "/sys/class/net/hubinfra/address").strip(), IPv4Address("10.10.10.1"))
    stranger = Machine("bc:24:11:00:00:fe", IPv4Address("10.10.10.99"))
    own, wrong = frames.harmless(me, other), frames.attacks(me, stranger, node)
    run(NODE, "nft", "flush", "ruleset")
    before = heard(sender, ear, {**own, **wrong})
    assert len(before) > len(own) + 20
    run(NODE, "nft", "-f", str(bridges))
    assert heard(sender, ear, {**own, **wrong}) == set(own)
    for address, port in ((other.address, 9), (node.address, 53), ("9.9.9.9", 9)):
        assert run(sender, "python3", "-c", KNOCK, str(address), str(port)).strip() == "refused"  # nobody listens


def test_nobody_passes_by_the_bridge_of_its_zone(bridges: Path) -> None:
    """The firewall's bridge has an address of its own, and the node routes what comes to it."""
    own = run(NODE, "cat", "/sys/class/net/fwbr110i0/address").strip()
    there = ["10.10.10.1", "dev", "eth0"]
    knock = ("python3", "-c", KNOCK, "9.9.9.9", "9")
    run(BEHIND, "ip", "neighbour", "replace", *there, "lladdr", own, "nud", "permanent")
    try:
        run(NODE, "nft", "flush", "ruleset")
        assert run(BEHIND, *knock).strip() == "refused"
        run(NODE, "nft", "-f", str(bridges))
        assert run(BEHIND, *knock).strip() == "silent"
        assert run(BEHIND, "python3", "-c", KNOCK, "10.10.10.1", "53").strip() == "silent"
    finally:
        run(BEHIND, "ip", "neighbour", "del", *there)
    assert run(BEHIND, *knock).strip() == "refused", "it has lost its right way out"
