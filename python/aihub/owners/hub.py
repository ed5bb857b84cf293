"""All owners together: one plan over everything, and the order in which what was agreed is made true."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aihub.errors import PreconditionFailed
from aihub.model.resolved import Instance
from aihub.plan import Plan, joined
from aihub.proxmox.guests import provision

from . import guests, insides, node, secrets, services, vault
from .run import Run, close_connections


def look(run: Run) -> None:
    """The whole plan, in the order in which it would be applied. Everything that can refuse does so here.

    Raises PreconditionFailed and Conflict for what stands in the way; nothing was changed then.
    """
    with ThreadPoolExecutor(1) as pool:
        # The node is looked at by a process of its own, so guests are looked at meanwhile.
        on_node = pool.submit(node.look, run) if run.options.scope == "all" else None
        here = guests.look(run)
        parts = [here]
        if run.options.scope == "all":
            for owner in (insides, vault, secrets, services):
                run.plan = joined(parts)
                parts.append(owner.look(run))
        first = on_node.result() if on_node else Plan()
    if run.token_refused or (not on_node and not run.state.token.exists()):
        first = node.look(run)  # whatever the scope: nobody else can reach Proxmox before the token is renewed
    run.plan = joined([first, *parts], run.hub.warnings)
    guests.require(run, run.plan)
    if run.plan.of("insides", "services", "secrets", "vault"):
        run.target.require(run.hub)
    _require_known(run)


def look_at_store(run: Run) -> None:
    """The plan for the store alone; what it stands on is looked at, and left as it is."""
    run.plan = guests.look(run)
    run.plan = joined([run.plan, insides.look(run)])
    run.plan = vault.look(run)


def gives_up(run: Run) -> bool:
    """Whether the plan empties a store that nobody can open any more."""
    return any(change.action == "delete" and change.data_at_risk for change in run.plan.of("vault"))


def show_plan(run: Run) -> None:
    """The plan on the screen."""
    if not run.options.as_json:
        run.screen.plan(run.plan)


def refuse_losses(run: Run) -> None:
    """Raises PreconditionFailed when data would be lost that `--allow-destroy` does not name."""
    losses = [c for c in run.plan.changes if c.data_at_risk and c.holder not in run.options.allow_destroy]
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
    """The node is what the hub needs."""
    node.apply(run, run.plan)


def apply_guests(run: Run) -> None:
    """The guests exist and run."""
    guests.apply(run, run.plan)


def apply_insides(run: Run) -> None:
    """Machines and stacks are as declared, zone by zone: a zone without internet needs the proxy first.

    The store comes between them: its guest has to be configured, and the others' agents ask it for their secrets.
    """
    agreed = run.plan
    if not agreed.of("insides", "secrets", "vault", "services", "guests") and not run.options.full:
        return
    guests.require_running(run)
    outside = [name for name in run.hub.guests if run.hub.guests[name].internet]
    inside = [name for name in run.hub.guests if name not in outside]
    first = [i for i in run.hub.instances if i.stack.office == "egress"]
    with run.screen.progress("guests configured") as progress:
        work = insides.Work(run, progress)
        work.remove_undeclared()
        work.machines(outside)
        if inside and work.touches([*(i.guest.name for i in first), *inside]):
            work.stacks(first)
        if run.hub.vault:
            vault.place_listener(run)
            work.stacks([run.hub.vault])
            run.may_write()
            vault.apply(run, agreed, progress)
            secrets.apply(run, agreed, outside, progress)
        work.machines(inside)
        secrets.apply(run, agreed, inside, progress)
        rest = _rest(run, first if inside else [])
        ready = run.images.ready(rest) if run.images else rest
        work.stacks(ready)
        work.stacks([i for i in rest if i not in ready])


def _rest(run: Run, before: Sequence[Instance]) -> list[Instance]:
    return [i for i in run.hub.instances if i not in before and i != run.hub.vault]


def apply_services(run: Run) -> None:
    """Databases, logins and models inside the services are as declared."""
    if not run.plan.of("insides", "secrets", "vault", "services", "guests") and not run.options.full:
        return
    if run.images:
        run.images.await_stacks()  # models are pulled now, also where no stack had to start
    with run.screen.progress("services") as progress:
        secrets.finish(run, run.plan, progress)
        services.apply(run, run.plan, progress)


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
    close_connections(run)


def _require_known(run: Run) -> None:
    """Raises PreconditionFailed for a name of `--allow-destroy` that neither hub.yml nor the look knows."""
    known = provision.known_names(run.hub, run.guests)
    known |= {*(i.name for i in run.hub.instances), *(c.holder for c in run.plan.changes)}
    if unknown := sorted(run.options.allow_destroy - known):
        raise PreconditionFailed(
            f"--allow-destroy {', '.join(unknown)}: there is no such guest or instance",
            hint=f"one of: {', '.join(sorted(known))}",
        )
