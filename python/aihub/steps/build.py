"""Steps that change: node, guests, their insides, secrets, stacks, objects inside services."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from aihub import render, report, ssh
from aihub.guests import ansible as guests
from aihub.guests import probe
from aihub.node import metal as node
from aihub.proxmox.errors import Changed
from aihub.proxmox.guests import provision
from aihub.services import service as services
from aihub.targets import images, lab

from ..errors import PreconditionFailed, Unreachable
from ..model.resolved import Instance
from ..plan import Change, Plan
from . import secrets
from .look import running
from .run import Background, Run

FIRST_ANSWER = 60.0  # seconds
Roles = Mapping[str, Collection[str] | None]


def begin_images(run: Run) -> None:
    """In the lab, OS images and stack images are made beside the next steps."""
    if run.world is None or not run.plan.changes:
        return
    name, hub = run.world.name, run.hub
    images.check(hub)
    progress = run.stack.enter_context(report.progress("images"))
    if any(c.action == "create" for c in run.plan.changes):
        packages = [] if run.options.stock else render.packages()
        run.templates = Background(lambda: lab.templates(name, packages, lambda text: progress("OS images", text)))
    if any(c.owner in ("guest", "service", "secrets", "vault") for c in run.plan.changes):
        run.images = Background(lambda: images.ensure(name, hub, progress))


def prepare_node(run: Run) -> None:
    """The node is what the hub needs, and the API token lies in the state directory."""
    pending = [c for c in run.plan.changes if c.owner == "node"]
    refused = run.options.scope == "api" and run.plan.unknown  # its plan has no part of the node's that would say so
    if pending or refused or not run.state.token.exists():
        before = _token(run)
        with report.progress("node") as progress:
            progress("node", f"{len(pending)} changes")
            node.apply(run.hub, run.state, run.options.target, run.names)
        run.renewed = _token(run) != before


def _token(run: Run) -> str:
    return run.state.token.read_text() if run.state.token.exists() else ""


def make_guests(run: Run) -> None:
    """The guests exist and run, and their host keys are pinned."""
    if run.templates:
        run.templates.join()
    px = run.proxmox()
    with report.progress("guests") as progress:
        provision.recover(px, run.hub, run.journal, progress)
        wanted = provision.plan(
            run.hub, px.read(run.hub), run.keys, journal=run.journal.entries(), allow_destroy=run.options.allow_destroy
        )
        if not run.renewed:
            _refuse_more(run.plan, wanted)
        created = provision.apply(
            px, run.hub, wanted, run.journal, progress, keys=run.keys, allow_destroy=run.options.allow_destroy
        )
        for guest in created:
            progress(guest.name, "first contact")
            ssh.close(run.state, guest.name)  # a shared connection may still lead to a predecessor
            address = str(run.hub.guests[guest.name].address)
            ssh.scan_and_pin(run.state, guest.name, address, guest.fingerprints)
            provision.contacted(run.journal, run.hub, guest.name)
            progress.done(guest.name, "runs, host key pinned")


def _refuse_more(agreed: Plan, now: Plan) -> None:
    """Raises Changed when more is to be done than the plan said that was shown: somebody else is at it, too."""
    said = {(c.subject, c.action): set(c.differences) for c in agreed.changes if c.owner == "api"}
    more = [
        c.subject
        for c in now.changes
        if c.action != "start"  # takes nothing of anybody away
        and (c.action == "delete" or (c.subject, "create") not in said)
        and not ((c.subject, c.action) in said and set(c.differences) <= said[c.subject, c.action])
    ]
    if more:
        names = ", ".join(dict.fromkeys(more))
        raise Changed(f"somebody changed {names} since the plan was made", hint="aihub plan")


def configure(run: Run) -> None:
    """The insides of the guests are as declared, zone by zone: a zone without internet needs the proxy first."""
    on = running(run, run.proxmox().read(run.hub))
    if missing := sorted(set(run.hub.guests) - set(on)):
        raise PreconditionFailed(f"not running: {', '.join(missing)}", hint="aihub up")
    changes = _inside(run, on)
    roles = _roles(run, changes)
    outside = [name for name in run.hub.guests if run.hub.guests[name].internet]
    inside = [name for name in run.hub.guests if name not in outside]
    first = [i for i in run.hub.instances if i.stack.start_first]
    vault = run.hub.vault
    with report.progress("guests configured") as progress:
        _machines(run, roles, outside, progress)
        if inside and any(name in roles for name in outside):
            probe.read(run.hub, run.state, outside)  # which hosts their packages come from: the proxy lets them through
        if inside and any(name in roles for name in [i.guest.name for i in first] + inside):
            _stacks(run, roles, first, progress)
        if vault:
            secrets.place_listener(run)
            _stacks(run, roles, [vault], progress)
            secrets.bring_up(run, progress)
            secrets.deliver(run, outside, progress)
        _machines(run, roles, inside, progress)
        if vault:
            secrets.deliver(run, inside, progress)
        rest = [i for i in run.hub.instances if (i not in first or not inside) and i != vault]
        _stacks(run, roles, rest, progress)


def _inside(run: Run, names: Sequence[str]) -> Collection[Change]:
    """What differs inside guests; one that was only just started gets time until its ssh answers."""
    found = probe.read(run.hub, run.state, names)
    limit = time.monotonic() + FIRST_ANSWER
    while True:
        changes, unknown = probe.plan(run.hub, run.state, run.options.target, found)
        if not unknown:
            return changes
        if time.monotonic() > limit:
            raise Unreachable(f"no ssh: {', '.join(unknown)}", hint="aihub ssh GUEST, then aihub up")
        time.sleep(1)
        for name in unknown:
            ssh.close(run.state, name)  # the shared connection may lead to the time before a restart
        found |= probe.read(run.hub, run.state, unknown)


def _roles(run: Run, changes: Collection[Change]) -> dict[str, list[str] | None]:
    """The roles that each guest needs; None is all of them."""
    if run.options.full:
        return dict.fromkeys(run.hub.guests)
    found: dict[str, list[str] | None] = {c.subject: c.details["roles"] for c in changes if c.owner == "guest"}
    for change in changes:
        if change.owner == "secrets":
            stack, _, guest = change.subject.partition("@")
            roles = found.setdefault(guest, [])
            if roles is not None and f"stack/{stack}" not in roles:
                roles.append(f"stack/{stack}")
    return found


def _machines(run: Run, roles: Roles, names: list[str], progress: report.Progress) -> None:
    if chosen := {name: roles[name] for name in names if name in roles}:
        guests.converge(run.hub, run.state, run.options.target, chosen, phase="machine", progress=progress)


def _stacks(run: Run, roles: Roles, instances: list[Instance], progress: report.Progress) -> None:
    """The stacks run; images that are still being made are waited for."""
    chosen = {i.guest.name: roles[i.guest.name] for i in instances if i.guest.name in roles}
    if not chosen:
        return
    if run.images:
        progress("images", "waited for")
        run.images.join()
        progress.done("images", "ready")
    guests.converge(
        run.hub,
        run.state,
        run.options.target,
        chosen,
        phase="stacks",
        instances=[i.name for i in instances],
        progress=progress,
    )


def reconcile(run: Run) -> None:
    """Databases, users and models inside the services are as declared."""
    if any(c.owner in ("guest", "service", "secrets", "vault", "api") for c in run.plan.changes) or run.options.full:
        with report.progress("services") as progress:
            # A rotation that was killed has given a service a password that the vault does not hold as the one in use.
            secrets.finish_rotations(run, progress)
            services.apply(run.hub, run.state, run.store, [i.name for i in run.hub.instances], progress)
