"""Objects inside services (databases, ACL users, pulled models): runs each stack's own reconcile.py.

A reconcile.py has three functions: `read(service)` returns what is there, `diff(service, state)` the steps that are
missing, `apply(service, steps, say)` does them. It speaks to the service through a forwarded socket, with a login
of its own, and never touches containers or files of the guest.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from aihub.errors import HubError
from aihub.model.resolved import VERIFY, Hub, Instance
from aihub.paths import STACKS, State
from aihub.plan import Change, Difference
from aihub.secretstore import Secrets

from . import ssh

Progress = Callable[[str, str], None]


@dataclass(frozen=True)
class Login:
    """A consumer's owner role, and the passwords of its paired logins: half (`a`, `b`) -> value."""

    role: str
    passwords: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Service:
    """A running instance as its reconcile.py sees it. `socket` leads to the instance's main port."""

    hub: Hub
    instance: Instance
    socket: Path
    secrets: Secrets

    def secret(self, name: str) -> str:
        """A secret of the instance's own."""
        return self.secrets.get(self.instance.name, name)

    def logins(self) -> list[Login]:
        """Everyone who may log in here, with both passwords."""
        found = []
        for consumer in (c for c in self.hub.consumers if c.provider == self.instance.name):
            checks = consumer.consumer == VERIFY
            owner = self.instance.name if checks else consumer.consumer
            base = VERIFY if checks else f"{self.instance.stack.name}_{consumer.key}"
            found.append(Login(consumer.role, {half: self.secrets.get(owner, f"{base}_{half}") for half in "ab"}))
        return found


@dataclass(frozen=True)
class Step:
    """One thing that is missing inside a service. `details` is for `apply` alone and never printed."""

    action: Literal["create", "update"]
    summary: str
    differences: tuple[Difference, ...] = ()
    details: dict[str, Any] = field(default_factory=dict, repr=False)


class Reconciler(Protocol):
    """What stacks/NAME/reconcile.py offers."""

    def read(self, service: Service) -> Any:
        """What is there."""

    def diff(self, service: Service, state: Any) -> list[Step]:
        """What is missing, in the order in which it is to be made."""

    def apply(self, service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
        """Makes what is missing."""


def reconciled(hub: Hub) -> tuple[Instance, ...]:
    """The instances whose stack has a reconcile.py, in start order."""
    return tuple(i for i in hub.instances if (STACKS / i.stack.name / "reconcile.py").is_file())


@cache
def reconciler(stack: str) -> Reconciler:
    """The stack's reconcile.py as a module."""
    path = STACKS / stack / "reconcile.py"
    spec = importlib.util.spec_from_file_location(f"aihub_stack_{stack.replace('-', '_')}_reconcile", path)
    if spec is None or spec.loader is None:
        raise HubError(f"{path} can't be loaded", where=f"stacks/{stack}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return cast(Reconciler, module)


def plan(hub: Hub, state: State, secrets: Secrets, instances: Sequence[str]) -> list[Change]:
    """What is missing inside the named, running instances. Reads only; raises Unreachable for one that is silent."""

    def look(instance: Instance) -> list[Change]:
        with _service(hub, state, secrets, instance) as service:
            module = reconciler(instance.stack.name)
            return [_change(instance, step) for step in module.diff(service, module.read(service))]

    return _each(hub, instances, look)


def apply(hub: Hub, state: State, secrets: Secrets, instances: Sequence[str], progress: Progress) -> list[Change]:
    """Makes what is missing inside the named instances, and returns it.

    Reads again first: what a plan said a minute ago may be done by now. Safe to run again after a failure.
    """

    def make(instance: Instance) -> list[Change]:
        with _service(hub, state, secrets, instance) as service:
            module = reconciler(instance.stack.name)
            steps = module.diff(service, module.read(service))
            if steps:
                module.apply(service, steps, lambda text: progress(instance.name, text))
            return [_change(instance, step) for step in steps]

    return _each(hub, instances, make)


def _each(hub: Hub, names: Sequence[str], work: Callable[[Instance], list[Change]]) -> list[Change]:
    chosen = [i for i in reconciled(hub) if i.name in names]
    if not chosen:
        return []
    with ThreadPoolExecutor(min(8, len(chosen))) as pool:
        return [change for changes in pool.map(work, chosen) for change in changes]


@contextmanager
def _service(hub: Hub, state: State, secrets: Secrets, instance: Instance) -> Iterator[Service]:
    # PostgreSQL's clients look for a socket of exactly this name in a directory.
    folder = state.control / f"service-{instance.guest.vmid}-{instance.stack.name[:12]}-{os.getpid()}"
    port = instance.stack.main_port
    if port is None:
        raise HubError("it has a reconcile.py and gives no port", where=f"stacks/{instance.stack.name}/stack.yml")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        remote = f"{instance.guest.address}:{port}"
        with ssh.forward(state, instance.guest.name, folder / ".s.PGSQL.5432", remote) as socket:
            yield Service(hub, instance, socket, secrets)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _change(instance: Instance, step: Step) -> Change:
    return Change(
        subject=instance.name,
        action=step.action,
        owner="service",
        identity="service",
        summary=step.summary,
        differences=step.differences,
    )
