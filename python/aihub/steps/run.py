"""One call of a verb: what was asked for, and what its steps found out so far."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from aihub import ssh
from aihub.checks.runner import CheckResult
from aihub.node import metal as node
from aihub.proxmox.client import Proxmox
from aihub.reading import load
from aihub.services.secrets import Entry
from aihub.state import lock, statefile
from aihub.state.directory import State
from aihub.state.journal import Journal
from aihub.targets import lab
from aihub.vault.client import Vault
from aihub.vault.client import opened as vault_opened

from ..errors import PreconditionFailed
from ..model.resolved import Hub
from ..options import Options
from ..plan import Plan

API_PORT = 8006


class Background:
    """Work that goes on beside the steps."""

    def __init__(self, job: Callable[[], object]) -> None:
        self._error: BaseException | None = None
        self._job = job
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._job()
        except BaseException as error:
            self._error = error

    def join(self) -> None:
        """Returns when the work is done; raises its error."""
        self._thread.join()
        if self._error is not None:
            raise self._error


@dataclass(frozen=True)
class Store:
    """The vault's entries, for who may never need one: a hub without secrets has no vault."""

    run: Run

    def read(self, path: str) -> Entry | None:
        """The newest version of an entry; None when there is none."""
        return self.run.vault().read(path)

    def write(self, path: str, data: Mapping[str, str], cas: int) -> int:
        """Makes a new version. Raises Conflict when `cas` is not the newest."""
        return self.run.vault().write(path, data, cas)

    def destroy(self, path: str) -> None:
        """Removes an entry with every version."""
        self.run.vault().destroy(path)

    def list(self, prefix: str) -> Sequence[str]:
        """The paths of all entries below a prefix."""
        return self.run.vault().list(prefix)


@dataclass
class Run:
    """A verb on its way: each step takes it and adds to it."""

    options: Options
    hub: Hub
    state: State
    stack: ExitStack
    world: lab.World | None = None
    plan: Plan = field(default_factory=Plan)
    renewed: bool = False  # the API token is younger than the plan, which did not see the guests
    checks: list[CheckResult] = field(default_factory=list)
    templates: Background | None = None
    images: Background | None = None
    opened_vault: Vault | None = None

    @property
    def names(self) -> dict[str, str]:
        """Outside names that the node answers itself: the lab's registry."""
        if self.world is None or not self.world.registry_address:
            return {}
        return dict.fromkeys(self.world.registry_names, self.world.registry_address)

    @property
    def store(self) -> Store:
        """Where the hub's secrets are; opened when the first is asked for."""
        return Store(self)

    def vault(self) -> Vault:
        """The vault, logged in as the operator; one connection for the whole run. Raises NotReady and Unreachable."""
        if self.opened_vault is None:
            self.opened_vault = self.stack.enter_context(vault_opened(self.hub, self.state))
        return self.opened_vault

    @property
    def journal(self) -> Journal:
        """What was in flight when a run ended early."""
        return Journal(self.state.journal)

    @property
    def keys(self) -> tuple[str, ...]:
        """The public keys that get into a new guest: ours, then the operators'."""
        return (ssh.ensure_key(self.state), *self.hub.operator_keys)

    def proxmox(self) -> Proxmox:
        """The API with the hub's token. Raises PreconditionFailed when there is none yet."""
        if not self.state.token.exists():
            raise PreconditionFailed("there is no API token yet", where=str(self.state.directory), hint="aihub up")
        host, port = ssh.node_address(self.hub), API_PORT
        if self.world:
            host, port = self.world.api_host, self.world.api_port
        return Proxmox(host, port, self.state.token.read_text(), self.state.certificate)


Step = Callable[[Run], None]


@contextmanager
def opened(options: Options, verb: str, *, locked: bool = False) -> Iterator[Run]:
    """A run on the hub of the hub file; with `locked` the only one on this machine and target."""
    hub = load.load(options.hub, target=options.target)
    state = State.of(hub.name, options.target, options.lab_name(hub.name))
    with ExitStack() as stack:
        if locked:
            state.make()
            stack.enter_context(lock.held(state.lock, verb))
            statefile.tidy(state.journal, state.known_hosts)
            node.forget_dead(state)
        yield Run(options, hub, state, stack)


def perform(run: Run, steps: tuple[Step, ...]) -> None:
    """The steps, one after the other."""
    for step in steps:
        step(run)


def close_connections(run: Run) -> None:
    """Shared ssh connections end: they would hold a lab's namespace, or outlive a removed guest."""
    if run.state.ssh_config.exists():
        ssh.close_all(run.state)
