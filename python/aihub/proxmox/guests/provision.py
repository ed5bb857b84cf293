"""Proxmox objects of a hub: read, plan, apply, remove. Guests in parallel, everything journaled.

The order of a run, under the lock: recover, read, plan, apply, then `contacted` for every guest whose host
key was pinned. `apply` with an empty plan writes nothing and returns the guests that still wait for that.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from aihub.errors import HubError, PreconditionFailed, TaskFailed, together, too_late
from aihub.model.resolved import Hub
from aihub.names import token
from aihub.plan import Change, Plan
from aihub.proxmox.client import Proxmox
from aihub.proxmox.root import Root
from aihub.proxmox.state import ActualGuests
from aihub.proxmox.tasks import Tasks
from aihub.state.journal import Entry, Journal

from . import change as provision_guest
from . import create as provision_create
from . import crew, desired, obstacles, owned
from . import preflight as provision_preflight
from .changes import POOL
from .plan import down_plan, known_names, plan
from .preflight import Coming
from .site import TASK_TIME, Progress, Site

__all__ = [
    "Coming", "CreatedGuest", "apply", "busy", "contacted", "down", "down_plan", "known_names", "plan", "power",
    "preflight", "recover", "require_possible",
]  # fmt: skip

Power = Literal["stop", "start", "restart"]


@dataclass(frozen=True)
class CreatedGuest:
    """A guest that waits for its first contact.

    `fingerprints` are the lines of a container's create log that hold its host keys: without one it is refused. None is
    a VM, new or with new keys by new cloud-init settings, whose keys nobody prints: what answers is accepted once.
    """

    name: str
    fingerprints: tuple[str, ...] | None


def preflight(px: Proxmox | Root, hub: Hub, changes: Plan, actual: ActualGuests, coming: Coming | None = None) -> None:
    """Raises Conflict or PreconditionFailed for what Proxmox would accept now and fail on later.

    `actual` is what the plan was made from, `coming` what the node's own part of an agreed plan makes first. While
    rights are coming, `Root` sees what the token does not see yet.
    """
    if touched := [c for c in changes.of("guests") if c.action in ("create", "update", "start")]:
        vmids = frozenset(int(c.details["vmid"]) for c in touched)
        provision_preflight.check(hub, touched, px.facts(hub, vmids), coming)
    require_possible(px, changes, actual)


def require_possible(px: Proxmox | Root, changes: Plan, actual: ActualGuests) -> None:
    """Raises PreconditionFailed for what Proxmox would refuse to do with guests that stand."""
    if ours := changes.of("guests"):
        obstacles.check(px.get, ours, actual)


def busy(px: Proxmox | Root, hub: Hub, entries: Mapping[int, Entry]) -> frozenset[int]:
    """The VMIDs on which tasks of an earlier run are still at work; asks nothing where none is in flight."""
    begun = [entry for entry in entries.values() if entry.action != "contact"]
    return frozenset(entry.vmid for entry, _ in provision_create.tasks_of(Tasks(px.get), token(hub.name), begun))


def recover(px: Proxmox, hub: Hub, journal: Journal, progress: Progress, *, patience: float = 0.0) -> None:
    """Waits for tasks that a killed run left behind and settles its journal; writes nothing to Proxmox.

    `patience`: seconds since its beginning in which a create call may still turn into a task. `up` needs none, it
    meets the guest anyway; `down` would miss it.
    """
    entries = [e for e in journal.entries().values() if e.action != "contact"]
    young = [e for e in entries if e.action == "create" and not e.upid]
    if young and (left := patience - min(e.age for e in young)) > 0:
        time.sleep(min(left, patience))
    site = Site(px, hub, journal, progress)
    for entry, upid in provision_create.running_tasks(site, entries):
        progress(entry.guest, f"waiting for the {entry.action} of an earlier run")
        try:
            px.tasks.wait(upid, TASK_TIME)
        except TaskFailed as error:
            progress(entry.guest, f"the {entry.action} of an earlier run failed: {error.what.splitlines()[0]}")
    for entry in entries:
        _settle_entry(site, entry)


def apply(
    px: Proxmox,
    hub: Hub,
    changes: Plan,
    journal: Journal,
    progress: Progress,
    *,
    actual: ActualGuests | None = None,
    keys: Sequence[str] = (),
    allow_destroy: Collection[str] = frozenset(),
    root: Root | None = None,
) -> list[CreatedGuest]:
    """Makes the plan's API changes true and returns the guests that wait for their first contact.

    `actual` is what the plan was made from.

    Raises PreconditionFailed before the first change when data would be lost that `allow_destroy` does not
    name, or when only root may make a change and there is no `root`. The error of one guest does not stop the others.
    """
    ours = [c for c in changes.changes if c.owner == "guests"]
    _refuse_losses(ours, allow_destroy)
    if root is None and (names := [c.subject for c in ours if c.identity == "root@node"]):
        raise PreconditionFailed(f"only root may change {', '.join(names)}, and there is no way to root")
    recover(px, hub, journal, progress)
    site = Site(px, hub, journal, progress, root)
    with too_late(lambda: site.writes > 0):
        _finish_removals(site, {g.vmid for g in hub.guests.values()})
        preflight(px, hub, changes, actual or ActualGuests({}))
        # What is not made anew in its place goes first: its number and its addresses may be given to others.
        places = {(guest.name, guest.vmid) for guest in hub.guests.values()}
        gone = [c for c in ours if c.action == "delete" and (c.subject, c.details["vmid"]) not in places]
        _run(site, {f"{c.subject} {c.details['vmid']}": [c] for c in gone}, keys)
        jobs: dict[str, list[Change]] = {}
        for change in ours:
            if change not in gone:
                jobs.setdefault(change.subject, []).append(change)
        # A card that one guest gives up may be the next one's, and Proxmox starts nobody with a card in use.
        givers = {name: todo for name, todo in jobs.items() if any(owned.gives_up_card(change) for change in todo)}
        _run_in_turn(site, [givers, {name: todo for name, todo in jobs.items() if name not in givers}], keys)
        return _waiting(site)


def down(px: Proxmox, hub: Hub, changes: Plan, journal: Journal, progress: Progress) -> None:
    """Removes the guests of a `down_plan` made after `recover`; the pool belongs to the node's own owner."""
    site = Site(px, hub, journal, progress)
    with too_late(lambda: site.writes > 0):
        # Two guests of ours may have one name, when a VMID was changed: one job each.
        gone = [c for c in changes.of("guests") if c.action == "delete"]
        _run(site, {f"{c.subject} {c.details['vmid']}": [c] for c in gone}, ())
        _finish_removals(site, frozenset())
        for entry in journal.entries().values():
            if site.look(entry.kind, entry.node, entry.vmid) is None:
                journal.done(entry.vmid)


def power(px: Proxmox, hub: Hub, journal: Journal, progress: Progress, name: str, action: Power) -> None:
    """A guest of ours is shut down, started, or both.

    Raises PreconditionFailed when it is not there, locked, or managed by high availability: that would undo it.
    """
    site = Site(px, hub, journal, progress)
    want = desired.wanted(hub, hub.guests[name], ())
    if have := site.look(want.guest.kind, want.guest.node, want.guest.vmid):
        obstacles.require_unmanaged(px.get, name, have)
    with too_late(lambda: site.writes > 0):
        if action != "start":
            provision_guest.stop(site, want)
        if action != "stop":
            provision_guest.start(site, want)


def contacted(journal: Journal, hub: Hub, name: str) -> None:
    """Says that a created guest's host key is pinned: nothing of it is in flight any more."""
    journal.done(hub.guests[name].vmid)


def _finish_removals(site: Site, wanted_vmids: Collection[int]) -> None:
    """Removes the empty configs that a killed run left on numbers that are not wanted any more."""
    for entry in site.journal.entries().values():
        if entry.action == "contact" or entry.vmid in wanted_vmids:
            continue
        have = site.look(entry.kind, entry.node, entry.vmid)
        if have is not None and have.bare:
            provision_create.clear_bare(site, entry.guest, have)


def _refuse_losses(changes: list[Change], allow_destroy: Collection[str]) -> None:
    losses = [c for c in changes if c.data_at_risk and c.subject not in allow_destroy]
    if losses:
        text = "\n".join(f"{c.subject}: {c.summary}; lost would be {c.data_at_risk}" for c in losses)
        names = " ".join(f"--allow-destroy {c.subject}" for c in losses)
        raise PreconditionFailed(f"data would be lost\n{text}", hint=f"if that is meant: aihub up {names}")


def _settle_entry(site: Site, entry: Entry) -> None:
    """Takes out of the journal what is over; a guest that stands waits for its first contact."""
    have = site.look(entry.kind, entry.node, entry.vmid)
    if have is not None and have.bare:
        return
    if have is None:
        # A create that was sent may still be on its way: its entry stays until the guest is made or given up.
        if entry.action == "delete" or entry.guest not in site.hub.guests:
            site.journal.done(entry.vmid)
    elif entry.action == "create" and have.belongs_to(site.hub.id):
        site.journal.note(entry.vmid, action="contact")
    else:
        site.journal.done(entry.vmid)


def _waiting(site: Site) -> list[CreatedGuest]:
    found = []
    for entry in site.journal.entries().values():
        guest = site.hub.guests.get(entry.guest)
        if entry.action == "contact" and guest and guest.vmid == entry.vmid:
            found.append(CreatedGuest(entry.guest, provision_create.host_keys(site, entry)))
        elif entry.action == "contact":
            site.journal.done(entry.vmid)
    return found


def _run_in_turn(site: Site, turns: Sequence[dict[str, list[Change]]], keys: Sequence[str]) -> None:
    """Does the jobs of each turn once those before it are over; what failed is told at the end."""
    failed: list[HubError] = []
    for jobs in turns:
        try:
            _run(site, jobs, keys)
        except HubError as error:
            failed.append(error)
    if failed:
        raise together(failed)


def _run(site: Site, jobs: dict[str, list[Change]], keys: Sequence[str]) -> None:
    """Does the jobs, several at once; one guest's changes in their order."""
    crew.run(site, {name: (todo[0].subject, partial(_work, site, todo, keys)) for name, todo in jobs.items()})


def _work(site: Site, todo: Sequence[Change], keys: Sequence[str]) -> None:
    """The changes of one guest."""
    updates = [c for c in todo if c.action == "update" and POOL not in c.details]
    for change in todo:
        if change.action == "delete":
            at = change.details
            provision_guest.remove(site, change.subject, at["kind"], at["node"], at["vmid"])
            continue
        want = desired.wanted(site.hub, site.hub.guests[change.subject], keys)
        if change.action == "create":
            provision_create.create(site, want)
        elif POOL in change.details:
            provision_guest.join(site, want, change)
        elif change.action == "update":
            provision_guest.update(site, want, change)
        else:
            provision_guest.start(site, want)
        if updates and change is updates[-1]:
            provision_guest.settle(site, want, updates)
