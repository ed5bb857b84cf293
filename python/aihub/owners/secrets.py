"""What the store's entries need to be used: agents that are logged in and have the newest version of each."""

from __future__ import annotations

import time

from aihub.model.resolved import Instance
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


class Agents:
    """The agents of one run, and what the store has for them, asked for once it serves."""

    def __init__(self, run: Run, agreed: Plan, progress: Progress) -> None:
        self._run = run
        self._agreed = agreed
        self._progress = progress
        self._versions: dict[str, int] = {}
        self._ended: frozenset[str] = frozenset()

    def learn(self) -> None:
        """Asks the store for the versions of its entries, and who has no login."""
        known = self._run.vault()
        self._versions, self._ended = store.versions(self._run.hub, known), enrol.ended(self._run.hub, known)

    def serve(self, guest: str) -> None:
        """The agent of a guest is logged in, and its services use the newest version of every entry.

        Of the second look only newer entries count as more than was agreed: they restart services. That an agent lost
        its login disturbs nobody when it gets a new one, and while the store itself restarts every agent says so.
        """
        run = self._run
        require_agreed(self._agreed, _newer(run, guest, self._versions))
        self._progress(guest, "its agent fetches secrets")
        if guest in self._ended or not _logged_in(run, guest):
            run.changed = True
            enrol.enrol(run.hub, run.state, run.vault(), guest)
        agent.wait(run.state, guest, {path: self._versions[path] for path in agent.paths(run.hub, guest)})


def _newer(run: Run, guest: str, now: dict[str, int]) -> list[Change]:
    """What the agent of a guest that was looked into before does not have yet."""
    inside = run.insides.get(guest)
    if inside is None or not inside.agent:
        return []
    return [change for change in agent.changes(run.hub, {guest: inside}, now) if change.parts]


class Unfinished:
    """What killed rotations began: done to its end before anybody compares logins at a provider.

    One has given a service a password that the store does not hold as the one in use.
    """

    def __init__(self, run: Run, agreed: Plan, progress: Progress) -> None:
        self._run = run
        self._agreed = agreed
        self._progress = progress
        self._left: frozenset[str] = frozenset()

    def learn(self) -> None:
        """Asks the store what was left."""
        self._left = frozenset(rotation.pending(self._run.vault(), self._run.state))

    def finish_at(self, provider: Instance) -> None:
        """Those of the logins at one provider."""
        self._finish(self._left & rotation.logins_at(self._run.hub, provider))

    def finish_rest(self) -> None:
        """All others, and the recovery kit knows."""
        at = [rotation.logins_at(self._run.hub, provider) for provider in self._run.hub.instances]
        self._finish(self._left.difference(*at))
        if self._left:
            vaults.keep_kit(self._run, self._progress)

    def _finish(self, names: frozenset[str]) -> None:
        run = self._run
        if not names or run.hub.vault is None:
            return
        require_agreed(self._agreed, [vaults.unfinished(run.hub.vault, name) for name in sorted(names)])
        with rotation.of(run.hub, run.state, run.vault()) as reach:
            rotation.raise_first(rotation.resume(reach, self._progress, names))


def _logged_in(run: Run, guest: str) -> bool:
    limit = time.monotonic() + LOGIN_PATIENCE
    found = agent.status(run.state, guest, wake=True)
    while not found.logged_in and "no secret-id" not in found.error and time.monotonic() < limit:
        time.sleep(0.5)
        found = agent.status(run.state, guest)
    return found.logged_in
