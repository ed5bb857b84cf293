"""Objects inside services (databases, ACL users, pulled models): runs each stack's own reconcile.py.

A reconcile.py has three functions. `read(service)` returns what is there; `diff(declared, state)` compares that with
what hub.yml declares, by names alone, and gives the steps that are missing; `apply(service, steps, say)` does them.
What reads or applies speaks to the service through a forwarded socket, with a login of its own, and never touches
containers or files of the guest. Where others log in, it can also replace a password (`set_passwords`) and try one
(`can_login`).
"""

from __future__ import annotations

import importlib.util
import socket
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard, cast

from aihub import parallel, words
from aihub.errors import BadAnswer, HubError, PreconditionFailed
from aihub.model.resolved import Hub, Instance
from aihub.paths import STACKS
from aihub.plan import Change, Difference
from aihub.services.secrets import Secrets
from aihub.state.directory import State

from . import declared, road, wire
from .declared import Declared
from .http import Http

_DIFFERENCES = 200  # of one step that are shown

Progress = Callable[[str, str], None]
Half = Literal["a", "b"]


@dataclass(frozen=True)
class Service:
    """A running instance as its reconcile.py sees it, with clients for its main port.

    With `tls` a client trusts nothing but a certificate for `server_name` that comes from the authority `ca`.
    """

    hub: Hub
    instance: Instance
    secrets: Secrets
    ca: Path
    road: road.Road
    looking: bool = False  # nothing is done: an answer is short, and comes soon

    @property
    def server_name(self) -> str:
        """The one name that its certificate is for."""
        return self.instance.guest.fqdn

    def port(self) -> AbstractContextManager[int]:
        """A port of this machine's loopback that leads there: for libraries that take a host and a port only.

        Every local user can connect to it; whoever uses it checks the name, and a login protects. What
        the server says is bounded, as to a relay.
        """
        return wire.relayed_port(self.road.port(), self.instance.name, self._bounds)

    def http(
        self,
        *,
        tls: bool = False,
        headers: Mapping[str, str] | None = None,
        login: tuple[str, str] | None = None,
        seconds: float = wire.SECONDS,
    ) -> AbstractContextManager[Http]:
        """A client that speaks JSON over HTTP; `login` is a user with a password, `seconds` the time for an answer."""
        name, path, identity = self.instance.name, self.road.socket(), self._identity(tls)
        return closing(Http(path, name, identity, headers=headers, login=login, seconds=seconds))

    def tcp(self, *, tls: bool = False, seconds: float = wire.SECONDS) -> AbstractContextManager[socket.socket]:
        """A connection of its own, for a protocol that reconcile.py speaks itself."""
        return wire.connected(self.road.socket(), self.instance.name, self._identity(tls), seconds)

    def relay(self) -> AbstractContextManager[Path]:
        """A unix socket for libraries that can't check a server's name: plain on this side, TLS beyond it.

        What the server says is bounded in bytes and time.
        """
        identity = wire.Identity(self.server_name, self.ca)
        return wire.relayed(self.road.socket(), self.instance.name, identity, self._bounds)

    @property
    def _bounds(self) -> wire.Bounds:
        return wire.LOOKING if self.looking else wire.DOING

    def _identity(self, tls: bool) -> wire.Identity | None:
        return wire.Identity(self.server_name, self.ca) if tls else None

    @property
    def declared(self) -> Declared:
        """What hub.yml wants inside it."""
        return declared.of(self.hub, self.instance)

    def pair(self, role: str) -> Mapping[str, str]:
        """Both passwords of a role that logs in here, and which half is in use: `a`, `b`, `active`.

        Raises PreconditionFailed when the vault holds none.
        """
        path = next(p.path for p in self.hub.pairs if (p.provider, p.role) == (self.instance.name, role))
        entry = self.secrets.read(path)
        if entry is None:
            raise PreconditionFailed(
                f"Vault holds no passwords of {role} yet", where=self.instance.name, hint="aihub up"
            )
        return entry.data


@dataclass(frozen=True)
class Step:
    """One thing that is missing inside a service, by names: what `apply` needs beside them it asks the service for."""

    action: Literal["create", "update", "delete"]
    object: str  # what it is done to, like `database verify`; with the instance's name the subject of a change
    differences: tuple[Difference, ...] = ()
    why: str = ""  # goes on after the object's name
    restart: bool = False
    data_at_risk: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)  # for `apply`; not printed

    @property
    def summary(self) -> str:
        """The object, and why."""
        return f"{self.object} {self.why}".rstrip()


class Reconciler(Protocol):
    """What stacks/NAME/reconcile.py offers."""

    def read(self, service: Service) -> Any:
        """What is there."""

    def diff(self, declared: Declared, state: Any) -> list[Step]:
        """What is missing, in the order in which it is to be made; None as `state` for a service with nothing in it.

        Pure: it has no way to reach the service, and holds no value that is secret.
        """

    def apply(self, service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
        """Makes what is missing."""


class Keeper(Reconciler, Protocol):
    """What the reconcile.py of a stack offers that keeps data of consumers which are gone.

    Its `diff` removes those objects that `declared.forgotten` names, each a step with its data at risk.
    """

    def kept(self, declared: Declared, state: Any) -> Sequence[str]:
        """The objects that are there for nobody and that hold data; pure, like `diff`."""


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
    """The stack's reconcile.py as a module, which may import what lies beside it: `from .steps import ...`."""
    path = STACKS / stack / "reconcile.py"
    name, beside = f"aihub_stack_{stack.replace('-', '_')}_reconcile", [str(path.parent)]
    spec = importlib.util.spec_from_file_location(name, path, submodule_search_locations=beside)
    if spec is None or spec.loader is None:
        raise HubError(f"{path} can't be loaded", where=f"stacks/{stack}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return cast(Reconciler, module)


def _keeps(module: Reconciler) -> TypeGuard[Keeper]:
    return hasattr(module, "kept")


def provider(stack: str) -> Provider:
    """The reconcile.py of a stack that others log in at."""
    return cast(Provider, reconciler(stack))


Maker = Callable[[str, str, Mapping[str, str]], str]
"""`make_password(role, value, secrets)`: the password of a consumer that a service takes, made of a random value and of
the service's own secrets, by name. Pure."""


def maker(stack: str) -> Maker | None:
    """How a stack makes its consumers' passwords; None where any random text is one."""
    if not (STACKS / stack / "reconcile.py").is_file():
        return None
    return cast("Maker | None", getattr(reconciler(stack), "make_password", None))


@dataclass(frozen=True)
class Found:
    """What a look into one service found: what is missing, and the objects that it keeps for nobody."""

    steps: Sequence[Step] = ()
    kept: tuple[str, ...] = ()


def plan(
    hub: Hub, state: State, secrets: Secrets, instances: Sequence[str], forgotten: Collection[str] = ()
) -> tuple[list[Change], dict[str, tuple[str, ...]]]:
    """What is missing inside the named, running instances, and what each keeps for nobody.

    `forgotten` are kept objects that may go, as OBJECT or INSTANCE/OBJECT. Reads only; raises Unreachable for one
    that is silent.
    """
    changes, kept, failed = look(hub, state, secrets, instances, forgotten)
    parallel.all_of(failed)
    return changes, kept


def look(
    hub: Hub, state: State, secrets: Secrets, instances: Sequence[str], forgotten: Collection[str] = ()
) -> tuple[list[Change], dict[str, tuple[str, ...]], dict[str, HubError]]:
    """As `plan`, and the errors of those that can't be looked into, by their names: they are nobody else's."""
    every = _look(hub, state, secrets, instances, forgotten)
    found = {name: one for name, one in every.items() if not isinstance(one, HubError)}
    failed = {name: one for name, one in every.items() if isinstance(one, HubError)}
    kept = {name: one.kept for name, one in found.items()}
    return _changes({name: one.steps for name, one in found.items()}), kept, failed


def first(hub: Hub, instances: Sequence[str]) -> list[Change]:
    """What will be made inside the named instances when they run for the first time. Contacts nothing."""
    chosen = [hub.instance(name) for name in _chosen(hub, instances)]
    return _changes({i.name: reconciler(i.stack.name).diff(declared.of(hub, i), None) for i in chosen})


def apply(
    hub: Hub,
    state: State,
    secrets: Secrets,
    instances: Sequence[str],
    agreed: Callable[[Sequence[Change]], None],
    progress: Progress,
    forgotten: Collection[str] = (),
) -> list[Change]:
    """Makes what is missing inside the named instances, and returns it. Safe to run again after a failure.

    Looks again first, then calls `agreed` once with all that it found, before the first change: it raises when that
    is more than somebody has agreed to. An instance that fails stops no other; its error is raised at the end.
    """

    def make(name: str) -> None:
        with opened(hub, state, secrets, hub.instance(name)) as service:
            reconciler(service.instance.stack.name).apply(service, missing[name], partial(progress, name))

    looked = _look(hub, state, secrets, instances, forgotten)
    missing = {name: one.steps for name, one in looked.items() if not isinstance(one, HubError) and one.steps}
    changes = _changes(missing)
    agreed(changes)
    made = parallel.on_each(missing, make)
    parallel.all_of({**looked, **made})
    return changes


def _look(
    hub: Hub, state: State, secrets: Secrets, instances: Sequence[str], forgotten: Collection[str]
) -> dict[str, Found | HubError]:
    def look(name: str) -> Found:
        with opened(hub, state, secrets, hub.instance(name)) as found:
            module, service = reconciler(found.instance.stack.name), replace(found, looking=True)
            with _understood(name):
                declared, there = service.declared, module.read(service)
                left = tuple(module.kept(declared, there)) if _keeps(module) else ()
                may_go = tuple(one for one in left if one in forgotten or f"{name}/{one}" in forgotten)
                return Found(module.diff(replace(declared, forgotten=may_go), there), left)

    return parallel.on_each(_chosen(hub, instances), look)


@contextmanager
def _understood(name: str) -> Iterator[None]:
    """What a service answers that nobody thought of is its own error: anybody may answer on its guest."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        what = f"what it answers can't be read: {type(error).__name__}: {words.line(str(error), 200)}"
        raise BadAnswer(what, where=name) from error


def _chosen(hub: Hub, names: Sequence[str]) -> list[str]:
    return [i.name for i in reconciled(hub) if i.name in names]


@contextmanager
def opened(hub: Hub, state: State, secrets: Secrets, instance: Instance) -> Iterator[Service]:
    """A running instance, reached through its guest's ssh."""
    with road.to(state, instance) as found:
        yield Service(hub, instance, secrets, state.ca, found)


def _harmless(one: Difference) -> Difference:
    """What a service has is its own word."""
    actual, wanted = (None if text is None else words.line(text) for text in (one.actual, one.wanted))
    return Difference(words.line(one.field), actual, wanted)


def _changes(missing: Mapping[str, Sequence[Step]]) -> list[Change]:
    return [
        Change(
            subject=f"{name}: {words.line(step.object)}",
            action=step.action,
            owner="services",
            identity="service",
            summary=words.line(step.summary),
            differences=tuple(map(_harmless, step.differences[:_DIFFERENCES])),
            restart=step.restart,
            data_at_risk=words.line(step.data_at_risk),
        )
        for name, steps in missing.items()
        for step in steps
    ]
