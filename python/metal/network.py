"""The bridges of the zones, made through pvesh: the interfaces file of the node stays Proxmox's."""

from __future__ import annotations

import re
from typing import Any

from .actual import ActualNode
from .desired import GROUPS, Desired, Zone
from .interfaces_file import differing
from .refusal import RefusedByNode
from .steps import Step, command

_PORT = re.compile(r"(?:veth|tap|fwpr)(\d+)[ip]\d+")  # of a guest, as Proxmox names it
_PENDING = ("configuration", "pending", "applied")


def refuse_foreign(desired: Desired, actual: ActualNode) -> None:
    """Raises RefusedByNode for a bridge of our name that is not ours, and for pending changes that are not ours."""
    configured = _configured(actual)
    wanted = set() if desired.removed else {zone.bridge for zone in desired.zones}
    for name in sorted(wanted & configured.keys()):
        if not _is_ours(desired, configured[name]):
            raise RefusedByNode(
                "conflict",
                f"the node has an interface {name} that is not ours: its comment lacks {desired.marker!r}",
                "rename the zone, or remove that interface if nothing uses it",
            )
    known = wanted | ours(desired, actual)
    for name in sorted(wanted - configured.keys()):
        if name in actual.addresses or name in actual.ports:
            what = f"the node has an interface {name} that Proxmox does not know"
            raise RefusedByNode("conflict", what, f"look at it on the node: ip addr show {name}")
    if foreign := _pending(actual) - known:
        raise RefusedByNode(
            "conflict",
            f"the node has pending network changes that are not ours: {', '.join(sorted(foreign))}",
            "apply or revert them first (node > System > Network): our reload would apply them too",
        )


def bridges(desired: Desired, actual: ActualNode) -> list[Step]:
    """One step per zone's bridge, and one per bridge of ours that no zone has any more and nobody is on."""
    configured = _configured(actual)
    found = [_bridge(desired, zone, configured.get(zone.bridge)) for zone in desired.zones]
    return found + [_delete(desired, name) for name in _stale(desired, actual)]


def closed(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    """The bridges of ours that no zone has any more and that somebody is still on: closed, they stay until he left."""
    found = ours(desired, actual) - {zone.bridge for zone in desired.zones} if not desired.removed else ()
    return tuple(name for name in sorted(found) if name in desired.staying or _remaining(desired, actual, name))


def why_closed(actual: ActualNode, name: str) -> str:
    """What is to be said of a bridge that stays although no zone has it."""
    who = f"{', '.join(ports)} is on it" if (ports := actual.ports.get(name)) else "a guest is configured with it"
    return f"no zone has bridge {name} any more, and {who}: nothing passes, and it stays until nobody needs it"


def _stale(desired: Desired, actual: ActualNode) -> list[str]:
    gone = ours(desired, actual) - {zone.bridge for zone in desired.zones}
    return sorted(gone - set(closed(desired, actual)))


def _remaining(desired: Desired, actual: ActualNode, bridge: str) -> list[str]:
    """The ports of a bridge but for those of guests that will have left."""
    return [port for port in actual.ports.get(bridge, []) if not _leaves(desired, port)]


def reload(desired: Desired, actual: ActualNode) -> Step:
    """Makes the kernel's interfaces what Proxmox has configured."""
    configured = _configured(actual)
    wanted = {zone.bridge: zone.cidr for zone in desired.zones}
    missing = [name for name, cidr in wanted.items() if cidr not in actual.addresses.get(name, [])]
    changed = [z.bridge for z in desired.zones if _bridge(desired, z, configured.get(z.bridge)).commands]
    stale = _stale(desired, actual)
    unseen = [name for name in wanted if name not in missing and actual.groups.get(name) != GROUPS]
    due = bool(missing or changed or stale or _pending(actual))
    if not (due or unseen):
        return Step("interfaces", "interfaces")
    # Else a frame for the bridge itself passes no filter, and teaches it where somebody is all the same.
    shown = [f"echo {GROUPS} >/sys/class/net/{name}/bridge/group_fwd_mask" for name in wanted]
    waits = [_wait(f"ip -4 -o addr show dev {name} 2>/dev/null | grep -qF {cidr}") for name, cidr in wanted.items()]
    again = [_reload(desired), *waits] if due else []
    differences = tuple((name, "not there", wanted[name]) for name in missing) or ((_PENDING,) if due else ())
    differences += tuple((f"{name}: frames for the bridge itself", "unfiltered", "filtered") for name in unseen)
    return Step("interfaces", "interfaces", "configure", differences, (*again, *shown))


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The steps that remove our bridges."""
    names = sorted(ours(desired, actual))
    for name in names:
        if ports := _remaining(desired, actual, name):
            raise RefusedByNode(
                "conflict",
                f"bridge {name} cannot be removed: {', '.join(ports)} is on it",
                "a guest that is not this hub's uses our bridge: move it to another",
            )
    if not names:
        return []
    gone = [_wait(f"! ip link show dev {name} >/dev/null 2>&1") for name in names]
    return [
        *(_delete(desired, name) for name in names),
        Step("interfaces", "interfaces", "configure", (_PENDING,), (_reload(desired), *gone)),
    ]


def _leaves(desired: Desired, port: str) -> bool:
    found = _PORT.fullmatch(port)
    return found is not None and int(found[1]) in desired.leaving


def _bridge(desired: Desired, zone: Zone, entry: dict[str, Any] | None) -> Step:
    path = f"/nodes/{desired.node}/network"
    options = ["--type", "bridge", "--autostart", "1", "--cidr", zone.cidr, "--comments", desired.marker]
    subject = f"bridge {zone.bridge}"
    if entry is None:
        made = command("pvesh", "create", path, "--iface", zone.bridge, *options)
        return Step("bridge", subject, "create", (("address", "none", zone.cidr),), (made,))
    actual = {
        "type": str(entry.get("type", "")),
        "address": str(entry.get("cidr", "none")),
        "autostart": str(int(bool(entry.get("autostart")))),
        "ports": str(entry.get("bridge_ports", "")).strip() or "none",
    }
    wanted = {"type": "bridge", "address": zone.cidr, "autostart": "1", "ports": "none"}
    differences = tuple((key, actual[key], wanted[key]) for key in wanted if actual[key] != wanted[key])
    commands = (command("pvesh", "set", f"{path}/{zone.bridge}", *options),) if differences else ()
    return Step("bridge", subject, "update", differences, commands, restart=True)


def _delete(desired: Desired, name: str) -> Step:
    done = command("pvesh", "delete", f"/nodes/{desired.node}/network/{name}")
    return Step("bridge", f"bridge {name}", "delete", (), (done,), restart=True)


def _reload(desired: Desired) -> str:
    return command("pvesh", "set", f"/nodes/{desired.node}/network")


def _wait(condition: str) -> str:
    # A reload is a task of its own; what counts is what the kernel has.
    late = "echo 'the network is not as configured 30 s after its reload' >&2"
    return f"for i in $(seq 150); do {condition} && exit 0; sleep 0.2; done; {late}; exit 1"


def _configured(actual: ActualNode) -> dict[str, dict[str, Any]]:
    return {entry["iface"]: entry for entry in actual.api["network"]}


def _is_ours(desired: Desired, entry: dict[str, Any]) -> bool:
    return desired.marker in str(entry.get("comments", "")).splitlines()


def ours(desired: Desired, actual: ActualNode) -> frozenset[str]:
    """The bridges that carry this hub's marker."""
    return frozenset(name for name, entry in _configured(actual).items() if _is_ours(desired, entry))


def _pending(actual: ActualNode) -> set[str]:
    """The interfaces that differ between what is applied and what is pending."""
    return differing(**actual.interfaces) if actual.interfaces["new"] else set()
