"""Objects inside services (databases, ACL users, pulled models): runs each stack's own reconcile.py.

A reconcile.py has three functions: `read(service)` returns what is there, `diff(service, state)` the steps that are
missing, `apply(service, steps, say)` does them. It speaks to the service through a forwarded socket, with a login
of its own, and never touches containers or files of the guest. Where others log in, it can also replace a password
(`set_passwords`) and try one (`can_login`).
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol, cast

from aihub import ssh
from aihub.errors import HubError, PreconditionFailed
from aihub.model.resolved import RECONCILE_ROLE, Hub, Instance, Pair
from aihub.paths import STACKS
from aihub.plan import Change, Difference
from aihub.services.secrets import Secrets
from aihub.state.directory import State

Progress = Callable[[str, str], None]
Half = Literal["a", "b"]


@dataclass(frozen=True)
class Login:
    """A consumer's owner role, and the passwords of its paired logins: half (`a`, `b`) -> value."""

    role: str
    passwords: dict[str, str] = field(repr=False)


@dataclass(frozen=True)
class Service:
    """A running instance as its reconcile.py sees it.

    `socket` leads to its main port, and so does `port` on this machine's loopback for stacks whose reconcile.py says
    `TCP = True`. Those that serve with a certificate are trusted as `server_name` through the authority `ca` only.
    """

    hub: Hub
    instance: Instance
    secrets: Secrets
    ca: Path
    socket: Path
    port: int = 0

    @property
    def server_name(self) -> str:
        """The one name that its certificate is for."""
        return self.instance.guest.fqdn

    def pair(self, role: str) -> Mapping[str, str]:
        """Both passwords of a role that logs in here, and which half is in use: `a`, `b`, `active`."""
        return self._kept(next(p for p in self._pairs() if p.role == role))

    def logins(self) -> list[Login]:
        """Everyone but ourselves who may log in here, with both passwords."""
        mine = [(pair.role, self._kept(pair)) for pair in self._pairs() if pair.role != RECONCILE_ROLE]
        return [Login(role, {half: kept[half] for half in "ab"}) for role, kept in mine]

    def _pairs(self) -> Iterator[Pair]:
        return (pair for pair in self.hub.pairs if pair.provider == self.instance.name)

    def _kept(self, pair: Pair) -> Mapping[str, str]:
        entry = self.secrets.read(pair.path)
        if entry is None:
            raise PreconditionFailed(f"no passwords of {pair.role} are kept", where=self.instance.name, hint="aihub up")
        return entry.data


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


class Provider(Reconciler, Protocol):
    """What the reconcile.py of a stack offers that others log in at."""

    def set_passwords(self, service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
        """Makes the service accept `passwords[changing]` for that half; the other half stays as it is.

        Both values are given, since some services can only be told both. Doing it again changes nothing.
        """

    def can_login(self, service: Service, role: str, half: Half, password: str) -> bool:
        """Whether that half of the role gets in with this password. Raises Unreachable when nothing answers."""


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


def provider(stack: str) -> Provider:
    """The reconcile.py of a stack that others log in at."""
    return cast(Provider, reconciler(stack))


def plan(hub: Hub, state: State, secrets: Secrets, instances: Sequence[str]) -> list[Change]:
    """What is missing inside the named, running instances. Reads only; raises Unreachable for one that is silent."""

    def look(instance: Instance) -> list[Change]:
        with opened(hub, state, secrets, instance) as service:
            module = reconciler(instance.stack.name)
            return [_change(instance, step) for step in module.diff(service, module.read(service))]

    return _each(hub, instances, look)


def apply(hub: Hub, state: State, secrets: Secrets, instances: Sequence[str], progress: Progress) -> list[Change]:
    """Makes what is missing inside the named instances, and returns it.

    Reads again first: what a plan said a minute ago may be done by now. Safe to run again after a failure.
    """

    def make(instance: Instance) -> list[Change]:
        with opened(hub, state, secrets, instance) as service:
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
def opened(hub: Hub, state: State, secrets: Secrets, instance: Instance) -> Iterator[Service]:
    """A running instance, reached through its guest's ssh."""
    folder = state.control / f"service-{instance.guest.vmid}-{instance.stack.name[:12]}-{os.getpid()}"
    main = instance.stack.main_port
    if main is None:
        raise HubError("it has a reconcile.py and gives no port", where=f"stacks/{instance.stack.name}/stack.yml")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    remote = f"{instance.guest.address}:{main}"
    guest = instance.guest.name
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        port = 0
        if getattr(reconciler(instance.stack.name), "TCP", False):
            port = stack.enter_context(ssh.forward_tcp(state, guest, remote))
        socket = stack.enter_context(ssh.forward(state, guest, folder / "socket", remote))
        yield Service(hub, instance, secrets, state.ca, socket, port)


def _change(instance: Instance, step: Step) -> Change:
    return Change(
        subject=instance.name,
        action=step.action,
        owner="service",
        identity="service",
        summary=step.summary,
        differences=step.differences,
    )
