"""What is done to a guest that stands: update, settle, start, remove; every step looks first."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from aihub.errors import Conflict, PreconditionFailed, TaskFailed
from aihub.model.types import format_size
from aihub.plan import Change
from aihub.proxmox.client import Landed
from aihub.proxmox.errors import Changed, RefusedByProxmox
from aihub.proxmox.properties import parse, stem
from aihub.proxmox.state import ActualGuest
from aihub.state.journal import Entry

from .changes import POOL
from .compare import Deviation, Edit, deviation, disk_of, waits_for_restart
from .desired import MIB, Wanted, start_time
from .draft import unlock_hint
from .owned import Writer
from .site import Site

SHUTDOWN_TIME = 60


def update(site: Site, want: Wanted, planned: Change | None = None) -> None:
    """Writes what differs and is the planned identity's to write (without a plan: the token's).

    Raises Changed when somebody edited the guest after `planned` was made, so that the plan says less than would be
    done now. A late write of a killed run takes nothing but planned differences away.
    """
    writer = _writer(planned)
    have = site.ours(want)
    found = deviation(want, have, lose=_lose(planned))
    edit = found.edits.get(writer, Edit())
    edited = planned is not None and have.digest != planned.details["digest"]
    if planned and edited and not set(edit.differences) <= set(planned.differences):
        raise Changed("somebody changed it since the plan was made", where=have.path, hint="aihub plan")
    if why := [*found.rebuild, *found.refused, *_unplanned_losses(found, planned)]:
        raise PreconditionFailed("; ".join(why), where=have.path, hint="aihub plan")
    if not edit:
        return
    site.progress(want.guest.name, "being updated")
    _refuse_locked(have)
    if found.new_host_keys:
        site.journal.begin(Entry(have.vmid, want.guest.name, have.node, have.kind, "contact"))
    if found.cold and edit.keys:
        # Killed from here on, it is off: the next run writes what is missing and starts it.
        _shut_down(site, want, have, "restarting")
    if edit.keys:
        _write(site, want, have, writer, edit.put, edit.delete)
    if found.volumes and writer == "token":
        _remove_detached(site, want, set(found.volumes.values()))
    if found.grow and writer == "token":
        _grow(site, want, found.grow)


def settle(site: Site, want: Wanted, planned: Sequence[Change] = ()) -> None:
    """After the last update: restarts the guest if something waits for that, and sees that all came true."""
    have = site.ours(want)
    if waits_for_restart(want, have):
        _refuse_locked(have)
        _shut_down(site, want, have, "restarting")
        start(site, want)
        have = site.ours(want)
    elif any(change.restart for change in planned):
        start(site, want)
        have = site.ours(want)
    left = deviation(want, have)
    writers = {_writer(change) for change in planned} or {"token"}
    if fields := [d.field for writer, edit in left.edits.items() if writer in writers for d in edit.differences]:
        text = f"Proxmox took the change and still has another value for {', '.join(fields)}"
        raise TaskFailed(text, where=have.path)


def join(site: Site, want: Wanted, planned: Change) -> None:
    """Puts the guest into the hub's pool, whatever pool it is in."""
    have, pool = site.ours(want), str(planned.details[POOL])

    def landed() -> Landed | None:
        listed = site.px.get("/cluster/resources", type="vm")
        return Landed() if any(g.get("vmid") == have.vmid and g.get("pool") == pool for g in listed) else None

    site.progress(want.guest.name, f"comes into pool {pool}")
    site.write_as_root(f"/pools/{pool}", {"vms": have.vmid, "allow-move": 1}, landed)


def start(site: Site, want: Wanted) -> None:
    """Starts the guest unless it runs; one that sleeps goes on where it was."""
    have = site.ours(want)
    if have.running:
        site.progress(want.guest.name, "running")
        return
    _refuse_locked(have)
    site.progress(want.guest.name, "being resumed" if have.asleep else "being started")
    pinned = want.guest.gpu and have.kind == "vm"  # all of its memory is, first

    def landed() -> Landed | None:
        return Landed() if site.ours(want).running else None

    try:
        site.task(
            "post",
            f"{have.path}/status/{'resume' if have.asleep else 'start'}",
            {},
            landed,
            patience=start_time(want.guest) + 60 if pinned else 0,
        )
    except (RefusedByProxmox, TaskFailed) as error:
        if "already running" not in error.what:
            raise
    site.progress(want.guest.name, "running")


def stop(site: Site, want: Wanted) -> None:
    """Shuts the guest down unless it stands still; after a minute its power goes."""
    have = site.ours(want)
    if have.alive:
        _refuse_locked(have)
        _shut_down(site, want, have, "being shut down")


def remove(site: Site, name: str, kind: str, node: str, vmid: int) -> None:
    """Removes a guest of ours with its disks. Raises Conflict when it is not the guest `name` of this hub."""
    have = site.look(kind, node, vmid)
    if have is None:
        site.journal.done(vmid)
        return
    entry = site.journal.get(vmid)
    claimed = have.bare and entry is not None and entry.guest == name
    declared = site.hub.guests.get(name)
    ids = (name, declared.id if declared else name)
    if not claimed and not (have.belongs_to(site.hub.id) and have.marker and have.marker.guest in ids):
        raise Conflict(f"VMID {vmid} is not guest {name} of this hub: it is not removed", hint="aihub plan")
    _refuse_locked(have)
    site.progress(name, "being removed")
    site.journal.begin(Entry(vmid, name, have.node, have.kind, "delete"))
    if have.alive:
        _stop(site, have)

    def gone() -> Landed | None:
        return Landed() if site.look(kind, node, vmid) is None else None

    site.task("delete", have.path, {"purge": True}, gone)
    site.journal.done(vmid)
    site.progress(name, "removed")


def _writer(planned: Change | None) -> Writer:
    return "root@node" if planned and planned.identity == "root@node" else "token"


def _lose(planned: Change | None) -> bool:
    """Whether a plan says that data goes; nobody applies it who was not allowed to."""
    return planned is not None and bool(planned.data_at_risk)


def _unplanned_losses(found: Deviation, planned: Change | None) -> list[str]:
    """Disks that the plan does not name: a guest that is being made anew has none, whoever attached them."""
    if planned is not None:
        return []
    return [f"it has a disk that nobody declared: {key} ({value})" for key, value in found.volumes.items()]


def _remove_detached(site: Site, want: Wanted, lost: Collection[str]) -> None:
    """Removes the volumes of a planned loss: a disk that is taken away is kept by Proxmox as an unused one."""
    have = site.ours(want)
    volumes = {parse("unused", value)["volume"] for value in lost}
    unused = {key: parse(key, value)["volume"] for key, value in (have.config or {}).items() if stem(key) == "unused"}
    if detached := [key for key, volume in unused.items() if volume in volumes]:
        _write(site, want, have, "token", {}, detached)


def _refuse_locked(have: ActualGuest) -> None:
    if have.held:
        raise PreconditionFailed(f"it is locked ({have.lock})", where=have.path, hint=unlock_hint(have))


def _write(
    site: Site, want: Wanted, have: ActualGuest, writer: Writer, put: Mapping[str, str], delete: Sequence[str]
) -> None:
    def landed() -> Landed | None:
        now = site.ours(want)
        edit = deviation(want, now).edits.get(writer, Edit())
        there = [key for key in delete if (now.config or {}).get(key) == (have.config or {})[key]]
        return None if there or edit.put.keys() & put.keys() else Landed()

    values = {**put, "digest": have.digest} | ({"delete": ",".join(delete)} if delete else {})
    if writer == "token":
        site.write("put", f"{have.path}/config", values, landed)
    else:
        site.write_as_root(f"{have.path}/config", values, landed)


def _grow(site: Site, want: Wanted, size: int) -> None:
    have = site.ours(want)

    def landed() -> Landed | None:
        return Landed() if disk_of(site.ours(want))[1] == size else None

    text = format_size(size).removesuffix("iB") if size % MIB == 0 else str(size)
    with site.storage(have.node, want.guest.storage):
        site.task("put", f"{have.path}/resize", {"disk": want.disk, "size": text, "digest": have.digest}, landed)


def _shut_down(site: Site, want: Wanted, have: ActualGuest, words: str) -> None:
    site.progress(want.guest.name, words)

    def landed() -> Landed | None:
        return None if site.ours(want).alive else Landed()

    site.task("post", f"{have.path}/status/shutdown", {"timeout": SHUTDOWN_TIME, "forceStop": True}, landed)


def _stop(site: Site, have: ActualGuest) -> None:
    def landed() -> Landed | None:
        now = site.look(have.kind, have.node, have.vmid)
        return None if now and now.alive else Landed()

    try:
        site.task("post", f"{have.path}/status/stop", {}, landed)
    except (RefusedByProxmox, TaskFailed) as error:
        if "not running" not in error.what:
            raise
