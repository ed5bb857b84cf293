"""One call of a verb: what was asked for, and what its steps found out so far."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from aihub import interrupt, ssh, targets
from aihub.errors import HubError, PreconditionFailed, too_late
from aihub.guests.probe import Inside
from aihub.model.resolved import Hub, Instance
from aihub.options import Options
from aihub.plan import Outcome, Plan
from aihub.proxmox.client import Proxmox
from aihub.proxmox.state import ActualGuests
from aihub.reading import load
from aihub.screen import Screen
from aihub.services.secrets import Entry
from aihub.ssh.lease import Lease, held
from aihub.state import lock, statefile
from aihub.state.directory import State
from aihub.state.journal import Journal
from aihub.vault.client import Vault
from aihub.vault.client import opened as vault_opened

from . import identity
from .choice import Choice, Everything

Standing = Literal["new", "there", "silent"]


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
    target: targets.Place
    screen: Screen
    stack: ExitStack
    verb: str
    plan: Plan = field(default_factory=Plan)
    guests: ActualGuests = field(default_factory=lambda: ActualGuests({}))
    insides: Mapping[str, Inside] = field(default_factory=dict)
    waiting: Mapping[str, str] = field(default_factory=dict)  # instances that are not started, and why
    token_refused: bool = False
    made: tuple[str, ...] = ()  # guests that the plan makes
    started: tuple[str, ...] = ()  # guests that are there, and that the plan starts or restarts
    choice: Choice = field(default_factory=Everything)  # what was named, where something was
    outcome: tuple[Outcome, ...] = ()  # how it ended inside guests, for each of them and each instance
    closed: tuple[str, ...] = ()  # bridges of zones that are gone that somebody is still on
    staying: tuple[str, ...] = ()  # bridges of such zones that guests that stay are configured with
    holding: tuple[str, ...] = ()  # PCI mappings that guests that stay as they are have
    sharing: bool = False  # whether one of them has the device nodes of the node's own driver
    cards: Mapping[str, str] = field(default_factory=dict)  # the slots of the node's cards, by name
    reboot: str = ""  # why the node has to boot before a guest can have its card
    unreached: dict[str, HubError] = field(default_factory=dict)  # guests that were not met, and why
    changed: bool = False  # something outside of this machine is no longer as it was
    images: targets.Images | None = None
    opened_vault: Vault | None = None
    lease: Lease | None = None  # on the node, from the step that takes it to the end of the run

    @property
    def store(self) -> Store:
        """Where the hub's secrets are; opened when the first is asked for."""
        return Store(self)

    def may_write(self) -> None:
        """Raises Locked or Unreachable when the lease that the run took is no longer its own."""
        if self.lease is not None:
            self.lease.still_held()

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
        host, port = self.target.api(self.hub)
        return Proxmox(host, port, self.state.token.read_text(), self.state.certificate)

    def running(self) -> list[str]:
        """The hub's guests that ran at the last look, and are ours."""
        found = {g.name: self.guests.guests.get(g.vmid) for g in self.hub.guests.values()}
        return [name for name, have in found.items() if have and have.running and have.belongs_to(self.hub.id)]

    def standing(self, instance: Instance) -> Standing:
        """Whether an instance is still to be made, could be looked at when its guest was, or is on a silent guest."""
        guest = instance.guest.name
        if self.begins(guest, f"stack/{instance.stack.name}"):
            return "new"
        inside = self.insides.get(guest)
        return "there" if inside and not inside.error else "silent"

    def begins(self, guest: str, part: str) -> bool:
        """Whether a role or stack was never on a guest, or is on one that is still to be made."""
        if guest in self.made:
            return True
        inside = self.insides.get(guest)
        return bool(inside and not inside.error and not inside.has(part))

    def differs(self, instance: Instance) -> bool:
        """Whether the plan so far changes an instance, its guest, or the store that keeps its logins."""
        names = (instance.name, instance.guest.name)
        return bool(self.plan.of("vault")) or any(change.holder in names for change in self.plan.changes)


Step = Callable[[Run], None]


@contextmanager
def opened(options: Options, verb: str, screen: Screen, *, locked: bool = False, reads: bool = False) -> Iterator[Run]:
    """A run on the hub of the hub file; with `locked` the only one on this machine and target.

    With `reads` it writes nothing into the state directory but what first contact needs.
    """
    hub = load.load(options.hub, target=options.target)
    state = State.of(hub.name, options.target, options.lab_name(hub.name))
    place = targets.chosen(options, hub)
    identity.require_name(hub, state, place)
    if verb != "down":  # the way to another domain begins with it
        identity.require_domain(hub, state)
    with ExitStack() as stack:
        if locked:
            state.make()
            stack.enter_context(lock.held(state.lock, verb))
            state.sweep()
            statefile.tidy(state.journal, state.known_hosts, state.names)
        if reads:
            own = stack.enter_context(tempfile.TemporaryDirectory(prefix="aihub-"))
            state = replace(state, own_config=Path(own) / "config")
        yield Run(options, hub, state, place, screen, stack, verb)


def perform(run: Run, steps: tuple[Step, ...]) -> None:
    """The steps, one after the other. What refuses after something was changed is a failure, no refusal."""
    with too_late(lambda: run.changed):
        for step in steps:
            interrupt.require_none()
            run.may_write()
            step(run)


def make_target(run: Run) -> None:
    """The node can be reached; a lab is brought up."""
    run.target.make(run.hub, run.state, run.screen)
    run.hub = targets.known(run.hub, run.target)


def find_target(run: Run) -> None:
    """The node can be reached; a lab must run already."""
    run.target.find(run.hub, run.state)
    run.hub = targets.known(run.hub, run.target)


def keep_identity(run: Run) -> None:
    """This machine remembers what the hub is called."""
    identity.keep(run.hub, run.state)


def take_lease(run: Run) -> None:
    """No other machine works on this hub until the run ends."""
    if run.lease is None:
        run.lease = run.stack.enter_context(held(run.hub, run.state, run.verb, run.screen.say))


def end_lease(run: Run) -> None:
    """A lease that a killed run of this machine left ends, where nothing is to be done that would take one."""
    Lease(run.hub, run.state, "").give_back(run.screen.say)


def close_connections(run: Run) -> None:
    """Shared ssh connections end: they would hold a lab's namespace, or outlive a removed guest."""
    if run.state.ssh_config.exists():
        ssh.close_all(run.state)
