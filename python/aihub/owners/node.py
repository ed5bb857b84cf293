"""The node: bridges, walls, names and time, Proxmox objects that only root may make, and the API token.

What guests need is made before they are, and what they held goes after them: one plan, applied in two parts.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import replace
from ipaddress import ip_address, ip_network

from metal.desired import Desired
from metal.driver import SUBJECT as DRIVER

from aihub import node
from aihub.errors import PreconditionFailed
from aihub.plan import Change, Plan
from aihub.proxmox.guests import owned
from aihub.proxmox.properties import addresses, cards
from aihub.proxmox.state import ActualGuest

from . import reboot
from .run import Run

SETTLE_TIME = 60.0  # seconds until units of ours that start at boot have done so


def look(run: Run) -> Plan:
    """What differs on the node. Raises Conflict for what is not ours, PreconditionFailed for what the node lacks."""
    reboot.require_known(run)
    found = node.look(run.state, _wanted(run))
    run.closed, run.cards, run.reboot = found.closed, found.cards, found.reboot
    return found.plan


def settled(run: Run, first: Plan, guests: Plan) -> Plan:
    """What differs on the node once the guests are as their own plan makes them.

    Raises PreconditionFailed for a zone whose subnet was changed while guests stand in it.
    """
    _refuse_new_subnets(run, first)
    # Who is changed is plugged in where hub.yml has him.
    going = {int(c.details["vmid"]) for c in guests.of("guests") if c.action in ("delete", "update")}
    leaving = [guest.vmid for guest in _ours(run) if guest.vmid in going and _bridges(guest) & {*run.closed}]
    staying = set[str]().union(*(_bridges(guest) for guest in _ours(run) if guest.vmid not in going))
    run.staying = tuple(sorted(staying))
    _refuse_new_modes(run)
    kept = [guest for guest in _ours(run) if guest.vmid not in going]
    run.holding, run.sharing = _held(kept), _share(kept)
    taken = {change.subject.rpartition(" ")[2] for change in first.of("node") if change.action == "delete"}
    first = replace(first, warnings=(*first.warnings, *reboot.warning(run)))
    ends = run.sharing and any(c.action == "delete" and c.subject.endswith(DRIVER) for c in first.of("node"))
    if not leaving and not ends and not (staying | {*run.holding}) & taken:
        return first
    second = node.plan(run.state, replace(_wanted(run), leaving=tuple(sorted(leaving))))
    return replace(second, warnings=(*second.warnings, *reboot.warning(run)))


def apply(run: Run, agreed: Plan) -> None:
    """The node has what the guests need, and the API token lies in the state directory.

    Raises PreconditionFailed when its cards need a boot of the node first: no guest was touched then.
    """
    waits = bool(run.reboot and agreed.of("guests"))
    if waits and reboot.allowed(run):
        reboot.require_possible(run)
    _apply(run, agreed, _ours(run))
    if not (run.reboot and agreed.of("guests")):
        return
    name = reboot.node_name(run)
    if not reboot.allowed(run):
        raise PreconditionFailed(
            f"node {name} has to be rebooted before its guests can have their cards: {run.reboot}",
            where=run.hub.path,
            hint=f"as root on {name}: systemctl reboot (every guest there stops), then `aihub up` goes on; "
            f"or let it do both: aihub up{run.hub.target.option} --allow-reboot {name}",
        )
    with run.screen.progress("node") as progress:
        reboot.perform(run, progress)
    _look_after_boot(run)


def _look_after_boot(run: Run) -> None:
    """The boot has brought what it was for. Raises PreconditionFailed with what is in the way else."""
    wanted = replace(_wanted(run), held=_held(_ours(run)), sharing=_share(_ours(run)))
    limit = time.monotonic() + SETTLE_TIME
    while (found := node.look(run.state, wanted)).plan.changes and time.monotonic() < limit:
        time.sleep(2)
    run.reboot = found.reboot
    if left := [change.subject for change in found.plan.changes]:  # as a mapping: its IOMMU group is known only now
        text = f"since the node was rebooted there is more to be done: {', '.join(left)}"
        raise PreconditionFailed(text, hint="run the same command again")


def finish(run: Run, agreed: Plan) -> None:
    """What guests held until now goes off the node."""
    if _takes_away(agreed):
        _apply(run, agreed)


def _apply(run: Run, agreed: Plan, holders: Sequence[ActualGuest] | None = None) -> None:
    """What `holders` have of the node's cards stays; without them what guests have that stay as they are."""
    if not (changes := agreed.of("node")):
        return
    wanted = _wanted(run)
    if holders is not None:
        wanted = replace(wanted, held=_held(holders), sharing=_share(holders))
    with run.screen.progress("node") as progress:
        progress("node", f"{len(changes)} changes")
        done = node.apply(run.hub, run.state, wanted, agreed)
        run.changed |= bool(done.changes)
        run.reboot = done.reboot
        run.token_refused &= not done.renewed


def removal(run: Run, leaving: Collection[int] = ()) -> Plan:
    """What goes off the node once the guests `leaving` are gone. Raises Conflict for what is not ours."""
    return Plan(node.removal(run.state, _wanted(run), leaving))


def remove(run: Run, agreed: Plan) -> None:
    """Everything of this hub goes off the node: walls, DNS, time, bridges, token, user, roles, pool."""
    with run.screen.progress("node") as progress:
        progress("node", "is cleared")
        node.remove(run.state, _wanted(run), agreed)


def _wanted(run: Run) -> Desired:
    wanted = node.desired(run.hub, run.state, run.target.names, renew=run.token_refused)
    return replace(wanted, staying=run.staying, held=run.holding, sharing=run.sharing)


def _held(guests: Iterable[ActualGuest]) -> tuple[str, ...]:
    """The PCI mappings that guests are configured with, or still run with."""
    every = (config for guest in guests for config in (guest.config or {}, guest.in_force))
    return tuple(sorted(frozenset[str]().union(*map(owned.mappings, every))))


def _share(guests: Iterable[ActualGuest]) -> bool:
    """Whether a container is configured with the device nodes of the node's own driver, or still runs with them."""
    return any(owned.shares_card(config) for guest in guests for config in (guest.config or {}, guest.in_force))


def _refuse_new_modes(run: Run) -> None:
    """A card changes its mode with a boot, for which nobody has it: a guest that did would not come back from that."""
    cards = {name: card for spec in run.hub.nodes.values() for name, card in spec.gpus.items()}
    shared = {guest.gpu for guest in run.hub.guests.values() if guest.gpu and cards[guest.gpu].mode == "lxc"}
    lines = []
    for guest in _ours(run):
        if late := sorted(shared & {*_held([guest])}):
            lines.append(f"guest {guest.name} has card {', '.join(late)} passed to it, and hub.yml says `mode: lxc`")
        elif run.reboot and not shared and _share([guest]):
            lines.append(f"guest {guest.name} shares a card of the node's own driver, and hub.yml passes it to a VM")
    if lines:
        hint = "a card changes its mode while nobody has it: put the mode back, take `gpu:` off, `aihub up`, then go on"
        raise PreconditionFailed("\n".join(lines), where=run.hub.path, hint=hint)


def _takes_away(found: Plan) -> bool:
    return any(change.action == "delete" for change in found.of("node"))


def _bridges(guest: ActualGuest) -> set[str]:
    """What a guest is configured to be plugged into, whether it runs or not."""
    return {card["bridge"] for card in cards(guest.config or {}) if "bridge" in card}


def _ours(run: Run) -> list[ActualGuest]:
    return [guest for guest in run.guests.guests.values() if guest.belongs_to(run.hub.id)]


def _refuse_new_subnets(run: Run, found: Plan) -> None:
    """Everything that knows an address of the zone would have to change in one moment: that is not done in place."""
    lines = [line for change in found.of("node") for line in _new_subnet(run, change)]
    if lines:
        hint = (
            "put the former subnet back; or take these guests out, `aihub up` with --allow-destroy, then add them anew"
        )
        raise PreconditionFailed("\n".join(lines), where=run.hub.path, hint=hint)


def _new_subnet(run: Run, change: Change) -> Iterator[str]:
    zone = next((z for z in run.hub.zones if change.subject.endswith(f": bridge {run.hub.bridge(z)}")), None)
    former = next((d.actual for d in change.differences if d.field == "address" and d.actual), "")
    if zone is None or "/" not in former:
        return
    old, new = ip_network(former, strict=False), run.hub.zones[zone].subnet
    # A bridge whose address somebody changed by hand is mended: the guests then still have those of hub.yml.
    inside = [g.name for g in _ours(run) if any(ip_address(a) in old for a in addresses(g.config or {}))]
    if old != new and inside:
        yield f"zone {zone}: its subnet is {old} on the node, with {', '.join(inside)} in it, and {new} in hub.yml"
