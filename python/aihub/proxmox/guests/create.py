"""Making a guest: the create call, what a failed or killed one leaves, and the new guest's host keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence

from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed
from aihub.proxmox.client import Landed
from aihub.proxmox.errors import AccessRefused, RefusedByProxmox
from aihub.proxmox.state import ActualGuest
from aihub.proxmox.tasks import Tasks
from aihub.state.journal import Entry

from .change import remove, settle, update
from .desired import Wanted
from .draft import clear_hint
from .site import TASK_TIME, Site

CREATES = {"lxc": "vzcreate", "vm": "qmcreate"}
DESTROYS = {"lxc": "vzdestroy", "vm": "qmdestroy"}


def create(site: Site, want: Wanted) -> None:
    """Makes the guest, or takes over what a killed run made of it; it is started by a change of its own."""
    guest = want.guest
    site.progress(guest.name, "being created")
    have = site.look(guest.kind, guest.node, guest.vmid)
    if have is not None and have.bare:
        have = _after_own_tasks(site, want)
    if have is not None and have.bare:
        clear_bare(site, guest.name, have)
        have = None
    if have is None:
        with site.storage(guest.node, guest.storage):
            _create_call(site, want)
    elif have.marker != want.marker:
        raise Conflict(f"VMID {guest.vmid} was taken by {have.name} in the meantime", hint="aihub plan")
    elif site.journal.get(guest.vmid) is None:
        # Made by us, though not by a run that this journal knows: its first contact is still to come.
        site.journal.begin(Entry(guest.vmid, guest.name, guest.node, guest.kind, "contact"))
    if (entry := site.journal.get(guest.vmid)) and entry.action != "contact":
        site.journal.note(guest.vmid, action="contact")
    update(site, want)
    settle(site, want)
    site.progress(guest.name, "created")


def host_keys(site: Site, entry: Entry) -> tuple[str, ...] | None:
    """The lines with host key fingerprints in the log of a container's create task; None for a VM, which has none.

    Raises AccessRefused for a token that may not read it: that says nothing of the log.
    """
    if entry.kind == "vm":
        return None
    upid = entry.upid or _newest(site, entry.node, entry.kind, entry.vmid)
    try:
        lines = site.px.tasks.log(upid) if upid else []
    except AccessRefused:
        raise
    except RefusedByProxmox as error:
        site.progress(entry.guest, f"the log of its create task can't be read: {error.what}")
        lines = []
    return tuple(line for line in lines if "SHA256:" in line)


def _create_call(site: Site, want: Wanted) -> None:
    guest = want.guest
    before = _created(site, guest.node, guest.kind, guest.vmid)

    def landed() -> Landed | None:
        new = [u for u in _created(site, guest.node, guest.kind, guest.vmid) if u not in before]
        return Landed(new[0]) if new else None

    site.journal.begin(Entry(guest.vmid, guest.name, guest.node, guest.kind, "create"))
    place = f"/nodes/{guest.node}/{'lxc' if guest.kind == 'lxc' else 'qemu'}"
    try:
        upid = str(site.write("post", place, want.create(), landed, task=True))
    except RefusedByProxmox as error:
        # The call of a run that was killed may still have been on its way.
        have = _after_own_tasks(site, want) if "already exists" in error.what else None
        if have is not None and have.marker == want.marker:
            return
        site.journal.done(guest.vmid)
        if "already exists" in error.what:
            text = f"VMID {guest.vmid} is taken: {error.what}"
            raise Conflict(text, where=place, hint="aihub plan") from error
        raise
    site.journal.note(guest.vmid, upid=upid)
    try:
        site.px.tasks.wait(upid, TASK_TIME)
    except TaskFailed as error:
        _after_failure(site, want, error)
        raise


def _after_failure(site: Site, want: Wanted, error: HubError) -> None:
    """Looks at what a failed create left: ours is removed, anything else is reported as it is."""
    guest = want.guest
    if "not over yet" in error.what:
        return
    have = site.look(guest.kind, guest.node, guest.vmid)
    if have is None:
        site.journal.done(guest.vmid)
    elif have.marker == want.marker and not have.alive:
        remove(site, guest.name, have.kind, have.node, have.vmid)
    elif have.bare and have.lock:
        error.hint = f"VMID {have.vmid} was left half-made: {clear_hint(have)}"


def _after_own_tasks(site: Site, want: Wanted) -> ActualGuest | None:
    """The guest when no task of ours works on it any more."""
    guest = want.guest
    entry = Entry(guest.vmid, guest.name, guest.node, guest.kind, "create")
    for _, upid in running_tasks(site, [entry]):
        with contextlib.suppress(TaskFailed):
            site.px.tasks.wait(upid, TASK_TIME)
    return site.look(guest.kind, guest.node, guest.vmid)


def clear_bare(site: Site, name: str, have: ActualGuest) -> None:
    """Removes what a create or destroy that died left, if the journal and the task list say it is ours."""
    entry = site.journal.get(have.vmid)
    if not entry or entry.guest != name or not _newest(site, have.node, have.kind, have.vmid):
        raise Conflict(f"VMID {have.vmid} is an empty config that is not ours", where=have.path, hint="aihub plan")
    if have.lock:
        raise PreconditionFailed(f"a {have.lock} that died left it locked", where=have.path, hint=clear_hint(have))
    try:
        remove(site, name, have.kind, have.node, have.vmid)
    except AccessRefused as error:
        # It died before the guest came into the pool, and so never into the token's reach.
        error.hint = clear_hint(have)
        raise


def _created(site: Site, node: str, kind: str, vmid: int) -> list[str]:
    """Our create tasks of a VMID, newest first."""
    return [upid for _, upid, _ in site.px.tasks.of(node, vmid, site.px.user, frozenset({CREATES[kind]}))]


def _newest(site: Site, node: str, kind: str, vmid: int) -> str:
    return next(iter(_created(site, node, kind, vmid)), "")


def running_tasks(site: Site, entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """Tasks of an earlier run on the entries' guests that are not over."""
    return tasks_of(site.px.tasks, site.px.user, entries) if entries else []


def tasks_of(tasks: Tasks, user: str, entries: Iterable[Entry]) -> list[tuple[Entry, str]]:
    """As `running_tasks`, for who only looks; `user` is the token's full name."""
    found = []
    for entry in entries:
        types = frozenset({CREATES[entry.kind], DESTROYS[entry.kind]})
        listed = tasks.of(entry.node, entry.vmid, user, types)
        found += [(entry, upid) for _, upid, runs in listed if runs]
    return found
