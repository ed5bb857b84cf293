"""Replaces what was chosen: what an earlier run left comes first or along, guests in parallel, each restarted once."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from aihub import parallel
from aihub.errors import Conflict, HubError
from aihub.model.resolved import RECONCILE_ROLE, Certificate, Hub, Instance, Pair, SecretRef
from aihub.services.secrets import Secrets
from aihub.state.directory import State

from . import catalog, certificates, logins, pairs, plain_secrets, records, sshkey
from .catalog import Rotatable
from .systems import Replacement, Say, Systems

# In this order, one after the other: each of them is a way on which the others are done.
LAST = ("login", "operator", "token", "key")


@dataclass
class Outcome:
    """How one replacement ended."""

    name: str
    resumed: bool = False  # an earlier run began it
    seconds: float = 0.0
    error: HubError | None = None


@dataclass
class _Job:
    item: Rotatable
    outcome: Outcome
    replacement: Replacement | None = None
    waits: Mapping[str, int] = field(default_factory=dict)

    @property
    def alive(self) -> bool:
        return self.replacement is not None and self.outcome.error is None


def pending(hub: Hub, store: Secrets, state: State) -> list[str]:
    """The names of everything that an earlier run began and did not finish."""
    known = {one.kept: one.name for one in catalog.everything(hub)}
    begun = [known.get(kept, kept) for kept in records.pending(store)]
    return [*begun, *([catalog.KEY] if sshkey.pending(state) else [])]


def logins_at(hub: Hub, provider: Instance) -> frozenset[str]:
    """The names of all that something logs in with at a provider."""
    every = catalog.everything(hub)
    return frozenset(one.name for one in every if isinstance(one.of, Pair) and one.of.provider == provider.name)


def resume(systems: Systems, say: Say = lambda name, text: None, names: Collection[str] | None = None) -> list[Outcome]:
    """Finishes what an earlier run began: everything, or what is named."""
    begun = _begun(systems, say)
    return _replace(systems, (), begun if names is None else begun & set(names), say)


def rotate(systems: Systems, chosen: Sequence[Rotatable], say: Say = lambda name, text: None) -> list[Outcome]:
    """Replaces what was chosen and finishes what was begun; what an earlier run began is not replaced twice.

    Everything is tried; the outcomes say what failed.
    """
    return _replace(systems, chosen, _begun(systems, say), say)


def _replace(systems: Systems, chosen: Sequence[Rotatable], begun: set[str], say: Say) -> list[Outcome]:
    wanted = {one.name for one in chosen} | begun
    jobs = [_Job(one, Outcome(one.name, one.name in begun)) for one in catalog.everything(systems.hub)]
    jobs = [job for job in jobs if job.item.name in wanted]
    _on_guests(systems, [job for job in jobs if _closes(job.item)], say)
    _on_guests(systems, [job for job in jobs if job.item.kind not in LAST and not _closes(job.item)], say)
    by_name = {job.item.name: job for job in jobs}
    for kind in LAST:
        names = [name for name, job in by_name.items() if job.item.kind == kind]
        parallel.for_all(names, lambda name: _alone(systems, by_name[name], say))
    return [job.outcome for job in jobs]


def raise_first(outcomes: Iterable[Outcome]) -> None:
    """The first error, if there was one."""
    for one in outcomes:
        if one.error is not None:
            raise one.error


def _closes(item: Rotatable) -> bool:
    """Whether we are out of a provider for a while, which is when nobody else's password can be replaced there."""
    return isinstance(item.of, Pair) and item.of.strategy == "single" and item.of.role == RECONCILE_ROLE


def _interrupts(job: _Job) -> bool:
    """Whether its consumer is out from the moment at which it is published."""
    return isinstance(job.item.of, Pair) and bool(job.item.of.interrupts)


def _begun(systems: Systems, say: Say) -> set[str]:
    known = {one.name for one in catalog.everything(systems.hub)}
    begun = set(pending(systems.hub, systems.vault, systems.state))
    for name in begun - known:
        say(name, "is not in the hub any more: its rotation ends here")
        systems.vault.destroy(records.path(name))
    return begun & known


def _on_guests(systems: Systems, jobs: Iterable[_Job], say: Say) -> None:
    groups: dict[str, list[_Job]] = {}
    for job in jobs:
        groups.setdefault(job.item.guest, []).append(job)
    parallel.for_all(groups, lambda guest: _on_guest(systems, guest, groups[guest], say))


def _on_guest(systems: Systems, guest: str, jobs: Sequence[_Job], say: Say) -> None:
    """All that one guest's agent takes up: published together, waited for once, then the old ones end."""
    started = time.monotonic()
    fresh = [job for job in jobs if not job.outcome.resumed]
    with _collected(fresh):
        _wait(systems, guest, _now(systems, fresh))
    for job in sorted([job for job in jobs if job.outcome.error is None], key=_interrupts):
        with _collected([job]):
            say(job.item.name, "is finished" if job.outcome.resumed else "gets a new one")
            job.replacement = _replacement(systems, job)
            job.waits = job.replacement.publish()
    flying = [job for job in jobs if job.alive]
    with _collected(flying):
        _wait(systems, guest, {path: version for job in flying for path, version in job.waits.items()})
        if any(isinstance(job.item.of, Pair) for job in flying):
            time.sleep(systems.grace)
    for job in flying:
        with _collected([job]):
            if job.replacement is not None and job.alive:
                job.replacement.finish()
                say(job.item.name, "done")
    for job in jobs:
        job.outcome.seconds = time.monotonic() - started


def _alone(systems: Systems, job: _Job, say: Say) -> None:
    started = time.monotonic()
    with _collected([job]):
        say(job.item.name, "gets a new one")
        _replacement(systems, job).finish()
        say(job.item.name, "done")
    job.outcome.seconds = time.monotonic() - started


def _now(systems: Systems, jobs: Sequence[_Job]) -> dict[str, int]:
    """What the guest reads of all that is about to begin: a guest that does not follow is left alone."""
    found = {}
    for job in jobs:
        if (path := _read_by_guest(job.item)) and (entry := systems.vault.read(path)):
            found[path] = entry.version
    return found


def _read_by_guest(item: Rotatable) -> str:
    if isinstance(item.of, Pair):
        return item.of.entry.path if item.of.entry else item.of.path if item.guest else ""
    return item.of.path if isinstance(item.of, SecretRef) else ""


def _wait(systems: Systems, guest: str, versions: Mapping[str, int]) -> None:
    if guest and versions:
        systems.wait(guest, versions)


def _replacement(systems: Systems, job: _Job) -> Replacement:
    item = job.item
    if job.outcome.resumed and item.kind not in LAST:
        return _taken(systems, item)
    match item.of:
        case Pair():
            return pairs.begin(systems, item.of, item.kept)
        case SecretRef():
            return plain_secrets.Rotation(systems, item.of)
        case Certificate():
            return certificates.begin(systems, item.of, item.kept)
    if item.kind == "login":
        return logins.of_guest(systems, item.guest)
    own = {"operator": logins.of_controller, "token": logins.of_token, "key": logins.of_key}
    return own[item.kind](systems)


def _taken(systems: Systems, item: Rotatable) -> Replacement:
    record = records.taken(systems.vault, item.kept)
    if record is None:
        return logins.Rotation(lambda: None)  # somebody else has finished it since it was listed
    if isinstance(item.of, Pair):
        return pairs.taken(systems, item.of, record)
    if isinstance(item.of, Certificate):
        return certificates.Rotation(systems, item.of, record)
    raise Conflict(
        "a replacement is noted as begun for a secret that is replaced at once", where=records.path(item.kept)
    )


@contextmanager
def _collected(jobs: Sequence[_Job]) -> Iterator[None]:
    """An error is that of these jobs; others go on."""
    try:
        yield
    except HubError as error:
        for job in jobs:
            job.outcome.error = job.outcome.error or error
