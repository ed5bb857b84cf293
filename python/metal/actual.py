"""What is on a node: read by one shell script in one round trip, and parsed.

The script prints lines of tab-separated fields, the first of which says what the line is about. `pvesh` takes
about a second per call on a real node, so the calls run side by side.
"""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field, replace
from typing import Any

from aihub.names import Layout

from . import disks, hardware
from .desired import Desired
from .disks import Disk
from .hardware import Device, Nic, Option
from .refusal import RefusedByNode

PACKAGES = ("unbound", "chrony", "nftables")
LEAST = {
    "kernel/keys/maxkeys": 20_000,
    "kernel/keys/maxbytes": 2_000_000,
    "fs/inotify/max_user_instances": 8192,
    "fs/inotify/max_user_watches": 1 << 20,
}
"""What guests need of limits that they share.

All that run under one uid map are one user to the kernel, and each unit of a systemd and each container takes a key:
six guests use up the 200 that a user has of himself. None is below what a kernel sets by itself.
"""
OVERCOMMIT = "vm/overcommit_memory"
BY_RULE, ALWAYS, NEVER = 0, 1, 2
"""How the kernel decides whether to promise memory that it may not have; of 0, it refuses forks of large services."""
FAMILIES = ("inet", "bridge", "arp")
"""The families of nft that have a table of the walls."""


@dataclass(frozen=True)
class File:
    """A file: `MODE OWNER GROUP`, its SHA-256, and when it last changed (epoch)."""

    access: str
    sha256: str
    changed: int


@dataclass(frozen=True)
class Unit:
    """A systemd unit: as systemctl's is-enabled and is-active say, and since when it is active (epoch)."""

    enabled: str
    active: str
    since: int


@dataclass
class ActualNode:
    """The node as it is."""

    files: dict[str, File] = field(default_factory=dict)
    units: dict[str, Unit] = field(default_factory=dict)
    api: dict[str, Any] = field(default_factory=dict)  # lists of objects, but the node's own status
    addresses: dict[str, list[str]] = field(default_factory=dict)
    ports: dict[str, list[str]] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)  # of a bridge, as its group_fwd_mask
    values: dict[str, str] = field(default_factory=dict)
    limits: dict[str, int] = field(default_factory=dict)  # of the kernel, by their place below /proc/sys
    packages: set[str] = field(default_factory=set)
    kept_back: set[str] = field(default_factory=set)  # packages that no upgrade changes
    resolvers: list[str] = field(default_factory=list)  # as resolv.conf names them: not all may be addresses
    routes: list[dict[str, Any]] = field(default_factory=list)
    interfaces: dict[str, list[str]] = field(default_factory=lambda: {"old": [], "new": []})
    devices: list[Device] = field(default_factory=list)  # of the PCI bus; read where cards matter
    options: list[Option] = field(default_factory=list)  # of the modules that cards have to do with
    disks: dict[str, Disk] = field(default_factory=dict)  # by their names in /dev/disk/by-id
    pools: dict[str, str] = field(default_factory=dict)  # of ZFS, with their comments
    sources: dict[str, list[str]] = field(default_factory=dict)  # files for apt that name Proxmox, also those put aside
    nics: list[Nic] = field(default_factory=list)  # as devices
    pinned: set[str] = field(default_factory=set)  # MACs of network cards to which somebody else has given a name
    loaders: list[str] = field(default_factory=list)  # that proxmox-boot-tool looks after


def script(desired: Desired) -> str:
    """The shell script that reads everything that `compare` looks at."""
    layout = Layout(desired.hub)
    queries = {
        "network": [f"/nodes/{desired.node}/network"],
        "pools": ["/pools"],
        "roles": ["/access/roles"],
        "users": ["/access/users", "--full", "1"],
        "acl": ["/access/acl"],
        "storage": ["/storage"],
    }
    if not desired.removed:
        queries["mappings"] = ["/cluster/mapping/pci"]
    if desired.packages:
        queries["subscription"] = [f"/nodes/{desired.node}/subscription"]
    if desired.cards:
        queries["status"] = [f"/nodes/{desired.node}/status"]
    driver = (*desired.driver.packages, *desired.driver.headers) if desired.driver else ()
    calls = "\n".join(f"ask {name} {shlex.join(path)} &" for name, path in queries.items())
    return _SCRIPT.format(
        node=shlex.quote(desired.node),
        limits=" ".join((*LEAST, OVERCOMMIT)),
        calls=calls,
        names=" ".join((*queries, hardware.MAPPINGS)),
        files=f"{shlex.join(layout.files)} {layout.link('*')}",
        units=shlex.join(layout.units),
        packages=" ".join((*PACKAGES, *driver)),
        tables="; ".join(f"nft -s list table {family} {desired.table}" for family in FAMILIES),
        walls=shlex.quote(layout.walls),
        hardware=hardware.reading(desired),
        disks=disks.reading(desired),
        aside=layout.aside,
    )


# Names and comments of others may hold any bytes; nothing that is looked at has others than ASCII ones. CapBnd's bit 25
# is CAP_SYS_TIME. The walls are compared as nft itself prints them: the loaded ones, and
# those of the file in a network namespace that lives only for that.
_SCRIPT = r"""
command -v pvesh >/dev/null || {{ printf 'fail\tpvesh\tthere is no pvesh: not a Proxmox VE node\n'; exit 0; }}
n=$(uname -n); n=${{n%%.*}}
members=$(ls /etc/pve/nodes 2>/dev/null | tr '\n' ' ')
[ "$n" = {node} ] || {{ printf 'name\t%s\t%s\t%s\n' {node} "$n" "$members"; exit 0; }}
plain() {{ LC_ALL=C tr -d '\001-\010\013-\037\177-\377'; }}
answers=$(mktemp -d) || exit 1
trap "rm -rf '$answers'" EXIT
ask() {{ n=$1; shift; pvesh get "$@" --output-format json >"$answers/$n" 2>"$answers/$n.err" || : >"$answers/$n.bad"; }}
{calls}
stat --printf 'file\001%n\001%a %U %G\001%Z\n' {files} 2>/dev/null | tr '\001' '\t'
sha256sum {files} 2>/dev/null | sed 's/^\([^ ]*\) [ *]/sum\t\1\t/'
systemctl show --timestamp=unix -p Id,UnitFileState,ActiveState,ActiveEnterTimestamp {units} | awk -F= '
 function out() {{ if (id) print "unit\t" id "\t" file "\t" active "\t" since; id = "" }}
 $1 == "Id" {{ id = $2 }} $1 == "UnitFileState" {{ file = $2 }} $1 == "ActiveState" {{ active = $2 }}
 $1 == "ActiveEnterTimestamp" {{ since = $2 == "" ? 0 : substr($2, 2) }} /^$/ {{ out() }} END {{ out() }}'
printf 'links\t%s\n' "$(ip -j -4 addr show | plain | tr -d '\n')"
printf 'routes\t%s\n' "$(ip -j -4 route show table all | plain | tr -d '\n')"
for b in /sys/class/net/*/brif; do
 [ -d "$b" ] && i=${{b%/brif}} && printf 'ports\t%s\t%s\n' "${{i##*/}}" "$(ls "$b" | tr '\n' ' ')" &&
  printf 'groups\t%s\t%s\n' "${{i##*/}}" "$(cat "$i/bridge/group_fwd_mask")"
done | plain
for k in {limits}; do
 [ -r "/proc/sys/$k" ] && printf 'limit\t%s\t%s\n' "$k" "$(cat "/proc/sys/$k")"
done
printf 'value\tip_forward\t%s\n' "$(cat /proc/sys/net/ipv4/ip_forward)"
c=$(sed -n 's/^CapBnd:[^0-9a-f]*//p' /proc/1/status)
printf 'value\tclock\t%s\n' "$((0x$c >> 25 & 1))"
dpkg-query -W -f 'package\t${{Package}}\t${{db:Status-Status}}\n' {packages} 2>/dev/null
printf 'value\tloaded\t%s\n' "$({{ {tables}; }} 2>/dev/null | sha256sum | cut -c1-64)"
[ -f {walls} ] && printf 'value\texpected\t%s\n' "$(unshare --net sh -c \
 'nft -f "$1" && {{ {tables}; }}' - {walls} 2>/dev/null | sha256sum | cut -c1-64)"
sed -n 's/^nameserver[[:blank:]]\{{1,\}}\([^[:space:]]*\).*/resolver\t\1/p' /etc/resolv.conf | plain
if [ -f /etc/network/interfaces.new ]; then
 sed 's/^/interfaces\told\t/' /etc/network/interfaces 2>/dev/null | plain
 sed 's/^/interfaces\tnew\t/' /etc/network/interfaces.new | plain
fi
for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list \
 /etc/apt/sources.list.d/*{aside}; do
 [ -f "$f" ] && grep -q proxmox\\.com "$f" && awk -v f="$f" '{{ print "source\t" f "\t" $0 }}' "$f"
done | plain
printf 'value\tsuite\t%s\n' "$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)"
{hardware}
{disks}
wait
for n in {names}; do
 [ -e "$answers/$n" ] || continue
 if [ -e "$answers/$n.bad" ]; then printf 'fail\t%s\t%s\n' "$n" "$(tr '\n\t' '  ' <"$answers/$n.err" | plain)"
 else printf 'api\t%s\t%s\n' "$n" "$(tr -d '\n' <"$answers/$n")"; fi
done
"""


def parse(lines: list[str]) -> ActualNode:
    """What the script printed."""
    found = ActualNode()
    found.devices = hardware.devices(line.removeprefix("pci\t") for line in lines if line.startswith("pci\t"))
    for line in lines:
        kind, *rest = line.split("\t")
        if kind == "file":
            found.files[rest[0]] = File(rest[1], "", int(rest[2]))
        elif kind == "sum" and rest[1] in found.files:
            found.files[rest[1]] = replace(found.files[rest[1]], sha256=rest[0])
        elif kind == "package" and rest[1] == "installed":
            found.packages.add(rest[0])
        elif kind == "held":
            found.kept_back.add(rest[0])
        elif kind == "unit":
            found.units[rest[0]] = Unit(rest[1], rest[2], int(rest[3]))
        elif kind == "api":
            found.api[rest[0]] = json.loads("\t".join(rest[1:]))
        elif kind == "links":
            found.addresses |= _addresses(json.loads(rest[0] or "[]"))
        elif kind == "routes":
            found.routes = json.loads(rest[0] or "[]")
        elif kind == "ports":
            found.ports[rest[0]] = rest[1].split()
        elif kind == "groups":
            found.groups[rest[0]] = rest[1]
        elif kind == "value":
            found.values[rest[0]] = rest[1].strip()
        elif kind == "limit":
            found.limits[rest[0]] = int(rest[1])
        elif kind == "disk":
            found.disks[rest[0]] = Disk(rest[0], rest[1], int(rest[2]), rest[3].strip("; "))
        elif kind == "zpool":
            found.pools[rest[0]] = rest[1] if len(rest) > 1 else ""
        elif kind == "nic":
            found.nics.append(Nic(rest[0], rest[1].lower(), rest[2]))
        elif kind == "pinned":
            found.pinned |= {*rest[0].lower().split()}
        elif kind == "source":
            found.sources.setdefault(rest[0], []).append("\t".join(rest[1:]))
        elif kind == "loader":
            found.loaders += hardware.loader(rest[0])
        elif kind == "option":
            found.options.append(hardware.option(rest[0], rest[1]))
        elif kind == "resolver":
            found.resolvers.append(rest[0])
        elif kind == "interfaces":
            found.interfaces[rest[0]].append("\t".join(rest[1:]))
        elif kind == "name":
            raise _called_otherwise(*rest)
        elif kind == "fail":
            raise RefusedByNode(
                "precondition", f"reading the node: {rest[0]}: {rest[1]}", "run it on the node to see why"
            )
    return found


def _addresses(links: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The addresses of each interface, with their prefix lengths."""
    return {
        link["ifname"]: [f"{one['local']}/{one['prefixlen']}" for one in link["addr_info"] if "local" in one]
        for link in links
        if link.get("addr_info")
    }


def _called_otherwise(wanted: str, found: str, members: str) -> RefusedByNode:
    """What to say when the machine at the node's address is another node than the one that hub.yml names."""
    what = f"the machine at this address is the Proxmox node {found}, and hub.yml calls it {wanted}"
    if wanted in members.split():
        return RefusedByNode("precondition", what, f"write the address of {wanted} under nodes: in hub.yml")
    return RefusedByNode("precondition", what, f"write {found} instead of {wanted} under nodes: in hub.yml")
