"""What runs on the node for the zones: routing, walls, DNS and time, each in files and units of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import IPv4Network, collapse_addresses, ip_address, ip_interface, ip_network
from pathlib import Path

from aihub.names import NODE_FOLDER, NOT_PUBLIC, Layout, unit_file

from .actual import ALWAYS, BY_RULE, FAMILIES, LEAST, NEVER, OVERCOMMIT, PACKAGES, ActualNode
from .desired import Desired
from .network import closed
from .refusal import RefusedByNode
from .steps import Kind, Step, Upload, command
from .texts import render

Differences = list[tuple[str, str, str]]
UNSEAL = Path(__file__).with_name("unseal_on_node.py")


def packages(desired: Desired, actual: ActualNode) -> Step:
    """The Debian packages; unbound's own service stays off, since ours listens on the gateways only."""
    missing = [name for name in PACKAGES if name not in actual.packages]
    if not missing:
        return Step("packages", "packages")
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends " + " ".join(missing)
    commands = ["apt-get update", install]
    if "unbound" in missing:
        commands[1] = (
            f"systemctl mask --runtime unbound.service && {install}"
            " && systemctl disable unbound.service && systemctl unmask --runtime unbound.service"
        )
    return Step("packages", "packages", "create", (("installed", "no", " ".join(missing)),), tuple(commands))


def limits(desired: Desired, actual: ActualNode) -> Step:
    """The kernel limits that all containers share, where they are too low; none is ever lowered."""
    place = Layout(desired.hub).limits
    upload, differences = file_part(actual, place, render("limits.conf.j2", desired))
    low = {name: least for name, least in LEAST.items() if actual.limits.get(name, least) < least}
    if actual.limits.get(OVERCOMMIT) == BY_RULE:
        low[OVERCOMMIT] = ALWAYS
    shown = {name: name.replace("/", ".") for name in low}
    differences += [(shown[name], str(actual.limits[name]), str(wanted)) for name, wanted in low.items()]
    raised = [command("sysctl", "-q", "-w", f"{shown[name]}={wanted}") for name, wanted in low.items()]
    return _step("limits", "limits", differences, [*upload, *raised])


def strict(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    """A sentence where somebody has made the kernel strict: that is meant, and left alone."""
    if desired.removed or actual.limits.get(OVERCOMMIT) != NEVER:
        return ()
    text = f"node {desired.node}: vm.overcommit_memory is {NEVER}: services in containers may fail to save their data"
    return (f"{text} when memory is short; {ALWAYS} lets them",)


def forwarding(desired: Desired, actual: ActualNode) -> Step:
    """Routing between interfaces, now and after a reboot."""
    layout = Layout(desired.hub)
    upload, differences = file_part(actual, layout.sysctl, render("sysctl.conf.j2", desired))
    if actual.values["ip_forward"] != "1":
        differences.append(("ip_forward", actual.values["ip_forward"], "1"))
    return _step("routing", "routing", differences, [*upload, command("sysctl", "-q", "-p", layout.sysctl)])


def walls(desired: Desired, actual: ActualNode) -> Step:
    """The nft tables of the hub, their unit, and what the kernel has of them."""
    layout = Layout(desired.hub)
    text = render("walls.nft.j2", desired, near=_near(desired, actual), closed=closed(desired, actual))
    rules, differences = file_part(actual, layout.walls, text, mode="600")
    unit, more = _unit_file(actual, layout.walls_unit, render("walls.service.j2", desired))
    names, also = file_part(actual, layout.bridge_rules, render("bridges.rules.j2", desired))
    differences += [*more, *also]
    if not rules and actual.values.get("loaded") != actual.values.get("expected"):
        differences.append(("loaded rules", "not those of the file", "those of the file"))
    # Checked before it replaces anything: a rule that this kernel cannot hold leaves the old walls standing.
    commands = [f"mkdir -p {layout.folder}", *rules, *unit, *names, f"nft -c -f {layout.walls}"]
    commands += _start(layout.walls_unit)  # nft takes the file in one transaction: nothing is without walls meanwhile
    return _step("walls", "walls", [*differences, *_running(actual, layout.walls_unit)], commands)


def dns(desired: Desired, actual: ActualNode) -> Step:
    """The resolver on the gateways."""
    layout = Layout(desired.hub)
    config, differences = file_part(actual, layout.dns, render("unbound.conf.j2", desired, _upstream(desired, actual)))
    unit, more = _unit_file(actual, layout.dns_unit, render("dns.service.j2", desired))
    differences += [*more, *_running(actual, layout.dns_unit), *_stale(actual, layout.dns_unit, layout.dns)]
    commands = [*config, *unit, *_start(layout.dns_unit)]
    return _step("dns", "DNS", differences, commands, restart=_runs(actual, layout.dns_unit))


def time(desired: Desired, actual: ActualNode) -> Step:
    """The node's chrony, answering the zones too."""
    layout = Layout(desired.hub)
    config, differences = file_part(actual, layout.chrony, render("chrony.conf.j2", desired))
    commands = list(config)
    if actual.values["clock"] != "1":
        override, more = file_part(actual, layout.chrony_override, render("chrony-container.conf.j2", desired))
        differences += more
        if override:
            commands += [
                f"mkdir -p {layout.chrony_override.rpartition('/')[0]}",
                *override,
                "systemctl daemon-reload",
            ]
    differences += [
        *_running(actual, "chrony.service"),
        *_stale(actual, "chrony.service", layout.chrony, layout.chrony_override),
    ]
    commands += _start("chrony.service")
    return _step("time", "time", differences, commands, restart=_runs(actual, "chrony.service"))


def unseal(desired: Desired, actual: ActualNode) -> Step:
    """The unit that unseals the hub's Vault; it runs as soon as the controller has sealed the shares for it."""
    layout = Layout(desired.hub)
    if desired.vault is None:
        return _no_unseal(actual, layout)
    program, differences = file_part(actual, layout.unseal, UNSEAL.read_text(), mode="755")
    authority, more = file_part(actual, layout.authority, desired.vault.authority)
    unit, also = _unit_file(actual, layout.unseal_unit, render("unseal.service.j2", desired))
    differences += [*more, *also]
    found = actual.units[layout.unseal_unit]
    if found.enabled != "enabled":
        differences.append((f"{layout.unseal_unit} at boot", found.enabled or "not found", "enabled"))
    if layout.shares in actual.files:
        differences += [d for d in _running(actual, layout.unseal_unit) if d[0] == layout.unseal_unit]
        differences += _stale(actual, layout.unseal_unit, layout.unseal, layout.authority, layout.shares)
    commands = [*program, *authority, *unit, *_start(layout.unseal_unit)]
    return _step("unsealing", "unsealing", differences, commands, restart=_runs(actual, layout.unseal_unit))


def _no_unseal(actual: ActualNode, layout: Layout) -> Step:
    present = [p for p in _unseal_files(layout) if p in actual.files]
    if not present:
        return Step("unsealing", "unsealing")
    stop = f"systemctl disable --now {layout.unseal_unit} 2>/dev/null || :"
    commands = (stop, command("rm", "-f", *present), "systemctl daemon-reload")
    return Step("unsealing", "unsealing", "delete", (), commands, restart=_runs(actual, layout.unseal_unit))


def _unseal_files(layout: Layout) -> tuple[str, ...]:
    return (layout.unseal, layout.authority, layout.shares, unit_file(layout.unseal_unit))


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The steps that stop and remove our services; routing and limits stay on, others may need them by now."""
    layout = Layout(desired.hub)
    without = _no_unseal(actual, layout)
    found = [without] if without.commands else []
    tables = tuple(f"nft delete table {family} {desired.table} 2>/dev/null || :" for family in FAMILIES)
    services: tuple[tuple[Kind, str, str, tuple[str, ...], tuple[str, ...]], ...] = (
        ("dns", "DNS", layout.dns_unit, (layout.dns,), ()),
        ("walls", "walls", layout.walls_unit, (layout.walls, layout.bridge_rules), tables),
    )
    for kind, subject, unit, files, after in services:
        if paths := [p for p in (*files, unit_file(unit)) if p in actual.files]:
            stop = f"systemctl disable --now {unit} 2>/dev/null || :"
            remove = [command("rm", "-f", *paths), "systemctl daemon-reload"]
            tidy = f"rmdir {layout.folder} {NODE_FOLDER} 2>/dev/null || :"
            commands = (stop, *after, *remove, tidy)
            found.append(Step(kind, subject, "delete", (), commands, restart=_runs(actual, unit)))
    if paths := [p for p in (layout.chrony, layout.chrony_override) if p in actual.files]:
        again = ("systemctl daemon-reload", "systemctl try-restart chrony.service")
        commands = (command("rm", "-f", *paths), *again)
        found.append(Step("time", "time", "delete", (), commands, restart=_runs(actual, "chrony.service")))
    kept: tuple[tuple[Kind, str], ...] = (("limits", layout.limits), ("routing", layout.sysctl))
    for kind, path in kept:
        if path in actual.files:
            found.append(Step(kind, kind, "delete", (), (command("rm", "-f", path),)))
    return found


def _near(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    """The node's own networks that are no private ranges: a LAN with public addresses is a LAN all the same."""
    ours = {zone.bridge for zone in desired.zones}
    known = [ip_network(one) for one in NOT_PUBLIC]
    every = {ip_interface(a).network for name, found in actual.addresses.items() if name not in ours for a in found}
    public = (one for one in every if one.prefixlen < 32 and not any(one.overlaps(other) for other in known))
    return tuple(map(str, collapse_addresses(one for one in public if isinstance(one, IPv4Network))))


def _step(
    kind: Kind, subject: str, differences: Differences, commands: Sequence[str | Upload], *, restart: bool = False
) -> Step:
    return Step(kind, subject, "configure", tuple(differences), tuple(commands) if differences else (), restart)


def file_part(actual: ActualNode, path: str, text: str, mode: str = "644") -> tuple[list[str | Upload], Differences]:
    """The upload of a file that differs, and in what it does; nothing of one that is as wanted."""
    found, wanted = actual.files.get(path), hashlib.sha256(text.encode()).hexdigest()
    if found and found.sha256 == wanted and found.access == f"{mode} root root":
        return [], []
    was = "none" if not found else found.access if found.sha256 == wanted else "other content"
    return [Upload(path, text, mode)], [(path, was, "ours")]


def _unit_file(actual: ActualNode, unit: str, text: str) -> tuple[list[str | Upload], Differences]:
    upload, differences = file_part(actual, unit_file(unit), text)
    return [*upload, "systemctl daemon-reload"] if upload else [], differences


def _running(actual: ActualNode, unit: str) -> Differences:
    found = actual.units[unit]
    differences = []
    if found.enabled != "enabled":
        differences.append((f"{unit} at boot", found.enabled or "not found", "enabled"))
    if found.active != "active":
        differences.append((unit, found.active, "active"))
    return differences


def _runs(actual: ActualNode, unit: str) -> bool:
    return actual.units[unit].active == "active"


def _stale(actual: ActualNode, unit: str, *paths: str) -> Differences:
    """A unit that was started before its file was written: a run was killed between the two."""
    since = actual.units[unit].since
    late = [p for p in paths if p in actual.files and actual.files[p].changed > since]
    return [(unit, "runs with an older file", "restarted")] if late and _runs(actual, unit) else []


def _start(unit: str) -> list[str]:
    told = f"journalctl --no-pager -o cat -n 8 -u {unit} >&2"
    # A unit that gave up after many tries would refuse another.
    again = f"systemctl reset-failed {unit} 2>/dev/null; systemctl restart {unit} || {{ {told}; exit 1; }}"
    return [f"systemctl enable --quiet {unit}", again]


def strange_resolvers(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    """A sentence for each line of resolv.conf that the node's own resolver library skips, too."""
    strange = [] if desired.removed else [text for text in actual.resolvers if _address(text) is None]
    where = f"node {desired.node}: /etc/resolv.conf"
    return tuple(f'{where} names the resolver "{text}", which is no address: it is skipped' for text in strange)


def _upstream(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    ours = {zone.gateway for zone in desired.zones}
    # An address with a scope (fe80::1%vmbr0) means nothing to unbound.
    found = tuple(a for a in map(_address, actual.resolvers) if a and a not in ours and "%" not in a)
    if not found:
        strange = f" that can be asked ({', '.join(actual.resolvers)})" if actual.resolvers else ""
        raise RefusedByNode(
            "precondition",
            f"node {desired.node} names no resolver{strange} in /etc/resolv.conf",
            "give the node one (node > System > DNS): the zones' DNS asks it for outside names",
        )
    return found


def _address(text: str) -> str | None:
    """An address as it is written in one way only; None for anything else."""
    try:
        return str(ip_address(text))
    except ValueError:
        return None
