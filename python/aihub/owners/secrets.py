"""What the store's entries need to be used: agents that are logged in and have the newest version of each."""

from __future__ import annotations

import time
from collections.abc import Sequence

from aihub import parallel
from aihub.plan import Change, Plan, require_agreed
from aihub.screen import Progress
from aihub.secrets import agent, enrol, rotation, store

from . import vault as vaults
from .run import Run

LOGIN_PATIENCE = 6.0  # seconds: an agent that was just started may have a login already


def look(run: Run) -> Plan:
    """The guests whose agents are to log in, and those that have older entries than the store."""
    instance = run.hub.vault
    if instance is None:
        return Plan()
    fresh = [name for name in run.hub.agents if run.begins(name, "vault_agent")]
    first = [agent.first(run.hub, name) for name in fresh]
    if run.standing(instance) != "there" or run.opened_vault is None:
        return Plan(tuple(first))
    known = run.vault()
    return Plan((*first, *agent.changes(run.hub, run.insides, _coming(run), enrol.ended(run.hub, known))))


def _coming(run: Run) -> dict[str, int]:
    """The newest version of every entry; one that is missing is made before agents are asked for it."""
    return {path: version or 1 for path, version in store.versions(run.hub, run.vault()).items()}


def apply(run: Run, agreed: Plan, guests: Sequence[str], progress: Progress) -> None:
    """The agents of these guests are logged in, and their services use the newest version of every entry.

    Of the second look only newer entries count as more than was agreed: they restart services. That an agent lost its
    login disturbs nobody when it gets a new one, and while the store itself restarts every agent says so.
    """
    names = [name for name in guests if name in run.hub.agents]
    if not names:
        return
    known = run.vault()
    now, ended = store.versions(run.hub, known), enrol.ended(run.hub, known)
    require_agreed(agreed, _newer(run, names, now))

    def one(name: str) -> None:
        progress(name, "its agent fetches secrets")
        if name in ended or not _logged_in(run, name):
            enrol.enrol(run.hub, run.state, known, name)
        agent.wait(run.state, name, {path: now[path] for path in agent.paths(run.hub, name)})

    parallel.for_all(names, one)


def _newer(run: Run, names: Sequence[str], now: dict[str, int]) -> list[Change]:
    """What the agents of guests that were looked into before do not have yet."""
    known = {name: run.insides[name] for name in names if name in run.insides and run.insides[name].agent}
    return [change for change in agent.changes(run.hub, known, now) if change.parts]


def finish(run: Run, agreed: Plan, progress: Progress) -> None:
    """What a killed rotation began is done to its end, and the recovery kit knows.

    It has given a service a password that the store does not hold as the one in use: nobody else can compare logins.
    """
    if run.hub.vault is None:
        return
    known = run.vault()
    left = rotation.pending(known, run.state)
    if not left:
        return
    require_agreed(agreed, [vaults.unfinished(run.hub.vault, name) for name in left])
    with rotation.of(run.hub, run.state, known) as reach:
        rotation.raise_first(rotation.resume(reach, progress))
    vaults.keep_kit(run, progress)


def _logged_in(run: Run, guest: str) -> bool:
    limit = time.monotonic() + LOGIN_PATIENCE
    found = agent.status(run.state, guest, wake=True)
    while not found.logged_in and "no secret-id" not in found.error and time.monotonic() < limit:
        time.sleep(0.5)
        found = agent.status(run.state, guest)
    return found.logged_in
