"""What the store's entries need to be used: agents that are logged in and have the newest version of each."""

from __future__ import annotations

import time

from aihub import render
from aihub.guests import probe
from aihub.model.resolved import Instance, SecretRef
from aihub.plan import Change, Plan, require_agreed
from aihub.screen import Progress
from aihub.secrets import agent, enrol, rotation, store

from . import choice
from . import vault as vaults
from .run import Run

AGENT = "vault_agent"
LOGIN_PATIENCE = 6.0  # seconds: an agent that was just started may have a login already


def look(run: Run) -> Plan:
    """The guests whose agents are to log in, and those that have older entries than the store."""
    instance = run.hub.vault
    if instance is None:
        return Plan()
    fresh = [name for name in run.hub.agents if run.begins(name, AGENT) and not _has_agent(run, name)]
    first = [agent.first(run.hub, name) for name in fresh]
    if run.standing(instance) != "there" or run.opened_vault is None:
        return Plan(tuple(first))
    known = run.vault()
    coming = store.coming(run.hub, known)
    return Plan((*first, *agent.changes(run.hub, run.insides, coming, enrol.ended(run.hub, known))))


def _has_agent(run: Run, guest: str) -> bool:
    """Whether an agent told of itself there, though no manifest lists it."""
    inside = run.insides.get(guest)
    return bool(inside and inside.agent)


class Agents:
    """The agents of one run, and what the store has for them, asked for once it serves."""

    def __init__(self, run: Run, agreed: Plan, progress: Progress) -> None:
        self._run = run
        self._agreed = agreed
        self._progress = progress
        self._versions: dict[str, int] = {}
        self._ended: frozenset[str] = frozenset()
        self._late: dict[str, agent.NotInUse] = {}

    def learn(self) -> None:
        """Asks the store for the versions of its entries, and who has no login."""
        known = self._run.vault()
        self._versions, self._ended = store.versions(self._run.hub, known), enrol.ended(self._run.hub, known)

    def serve(self, guest: str) -> None:
        """The agent of a guest is logged in, and its services use the newest version of every entry.

        Who does not is the one whose instance `require` refuses: the others of its guest have all that is theirs.
        Of the second look only newer entries count as more than was agreed: they restart services. That an agent lost
        its login disturbs nobody when it gets a new one, and while the store itself restarts every agent says so.
        """
        run = self._run
        require_agreed(self._agreed, choice.only(_newer(run, guest, self._versions), run.choice))
        if self._is_served(guest):
            return
        self._progress(guest, "its agent fetches secrets")
        if guest in self._ended or not _logged_in(run, guest):
            run.changed = True
            enrol.enrol(run.hub, run.state, run.vault(), guest)
        wanted = {path: self._versions[path] for path in agent.paths(run.hub, guest)}
        try:
            agent.wait(run.state, guest, wanted)
        except agent.NotInUse as error:
            if not error.behind <= wanted.keys():
                raise  # what is the machine's own is everybody's matter there
            self._late[guest] = error

    def _is_served(self, guest: str) -> bool:
        """Whether the look just before this found it so, and nothing was to be done that an agent has to hear of."""
        run, inside = self._run, self._run.insides.get(guest)
        here = [change for change in self._agreed.of("insides") if change.subject == guest]
        roles = any(not part.startswith(probe.STACK) for change in here for part in change.parts or ("all",))
        if run.options.full or self._agreed.of("guests", "vault", "secrets") or roles or inside is None:
            return False
        says = agent.Status.of(guest, inside.agent)
        changes = agent.changes(run.hub, {guest: inside}, self._versions, self._ended)
        return says.logged_in and says.has_certificate and not inside.error and not changes

    def require(self, name: str) -> None:
        """An instance has its secrets, and uses them where it runs. Raises NotInUse."""
        late = self._late.get(self._run.hub.instance(name).guest.name)
        own = [ref.path for ref in self._run.hub.secrets if ref.instance == name]
        if late and late.behind & set(own):
            raise late.of(name, own)


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
        self._left = frozenset(rotation.pending(self._run.hub, self._run.vault(), self._run.state))

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


def bring(run: Run, ref: SecretRef, version: int) -> str:
    """The agent of its guest brings a given secret now; what is left to do otherwise, in words."""
    guest = run.hub.instance(ref.instance).guest.name
    if why := _not_now(run, guest):
        return why
    agent.wait(run.state, guest, {ref.path: version})
    return ""


def take_back(run: Run, ref: SecretRef) -> str:
    """The agent of its guest lets go of a given secret now; what is left to do otherwise, in words."""
    guest = run.hub.instance(ref.instance).guest.name
    if why := _not_now(run, guest):
        return why
    agent.wait_gone(run.state, guest, ref.path)
    return ""


def _not_now(run: Run, guest: str) -> str:
    """Why a guest's agent can't be waited for; empty when it can."""
    inside = probe.read(run.hub, run.state, [guest])[guest]
    if inside.error:
        return f"{guest} does not answer: its agent follows when it runs"
    wanted = render.desired(run.hub, run.state)[guest]
    if inside.manifest.get("desired", {}).get(AGENT) != wanted[AGENT]:
        return f"the agent of {guest} is not as hub.yml wants it yet: aihub up"
    return ""


def _logged_in(run: Run, guest: str) -> bool:
    limit = time.monotonic() + LOGIN_PATIENCE
    found = agent.status(run.state, guest, wake=True)
    while not found.logged_in and "no secret-id" not in found.error and time.monotonic() < limit:
        time.sleep(0.5)
        found = agent.status(run.state, guest)
    return found.logged_in
