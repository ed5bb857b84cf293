"""A node is never empty: what is others' is compared by what it does, and refused only where the two truly collide."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from metal import actual
from metal.compare import notes, steps
from metal.interfaces_file import differing
from metal.refusal import RefusedByNode

from tests.unit.metal.metal_nodes import REMOVED, WANTED, changed, converged, fresh

CASES = Path(__file__).parents[2] / "cases" / "interfaces"


def pending(desired, node):
    return {step.subject: step for step in steps(desired, node) if step.commands}


def lines(case: str, name: str) -> list[str]:
    return (CASES / case / name).read_text().splitlines()


@pytest.mark.parametrize("case", sorted(path.name for path in CASES.iterdir()))
def test_what_proxmox_writes_anew_in_its_own_spelling_is_nobodys_change(case):
    """A run was killed after it had staged its bridge."""
    node = fresh()
    node.interfaces = {"old": lines(case, "old"), "new": lines(case, "new")}
    bridge = {"iface": "hubinfra", "type": "bridge", "cidr": "10.10.10.1/24", "autostart": 1}
    node.api["network"].append({**bridge, "comments": WANTED.marker})
    assert pending(WANTED, node)["interfaces"].commands[0] == "pvesh set /nodes/pve/network"


CHANGES = {
    "address": ("rented", r"192\.0\.2\.66/26", "192.0.2.67/26", "vmbr0"),
    "prefix": ("rented", r"192\.0\.2\.66/26", "192.0.2.66/24", "vmbr0"),
    "second family": ("rented", r"2001:db8:7::2/64", "2001:db8:7::2/48", "vmbr0"),
    "gateway": ("trunk", r"\tgateway 192\.168\.1\.1\n", "", "vmbr0.7"),
    "port": ("rented", "bridge-ports enp4s0", "bridge-ports enp5s0", "vmbr0"),
    "mode": ("trunk", "bond-mode active-backup", "bond-mode 802.3ad", "bond0"),
    "lost option": ("trunk", "\tbond-primary eno1\n", "", "bond0"),
    "no longer aware of VLANs": ("trunk", "\tbridge-vlan-aware yes\n", "", "vmbr0"),
    "fewer VLANs": ("trunk", "bridge-vids 2-4094", "bridge-vids 2-99", "vmbr0"),
    "lost route": ("rented", r"\tpost-up [^\n]*\n", "", "vmbr0"),
    "not started": ("trunk", "auto vmbr0\n", "", "vmbr0"),
    "started": ("rented", "iface enp5s0", "auto enp5s0\niface enp5s0", "enp5s0"),
    "new": (
        "trunk",
        "auto vmbr0.7",
        "auto vmbr9\niface vmbr9 inet static\n\taddress 10.9.9.1/24\n\nauto vmbr0.7",
        "vmbr9",
    ),
    "gone": ("trunk", r"auto vmbr0\.7\n.*#\n\n(?=auto hub)", "", "vmbr0.7"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_somebody_changed_is_seen_in_any_spelling(change):
    case, old, new, name = CHANGES[change]
    text = (CASES / case / "new").read_text()
    after = re.sub(old, new, text, count=1, flags=re.DOTALL)
    assert after != text
    assert differing(lines(case, "old"), after.splitlines()) == {name, "hubinfra"}
    node = fresh()
    node.interfaces = {"old": lines(case, "old"), "new": after.splitlines()}
    with pytest.raises(RefusedByNode, match=rf"not ours: {re.escape(name)}$") as caught:
        steps(WANTED, node)
    assert caught.value.kind == "conflict"


def lan(node):
    node.addresses["vmbr0"] = ["10.10.0.10/16"]


def bridge(node):
    node.addresses["vmbr1"] = ["10.10.10.1/24"]


def bridge_that_is_down(node):
    node.api["network"].append({"iface": "vmbr1", "type": "bridge", "cidr": "10.10.10.254/24", "autostart": 0})


def tunnel(node):
    node.addresses["wg0"] = ["10.10.10.2/24"]


def peer(node):
    node.addresses["tun0"] = ["10.10.10.2/32"]


def route(node):
    node.routes.append({"dst": "10.0.0.0/8", "gateway": "192.168.1.2", "dev": "vmbr0"})


def route_to_a_machine(node):
    node.routes.append({"dst": "10.10.10.7", "dev": "tun0", "table": "100"})


def route_over_two(node):
    node.routes.append({"dst": "10.10.10.128/25", "nexthops": [{"dev": "vmbr0"}, {"dev": "vmbr1"}]})


def route_that_comes_with_an_interface(node):
    node.api["network"][0]["options"] = ["up ip route add 10.10.10.0/25 dev vmbr0", "post-up true"]


def route_in_old_words(node):
    node.api["network"][0]["options"] = ["up route add -net 10.10.8.0 netmask 255.255.252.0 gw 192.168.1.2"]


def resolver(node):
    node.resolvers = ["10.10.10.53"]


def storage(node):
    node.api["storage"].append({"storage": "nas", "type": "nfs", "server": "10.10.10.5"})


def monitors(node):
    node.api["storage"].append({"storage": "ceph", "type": "rbd", "monhost": "10.9.0.1:6789, 10.10.10.5:6789"})


USES = {
    lan: "vmbr0 has 10.10.0.10/16",
    bridge: "vmbr1 has 10.10.10.1/24",
    bridge_that_is_down: "vmbr1 is configured with 10.10.10.254/24",
    tunnel: "wg0 has 10.10.10.2/24",
    peer: "tun0 has 10.10.10.2/32",
    route: "a route to 10.0.0.0/8 leads to vmbr0 through 192.168.1.2",
    route_to_a_machine: "a route to 10.10.10.7 leads to tun0",
    route_over_two: "a route to 10.10.10.128/25 leads to several interfaces",
    route_that_comes_with_an_interface: "vmbr0 brings a route to 10.10.10.0/25",
    route_in_old_words: "vmbr0 brings a route to 10.10.8.0/255.255.252.0",
    resolver: "its resolver is 10.10.10.53",
    storage: "storage nas is on 10.10.10.5",
    monitors: "storage ceph is on 10.10.10.5",
}


@pytest.mark.parametrize("use", USES)
def test_a_zone_on_a_network_that_the_node_uses_is_refused_naming_both(use):
    node = fresh()
    use(node)
    with pytest.raises(RefusedByNode, match=r"zone infra has the subnet 10\.10\.10\.0/24, which") as caught:
        steps(WANTED, node)
    assert USES[use] in str(caught.value)
    assert caught.value.kind == "conflict"
    assert "another subnet in hub.yml" in caught.value.hint


@pytest.mark.parametrize("use", USES)
def test_what_comes_into_a_standing_zones_network_is_told_and_stops_nothing(use):
    node = changed(use)
    found = pending(WANTED, node)
    assert set(found) <= {"DNS", "interfaces"}  # the resolver is another one
    said = next(note for note in notes(WANTED, node) if USES[use] in note)
    assert said.startswith("node pve: zone infra has the subnet 10.10.10.0/24")
    assert notes(WANTED, converged()) == ()


def test_everything_in_the_way_is_told_at_once():
    node = fresh()
    bridge(node)
    node.addresses["docker0"] = ["10.10.20.1/20"]
    with pytest.raises(RefusedByNode) as caught:
        steps(WANTED, node)
    assert "zone infra" in str(caught.value)
    assert "zone private" in str(caught.value)
    assert "docker0 has 10.10.20.1/20" in str(caught.value)


@pytest.mark.parametrize(
    "entry",
    [
        {"dst": "default", "gateway": "192.168.1.1", "dev": "vmbr0"},
        {"dst": "default", "dev": "wg0", "table": "51820"},
        {"dst": "0.0.0.0/1", "gateway": "10.8.0.1", "dev": "tun0"},
        {"dst": "10.11.0.0/16", "dev": "vmbr0"},
        {"dst": "10.0.0.0/8", "type": "blackhole"},
        {"dst": "10.10.10.9", "type": "local", "dev": "lo", "table": "local"},
    ],
)
def test_ways_out_and_what_leads_nowhere_are_in_nobodys_way(entry):
    node = fresh()
    node.routes.append(entry)
    assert "bridge hubinfra" in pending(WANTED, node)


def test_a_killed_runs_own_bridge_is_in_nobodys_way():
    node = fresh()
    bridge = {"iface": "hubinfra", "type": "bridge", "cidr": "10.10.10.1/24", "autostart": 1}
    node.api["network"].append({**bridge, "comments": WANTED.marker})
    node.routes.append({"dst": "10.10.10.0/24", "dev": "hubinfra"})
    node.addresses["hubinfra"] = ["10.10.10.1/24"]
    assert "bridge hubinfra" not in pending(WANTED, node)
    assert notes(WANTED, node) == ()


def test_a_removal_goes_on_whatever_came_into_the_network():
    assert "bridge hubinfra" in pending(REMOVED, changed(bridge))


@pytest.mark.parametrize("text", ["192.168.1.1,", "fritz.box", "[2001:db8::1]:53", "192.168.001.1"])
def test_a_resolver_that_is_no_address_is_skipped_and_told(text):
    node = converged()
    node.resolvers.insert(0, text)
    assert pending(WANTED, node) == {}
    (said,) = notes(WANTED, node)
    assert f'"{text}"' in said


def test_a_node_with_nothing_but_strange_resolvers_is_refused_in_words():
    node = fresh()
    node.resolvers = ["192.168.1.1,"]
    with pytest.raises(RefusedByNode, match=r"no resolver that can be asked \(192\.168\.1\.1,\)") as caught:
        steps(WANTED, node)
    assert caught.value.kind == "precondition"


def on_a_machine(tmp_path: Path, **programs: str) -> list[str]:
    """What the reading script prints here, with stand-ins for some programs."""
    for name, text in {"pvesh": "echo '[]'", **programs}.items():
        tool = tmp_path / name
        tool.write_text(f"#!/bin/sh\n{text}\n")
        tool.chmod(0o755)
    done = subprocess.run(
        ["sh", "-c", actual.script(WANTED)],
        env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        check=True,
        timeout=60,
    )
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize(
    ("members", "hint"), [("", "write SW-PVE-01 instead of pve"), ("SW-PVE-01 pve", "address of pve")]
)
def test_a_node_of_another_name_is_told_in_words(tmp_path, members, hint):
    printed = on_a_machine(tmp_path, uname="echo SW-PVE-01.example.org", ls=f"echo {members}")
    with pytest.raises(RefusedByNode, match=r"the Proxmox node SW-PVE-01, and hub\.yml calls it pve") as caught:
        actual.parse(printed)
    assert caught.value.kind == "precondition"
    assert hint in caught.value.hint


def test_what_others_wrote_in_other_bytes_is_read_all_the_same(tmp_path):
    links = r'[{"ifname":"caf\303\251","addr_info":[{"local":"10.1.1.1","prefixlen":24}]}]'
    found = actual.parse(on_a_machine(tmp_path, uname="echo pve", ip=f"printf '{links}'"))
    assert found.addresses == {"caf": ["10.1.1.1/24"]}


def test_a_removed_hub_asks_no_resolver():
    assert notes(REMOVED, changed(lambda n: n.resolvers.insert(0, "fritz.box"))) == ()
