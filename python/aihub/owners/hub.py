"""All owners together: one plan over everything, and the order in which what was agreed is made true."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from threading import Event

from aihub import jobs, parallel
from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed, together
from aihub.jobs import Job, Result
from aihub.plan import Outcome, Plan, joined
from aihub.proxmox.guests import provision
from aihub.screen import Progress
from aihub.secrets import given
from aihub.secrets.given import WAITS

from . import choice, guests, identity, insides, node, resets, secrets, services, vault
from .kept import NAMED
from .order import Order
from .run import Run, close_connections


def look(run: Run) -> None:
    """The whole plan, in the order in which it would be applied. Everything that can refuse does so here.

    Raises PreconditionFailed and Conflict for what stands in the way; nothing was changed then.
    """
    run.target.require_place(run.hub)
    with parallel.threads(1) as pool:
        # The node is looked at by a process of its own, so guests are looked at meanwhile.
        on_node = pool.submit(node.look, run) if run.options.scope == "all" else None
        try:
            parts = _above_the_node(run)
        except HubError:
            if on_node and isinstance(error := on_node.exception(), PreconditionFailed | Conflict):
                raise error from None  # what is wrong with the node explains whatever is wrong on it
            raise
        (first,) = parallel.results([on_node]) if on_node else (Plan(),)
    if run.token_refused or (not on_node and not run.state.token.exists()):
        first = node.look(run)  # whatever the scope: nobody else can reach Proxmox before the token is renewed
    first = node.settled(run, first, choice.narrowed(parts[0], run.choice))
    run.plan = choice.narrowed(joined([first, *parts], run.hub.warnings), run.choice)
    _require_removals(run)
    resets.warn(run)
    guests.require(run, run.plan)
    vault.require_login_there(run)
    if run.plan.of("insides", "services", "secrets", "vault"):
        run.target.require(run.hub)
    _require_known(run)


def _above_the_node(run: Run) -> list[Plan]:
    """What differs of guests, and in them, in the order in which it would be applied."""
    parts = [guests.look(run)]
    if run.options.scope == "all":
        for owner in (insides, vault, secrets, services):
            run.plan = joined(parts)
            parts.append(owner.look(run))
    return parts


def look_at_store(run: Run) -> None:
    """The plan for the store alone; what it stands on is looked at, and left as it is."""
    run.plan = guests.look(run)
    run.plan = joined([run.plan, insides.look(run)])
    run.plan = vault.look(run)


def empties_store(run: Run) -> bool:
    """Whether the plan empties a store that nobody can open any more."""
    return any(change.action == "delete" and change.data_at_risk for change in run.plan.of("vault"))


def show_plan(run: Run) -> None:
    """The plan on the screen, and what will stand in for something in it."""
    if run.options.as_json:
        return
    run.screen.plan(run.plan)
    for name, label in run.target.labels(run.hub).items() if run.plan.changes else ():
        run.screen.say(f"lab: {label} stands in for {name}")


def refuse_losses(run: Run) -> None:
    """Raises PreconditionFailed when data would be lost that `--allow-destroy` does not name."""
    allowed = run.options.allow_destroy
    losses = [c for c in run.plan.changes if c.data_at_risk and c.holder not in allowed and NAMED not in c.details]
    if losses:
        text = "\n".join(f"{c.subject}: {c.summary}; lost would be {c.data_at_risk}" for c in losses)
        names = " ".join(dict.fromkeys(f"--allow-destroy {c.holder}" for c in losses))
        raise PreconditionFailed(f"data would be lost\n{text}", hint=f"if that is meant: aihub up {names}")


def confirm(run: Run) -> None:
    """A person agreed to the plan; a rehearsal needs no question."""
    if not run.hub.target.needs_people or run.options.yes or not run.plan.changes:
        return
    if not run.screen.confirm("Apply this plan?"):
        raise PreconditionFailed("not confirmed: nothing was changed")


def begin_images(run: Run) -> None:
    """What guests and stacks are made from is being made, where the target makes it itself."""
    run.images = run.target.prepare(run.hub, run.plan, run.screen, run.stack, stock=run.options.stock)


def apply_node(run: Run) -> None:
    """The node has what the guests need. Raises Conflict, before it is changed, when guests are no longer as agreed."""
    if run.plan.of("node") and run.plan.of("guests"):
        guests.require_unchanged(run, run.plan)
    node.apply(run, run.plan)


def apply_guests(run: Run) -> None:
    """The guests exist and run."""
    guests.apply(run, run.plan)


def finish_node(run: Run) -> None:
    """What guests held until now is gone from the node."""
    node.finish(run, run.plan)


def apply_inside(run: Run) -> None:
    """Machines, stacks and services are as declared, each as soon as what it rests on is.

    What fails stops what rests on it, and nothing else; all errors are raised as one at the end.
    """
    agreed = run.plan
    nothing = not agreed.of("insides", "secrets", "vault", "services", "guests")
    if nothing and not run.options.full and not run.unreached:
        return
    guests.require_running(run)
    stop = Event()
    with run.screen.progress("guests and services") as progress:
        work = insides.Work(run, progress, stop)
        todo = Order(run, agreed, work, progress).jobs()
        results = jobs.run(todo, run.may_write, stop, partial(_tell, progress, {job.key: job.subject for job in todo}))
    ended = _outcomes(todo, results)
    left = [name for name in run.waiting if name not in {one.subject for one in ended}]
    run.outcome = (*ended, *(Outcome(name, because=run.waiting[name].removeprefix(WAITS)) for name in left))
    if failed := jobs.errors(results):
        raise together(failed)
    work.forget()


def _tell(progress: Progress, subjects: Mapping[str, str], job: Job, result: Result) -> None:
    if result.error is not None:
        progress.failed(job.subject, result.error.what.partition("\n")[0])
    elif result.because and subjects[result.because] != job.subject:
        progress.failed(job.subject, f"waits for {subjects[result.because]}")


def _outcomes(todo: Sequence[Job], results: Mapping[str, Result]) -> tuple[Outcome, ...]:
    """How it ended for each guest and instance; of several jobs of one, the first that is not done says why."""
    subjects, found = {job.key: job.subject for job in todo}, dict[str, Outcome]()
    for job in todo:
        result = results[job.key]
        before = found.setdefault(job.subject, Outcome(job.subject))
        because = subjects.get(result.because, "")
        if result.error is not None and not before.error:
            found[job.subject] = Outcome(job.subject, error=str(result.error))
        elif before.done and because != job.subject:
            found[job.subject] = Outcome(job.subject, because=because)
    return tuple(found.values())


def refuse_waiting(run: Run) -> None:
    """Raises TaskFailed when instances wait for a person; everything else was done."""
    if left := {name: why for name, why in run.waiting.items() if run.choice.names(name)}:
        text = "\n".join(f"{name} {why}" for name, why in left.items())
        commands = "; ".join(given.asked_for(left))
        raise TaskFailed(f"not started, everything else is done:\n{text}", hint=f"{commands}, then aihub up")


def removal(run: Run, patience: float) -> Plan:
    """The removal of every guest of this hub, then of everything of it on its node; `patience` as for the guests."""
    found = guests.removal(run, patience)
    return joined([found, node.removal(run, [int(c.details["vmid"]) for c in found.changes])])


def remove(run: Run, agreed: Plan) -> None:
    """The guests of an agreed removal go, then everything of this hub on its node."""
    guests.remove(run, agreed)
    run.may_write()
    clear(run, agreed)


def clear(run: Run, agreed: Plan) -> None:
    """Everything of this hub on its node goes, and what this machine knows of a store that is gone."""
    node.remove(run, agreed)
    vault.remove(run)
    identity.forget(run.state)
    close_connections(run)


def _require_removals(run: Run) -> None:
    """Raises PreconditionFailed for an instance that goes and was not named: its logins would end while it runs."""
    gone = [f"{stack}@{guest}" for guest, stacks in insides.undeclared(run).items() for stack in stacks]
    if left := [name for name in gone if not run.choice.names(name)]:
        guests_of = " ".join(dict.fromkeys(name.partition("@")[2] for name in left))
        text = f"{', '.join(left)}: nobody declares it any more, and what was named does not include its removal"
        raise PreconditionFailed(text, hint=f"aihub up, or name its guest, too: {guests_of}")


def _require_known(run: Run) -> None:
    """Raises PreconditionFailed for a name of `--allow-destroy` that neither hub.yml nor the look knows."""
    known = provision.known_names(run.hub, run.guests)
    known |= {*(i.name for i in run.hub.instances), *(c.holder for c in run.plan.changes)}
    known |= {one.holder for one in run.plan.kept}
    if unknown := sorted(run.options.allow_destroy - known):
        raise PreconditionFailed(
            f"--allow-destroy {', '.join(unknown)}: there is no such guest or instance",
            hint=f"one of: {', '.join(sorted(known))}",
        )
