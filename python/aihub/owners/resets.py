"""Guests whose card may not come back when they stop: nobody stops one without having been told so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from aihub.errors import PreconditionFailed
from aihub.model.cards import BAD_RESET
from aihub.plan import Change, Plan
from aihub.proxmox.errors import RefusedByProxmox
from aihub.proxmox.guests import owned
from aihub.proxmox.properties import parse
from aihub.proxmox.root import Root
from aihub.proxmox.state import ActualGuest

from .run import Run

FLAG = "--allow-gpu-reset"


def warn(run: Run) -> None:
    """The plan says which card is put at risk by what it stops."""
    told = tuple(f"{text}; `aihub up` wants {FLAG} for that" for text in _at_risk(run, _stopping(run.plan.changes)))
    run.plan = replace(run.plan, warnings=(*run.plan.warnings, *told))


def refuse(run: Run) -> None:
    """Raises PreconditionFailed where the plan stops a guest whose card may not come back, and nobody allowed that."""
    if not run.options.allow_gpu_reset and (found := list(_at_risk(run, _stopping(run.plan.changes)))):
        raise PreconditionFailed("\n".join(found), hint=f"if that is meant: aihub up {FLAG}")


def refuse_power(run: Run, name: str, action: str) -> None:
    """As `refuse`, for a guest that a person stops or restarts by name."""
    guest = run.hub.guests[name]
    if run.options.allow_gpu_reset or guest.kind != "vm":
        return
    if found := list(_at_risk(run, [guest.vmid])):
        inside = f"from inside it restarts without a reset: aihub ssh {name} -- systemctl reboot; "
        again = f"if that is meant: aihub {action} {name} {FLAG}"
        raise PreconditionFailed("\n".join(found), hint=(inside if action == "restart" else "") + again)


def refuse_removal(run: Run, removal: Plan) -> None:
    """As `refuse`, for a hub that goes down."""
    if not run.options.allow_gpu_reset and (found := list(_at_risk(run, _stopping(removal.changes)))):
        raise PreconditionFailed("\n".join(found), hint=f"if that is meant: the same command with {FLAG}")


def _stopping(changes: Iterable[Change]) -> Iterator[int]:
    for change in changes:
        if change.owner == "guests" and (change.restart or change.action == "delete"):
            yield int(change.details["vmid"])


def _at_risk(run: Run, vmids: Iterable[int]) -> Iterator[str]:
    """A sentence for each guest of these that runs with such a card."""
    for vmid in dict.fromkeys(vmids):
        guest = run.guests.guests.get(vmid)
        if guest is None or not guest.alive or not guest.belongs_to(run.hub.id):
            continue
        for name in sorted(owned.mappings(guest.in_force)):
            if model := BAD_RESET.get(_ident(run, guest, name)):
                yield (
                    f"guest {guest.name} runs with card {name}, a {model}: such a card does not come back from every "
                    "reset, and is reset when the guest stops. It is dead then until its node is rebooted"
                )


def _ident(run: Run, guest: ActualGuest, mapping: str) -> str:
    """What a mapping leads to: as Proxmox says it, else hub.yml."""
    px = run.proxmox() if run.state.token.exists() and not run.token_refused else Root(run.state)
    try:
        maps = px.get(f"/cluster/mapping/pci/{mapping}").get("map") or []
    except RefusedByProxmox:
        maps = []
    parts = [parse("mapping", str(one)) for one in maps]
    known = next((one.get("id", "") for one in parts if one.get("node") == guest.node), "")
    declared = run.hub.nodes[guest.node].gpus.get(mapping) if guest.node in run.hub.nodes else None
    return known or (declared.id if declared else "")
