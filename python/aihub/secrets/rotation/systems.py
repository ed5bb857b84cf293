"""What a rotation works with: the vault, the services that passwords open, the agents that bring them to guests."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

from aihub.model.resolved import Hub, Instance
from aihub.secrets import agent
from aihub.services import service as services
from aihub.services.service import Service
from aihub.state.directory import State
from aihub.vault.client import Vault

GRACE = 1.0
"""Seconds between "in use" and the end of the old password: a login that began with the old file gets in."""

Say = Callable[[str, str], None]  # name, what happens to it


class Replacement(Protocol):
    """One replacement under way: first `publish`, then what it gives is waited for, then `finish`."""

    def publish(self) -> Mapping[str, int]:
        """Makes the new one valid and known; gives the versions by path that its reader must have in use."""

    def finish(self) -> None:
        """Ends the old one."""


@dataclass(frozen=True)
class Systems:
    """Everything outside of this program that a rotation touches."""

    hub: Hub
    state: State
    vault: Vault
    service: Callable[[Instance], AbstractContextManager[Service]]
    wait: Callable[[str, Mapping[str, int]], object]
    serial: Callable[[str, str], str]
    renew: Callable[[str, str], object]
    grace: float = GRACE


@contextmanager
def of(hub: Hub, state: State, vault: Vault) -> Iterator[Systems]:
    """The running hub. Each provider is reached once, when it is first needed, by all threads together."""
    with ExitStack() as stack:
        known: dict[str, Service] = {}
        turn = Lock()

        def service(instance: Instance) -> AbstractContextManager[Service]:
            with turn:
                if instance.name not in known:
                    known[instance.name] = stack.enter_context(services.opened(hub, state, vault, instance))
            return nullcontext(known[instance.name])

        yield Systems(
            hub=hub,
            state=state,
            vault=vault,
            service=service,
            wait=lambda guest, versions: agent.wait(state, guest, versions),
            serial=lambda guest, place: str(agent.status(state, guest).tls.get(place, {}).get("serial", "")),
            renew=lambda guest, place: agent.renew(state, guest, place),
        )
