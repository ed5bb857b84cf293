"""The guests as Proxmox has them: containers and VMs, their disks and settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from aihub import parallel, ssh
from aihub.errors import HubError, PreconditionFailed, Unreachable, together
from aihub.plan import Plan, require_agreed
from aihub.proxmox.client import Proxmox
from aihub.proxmox.errors import AccessRefused
from aihub.proxmox.guests import provision
from aihub.proxmox.properties import addresses
from aihub.proxmox.root import Root
from aihub.proxmox.state import ActualGuests
from aihub.screen import Progress

from . import choice
from .run import Run

UNAUTHORIZED = 401


def look(run: Run) -> Plan:
    """What differs at Proxmox. Raises Conflict for foreign guests, PreconditionFailed for what can't be done."""
    run.guests = read(run)
    found = _plan(run)
    ssh.relocate(run.state, _present(run))
    run.made = tuple(c.subject for c in found.changes if c.action == "create")
    starts = dict.fromkeys(c.subject for c in found.changes if c.action == "start" or c.restart)
    run.started = tuple(name for name in starts if name not in run.made)
    return found


def read(run: Run) -> ActualGuests:
    """The guests with the hub's token; as root on the node where there is none, or where it is refused."""
    if run.state.token.exists():
        try:
            return run.proxmox().read(run.hub)
        except AccessRefused as error:
            if error.status != UNAUTHORIZED:
                raise
            run.token_refused = True
    return Root(run.state).read(run.hub)


def require(run: Run, agreed: Plan) -> None:
    """Raises Conflict or PreconditionFailed for what Proxmox would accept now and fail on later.

    What the node's own part of the plan makes first is no obstacle, and root looks: the token may not see it all yet.
    """
    coming = provision.Coming(images=run.hub.target.makes_images, cards=run.cards)
    if run.state.token.exists() and not run.token_refused and not agreed.of("node"):
        provision.preflight(run.proxmox(), run.hub, agreed, run.guests, coming)
    else:
        bridges = frozenset(run.hub.bridge(zone) for zone in run.hub.zones)
        storages = frozenset(use.use for node in run.hub.nodes.values() for use in node.storage.values() if use.create)
        coming = replace(coming, bridges=bridges, storages=storages, pool=True, rights=True)
        provision.preflight(Root(run.state), run.hub, agreed, run.guests, coming)


def require_unchanged(run: Run, agreed: Plan) -> None:
    """Raises Conflict when guests need more than was agreed to, PreconditionFailed for what can't be done any more."""
    require_agreed(agreed, choice.narrowed(look(run), run.choice).changes)


def apply(run: Run, agreed: Plan) -> None:
    """The guests exist and run, and their host keys are pinned; what a killed run began is finished."""
    if not agreed.of("guests") and not run.journal.entries():
        return
    if run.images:
        run.images.await_systems()
    run.may_write()
    px, allowed = run.proxmox(), run.options.allow_destroy
    with run.screen.progress("guests") as progress:
        provision.recover(px, run.hub, run.journal, progress)
        run.guests = px.read(run.hub)
        now = choice.narrowed(_plan(run), run.choice)
        require_agreed(agreed, now.changes)
        created = provision.apply(
            px,
            run.hub,
            now,
            run.journal,
            progress,
            actual=run.guests,
            keys=run.keys,
            allow_destroy=allowed,
            root=Root(run.state),
        )
        run.changed = run.changed or bool(now.changes)
        run.guests = px.read(run.hub)
        for name in ssh.relocate(run.state, _present(run)):
            ssh.close(run.state, name)  # it leads to where the guest was
            run.opened_vault = None  # so may this
        _meet(run, {guest.name: guest for guest in created}, progress)
    if run.unreached and run.options.scope == "api":
        raise together(list(run.unreached.values()))


def _meet(run: Run, created: Mapping[str, provision.CreatedGuest], progress: Progress) -> None:
    """The first contact with guests; who does not answer is no reason to let the others wait."""
    journal = run.journal  # one for all threads: each has a lock of its own

    def meet(name: str) -> None:
        progress(name, "first contact")
        ssh.close(run.state, name)  # a shared connection may still lead to a predecessor
        ssh.scan_and_pin(run.state, run.hub.guests[name], created[name].fingerprints)
        provision.contacted(journal, run.hub, name)
        progress.done(name, "runs, host key pinned")

    met = parallel.on_each(created, meet)
    failed = {name: error for name, error in met.items() if isinstance(error, HubError)}
    for name, error in failed.items():
        progress.failed(name, error.what)
    run.unreached.update({name: error for name, error in failed.items() if isinstance(error, Unreachable)})
    if others := [error for name, error in failed.items() if name not in run.unreached]:
        raise together(others)


def _present(run: Run) -> dict[str, str]:
    """Where guests of ours stand, by what Proxmox has of them: hub.yml may want them elsewhere."""
    found = {g.name: run.guests.guests.get(g.vmid) for g in run.hub.guests.values()}
    ours = {name: have for name, have in found.items() if have and have.belongs_to(run.hub.id)}
    held = {name: sorted(addresses(have.in_force)) for name, have in ours.items()}
    return {name: one[0] for name, one in held.items() if len(one) == 1}


def removal(run: Run, patience: float) -> Plan:
    """The removal of every guest of this hub; what an earlier run began is waited for, up to `patience` seconds."""
    px = run.proxmox()
    with run.screen.progress("what an earlier run left") as progress:
        provision.recover(px, run.hub, run.journal, progress, patience=patience)
    run.guests = px.read(run.hub)
    found = provision.down_plan(run.hub, run.guests)
    provision.require_possible(px, found, run.guests)
    return found


def remove(run: Run, agreed: Plan) -> None:
    """The guests of an agreed removal go, with their disks."""
    px = run.proxmox()
    require_agreed(agreed, provision.down_plan(run.hub, px.read(run.hub)).changes)
    with run.screen.progress("down") as progress:
        provision.down(px, run.hub, agreed, run.journal, progress)
    run.changed = run.changed or bool(agreed.of("guests"))


def has_no_say(run: Run, error: PreconditionFailed) -> bool:
    """Whether an error says that there is no token, or none that Proxmox accepts."""
    return not run.state.token.exists() or (isinstance(error, AccessRefused) and error.status == UNAUTHORIZED)


def left(run: Run) -> list[str]:
    """The names of this hub's guests, as root on the node sees them."""
    actual = Root(run.state).read(run.hub)
    for vmid in run.journal.entries():
        if vmid not in actual.guests:
            run.journal.done(vmid)
    return [g.name for g in actual.guests.values() if g.belongs_to(run.hub.id)]


def _plan(run: Run) -> Plan:
    journal, allowed = run.journal.entries(), run.options.allow_destroy
    busy = provision.busy(_reader(run), run.hub, journal) if journal else frozenset[int]()
    return provision.plan(run.hub, run.guests, run.keys, journal=journal, allow_destroy=allowed, busy=busy)


def _reader(run: Run) -> Proxmox | Root:
    return run.proxmox() if run.state.token.exists() and not run.token_refused else Root(run.state)


def require_running(run: Run) -> None:
    """Raises PreconditionFailed when a guest of the hub that was not left out does not run."""
    if missing := sorted(name for name in set(run.hub.guests) - set(run.running()) if name in run.choice):
        raise PreconditionFailed(f"not running: {', '.join(missing)}", hint="aihub up")
