"""The order inside guests: what each thing rests on.

A machine is configured, its agent fetches its secrets, and an instance starts once what it starts with is there: its
providers run, and hold its databases, users and logins. The way out and the store come first, models last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from aihub import paths
from aihub.errors import InvalidInput
from aihub.jobs import Crew, Ended, Job
from aihub.model.resolved import Instance
from aihub.plan import Plan
from aihub.reading import load
from aihub.screen import Progress
from aihub.services import service as reconcilers

from . import secrets, services, vault
from .insides import Work
from .run import Run
from .waiting import waiting

MACHINES, STACKS = 2, 3  # runs of Ansible side by side: what is ready meanwhile goes along in the next one
GATHER = 0.5  # seconds: less than it costs to begin one more run for what is ready a moment later


class Order:
    """Everything that is done inside the guests of one run, as jobs."""

    def __init__(self, run: Run, agreed: Plan, work: Work, progress: Progress) -> None:
        self._run, self._hub, self._work = run, run.hub, work
        self._agreed, self._progress = agreed, progress
        self._agents = secrets.Agents(run, agreed, progress)
        self._unfinished = secrets.Unfinished(run, agreed, progress)
        self._reconciled = {instance.name for instance in reconcilers.reconciled(run.hub)}
        self._away = work.undeclared()
        self._instances = [i for i in run.hub.instances if i.name not in run.waiting]  # nor do their consumers start

    def jobs(self) -> list[Job]:
        """All of them, in the order in which they are begun where nothing else decides."""
        providers = {name for instance in self._instances for name in instance.started_after}
        awaited = [i for i in self._instances if i.name in self._reconciled & providers]
        found = [*self._removals(), *self._machines(), *self._store(), *self._starts()]
        found += self._reconciles(awaited, self._before_logins())
        every = frozenset(job.key for job in found)
        if self._hub.vault:
            rest = _each(lambda _: self._unfinished.finish_rest())
            found.append(Job("rotations", self._hub.vault.name, rest, frozenset({"store"}), every))
        last = [i for i in self._instances if i.name in self._reconciled - providers]
        return [*found, *self._reconciles(last, frozenset(job.key for job in found))]

    def _removals(self) -> Iterator[Job]:
        """Consumers before what they used; where they used each other, any of them first."""
        crew = Crew(self._work.remove, together=True, most=1)
        left, before = list(self._away), list[str]()
        while left:
            name = next((one for one in left if not any(_uses(other, one) for other in left)), left[0])
            left.remove(name)
            users = frozenset(_gone(other) for other in before if _uses(other, name))
            yield Job(_gone(name), name, crew, after=users, place=name.partition("@")[2])
            before.append(name)

    def _gone_from(self, guest: str) -> frozenset[str]:
        return frozenset(_gone(name) for name in self._away if name.endswith(f"@{guest}"))

    def _machines(self) -> Iterator[Job]:
        """Those without internet reach packages and images through the way out."""
        crew = Crew(self._work.machines, together=True, most=MACHINES)
        out = self._hub.egress
        for guest in self._hub.guests.values():
            first = frozenset({_start(out.name)} if out and not guest.internet and out.guest != guest else ())
            yield Job(_machine(guest.name), guest.name, crew, first, self._gone_from(guest.name), guest.name)

    def _store(self) -> Iterator[Job]:
        """The store and those whom it serves: its own guest gets the listener's certificate before it starts."""
        store = self._hub.vault
        if store is None:
            return
        placed = frozenset({_machine(store.guest.name)})
        yield Job("listener", store.name, _each(lambda _: vault.place_listener(self._run)), placed)
        yield Job("store", store.name, _each(lambda _: self._bring_up()), frozenset({_start(store.name)}))
        crew = _each(self._agents.serve)
        for guest in (name for name in self._hub.agents if name in self._run.choice):
            yield Job(_agent(guest), guest, crew, frozenset({_machine(guest), "store"}), place=guest)
        crew = _each(self._agents.require)
        for instance in self._instances:
            if instance.stack.delivered and instance.guest.name in self._run.choice:
                yield Job(_secrets(instance.name), instance.name, crew, frozenset({_agent(instance.guest.name)}))

    def _bring_up(self) -> None:
        vault.apply(self._run, self._agreed, self._progress)
        self._run.waiting = {**waiting(self._run), **self._run.waiting}  # of a store that was silent it is known now
        self._agents.learn()
        self._unfinished.learn()

    def _starts(self) -> Iterator[Job]:
        first = [i for i in (self._hub.egress, self._hub.vault) if i]
        early, crew = (Crew(self._work.stacks, together=True, gather=GATHER, most=STACKS) for _ in range(2))
        images, nothing = Crew(self._work.images, most=len(self._hub.instances)), Crew(_nothing, together=True)
        for instance in [*first, *(i for i in self._instances if i not in first)]:
            name, guest = instance.name, instance.guest.name
            if not self._work.starts(instance):
                yield Job(_start(name), name, nothing)
                continue
            yield Job(_image(name), name, images)
            rests_on = {_image(name), _machine(guest), *self._gone_from(guest), *self._served(instance)}
            yield Job(_start(name), name, early if instance in first else crew, frozenset(rests_on), place=guest)

    def _served(self, instance: Instance) -> Iterator[str]:
        """What an instance starts with: its providers with all that they hold for it, and its files."""
        for provider in instance.started_after:
            yield _inside(provider) if provider in self._reconciled else _start(provider)
        if instance == self._hub.vault:
            yield "listener"
        elif instance.stack.delivered:
            yield _secrets(instance.name)

    def _before_logins(self) -> frozenset[str]:
        """An unfinished rotation is finished before logins are compared, and needs the agents for that."""
        unfinished = any(f": {vault.ROTATION}" in change.subject for change in self._agreed.of("vault"))
        agents = (guest for guest in self._hub.agents if guest in self._run.choice)
        return frozenset(map(_agent, agents)) if unfinished else frozenset()

    def _reconciles(self, instances: Sequence[Instance], after: frozenset[str]) -> Iterator[Job]:
        """What removed consumers had is retired when these have stopped."""
        crew = _each(self._reconcile)
        stopped = frozenset(map(_gone, self._away))
        for instance in instances:
            rests_on = {_start(instance.name)}
            if self._hub.vault and instance.stack.delivered:
                rests_on.add("store")
            yield Job(_inside(instance.name), instance.name, crew, frozenset(rests_on), after | stopped)

    def _reconcile(self, name: str) -> None:
        instance = self._hub.instance(name)
        if self._run.images:
            self._run.images.await_models([instance])
        self._unfinished.finish_at(instance)
        services.apply(self._run, self._agreed, instance, self._progress)


def _each(do: Callable[[str], None]) -> Crew:
    """A crew that does one thing at a time, many of them side by side."""
    return Crew(lambda subjects, ended: do(subjects[0]))


def _nothing(subjects: Sequence[str], ended: Ended) -> None:
    """What is as it should be."""


def _uses(name: str, other: str) -> bool:
    """Whether one that nobody declares any more may have used another such, as far as their folders still say."""
    try:
        user, used = (load.stack(one.partition("@")[0], paths.STACKS) for one in (name, other))
    except InvalidInput:
        return False
    return name != other and any(need.kind in used.gives for need in user.wants)


def _gone(name: str) -> str:
    return f"removal of {name}"


def _machine(guest: str) -> str:
    return f"machine {guest}"


def _agent(guest: str) -> str:
    return f"agent of {guest}"


def _secrets(name: str) -> str:
    return f"secrets of {name}"


def _image(name: str) -> str:
    return f"images of {name}"


def _start(name: str) -> str:
    return f"start of {name}"


def _inside(name: str) -> str:
    return f"inside of {name}"
