"""What Proxmox would refuse to do with guests that stand, asked before the first step: nothing is half stopped then.

What a guest's config tells by itself (protection, locks) the plan knows already. Here is what has to be asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aihub.errors import PreconditionFailed
from aihub.plan import Change
from aihub.proxmox.errors import Lost, RefusedByProxmox
from aihub.proxmox.properties import parse, stem
from aihub.proxmox.state import ActualGuest, ActualGuests, Getter, many, no_such_guest

from .owned import VOLUMES


def check(get: Getter, changes: Iterable[Change], actual: ActualGuests) -> None:
    """Raises PreconditionFailed with everything that Proxmox would refuse of the changes."""
    todo: dict[int, list[Change]] = {}
    for change in changes:
        if int(change.details["vmid"]) in actual.guests:
            todo.setdefault(int(change.details["vmid"]), []).append(change)
    found = [one for vmid, mine in todo.items() for one in _refusals(get, actual, actual.guests[vmid], mine)]
    if found:
        hints = "; ".join(dict.fromkeys(hint for _, hint in found))
        raise PreconditionFailed("\n".join(text for text, _ in found), hint=hints)


def require_unmanaged(get: Getter, name: str, have: ActualGuest) -> None:
    """Raises PreconditionFailed for a guest that Proxmox's high availability stops and starts."""
    for text, hint in _managed(get, name, have):
        raise PreconditionFailed(text, hint=hint)


def _refusals(get: Getter, actual: ActualGuests, have: ActualGuest, changes: list[Change]) -> Iterator[tuple[str, str]]:
    """What is refused, each with the way there."""
    name = changes[0].subject
    removed = any(c.action == "delete" for c in changes)
    if removed or any(c.restart or c.action == "start" for c in changes):
        yield from _managed(get, name, have)
    if removed and have.template:
        yield from _cloned(get, actual, name, have)
    if have.kind == "vm" and not removed and any(c.data_at_risk for c in changes):
        yield from _in_snapshots(get, name, have, changes)


def _managed(get: Getter, name: str, have: ActualGuest) -> Iterator[tuple[str, str]]:
    """A managed guest is stopped and started by the manager, some time after it was asked to."""
    if (said := _asked(get, f"{have.path}/status/current")) and int((said.get("ha") or {}).get("managed") or 0):
        sid = f"{'ct' if have.kind == 'lxc' else 'vm'}:{have.vmid}"
        text = f"guest {name}: it is managed by Proxmox's high availability, which starts and stops it when it sees fit"
        yield text, f"as root on {have.node}: ha-manager remove {sid}"


def _cloned(get: Getter, actual: ActualGuests, name: str, have: ActualGuest) -> Iterator[tuple[str, str]]:
    """Linked clones read from the disks of their template."""
    base = re.compile(rf"\bbase-{have.vmid}-disk-[^/,]*/")
    others = [guest for guest in actual.guests.values() if guest.vmid not in {have.vmid, *actual.unread}]
    configs = many(lambda guest: _strangers(get, guest), others)
    clones = [
        f"{guest.name} (VMID {guest.vmid})"
        for guest, config in zip(others, configs, strict=True)
        if any(base.search(str(value)) for value in config.values())
    ]
    if clones:
        text = f"guest {name}: Proxmox does not remove it while linked clones rest on its disk: {', '.join(clones)}"
        yield text, "remove these, or give each a disk of its own (a full clone of it)"


def _in_snapshots(get: Getter, name: str, have: ActualGuest, changes: list[Change]) -> Iterator[tuple[str, str]]:
    """Proxmox removes no disk of a VM that a snapshot still holds."""
    gone = [d for c in changes for d in c.differences if d.wanted is None and d.actual and _holds(d.field)]
    volumes = {parse(d.field, d.actual or "").get("volume") for d in gone}
    for snapshot in (str(one["name"]) for one in get(f"{have.path}/snapshot") if one.get("name") != "current"):
        kept = _asked(get, f"{have.path}/snapshot/{snapshot}/config")
        if volumes & {parse(key, str(value)).get("volume") for key, value in kept.items() if _holds(key)}:
            text = f"guest {name}: snapshot {snapshot} holds a disk that is to go, and Proxmox removes no such disk"
            yield text, f"as root on {have.node}: qm delsnapshot {have.vmid} {snapshot}"


def _holds(key: str) -> bool:
    return stem(key) in VOLUMES | {"unused"}


def _asked(get: Getter, path: str) -> Mapping[str, Any]:
    """What is said of a guest; nothing of one that is gone, or hidden from us."""
    try:
        return dict(get(path) or {})
    except RefusedByProxmox as error:
        if no_such_guest(error) or error.status == 403:
            return {}
        raise


def _strangers(get: Getter, guest: ActualGuest) -> Mapping[str, Any]:
    """The config of a guest that is not ours; its node may not answer."""
    try:
        return _asked(get, f"{guest.path}/config")
    except (Lost, RefusedByProxmox):
        return {}
