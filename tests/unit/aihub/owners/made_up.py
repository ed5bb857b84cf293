"""A hub of made-up stacks and guests that only pretend: the real owners work on it, and it keeps what they did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import paths, render, report, ssh, targets
from aihub.errors import HubError, TaskFailed
from aihub.guests import ansible
from aihub.guests.probe import Inside
from aihub.model.resolved import Hub, Instance
from aihub.options import Options
from aihub.owners import hub as owners
from aihub.owners import insides, order, secrets, services, vault
from aihub.owners.run import Run
from aihub.plan import Change, Plan
from aihub.reading import load
from aihub.services.service import Service, Step
from aihub.state.directory import State

HUB = """
hub: {name: made-up, domain: made-up.home.arpa}
nodes:
  pve: {address: 192.168.1.10, storage: {fast: {use: local-zfs}, bulk: {use: tank}}, lab: {cores: 24, memory: 128GiB}}
zones:
  infra: {subnet: 10.10.10.0/24, internet: outbound}
  private: {subnet: 10.10.20.0/24, internet: none}
guests:
"""
GUEST = "  {}: {{vmid: {}, kind: lxc, zone: {}, address: {}, cores: 1, memory: 2GiB, disk: 8GiB, stacks: [{}]}}\n"
SUBNET = {"infra": "10.10.10", "private": "10.10.20"}


class World:
    """Guests that were never configured, and what was done to them, in order."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.stacks = folder / "stacks"
        self.folder = folder
        self.did: list[tuple[str, str]] = []  # machine, agent, start, inside, remove: of whom
        self.calls: list[tuple[str, list[str]]] = []  # each run of Ansible
        self.failing: dict[tuple[str, str], HubError] = {}
        self.silent: set[str] = set()
        self.recorded: dict[str, dict[str, str]] = {}
        self.logins: set[tuple[str, str]] = set()  # provider, consumer: who can log in where
        self.left: list[str] = []  # rotations that an earlier run began
        self.more: dict[str, list[Step]] = {}  # what a second look at a provider finds beside its logins
        self.waits: Callable[[str, str], None] = lambda what, whom: None
        self._turn = Lock()
        self._guests: list[str] = []
        for module in (paths, services.services, render.stacks, render.sources, render.containers):
            monkeypatch.setattr(module, "STACKS", self.stacks)
        monkeypatch.setattr(order, "GATHER", 0.05)
        for place, name, stand_in in (
            (owners.guests, "require_running", lambda run: None),
            (insides.probe, "read", self._read),
            (insides.ansible, "attempt", self._attempt),
            (insides.ansible, "remove", self._remove),
            (insides.last_words, "told", lambda state, guest, stacks: dict.fromkeys(stacks, "its last words")),
            (vault, "place_listener", lambda run: self.do("listener", run.hub.vault.name)),
            (vault, "apply", lambda run, agreed, progress: self.do("store", run.hub.vault.name)),
            (vault, "keep_kit", lambda run, progress: self.do("kit", "the kit")),
            (secrets.store, "versions", lambda hub, known: dict.fromkeys(secrets.store.declared(hub), 1)),
            (secrets.enrol, "ended", lambda hub, known: frozenset(hub.agents)),
            (secrets.enrol, "enrol", lambda hub, state, known, guest: self.do("agent", guest)),
            (secrets.agent, "wait", lambda state, guest, versions: None),
            (secrets.rotation, "pending", lambda hub, known, state: self.left),
            (secrets.rotation, "of", lambda hub, state, known: ExitStack()),
            (secrets.rotation, "resume", self._resume),
            (services.services, "opened", self._opened),
            (services.services, "reconciler", lambda stack: self),
        ):
            monkeypatch.setattr(place, name, stand_in)

    def stack(self, name: str, *, reconciled: bool = False, zones: str = "infra, private", **keys: str) -> None:
        """Writes the folder of a stack."""
        folder = self.stacks / name
        folder.mkdir(parents=True)
        lines = [f"title: {name}", "why: made up", f"zones: [{zones}]", "uid: 1000", "lab: build", "memory: 16MiB"]
        lines += [f"{key}: {text}" for key, text in keys.items()]
        (folder / "stack.yml").write_text("\n".join(lines) + "\n")
        (folder / "compose.yml").write_text(f"services: {{{name}: {{image: made/{name}:1}}}}\n")
        if reconciled:
            (folder / "reconcile.py").touch()

    def guest(self, name: str, *stacks: str, zone: str = "infra") -> None:
        """Adds a guest to hub.yml."""
        number = len(self._guests) + 11
        self._guests.append(GUEST.format(name, 100 + number, zone, f"{SUBNET[zone]}.{number}", ", ".join(stacks)))

    def run(self, **options: Any) -> Run:
        """A run whose plan is what these guests need, all agreed to."""
        path = self.folder / "hub.yml"
        path.write_text(HUB + "".join(self._guests))
        hub, state, chosen = (
            load.load(path, self.stacks, target="lab"),
            State(self.folder / "state"),
            Options(**options),
        )
        state.make()
        ssh.ensure_key(state)
        run = Run(chosen, hub, state, targets.chosen(chosen, hub), report, ExitStack(), "up")
        run.running = lambda: list(hub.guests)  # type: ignore[method-assign]
        run.opened_vault = SimpleNamespace()  # type: ignore[assignment]
        run.insides = self._read(hub, state, hub.guests)
        run.plan = Plan((*insides.look(run).changes, *self._agreed(hub)))
        return run

    def do(self, what: str, whom: str) -> None:
        """Writes down what was done. Raises what it fails with."""
        self.waits(what, whom)
        with self._turn:
            self.did.append((what, whom))
        if error := self.failing.get((what, whom)):
            raise error

    def at(self, what: str, whom: str) -> int:
        """When it was done; a test that asks expects that it was."""
        return self.did.index((what, whom))

    def done(self, what: str) -> list[str]:
        """To whom it was done, in order, whatever came of it."""
        return [whom for word, whom in self.did if word == what]

    # -- what stands in for guests

    def _read(self, hub: Hub, state: State, names: Sequence[str]) -> dict[str, Inside]:
        return {name: self._looked(hub, name) for name in names}

    def _looked(self, hub: Hub, name: str) -> Inside:
        """A guest as it was left, with the secrets of what started."""
        known = self.recorded.get(name, {})
        here = insides.probe.secret_paths(hub, name)
        there = {path: uid for path, (of, uid) in here.items() if f"stack/{of.partition('@')[0]}" in known}
        secret = {path: {"mode": "0400", "owner": f"{uid}:{uid}"} for path, uid in there.items()}
        error = "no ssh" if name in self.silent else ""
        return Inside(name, error, manifest={"desired": dict(known), "entries": {}}, secrets=secret)

    def _attempt(
        self,
        hub: Hub,
        state: State,
        wanted: ansible.Wanted,
        *,
        phase: ansible.Phase,
        instances: Sequence[str] | None = None,
        through: Callable[[str, Mapping[str, HubError]], None] = lambda guest, failed: None,
        **_: Any,
    ) -> dict[str, HubError]:
        failed: dict[str, HubError] = {}
        roles = [
            guest
            for guests in ansible._runs(wanted, {name: keys or () for name, keys in wanted.items()}).values()
            for guest in guests
        ]
        chosen = ansible._chosen(hub, wanted, instances) if phase == "stacks" else {guest: [""] for guest in roles}
        if chosen:
            names = [f"{stack}@{guest}" if stack else guest for guest, stacks in chosen.items() for stack in stacks]
            self.calls.append((phase, names))
        for guest, stacks in chosen.items():
            for stack in stacks:
                self._make(hub, state, phase, guest, stack, failed)
            through(guest, failed)
        return failed

    def _make(self, hub: Hub, state: State, phase: str, guest: str, stack: str, failed: dict[str, HubError]) -> None:
        name = f"{stack}@{guest}" if stack else guest
        try:
            self.do("start" if stack else "machine", name)
            if stack:
                self._healthy(hub.instance(name))
        except HubError as error:
            failed[name] = error
            return
        keys = [f"stack/{stack}"] if stack else ["base"]
        known = render.desired(hub, state)[guest]
        self.recorded.setdefault(guest, {}).update({key: known[key] for key in keys})

    def _healthy(self, instance: Instance) -> None:
        """What logs in elsewhere is healthy only when it gets in."""
        for provider in instance.started_after:
            logs_in = (paths.STACKS / provider.partition("@")[0] / "reconcile.py").exists()
            if logs_in and (provider, instance.name) not in self.logins:
                raise TaskFailed("container is unhealthy: login failed", where=instance.name, hint="aihub up")

    def _remove(self, hub: Hub, state: State, gone: Mapping[str, Sequence[str]], *_: Any) -> dict[str, HubError]:
        failed = {}
        for guest, stacks in gone.items():
            for stack in stacks:
                try:
                    self.do("remove", f"{stack}@{guest}")
                    self.recorded[guest].pop(f"stack/{stack}")
                except HubError as error:
                    failed[guest] = error
        return failed

    # -- what stands in for services

    @contextmanager
    def _opened(self, hub: Hub, state: State, known: Any, instance: Instance) -> Iterator[Service]:
        yield Service(hub, instance, known, state.ca, self.folder)

    def read(self, service: Service) -> str:
        return service.instance.name

    def diff(self, declared: Any, state: str | None) -> list[Step]:
        here = declared.instance
        missing = [one.consumer for one in declared.consumers if (here, one.consumer) not in self.logins]
        return [*self.more.get(here, ()), *(Step("create", f"login {name}", details={"of": name}) for name in missing)]

    def apply(self, service: Service, steps: Sequence[Step], say: Any) -> None:
        self.do("inside", service.instance.name)
        self.logins |= {(service.instance.name, step.details["of"]) for step in steps if "of" in step.details}

    def _resume(self, reach: Any, say: Any, names: Sequence[str]) -> list[Any]:
        for name in sorted(names):
            self.do("rotation", name)
        return []

    def _agreed(self, hub: Hub) -> list[Change]:
        names = [i.name for i in hub.instances]
        store = hub.vault
        rotations = [vault.unfinished(store, name) for name in self.left] if store else []
        return [*rotations, *services.services.first(hub, names)]


def world(folder: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """A database, a cache, and who logs in there; a store; a way out for a closed zone; what needs nothing."""
    made = World(folder, monkeypatch)
    made.stack("vault", office="secrets", gives="{vault: {port: 8200, publish: none}}", zones="infra")
    made.stack("egress", office="egress", gives="{proxy: {port: 3128, publish: none}}", zones="infra")
    for name, strategy, port in (("postgres", "pair", 5432), ("redis", "overlap", 6379)):
        gives = f"{{{name}: {{port: {port}, publish: none, strategy: {strategy}, admin: {strategy}}}}}"
        made.stack(name, reconciled=True, needs="{tls: {on_change: none}}", gives=gives)
    made.stack("ollama", reconciled=True, gives="{http: {port: 11434}}")
    made.stack("shop", needs="{start: {postgres: [main]}}", gives="{shop: {port: 8080}}")
    made.stack("queue", needs="{start: {redis: [jobs]}}")
    made.stack("front", needs="{start: {shop: [main]}}")
    made.stack("plain")
    made.guest("db", "postgres")
    made.guest("cache", "redis", "egress")
    made.guest("security", "vault")
    made.guest("apps", "shop", "queue", "plain")
    made.guest("web", "front")
    made.guest("inner", "ollama", "plain", zone="private")
    return made
