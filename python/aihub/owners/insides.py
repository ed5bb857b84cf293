"""The insides of the guests: users, ssh, firewall, Docker, agents, and the stacks' files and units."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Sequence

from aihub import render, ssh
from aihub.errors import Unreachable
from aihub.guests import ansible, probe
from aihub.model.resolved import Instance
from aihub.plan import Change, Plan, require_agreed
from aihub.screen import Progress

from .run import Run

FIRST_ANSWER = 60.0  # seconds
STACK = "stack/"


def look(run: Run) -> Plan:
    """What differs inside guests that run, and all that those get which `guests.look` wants to make or start."""
    on = run.running()
    run.insides = probe.read(run.hub, run.state, on)
    found = _compared(run)
    new = [_whole(run, name, "all roles, once it runs") for name in run.made]
    stopped = [_later(name) for name in (*run.started, *found.unknown)]
    secrets = probe.undelivered(run.hub, run.made)
    return Plan((*new, *stopped, *found.changes, *secrets), found.unknown, warnings=tuple(_left_behind(run)))


def _left_behind(run: Run) -> Iterator[str]:
    """A stack that leaves one guest and begins on another: its data does not come along by itself."""
    for guest, left in undeclared(run).items():
        for stack in (key.removeprefix(STACK) for key in left):
            known = f"{stack}@{run.hub.guests[guest].id}"
            for one in run.hub.instances:
                if one.stack.name == stack and one.id != known and run.standing(one) == "new":
                    yield (
                        f"{one.name} begins empty, and what {stack}@{guest} has stays behind. "
                        f"If it is meant to move: aihub move {stack}@{guest} {one.guest.name}"
                    )


def undeclared(run: Run) -> dict[str, list[str]]:
    """The stacks that are on guests and that nobody declares there any more, as parts of their manifests."""
    found = {}
    for name, inside in run.insides.items():
        declared = {STACK + instance.stack.name for instance in run.hub.on(name)}
        there = [key for key in inside.manifest.get("desired", {}) if key.startswith(STACK)]
        if left := [key for key in there if key not in declared]:
            found[name] = left
    return found


def _compared(run: Run) -> Plan:
    """What differs inside the guests that were looked into; with `--full` everything."""
    changes, unknown = probe.plan(run.hub, run.state, run.insides)
    if run.options.full:
        rest = [change for change in changes if change.owner != "insides"]
        asked = [_whole(run, name, "everything, as asked for") for name in run.insides if name not in unknown]
        return Plan((*asked, *rest), unknown)
    return Plan(changes, unknown)


def _whole(run: Run, guest: str, summary: str) -> Change:
    parts = tuple(render.desired(run.hub, run.state)[guest])
    return Change(guest, "configure", "insides", "guest", summary, parts=parts)


def _later(guest: str) -> Change:
    text = "compared once it runs: restarts and removal of undeclared things may follow, data stays"
    return Change(guest, "configure", "insides", "guest", text, later=True)


class Work:
    """The insides of all guests of one run: looked into once more, then made as agreed, a few at a time."""

    def __init__(self, run: Run, progress: Progress) -> None:
        """Looks again. Raises Conflict when more is to be done than was agreed, Unreachable for a silent guest."""
        self._run = run
        self._progress = progress
        found = _settled(run)
        require_agreed(run.plan, found)
        self._wanted = _roles(run, found)
        run.changed = run.changed or bool(self._wanted)

    def touches(self, guests: Collection[str]) -> bool:
        """Whether one of these guests has anything to be done."""
        return any(name in self._wanted for name in guests)

    def remove_undeclared(self) -> None:
        """Stacks that nobody declares any more stop, before anything else takes their ports; their data stays."""
        run = self._run
        if gone := undeclared(run):
            run.may_write()
            ansible.converge(run.hub, run.state, gone, phase="stacks", progress=self._progress)

    def machines(self, guests: Collection[str]) -> None:
        """These guests are as their roles say, but for their stacks."""
        if chosen := {name: self._wanted[name] for name in guests if name in self._wanted}:
            run = self._run
            run.may_write()
            ansible.converge(run.hub, run.state, chosen, phase="machine", progress=self._progress)

    def stacks(self, instances: Sequence[Instance]) -> None:
        """These instances run, where something of them or of their guest differed; images are waited for."""
        run = self._run
        chosen = {i.guest.name: self._wanted[i.guest.name] for i in instances if i.guest.name in self._wanted}
        if not chosen:
            return
        if run.images:
            run.images.await_stacks(instances)
        run.may_write()
        names = [i.name for i in instances]
        ansible.converge(run.hub, run.state, chosen, phase="stacks", instances=names, progress=self._progress)


def _settled(run: Run) -> tuple[Change, ...]:
    """What differs inside guests; one that was only just started gets time until its ssh answers."""
    run.insides = found = probe.read(run.hub, run.state, run.running())
    limit = time.monotonic() + FIRST_ANSWER
    while True:
        compared = _compared(run)
        if not compared.unknown:
            return compared.changes
        if time.monotonic() > limit:
            raise Unreachable(f"no ssh: {', '.join(compared.unknown)}", hint="aihub ssh GUEST, then aihub up")
        time.sleep(1)
        for name in compared.unknown:
            ssh.close(run.state, name)  # the shared connection may lead to the time before a restart
        run.insides = found = {**found, **probe.read(run.hub, run.state, compared.unknown)}


def _roles(run: Run, changes: Sequence[Change]) -> dict[str, list[str] | None]:
    """The roles that each guest needs; None is all of them."""
    if run.options.full:
        return dict.fromkeys(run.hub.guests)
    found: dict[str, list[str] | None] = {c.subject: list(c.parts) for c in changes if c.owner == "insides"}
    for change in changes:
        if change.owner == "secrets":
            stack, _, guest = change.subject.partition("@")
            roles = found.setdefault(guest, [])
            if roles is not None and STACK + stack not in roles:
                roles.append(STACK + stack)
    return found
