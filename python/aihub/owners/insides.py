"""The insides of the guests: users, ssh, firewall, Docker, agents, and the stacks' files and units."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from aihub import render, ssh
from aihub.backup import versions
from aihub.errors import BadAnswer, HubError, TaskFailed, Unreachable
from aihub.guests import ansible, held, last_words, probe
from aihub.jobs import Ended
from aihub.model.resolved import Instance
from aihub.model.types import NAME
from aihub.plan import Change, Plan, Undeclared, require_agreed
from aihub.screen import Progress

from . import choice, data_moves, kept
from .run import Run
from .waiting import waiting

FIRST_ANSWER = 60.0  # seconds
STACK = probe.STACK


def look(run: Run) -> Plan:
    """What differs inside guests that run, and all that those get which `guests.look` wants to make or start."""
    on = run.running()
    run.insides = probe.read(run.hub, run.state, on)
    run.waiting = waiting(run)
    found = _compared(run)
    new = [_whole(run, name, "all roles, once it runs") for name in run.made]
    stopped = [_later(name) for name in (*run.started, *found.unknown)]
    secrets = probe.undelivered(run.hub, run.made, run.waiting)
    warnings, left = (*_unheard(run), *_left_behind(run), *_held(run)), tuple(kept.volumes(run))
    named = [kept.removal(one) for one in left if one.holder in run.options.allow_destroy]
    changes = (*new, *stopped, *found.changes, *secrets, *named, *data_moves.look(run, undeclared(run)))
    return Plan(changes, found.unknown, warnings, run.waiting, left, _strange(run))


def _strange(run: Run) -> tuple[Undeclared, ...]:
    """What is on guests and stands nowhere in hub.yml."""
    return probe.undeclared(run.hub, run.state, run.insides, run.waiting)


def _unheard(run: Run) -> Iterator[str]:
    """Why guests that run could not be looked into."""
    for name, inside in run.insides.items():
        if inside.error:
            yield f"{name} could not be looked into: {inside.error}"


def _held(run: Run) -> Iterator[str]:
    """Who runs its former version, since an update failed."""
    for name, one in held.in_force(run.hub, run.state).items():
        yield (
            f"{name} is held at its former version, and is not compared: its update of {one.at} failed: {one.why}. "
            f"It is tried again by aihub update {name}, and once its folder changes"
        )


def _left_behind(run: Run) -> Iterator[str]:
    """A stack that leaves one guest and begins on another: its data does not come along by itself."""
    for guest, left in undeclared(run).items():
        for stack in left:
            known = f"{stack}@{run.hub.guests[guest].id}"
            for one in run.hub.instances:
                another = one.stack.name == stack and one.id != known and not one.options.get("id")
                if another and run.standing(one) == "new":
                    yield (
                        f"{one.name} begins empty, and what {stack}@{guest} has stays behind. "
                        f"If it is meant to move: aihub move {stack}@{guest} {one.guest.name}"
                    )


def undeclared(run: Run) -> dict[str, list[str]]:
    """The stacks that are on guests, recorded or not, and that nobody declares there any more.

    Of what a guest says only what can be the name of a stack: it is handed on, to Ansible too.
    """
    found = {}
    for name, inside in run.insides.items():
        declared = {instance.stack.name for instance in run.hub.on(name)}
        parts = inside.manifest.get("desired", {})
        there = sorted({key.removeprefix(STACK) for key in parts if key.startswith(STACK)} | inside.stacks.keys())
        if left := [stack for stack in there if stack not in declared and re.fullmatch(NAME, stack)]:
            found[name] = left
    return found


def _compared(run: Run) -> Plan:
    """What differs inside the guests that were looked into; with `--full` everything."""
    changes, unknown = probe.plan(run.hub, run.state, run.insides, run.waiting)
    if run.options.full:
        rest = [change for change in changes if change.owner != "insides"]
        names = [name for name in run.insides if name not in unknown and name in run.choice]
        asked = [_asked(run, name) for name in names]
        return Plan((*asked, *rest), unknown)
    return Plan(changes, unknown)


def _asked(run: Run, guest: str) -> Change:
    """Everything of a guest, and with it what nobody needs there any more."""
    going = probe.going(run.hub, run.state, run.insides[guest], run.waiting)
    made = _whole(run, guest, "; ".join(["everything, as asked for", *going.values()]))
    stops = tuple(f"{key.removeprefix(STACK)}@{guest}" for key in going if key.startswith(STACK))
    return replace(made, parts=(*made.parts, *going), restart=bool(stops), restarting=stops)


def _whole(run: Run, guest: str, summary: str) -> Change:
    left = [STACK + i.stack.name for i in run.hub.on(guest) if i.name in run.waiting]
    parts = tuple(part for part in render.desired(run.hub, run.state)[guest] if part not in left)
    hosts = probe.allowed_changes(run.hub, guest) if guest in run.made else ()
    return Change(guest, "configure", "insides", "guest", summary, hosts, parts=parts)


def _later(guest: str) -> Change:
    text = "compared once it runs: restarts and removal of undeclared things may follow, data stays"
    return Change(guest, "configure", "insides", "guest", text, later=True)


class Work:
    """The insides of all guests of one run: looked into once more, then made as agreed, a few at a time."""

    def __init__(self, run: Run, progress: Progress, stop: threading.Event) -> None:
        """Looks again. Raises Conflict when more is to be done than was agreed."""
        self._run = run
        self._progress = progress
        self._stop = stop
        found, silent = _settled(run)
        found = tuple(choice.only(found, run.choice))
        self._silent = {name: error for name, error in {**silent, **run.unreached}.items() if name in run.choice}
        require_agreed(run.plan, found)
        self._wanted = _roles(run, found)
        run.changed = run.changed or bool(self._wanted)

    def undeclared(self) -> list[str]:
        """Instances that nobody declares any more."""
        return [f"{stack}@{guest}" for guest, stacks in undeclared(self._run).items() for stack in stacks]

    def starts(self, instance: Instance) -> bool:
        """Whether anything of an instance is to be made."""
        wanted = self._wanted.get(instance.guest.name, ())
        return instance.guest.name in self._silent or wanted is None or STACK + instance.stack.name in wanted

    def remove(self, names: Sequence[str], ended: Ended) -> None:
        """These instances stop, and keep nothing but their data."""
        gone: dict[str, list[str]] = {}
        for name in names:
            stack, _, guest = name.partition("@")
            gone.setdefault(guest, []).append(stack)
        failed = ansible.remove(self._run.hub, self._run.state, gone, self._progress, self._stop)
        for name in names:
            ended(name, failed.get(name.partition("@")[2]))

    def forget(self) -> None:
        """Volumes go that nobody declares and that somebody has named."""
        for change in self._run.plan.of("insides"):
            if change.action == "delete" and "guest" in change.details:
                guest, stack = change.details["guest"], change.details["stack"]
                self._run.may_write()
                self._progress(guest, f"the volumes of {stack} go")
                probe.forget(self._run.state, guest, stack)

    def machines(self, guests: Sequence[str], ended: Ended) -> None:
        """These guests are as their roles say, but for their stacks."""
        run, failed = self._run, dict(self._silent)
        if chosen := {name: self._wanted[name] for name in guests if name in self._wanted and name not in failed}:
            failed |= ansible.attempt(
                run.hub, run.state, chosen, phase="machine", progress=self._progress, stop=self._stop
            )
        for name in failed.keys() & set(guests):
            ended(name, failed[name])

    def images(self, names: Sequence[str], ended: Ended) -> None:
        """What these instances run can be had."""
        if self._run.images:
            self._run.images.await_stacks([self._run.hub.instance(name) for name in names])

    def stacks(self, names: Sequence[str], ended: Ended) -> None:
        """These instances run, where something of them differed; each guest is told of when it is through."""
        run, told = self._run, set[str]()
        names = [name for name in names if not self._waits(name, ended)]
        here: dict[str, list[str]] = {}
        for name in names:
            here.setdefault(run.hub.instance(name).guest.name, []).append(name)

        def through(guest: str, failed: Mapping[str, HubError]) -> None:
            if guest in here and not failed.keys() & {guest, *here[guest]}:
                began = [one for one in map(run.hub.instance, here[guest]) if self.starts(one)]
                versions.record(run.state, began, datetime.now(UTC))
                held.release(run.state, *(one.name for one in began))
                for name in here.pop(guest):
                    told.add(name)
                    ended(name, None)

        failed = ansible.attempt(
            run.hub,
            run.state,
            {guest: self._wanted[guest] for guest in here if guest in self._wanted},
            phase="stacks",
            instances=names,
            progress=self._progress,
            through=through,
            stop=self._stop,
        )
        for name in [name for name in names if name not in told]:
            guest = run.hub.instance(name).guest.name
            ended(name, self._explained(name, failed.get(name)) or failed.get(guest))

    def _waits(self, name: str, ended: Ended) -> bool:
        """Whether an instance waits after all, as is known since the store serves; its consumers rest on it."""
        if why := self._run.waiting.get(name):
            ended(name, TaskFailed(why, where=name, hint="aihub up, once that was given"))
        return bool(why)

    def _explained(self, name: str, error: HubError | None) -> HubError | None:
        """The error of an instance that did not start, with its last words."""
        if error is None:
            return None
        stack, _, guest = name.partition("@")
        words = last_words.told(self._run.state, guest, [stack])[stack]
        return TaskFailed(f"did not start\n{error.what}\n{words}", where=name, hint=error.hint)


def _settled(run: Run) -> tuple[tuple[Change, ...], dict[str, HubError]]:
    """What differs inside guests, and who does not answer; one that was only just started gets time for that."""
    known = run.insides
    run.insides = found = probe.read(run.hub, run.state, run.running())
    limit = time.monotonic() + FIRST_ANSWER
    while compared := _compared(run):
        again = [name for name in compared.unknown if _may_answer(known.get(name), found[name])]
        if not again or time.monotonic() > limit:
            break
        time.sleep(1)
        for name in again:
            ssh.close(run.state, name)  # the shared connection may lead to the time before a restart
        run.insides = found = {**found, **probe.read(run.hub, run.state, again)}
    return compared.changes, {name: _silent(found[name]) for name in compared.unknown}


def _silent(inside: probe.Inside) -> HubError:
    hint = f"aihub ssh {inside.guest}, then aihub up"
    if inside.bad:
        return BadAnswer(inside.error, where=inside.guest, hint=hint)
    return Unreachable(f"no ssh: {inside.error}", where=inside.guest, hint=hint)


def _may_answer(before: probe.Inside | None, now: probe.Inside) -> bool:
    """Whether a guest that does not answer may do so in a moment: not one that was silent before anything was begun."""
    return not now.bad and (before is None or not before.error)


def _roles(run: Run, changes: Sequence[Change]) -> dict[str, list[str] | None]:
    """The roles that each guest needs; None is all of them."""
    if run.options.full:
        return dict.fromkeys(name for name in run.hub.guests if name in run.choice)
    found: dict[str, list[str] | None] = {
        c.subject: list(c.parts) for c in changes if c.owner == "insides" and not c.data_at_risk
    }
    for change in changes:
        if change.owner == "secrets":
            stack, _, guest = change.subject.rpartition("@")
            roles = found.setdefault(guest, [])
            if stack and roles is not None and STACK + stack not in roles:
                roles.append(STACK + stack)
    return found
