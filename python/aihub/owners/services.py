"""What lies inside the services: databases, logins, pulled models. Each stack's reconcile.py knows its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from aihub import words
from aihub.errors import HubError, PreconditionFailed, TaskFailed, Unreachable
from aihub.model.resolved import Instance
from aihub.plan import Change, Plan, require_agreed
from aihub.screen import Progress
from aihub.services import service as services

from . import kept
from .kept import NAMED
from .run import Run


def look(run: Run) -> Plan:
    """What differs inside services that run, and all that those get which are still to be made."""
    new: list[str] = []
    there: list[Instance] = []
    silent: list[Instance] = []
    for instance in services.reconciled(run.hub):
        if instance.name in run.waiting:
            continue
        standing = run.standing(instance)
        if standing == "new":
            new.append(instance.name)
            if _takes_up(run, instance):
                silent.append(instance)
        elif standing == "there":
            (silent if _cannot_log_in(run, instance) else there).append(instance)
    quiet = [i.name for i in there if not run.differs(i)]
    may_go = kept.forgotten(run)
    changes, left, failed = services.look(run.hub, run.state, run.store, quiet, may_go)
    _refuse(failed)
    silent += [run.hub.instance(name) for name in failed]
    found = [*services.first(run.hub, new), *changes]
    for instance in there:
        if run.differs(instance):
            more, also = _try(run, instance, may_go)
            found += more
            left |= also
    going = {f"{name}/{one}" for name, every in left.items() for one in every if {one, f"{name}/{one}"} & may_go}
    named = [replace(one, details={**one.details, NAMED: True}) if _goes(one, going) else one for one in found]
    unknown = dict.fromkeys(run.hub.instance(name).guest.name for name in failed)
    warnings = tuple(f"{name} could not be looked into: {words.line(error.what)}" for name, error in failed.items())
    later = [_later(instance) for instance in silent]
    return Plan((*named, *later), tuple(unknown), warnings, kept=tuple(kept.objects(run, left)))


def _refuse(failed: Mapping[str, HubError]) -> None:
    """Raises what is no matter of a guest: what stands here, or in hub.yml."""
    for error in failed.values():
        if not isinstance(error, (Unreachable, TaskFailed)):
            raise error


def _goes(change: Change, going: Collection[str]) -> bool:
    """Whether a change removes a kept object that somebody has named, and nothing else that is lost."""
    return change.action == "delete" and f"{change.holder}/{change.subject.rpartition(' ')[2]}" in going


def _takes_up(run: Run, instance: Instance) -> bool:
    """Whether one that is still to be made finds data there that it has left, and in it who used it then."""
    inside = run.insides.get(instance.guest.name)
    return bool(inside and instance.stack.name in inside.data)


def _cannot_log_in(run: Run, instance: Instance) -> bool:
    """Whether our login there is kept in a store that does not serve now."""
    return instance.stack.delivered and run.hub.vault is not None and run.opened_vault is None


def _try(run: Run, instance: Instance, may_go: Collection[str]) -> tuple[list[Change], Mapping[str, tuple[str, ...]]]:
    """What differs inside a service that is to be changed itself, and so may be down."""
    try:
        return services.plan(run.hub, run.state, run.store, [instance.name], may_go)
    except HubError:
        return [_later(instance)], {}


def _later(instance: Instance) -> Change:
    text = "compared once it runs: removal of undeclared things may follow, data stays"
    return Change(instance.name, "reconcile", "services", "service", text, later=True)


def apply(run: Run, agreed: Plan, instance: Instance, progress: Progress) -> None:
    """Databases, users and models inside a service are as declared."""

    def agree(changes: Sequence[Change]) -> None:
        require_agreed(agreed, changes)
        run.changed = run.changed or bool(changes)

    services.apply(run.hub, run.state, run.store, [instance.name], agree, progress, kept.forgotten(run))


def making_anew(run: Run, progress: Progress) -> Callable[[str], None]:
    """What makes at an instance what its consumers' logins need there and is gone; nothing is removed by it."""

    def refuse(changes: Sequence[Change]) -> None:
        if lost := [one.subject for one in changes if one.action == "delete" or one.data_at_risk]:
            raise PreconditionFailed(f"it has what nobody declares: {', '.join(lost)}", hint="aihub up")

    def make_anew(instance: str) -> None:
        services.apply(run.hub, run.state, run.store, [instance], refuse, progress)

    return make_anew
