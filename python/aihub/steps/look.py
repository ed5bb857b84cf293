"""Steps that look and change nothing: the plan over node, Proxmox objects, insides of guests, and services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from aihub import report
from aihub.guests import probe
from aihub.node import metal as node
from aihub.proxmox.errors import AccessRefused
from aihub.proxmox.guests import provision
from aihub.proxmox.state import Actual
from aihub.secrets import agent, enrol, kits, rotation
from aihub.secrets import store as secretstore
from aihub.services import service as services
from aihub.vault import setup

from ..errors import PreconditionFailed
from ..model.delivery import delivered
from ..plan import Change, Plan
from . import secrets
from .run import Run

UNAUTHORIZED = 401


def plan(run: Run) -> None:
    """The whole plan, in the order in which it would be applied."""
    inside = run.options.scope == "all"
    with ThreadPoolExecutor(1) as pool:
        # The node is looked at by a process of its own, so guests are looked at meanwhile.
        on_node = pool.submit(_node, run) if inside else None
        guests, actual = _guests(run)
        parts = [guests]
        if inside:
            parts += _insides(run, actual, guests)
        if on_node:
            parts.insert(0, on_node.result())
    run.plan = _joined(run.hub.warnings, parts)


def _node(run: Run) -> Plan:
    return Plan(tuple(node.plan(run.hub, run.state, run.options.target, run.names)))


def _guests(run: Run) -> tuple[Plan, Actual]:
    """Proxmox objects; before there is a token only root could look, and none of ours can be there yet."""
    try:
        actual = run.proxmox().read(run.hub) if run.state.token.exists() else Actual({})
    except AccessRefused as error:
        if error.status != UNAUTHORIZED:
            raise
        # The node's own part of the plan says that the token is to be renewed; `up` then plans anew.
        text = "the API token is refused: guests can be looked at when the node has renewed it"
        return Plan(unknown=tuple(run.hub.guests), warnings=(text,)), Actual({})
    found = provision.plan(
        run.hub,
        actual,
        run.keys,
        journal=run.journal.entries(),
        allow_destroy=run.options.allow_destroy,
    )
    return found, actual


def running(run: Run, actual: Actual) -> list[str]:
    """The hub's guests that run now and are ours."""
    return [
        g.name
        for g in run.hub.guests.values()
        if (have := actual.guests.get(g.vmid)) and have.running and have.belongs_to(run.hub.id)
    ]


def _insides(run: Run, actual: Actual, guests: Plan) -> list[Plan]:
    """What differs inside guests that run; those that are new or stopped need everything."""
    on = running(run, actual)
    found = probe.read(run.hub, run.state, on)
    changes, unknown = probe.plan(run.hub, run.state, run.options.target, found)
    named = {c.subject for c in guests.changes if c.action in ("create", "start")}
    new = [
        Change(name, "configure", "guest", "guest", "all roles, once it runs")
        for name in run.hub.guests
        if name not in on and name in named
    ]
    whole = [
        i.name for i in run.hub.instances if i.guest.name in on and not _differs(i.name, i.guest.name, changes, unknown)
    ]
    kept = _vault(run, found, whole)
    if kept.changes and any(c.owner == "vault" for c in kept.changes):
        # Logins inside services are compared with what the vault holds.
        whole = [name for name in whole if not delivered(run.hub.instance(name).stack)]
    objects = Plan(tuple(services.plan(run.hub, run.state, run.store, whole)))
    return [Plan((*new, *changes), tuple(unknown)), kept, objects]


def _vault(run: Run, found: Mapping[str, probe.Actual], whole: Sequence[str]) -> Plan:
    """What differs in the vault, and on the agents that bring its entries to guests."""
    instance = run.hub.vault
    if instance is None or instance.name not in whole:
        return Plan()
    if why := secrets.reachable(run):
        return Plan((Change(instance.name, "start", "vault", "vault", why),))
    vault = run.vault()
    now = secretstore.versions(run.hub, vault)
    missing = [path for path, version in now.items() if not version]
    made = [Change(instance.name, "create", "vault", "vault", f"{len(missing)} entries: {', '.join(missing[:4])}")]
    stale = kits.stale(run.hub, run.state, kits.recipients(run.hub, run.state, run.options.target))
    left = rotation.pending(vault, run.state)
    changes = [
        *setup.plan(vault, run.hub),
        *(made if missing else ()),
        *([Change(instance.name, "update", "vault", "vault", stale)] if stale else ()),
        *(Change(name, "update", "vault", "vault", "its rotation was left unfinished") for name in left),
        *agent.changes(run.hub, found, now, enrol.ended(run.hub, vault)),
    ]
    return Plan(tuple(changes), warnings=tuple(setup.warnings(vault, run.hub)))


def _differs(instance: str, guest: str, changes: Sequence[Change], unknown: Sequence[str]) -> bool:
    """Whether an instance can't be asked now, since it or its guest is not as it should be."""
    return guest in unknown or any(c.subject in (instance, guest) for c in changes)


def _joined(warnings: Sequence[str], parts: Sequence[Plan]) -> Plan:
    return Plan(
        tuple(c for part in parts for c in part.changes),
        tuple(u for part in parts for u in part.unknown),
        tuple(dict.fromkeys([*warnings, *(w for part in parts for w in part.warnings)])),
    )


def show_plan(run: Run) -> None:
    """The plan on the screen."""
    if not run.options.as_json:
        report.plan(run.plan)


def confirm(run: Run) -> None:
    """A person agreed to the plan; a rehearsal needs no question."""
    if run.options.target == "lab" or run.options.yes or not run.plan.changes:
        return
    if not report.confirm("Apply this plan?"):
        raise PreconditionFailed("not confirmed: nothing was changed")
