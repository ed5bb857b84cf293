"""Every guest: it is the machine that hub.yml describes, hardened, and healthy."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from aihub import process, ssh
from aihub.guests import probe
from aihub.model.resolved import Guest, Hub
from aihub.state.directory import State

from . import probes
from .context import Context

CLOCK_LIMIT = 2.0  # seconds; more breaks one-time passwords and confuses every log
DISK_LIMIT = 90  # per cent
DNAT_PRIORITY = -100  # Docker's: a chain behind it never sees a published port as such
WEAK = re.compile(r"cbc|3des|arcfour|blowfish|sha1|md5|umac-64|nistp|group14|group1-|group-exchange-sha1")


def interface(host: Any) -> dict[str, Any]:
    """The interface that the default route leaves by, with its addresses and that route."""
    routes = json.loads(host.check_output("ip -json -4 route show default"))
    assert len(routes) == 1, f"there are {len(routes)} default routes"
    found: dict[str, Any] = json.loads(host.check_output("ip -json address show dev %s", routes[0]["dev"]))[0]
    return {**found, "route": routes[0]}


@pytest.fixture(scope="session")
def policy(host: Any) -> dict[str, str]:
    """What sshd really applies to root from elsewhere, all of its files merged."""
    shown = host.check_output("sshd -T -C user=root,host=elsewhere,addr=192.0.2.1")
    return dict(line.partition(" ")[::2] for line in shown.splitlines())


def test_name(host: Any, guest: Guest) -> None:
    """its host name and full name are those of hub.yml"""
    assert host.check_output("hostname") == guest.name
    assert host.check_output("hostname -f") == guest.fqdn


def test_machine(host: Any, guest: Guest) -> None:
    """its network card is the one that follows from its VMID"""
    assert interface(host)["address"].upper() == guest.mac.upper()


def test_address(host: Any, guest: Guest) -> None:
    """its only address on the network is the declared one"""
    found = [f"{a['local']}/{a['prefixlen']}" for a in interface(host)["addr_info"] if a["scope"] == "global"]
    assert found == [f"{guest.address}/{guest.subnet.prefixlen}"]


def test_route(host: Any, guest: Guest) -> None:
    """its only way out is its zone's gateway"""
    assert interface(host)["route"]["gateway"] == str(guest.gateway)


def test_clock(host: Any) -> None:
    """its clock is within 2 s of the controller's"""
    before = time.time()
    there = float(host.check_output("date +%s.%N"))
    after = time.time()
    ahead = there - (before + after) / 2
    assert abs(ahead) < CLOCK_LIMIT, f"it is {ahead:+.1f} s ahead of the controller"


@pytest.mark.guests(kind="vm")
def test_time_server(context: Context, guest: Guest) -> None:
    """the gateway answers NTP, and the VM agrees with it"""
    answer = probes.ntp(context.shells.shell(guest.name), str(guest.gateway))
    assert 1 <= answer["stratum"] <= 15, f"the gateway's clock is not set (stratum {answer['stratum']})"
    assert abs(answer["offset"]) < CLOCK_LIMIT


def test_hub_names(context: Context, guest: Guest, hub: Hub) -> None:
    """the gateway's DNS gives every guest's address"""
    names = {other.fqdn: str(other.address) for other in hub.guests.values()}
    script = "; ".join(f"getent ahostsv4 {name} | head -n1" for name in names)
    shown = context.shells.shell(guest.name).run(script).stdout.decode()
    found = {line.split()[-1]: line.split()[0] for line in shown.splitlines()}
    # A guest finds its own name in its hosts file, under 127.0.1.1 or its address.
    del names[guest.fqdn]
    assert {name: found.get(name) for name in names} == names


def test_sshd_refuses_passwords(policy: dict[str, str]) -> None:
    """sshd takes keys only, and root by key only"""
    wanted = {
        "passwordauthentication": "no",
        "kbdinteractiveauthentication": "no",
        "permitemptypasswords": "no",
        "pubkeyauthentication": "yes",
        "permitrootlogin": "without-password",
    }
    assert {key: policy.get(key) for key in wanted} == wanted


def test_sshd_limits(policy: dict[str, str]) -> None:
    """sshd forwards no agent and no X11 and allows few attempts"""
    assert policy["x11forwarding"] == "no"
    assert policy["allowagentforwarding"] == "no"
    assert int(policy["maxauthtries"]) <= 4


def test_sshd_algorithms(policy: dict[str, str]) -> None:
    """sshd offers no weak cipher, key exchange or MAC"""
    kinds = ("ciphers", "macs", "kexalgorithms", "hostkeyalgorithms")
    offered = [name for kind in kinds for name in policy[kind].split(",")]
    weak = [name for name in offered if WEAK.search(name)]
    weak += [name for name in policy["macs"].split(",") if "-etm@" not in name]
    assert not weak


def test_password_attempt(state: State, guest: Guest) -> None:
    """a login without our key is refused"""
    options = ["-o", "ControlPath=none", "-o", "PubkeyAuthentication=no", "-o", "NumberOfPasswordPrompts=0"]
    methods = ["-o", "PreferredAuthentications=password,keyboard-interactive,none"]
    attempt = process.run([*ssh.argv(state, guest.name, *options, *methods), "true"], check=False, timeout=30)
    last = attempt.stderr.decode(errors="replace").strip().splitlines()[-1:]
    assert attempt.returncode == 255
    assert "Permission denied (publickey)" in "".join(last)


def test_default_deny(host: Any) -> None:
    """its firewall drops what nobody allowed, before Docker redirects it"""
    listed = json.loads(host.check_output("nft -j list table inet hub"))["nftables"]
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    early = [c for c in chains if c.get("hook") == "prerouting" and c["prio"] < DNAT_PRIORITY]
    assert [c["policy"] for c in early] == ["drop"]


def test_units(host: Any) -> None:
    """no unit has failed"""
    failed = host.check_output("systemctl list-units --state=failed --no-legend --plain").split("\n")
    assert [line.split()[0] for line in failed if line.strip()] == []


def test_undeclared(context: Context, guest: Guest, hub: Hub, state: State) -> None:
    """nothing runs on it that hub.yml does not name"""
    inside = probe.read(hub, state, [guest.name])[guest.name]
    assert not inside.error
    found = probe.undeclared(hub, state, {guest.name: inside}, context.waiting)
    assert [one.what for one in found if not one.rests] == []


def test_disk(host: Any) -> None:
    """no file system is fuller than 90 %, in blocks and in inodes"""
    real = "-x tmpfs -x devtmpfs -x overlay -x squashfs -x efivarfs"
    for kind in ("-P", "-Pi"):
        found = [line.split() for line in host.check_output(f"df {kind} {real}").splitlines()[1:]]
        assert found, "it has no file system, so none can be full"
        assert not [f"{c[5]} {c[4]}" for c in found if c[4] != "-" and int(c[4].rstrip("%")) > DISK_LIMIT]
