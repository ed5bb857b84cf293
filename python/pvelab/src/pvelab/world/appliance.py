"""The lab's own helpers that no Proxmox would have: containers on a bridge of their own, beside node and guests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from . import identity, namespace, node, rootfs
from .bridges import BUILDER_BRIDGE, PUSH_BRIDGE
from .errors import LabError
from .lab import Lab
from .lxc import Link, Machine
from .process import run
from .root import Root
from .rootfs import OFFSET, Recipe
from .uplink import LINK

NETWORK = IPv4Network("10.255.255.0/24")
GATEWAY = NETWORK[1]
RULES = "rules"
PUSH_NETWORK = IPv4Network("10.255.254.0/29")
"""Between helpers only: the node has no address in it and lets nothing through to it."""


@dataclass(frozen=True)
class Appliance:
    """One helper container. `settle` writes settings into its root before each start; `mapped`: under the uid map."""

    name: str
    address: str
    recipe: Recipe
    settle: Callable[[Root], None]
    push_address: str
    mounts: Sequence[str] = ()
    mapped: bool = False


def rules(guests: Iterable[IPv4Network]) -> str:
    """What passes between the helpers and others: their way out, and guests to port 443, where the registry answers.

    Their way out must work before anybody configured the node, and must not touch what is configured there.
    """
    sources = ", ".join(map(str, guests))
    return f"""
table ip pvelab
delete table ip pvelab
table ip pvelab {{
  chain outwards {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {NETWORK} oifname "{LINK}" masquerade
  }}
  chain towards {{
    type filter hook forward priority filter; policy accept;
    # Where the kernel shows to this chain what passes inside of a bridge, too.
    iifname "{PUSH_BRIDGE}" oifname "{PUSH_BRIDGE}" accept
    iifname "{BUILDER_BRIDGE}" oifname "{BUILDER_BRIDGE}" accept
    ip daddr {PUSH_NETWORK} drop
    oifname "{PUSH_BRIDGE}" drop
    oifname "{BUILDER_BRIDGE}" ct state established,related accept
    oifname "{BUILDER_BRIDGE}" ip saddr {{ {sources} }} tcp dport 443 accept
    oifname "{BUILDER_BRIDGE}" drop
  }}
}}
"""


def wire(lab: Lab) -> None:
    """Makes the helpers' bridges, one with its way out, in the lab's namespace only."""
    config = lab.config()
    namespace.bridge(lab, PUSH_BRIDGE, [])
    namespace.bridge(lab, BUILDER_BRIDGE, [f"{GATEWAY}/{NETWORK.prefixlen}"])
    for link in (BUILDER_BRIDGE, LINK):
        path = f"/proc/sys/net/ipv4/conf/{link}/forwarding"
        run(namespace.plain(lab, ["sh", "-c", f"echo 1 > {path}"]))
    wanted = rules(config.subnets or [config.node_subnet])
    settings = f"# network {lab.netns_path.stat().st_ino}\n{wanted}"
    if not unchanged(lab, RULES, settings):
        _load(lab, wanted)
        remember(lab, RULES, settings)


def _load(lab: Lab, wanted: str) -> None:
    """By the node's own nft, once there is a node: an older one of the machine can't read what that has loaded."""
    lxc = node.containers(lab)
    if lxc.pid(node.NAME) is None:
        run(namespace.plain(lab, ["nft", "-f", "-"]), stdin=wanted.encode())
        return
    done = lxc.execute(node.NAME, ["nft", "-f", "-"], wanted.encode())
    if done.returncode != 0:
        raise LabError(f"nft on the node ended with {done.returncode}: {done.stderr.decode(errors='replace')[-500:]}")


def bake(lab: Lab, name: str, recipe: Recipe) -> Path:
    """The root file system that a helper starts with."""
    return rootfs.bake(lab, recipe, f"{name}'s root file system").archive


def ensure(lab: Lab, appliance: Appliance, resolver: str) -> bool:
    """Starts the helper unless it runs, from a root file system made when it is first needed; True if started."""
    lxc = node.containers(lab)
    wire(lab)
    if lxc.pid(appliance.name) is not None:
        return False
    target = lab.rootfs(appliance.name)
    if not target.is_dir():
        archive = bake(lab, appliance.name, appliance.recipe)
        part = target.with_name("rootfs.new")
        rootfs.remove(part)
        part.parent.mkdir(parents=True, exist_ok=True)
        rootfs.unpack(archive, part, shifted=appliance.mapped)
        part.rename(target)
    root = Root(target, OFFSET if appliance.mapped else 0)
    identity.set_machine_id(root)
    identity.set_hostname(root, appliance.name, appliance.address, "")
    identity.set_resolver(root, [resolver], [])
    cards = {
        "eth0": {"ip": f"{appliance.address}/{NETWORK.prefixlen}", "gw": str(GATEWAY)},
        "eth1": {"ip": f"{appliance.push_address}/{PUSH_NETWORK.prefixlen}"},
    }
    identity.set_network(root, cards)
    appliance.settle(root)
    links = [
        Link("eth0", BUILDER_BRIDGE, f"lab{appliance.name}"[:15]),
        Link("eth1", PUSH_BRIDGE, f"push{appliance.name}"[:15]),
    ]
    seen, mapped = lab.seen_rootfs(appliance.name), appliance.mapped
    lxc.write(Machine(appliance.name, seen, appliance.name, mapped, links=links, mounts=appliance.mounts))
    lxc.start(appliance.name)
    return True


def unchanged(lab: Lab, name: str, settings: str) -> bool:
    """True when the running helper was started with these settings."""
    kept = lab.run / f"{name}.settings"
    return kept.exists() and kept.read_text() == settings


def remember(lab: Lab, name: str, settings: str) -> None:
    """Keeps the settings that a helper runs with."""
    (lab.run / f"{name}.settings").write_text(settings)
