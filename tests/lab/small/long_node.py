"""Edits that are about the node and its networks, and what others have there: true in one `up`, or refused."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.test_2_edits import KEY, Files, come_true, files, machines

__all__ = ["files"]
pytestmark = pytest.mark.lab
LOOKS = {
    "interfaces": "ip -br addr | sort; pvesh get /nodes/pve/network --output-format json; ls /etc/network",
    "routes": "ip route; sysctl net.ipv4.ip_forward kernel.keys.maxkeys kernel.keys.maxbytes vm.overcommit_memory",
    "rules": "nft list tables | sort; for f in inet bridge arp; do nft --stateless list table $f hub_small; done",
    "files": "sha256sum $(find /etc/hub-node /etc/unbound /etc/chrony /etc/sysctl.d /etc/udev/rules.d "
    "/etc/systemd/system -name '*hub*' -type f | sort); sha256sum /root/.ssh/authorized_keys*; true",
    "units": "systemctl list-units --all --plain --no-legend 'hub-*' | awk '{print $1, $3, $4}'",
    "rights": "pvesh get /access/acl --output-format json; pvesh get /access/roles --output-format json",
    "pools": "pvesh get /pools --output-format json",
}


def node(hub: Cli) -> dict[str, str]:
    """Everything that a hub has or changes on its node, by other means than ours."""
    return {name: hub.on("node", f"{{ {look}; }} 2>&1") for name, look in LOOKS.items()}


def dns(hub: Cli, guest: str, name: str) -> str:
    """What a guest is told of a name."""
    return hub.on(guest, f"getent ahostsv4 {name} | awk '{{print $1}}' | sort -u")


def ways_out(hub: Cli) -> list[str]:
    """The bridges that the walls let out into the internet."""
    rules = hub.on("node", "nft --stateless list chain inet hub_small leaving")
    return sorted(line.split('"')[1] for line in rules.splitlines() if "internet outbound" in line)


def refused(hub: Cli, code: int, *said: str) -> None:
    """`plan` and `up` both end with this code and these words."""
    for verb in (("plan",), ("up", "--no-verify")):
        done = hub(*verb)
        words = " ".join(done.stderr.split())
        assert done.returncode == code, f"{verb}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert [text for text in said if text not in words] == [], done.stderr


@pytest.fixture
def untouched(hub: Cli, api: Api, files: Files) -> Iterator[None]:
    """Neither node nor guests are changed meanwhile; then nothing is left to do."""
    before, writes = (node(hub), machines(api)), api.writes()
    yield
    files.put_back(hub)
    assert api.writes() <= writes, "a lab whose zones are others begins to count anew"
    assert (node(hub), machines(api)) == before
    assert hub.plan()[0] == 0


def test_a_zone_comes_loses_its_internet_and_goes(hub: Cli, files: Files):
    before = node(hub)
    files.edit("hub.yml", "guests:\n", "  private: {subnet: 10.20.20.0/24, internet: outbound}\nguests:\n")
    come_true(hub, "node pve")
    whole = node(hub)
    assert ways_out(hub) == ["hubinfra", "hubprivate", "hubpublic"]
    files.edit("hub.yml", "10.20.20.0/24, internet: outbound", "10.20.20.0/24, internet: none")
    come_true(hub, "node pve")
    assert ways_out(hub) == ["hubinfra", "hubpublic"]
    files.edit("hub.yml", "10.20.20.0/24, internet: none", "10.20.20.0/24, internet: outbound")
    come_true(hub, "node pve")
    assert node(hub) == whole
    files.put_back(hub)
    come_true(hub, "node pve")
    assert node(hub) == before


def test_a_persons_key_is_put_in_and_out_and_never_was_on_the_node(hub: Cli, api: Api, files: Files):
    before, guests = node(hub), machines(api)
    files.add("ada.pub", f"{KEY} Ada's laptop (Büro)\nno key at all\n")
    files.edit("hub.yml", "nodes:", "operator: {ssh_keys: [ada.pub]}\nnodes:")
    assert any("line 2 is none of public keys" in said for said in hub.plan()[1]["warnings"])
    come_true(hub, "security", "app")
    for guest in ("security", "app"):
        assert "Ada's laptop (Buro)" in hub.on(guest, "cat /etc/ssh/hub_authorized_keys")
    assert node(hub) == before
    files.put_back(hub)
    come_true(hub, "security", "app")
    for guest in ("security", "app"):
        assert "Ada" not in hub.on(
            guest, "cat /etc/ssh/hub_authorized_keys /root/.ssh/authorized_keys 2>/dev/null; true"
        )
    assert (node(hub), machines(api)) == (before, guests)


ASKS = "timeout 2 bash -c '</dev/tcp/{}/{}' 2>/dev/null && echo reached || echo walled"
EXTRA = "  extra: {{vmid: 320, kind: lxc, zone: {}, address: {}, cores: 1, memory: 512MiB, disk: 4GiB}}\n"
PRIVATE = "  private: {subnet: 10.20.20.0/24, internet: outbound}\nguests:\n" + EXTRA.format("private", "10.20.20.11")


def test_a_zone_goes_when_its_last_guest_moves_and_a_guest_that_stays_is_walled_in(
    hub: Cli, files: Files, tmp_path: Path
):
    """A zone is made before its guest. Both leave hub.yml and the guest stays; then it is to be in another zone."""
    before = node(hub)
    files.edit("hub.yml", "guests:\n", PRIVATE)
    come_true(hub, "extra", "node pve")
    assert dns(hub, "security", "extra.small.home.arpa") == "10.20.20.11"
    way_in = tmp_path / "config"
    way_in.write_text((hub.directory / "ssh" / "config").read_text())

    def reaches(address: str, port: int) -> str:
        ssh = ["ssh", "-F", str(way_in), "-T", "extra", "--", ASKS.format(address, port)]
        return subprocess.run(ssh, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    vault, names = ("10.20.10.11", 8200), ("10.20.20.1", 53)
    assert (reaches(*vault), reaches(*names)) == ("reached", "reached")
    files.put_back(hub)
    come_true(hub, "node pve")
    assert (reaches(*vault), reaches(*names)) == ("walled", "walled")
    told = hub.plan()[1]["warnings"]
    assert any("no zone has bridge hubprivate any more, and veth320i0 is on it" in said for said in told), told

    files.edit("hub.yml", "guests:\n", "guests:\n" + EXTRA.format("infra", "10.20.10.12"))
    come_true(hub, "extra", "node pve")
    assert [name for name, text in node(hub).items() if "hubprivate" in text] == []
    assert dns(hub, "security", "extra.small.home.arpa") == "10.20.10.12"
    assert [one for one in hub.on("extra", "hostname -I").split() if one.startswith("10.20.")] == ["10.20.10.12"]

    files.put_back(hub)
    come_true(hub, "extra", "node pve", allow=("extra",))
    assert node(hub) == before


SUBNET = "zone public: its subnet is 10.20.30.0/24 on the node, with app in it, and 10.20.31.0/24 in hub.yml"


def test_another_subnet_is_refused_while_guests_stand_in_the_zone(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", "subnet: 10.20.30.0/24", "subnet: 10.20.31.0/24")
    files.edit("hub.yml", "address: 10.20.30.11", "address: 10.20.31.11")
    refused(hub, 4, SUBNET, "put the former subnet back")


SECOND = "\n  pve2:\n    address: 192.168.1.11\n    storage: {fast: {use: local-zfs}}\nzones:"


def test_a_second_node_is_refused_in_words(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", "\nzones:", SECOND)
    files.edit("hub.yml", "kind: lxc, zone: infra", "kind: lxc, node: pve, zone: infra")
    files.edit("hub.yml", "kind: vm, zone: public", "kind: vm, node: pve, zone: public")
    for verb in (("plan",), ("up", "--no-verify")):
        done = hub(*verb)
        assert done.returncode == 4, done.stderr
        assert "one node" in done.stderr


def bridge(hub: Cli, files: Files) -> None:
    hub.on("node", "ip link add vmbr9 type bridge && ip addr add 10.20.20.1/24 dev vmbr9 && ip link set vmbr9 up")


def route(hub: Cli, files: Files) -> None:
    bridge_of_others = "ip link add vmbr9 type bridge && ip addr add 10.99.0.1/24 dev vmbr9 && ip link set vmbr9 up"
    hub.on("node", f"{bridge_of_others} && ip route add 10.20.20.0/22 via 10.99.0.2")


COLLISIONS: dict[str, Callable[[Cli, Files], None]] = {
    "vmbr9 has 10.20.20.1/24": bridge,
    "a route to 10.20.20.0/22": route,
}


@contextmanager
def undone(hub: Cli, command: str) -> Iterator[None]:
    try:
        yield
    finally:
        hub.on("node", command)


@pytest.mark.parametrize("said", COLLISIONS)
def test_a_zone_on_a_network_of_the_node_is_refused_before_anything_is_written(
    hub: Cli, api: Api, files: Files, said: str
):
    before, writes = machines(api), api.writes()
    with undone(hub, "ip link del vmbr9"):
        COLLISIONS[said](hub, files)
        world = node(hub)
        files.edit("hub.yml", "guests:\n", "  private: {subnet: 10.20.20.0/24, internet: none}\nguests:\n")
        refused(hub, 6, "zone private has the subnet 10.20.20.0/24, which the node uses already", said)
        assert node(hub) == world
    files.put_back(hub)
    assert api.writes() <= writes
    assert (machines(api), hub.plan()[0]) == (before, 0)


def test_pending_changes_of_others_are_a_conflict_and_ours_go_on_after_them(hub: Cli, files: Files):
    before = node(hub)
    with undone(hub, "pvesh delete /nodes/pve/network"):
        hub.on("node", "pvesh create /nodes/pve/network --iface vmbr7 --type bridge --cidr 10.77.0.1/24")
        files.edit("hub.yml", "guests:\n", "  private: {subnet: 10.20.20.0/24, internet: none}\nguests:\n")
        refused(hub, 6, "pending network changes that are not ours: vmbr7")
    files.put_back(hub)
    assert (node(hub), hub.plan()[0]) == (before, 0)


def test_a_refused_up_has_not_changed_the_node_before(hub: Cli, files: Files, untouched):
    """DNS answered the new address, and the guest had the old one."""
    files.edit("hub.yml", "guests:\n", "  private: {subnet: 10.20.20.0/24, internet: none}\nguests:\n")
    files.edit("hub.yml", "address: 10.20.30.11", "address: 10.20.30.12")
    files.edit("hub.yml", "disk: 8GiB, stacks: [client", "disk: 4GiB, stacks: [client")
    refused(hub, 4, "disks only grow")
    assert dns(hub, "security", "app.small.home.arpa") == "10.20.30.11"


def test_a_resolver_that_is_none_is_skipped_and_told(hub: Cli):
    with undone(hub, "sed -i '/^nameserver 192.0.2.1,/d' /etc/resolv.conf"):
        hub.on(
            "node",
            "sed 's/^/&/; 1i nameserver 192.0.2.1, 192.0.2.2' /etc/resolv.conf >/tmp/r && cat /tmp/r >/etc/resolv.conf",
        )
        code, plan = hub.plan()
        assert (code, plan["changes"]) == (0, [])
        assert any('"192.0.2.1,"' in said for said in plan["warnings"]), plan["warnings"]
    assert not any("192.0.2.1," in said for said in hub.plan()[1]["warnings"])


def test_another_address_of_the_labs_node_is_refused(hub: Cli, files: Files, untouched):
    files.edit("hub.yml", "address: 192.168.1.10", "address: 192.168.1.12")
    refused(hub, 4, "is at 192.168.1.10, hub.yml says 192.168.1.12", "put 192.168.1.10 back")


def test_a_node_of_another_name_is_told_with_the_name_that_it_has(hub: Cli, files: Files, untouched):
    text = files.before[hub.hub].decode()
    assert text.count("  pve:\n") == 1
    files.edit("hub.yml", "  pve:\n", "  PVE-01:\n")
    done = hub("plan")
    assert done.returncode == 4, f"{done.returncode} {done.stderr}"
    assert "the Proxmox node pve, and hub.yml calls it PVE-01" in " ".join(done.stderr.split())
    assert json.dumps(text)
