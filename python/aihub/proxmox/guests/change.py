"""What is done to a guest that stands: update, start, remove; every step looks first."""

from __future__ import annotations

from collections.abc import Mapping

from aihub.errors import Conflict, PreconditionFailed, TaskFailed
from aihub.model.types import format_size
from aihub.plan import Change
from aihub.proxmox.client import Landed
from aihub.proxmox.errors import Changed, Refused
from aihub.proxmox.state import ActualGuest
from aihub.state.journal import Entry

from .compare import deviation, disk_of, waits_for_restart
from .desired import MIB, Wanted
from .plan import unlock_hint
from .site import Site

SHUTDOWN_TIME = 60


def settle(site: Site, want: Wanted) -> None:
    """Brings an existing guest of ours to what is wanted, running."""
    update(site, want)
    start(site, want)


def update(site: Site, want: Wanted, planned: Change | None = None) -> None:
    """Writes what differs and restarts the guest when something waits for it.

    Raises Changed when somebody edited the guest after `planned` was made, so that the plan says less than would be
    done now. A late write of a killed run takes nothing but planned differences away.
    """
    have = site.ours(want)
    found = deviation(want, have)
    edited = planned is not None and have.digest != planned.details["digest"]
    if planned and edited and not set(found.differences) <= set(planned.differences):
        raise Changed("somebody changed it since the plan was made", where=have.path, hint="aihub plan")
    if found.rebuild or found.refused:
        raise PreconditionFailed("; ".join(found.rebuild + found.refused), where=have.path, hint="aihub plan")
    if not found and not waits_for_restart(want, have):
        return
    site.progress(want.guest.name, "being updated")
    if have.lock:
        raise PreconditionFailed(f"it is locked ({have.lock})", where=have.path, hint=unlock_hint(have))
    if found.new_host_keys:
        site.journal.begin(Entry(have.vmid, want.guest.name, have.node, have.kind, "contact"))
    if found.put:
        _put(site, want, have, found.put)
    if found.grow:
        _grow(site, want, found.grow)
    have = site.ours(want)
    if waits_for_restart(want, have):
        _restart(site, want, have)
        have = site.ours(want)
    if left := deviation(want, have):
        fields = ", ".join(d.field for d in left.differences)
        raise TaskFailed(f"Proxmox took the change and still has another value for {fields}", where=have.path)


def start(site: Site, want: Wanted) -> None:
    """Starts the guest unless it runs."""
    have = site.ours(want)
    if have.running:
        site.progress(want.guest.name, "running")
        return
    if have.lock:
        raise PreconditionFailed(f"it is locked ({have.lock})", where=have.path, hint=unlock_hint(have))
    site.progress(want.guest.name, "being started")

    def landed() -> Landed | None:
        return Landed() if site.ours(want).running else None

    try:
        site.task("post", f"{have.path}/status/start", {}, landed)
    except (Refused, TaskFailed) as error:
        if "already running" not in error.what:
            raise
    site.progress(want.guest.name, "running")


def remove(site: Site, name: str, kind: str, node: str, vmid: int) -> None:
    """Removes a guest of ours with its disks. Raises Conflict when it is not the guest `name` of this hub."""
    have = site.look(kind, node, vmid)
    if have is None:
        site.journal.done(vmid)
        return
    entry = site.journal.get(vmid)
    claimed = have.bare and entry is not None and entry.guest == name
    if not claimed and not (have.belongs_to(site.hub.id) and have.marker and have.marker.guest == name):
        raise Conflict(f"VMID {vmid} is not guest {name} of this hub: it is not removed", hint="aihub plan")
    if have.lock:
        raise PreconditionFailed(f"it is locked ({have.lock})", where=have.path, hint=unlock_hint(have))
    site.progress(name, "being removed")
    site.journal.begin(Entry(vmid, name, have.node, have.kind, "delete"))
    if have.running:
        _stop(site, have)

    def gone() -> Landed | None:
        return Landed() if site.look(kind, node, vmid) is None else None

    site.task("delete", have.path, {"purge": True}, gone)
    site.journal.done(vmid)
    site.progress(name, "removed")


def _put(site: Site, want: Wanted, have: ActualGuest, values: Mapping[str, str]) -> None:
    def landed() -> Landed | None:
        left = deviation(want, site.ours(want)).put or {}
        return None if values.keys() & left.keys() else Landed()

    site.write("put", f"{have.path}/config", {**values, "digest": have.digest}, landed)


def _grow(site: Site, want: Wanted, size: int) -> None:
    have = site.ours(want)

    def landed() -> Landed | None:
        return Landed() if disk_of(site.ours(want))[1] == size else None

    text = format_size(size).removesuffix("iB") if size % MIB == 0 else str(size)
    with site.storage(have.node, want.guest.storage):
        site.task("put", f"{have.path}/resize", {"disk": want.disk, "size": text, "digest": have.digest}, landed)


def _restart(site: Site, want: Wanted, have: ActualGuest) -> None:
    site.progress(want.guest.name, "restarting")

    def landed() -> Landed | None:
        return None if site.ours(want).running else Landed()

    site.task("post", f"{have.path}/status/shutdown", {"timeout": SHUTDOWN_TIME, "forceStop": True}, landed)
    start(site, want)


def _stop(site: Site, have: ActualGuest) -> None:
    def landed() -> Landed | None:
        now = site.look(have.kind, have.node, have.vmid)
        return None if now and now.running else Landed()

    try:
        site.task("post", f"{have.path}/status/stop", {}, landed)
    except (Refused, TaskFailed) as error:
        if "not running" not in error.what:
            raise
