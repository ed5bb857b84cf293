"""A hub of real processes whose providers give kinds that aihub has never heard of, one for each strategy.

tests/vault/stacks/{ledger,queue,keyring,stamp} are given by kinds_server.py, over TLS with the certificates that their
agent brings; `reader` logs in at each of them with kinds_prober.py. A guest's systemctl really restarts them.
"""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from aihub.model.resolved import Hub, Instance
from aihub.secrets import store as secretstore
from aihub.secrets.rotation import records
from aihub.secrets.rotation.systems import Systems
from aihub.services import service as services
from aihub.services.road import Road
from aihub.services.service import Service
from aihub.vault.client import Vault

from . import local_vault, rotation_world
from .local_vault import _free_port
from .rotation_world import World, eventually

GIVERS, DESK = "givers", "desk"
PROVIDERS = {"ledger": "pair", "queue": "overlap", "keyring": "single", "stamp": "certificate"}
NEEDS = {"ledger": "main", "queue": "jobs", "keyring": "seal", "stamp": "mark"}
SEALED = "reader@desk/keyring_seal"
CONSUMED = ("reader@desk/ledger_main", "reader@desk/queue_jobs", SEALED)
ADMINS = ("ledger@givers/reconcile", "queue@givers/reconcile", "keyring@givers/reconcile")
LATER = "hub/givers/queue/ledger_accounts"

STACKS = local_vault.HERE / "stacks"


@dataclass
class Facts(rotation_world.Facts):
    """The providers beside the rest."""

    sockets: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Login:
    """One try of a prober."""

    begun: float
    ended: float
    why: str  # empty: it got in


def reach(facts: rotation_world.Facts, hub: Hub, vault: Vault, patience: float = 10.0) -> Systems:
    """Each provider at its own socket."""
    assert isinstance(facts, Facts)

    @contextmanager
    def service(instance: Instance) -> Iterator[Service]:
        path = Path(facts.sockets[instance.stack.name])
        yield Service(hub, instance, vault, facts.state.ca, Road(lambda: nullcontext(path), lambda: nullcontext(0)))

    return replace(rotation_world.reach(facts, hub, vault, patience), service=service)


class Kinds(World):
    """Everything that runs, and how it is looked at."""

    driver: ClassVar = "tests.vault.kinds_driver"
    # A unit's restart is over when the service is ready.
    acts: ClassVar = """
[ "$1" = restart ] || exit 0
for unit in "${0%/bin/*}/units/$2"/*.pid; do
  [ -e "$unit" ] || exit 0
  rm -f "$unit.ready"; kill -HUP "$(cat "$unit")"
done
for unit in "${0%/bin/*}/units/$2"/*.pid; do
  until [ -e "$unit.ready" ]; do sleep 0.02; done
done
"""

    first: tuple[list[str], list[str]]
    """The files that the queue began with, and what its guest's agent had asked for by then."""
    ports: dict[str, int]

    def start(self) -> None:
        """All of it; the login that the queue needs later comes when everything runs."""
        self.ports = ports = {stack: _free_port() for stack in PROVIDERS}
        secretstore.ensure(self.hub, self.vault)
        self.vault.destroy(LATER)
        for guest in self.hub.agents:
            self.guest(guest, LATER if guest == GIVERS else "")
        sockets = {stack: str(self.front(stack, port)) for stack, port in ports.items()}
        agents = {guest: self.processes[guest].pid for guest in self.hub.agents}
        self.facts = Facts(str(self.home), str(self.server.forward()), "", 0, agents, sockets)
        for stack, port in ports.items():
            self._provider(stack, port)
        for stack, port in ports.items():
            self._reader(stack, port)
        eventually(lambda: min(self.logins()) > 0)
        self.first = ([path.name for path in (self.facts.run(GIVERS) / "queue").iterdir()], self.calls(GIVERS))
        assert secretstore.ensure(self.hub, self.vault) == [LATER]
        self.processes[GIVERS].send_signal(signal.SIGHUP)
        eventually(lambda: self.content(GIVERS))

    def _unit(self, guest: str, stack: str, name: str) -> Path:
        folder = self.home / guest / "units" / f"hub-{stack}.service"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.pid"

    def _provider(self, stack: str, port: int) -> None:
        """It runs, and its own reconcile.py has made what its consumers need."""
        home, unit = self.home / stack, self._unit(GIVERS, stack, stack)
        home.mkdir()
        shown = [one for one in self.hub.certificates if one.client]
        (home / "clients").write_text("".join(f"{one.name} {_role(self.hub, one.role)}\n" for one in shown))
        program = [sys.executable, "-m", "tests.vault.kinds_server", PROVIDERS[stack], str(port)]
        self.begin(stack, [*program, self.facts.run(GIVERS) / stack, home, unit], cwd=local_vault.ROOT)
        eventually(Path(f"{unit}.ready").exists)
        instance = self.hub.instance(f"{stack}@{GIVERS}")
        if instance in services.reconciled(self.hub):
            module = services.reconciler(stack)
            with self.reach().service(instance) as service:
                module.apply(service, module.diff(service.declared, module.read(service)), lambda text: None)
                assert module.diff(service.declared, module.read(service)) == []

    def _reader(self, stack: str, port: int) -> None:
        role = f"reader_desk_{NEEDS[stack]}"
        argv = [
            sys.executable,
            "-m",
            "tests.vault.kinds_prober",
            stack,
            self.facts.run(DESK) / "reader",
            role,
            str(port),
        ]
        log, unit = self.home / f"reader-{stack}.log", self._unit(DESK, "reader", stack)
        self.begin(f"reader-{stack}", [*argv, self.hub.guests[GIVERS].fqdn, log, unit], cwd=local_vault.ROOT)

    # -- looking at it

    def alive(self, name: str) -> list[str]:
        """With `single` it is the old password or the new one; the journal has both."""
        if self.pair(name).strategy != "single":
            return super().alive(name)
        page = self.vault.read(records.path(name))
        known = {self.passwords(name)["a"], *((page.data["a"], page.data["new"]) if page else ())}
        opened = [password for password in known if self.opens(name, "a", password)]
        return [] if len(opened) == 1 else [f"{name}: {len(opened)} passwords of {len(known)} open it"]

    def reach(self, vault: Vault | None = None) -> Systems:
        return reach(self.facts, self.hub, vault or self.vault)

    def tries(self, stack: str) -> list[Login]:
        """Every try to log in at a provider."""
        found = re.finditer(r"^(\d\S+) (\d\S+) (?:ok|no (.*))$", self._text(f"reader-{stack}.log"), re.MULTILINE)
        return [Login(float(one[1]), float(one[2]), one[3] or "") for one in found]

    def logins(self) -> tuple[int, ...]:
        return tuple(sum(not one.why for one in self.tries(stack)) for stack in PROVIDERS)

    def failures(self) -> list[str]:
        """What failed where the strategy does not admit it, or for too long; asked for the first time."""
        lines = [
            f"{stack} {one.begun:.3f}: {one.why}"
            for stack in PROVIDERS
            for one in self.tries(stack)
            if one.why and not any(begin <= one.ended and one.begun <= end for begin, end in self.out(stack))
        ]
        new = [line for line in lines if line not in self.told]
        self.told |= set(lines)
        return new

    def out(self, stack: str) -> list[tuple[float, float]]:
        """The times in which somebody may be kept out: a change until the reader starts with it, a restart."""
        if PROVIDERS[stack] != "single":
            return []
        events = [line.split() for line in self._text(f"{stack}/events").splitlines()]
        starts = [line.split() for line in self._text(f"reader-{stack}.log").splitlines() if " read " in line]
        news = [float(new[0]) for old, new in pairwise(starts) if old[2] != new[2]]
        changes = [float(time) for time, what, *name in events if what == "set" and name[0].startswith("reader_")]
        found = [(begin, min((end for end in news if end > begin), default=begin)) for begin in changes]
        stops = [(float(a[0]), float(b[0])) for a, b in pairwise(events) if (a[1], b[1]) == ("stop", "serve")]
        return [*found, *stops]

    def outages(self, stack: str) -> list[float]:
        """How long somebody was kept out in fact, in seconds: from the first failure to the next login."""
        found, begin = [], 0.0
        for one in self.tries(stack):
            if one.why and not begin:
                begin = one.begun
            elif not one.why and begin:
                found.append(one.ended - begin)
                begin = 0.0
        return found

    def calls(self, guest: str) -> list[str]:
        """What its agent asked of systemd and Docker."""
        return self._text(f"{guest}/calls").splitlines()

    def _text(self, name: str) -> str:
        path = self.home / name
        return path.read_text() if path.exists() else ""


def _role(hub: Hub, certificate: str) -> Any:
    """Whose certificate it is, as providers call their consumers."""
    return next(one.role for one in hub.consumers if certificate.endswith(f"-{one.name}"))
