"""What the checks run against: a hub, a target, a state directory, open shells and forwards."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihub import paths, ssh
from aihub.errors import PreconditionFailed
from aihub.model.resolved import Hub
from aihub.model.target import DEFAULT, TARGETS, Word
from aihub.state.directory import State

from .shell import Shells

if TYPE_CHECKING:
    import docker

    from aihub.vault.client import Vault

NODE = ssh.NODE  # the alias of the Proxmox host


class Context:
    """One verification of one hub; everything is made when it is first asked for."""

    def __init__(
        self, path: Path, target: Word, state_directory: str = "", lab: str = "", waiting: Collection[str] = ()
    ) -> None:
        """`waiting` are the instances that are not started yet, so that nothing is claimed about them."""
        self.path = path
        self.waiting = frozenset(waiting)
        self._target: Word = target
        self._state_directory = state_directory
        self._lab = lab
        self._ends = ExitStack()
        self._ports: dict[tuple[str, str], int] = {}
        self._dockers: dict[str, docker.DockerClient] = {}
        self.handed_out: set[str] = set()

    @classmethod
    def of_environment(cls) -> Context:
        """The context that `aihub verify` hands over; by hand, the default hub in the lab."""
        wanted = os.environ.get("AIHUB_TARGET", DEFAULT)
        target = next((word for word in TARGETS if word == wanted), None)
        if target is None:
            raise PreconditionFailed(f"AIHUB_TARGET is {wanted!r}; it may be {' or '.join(TARGETS)}")
        return cls(
            Path(os.environ.get("AIHUB_HUB") or paths.DEFAULT_HUB),
            target,
            os.environ.get("AIHUB_STATE_DIR", ""),
            os.environ.get("AIHUB_LAB", ""),
            os.environ.get("AIHUB_WAITING", "").split(),
        )

    @cached_property
    def hub(self) -> Hub:
        """The hub file, loaded and resolved."""
        from aihub.reading import load

        hosts = os.environ.get("AIHUB_PACKAGE_HOSTS", "").split()
        return replace(load.load(self.path, target=self._target), package_hosts=tuple(hosts))

    @cached_property
    def state(self) -> State:
        """The state of this hub on this target. Raises PreconditionFailed when it was never brought up."""
        if self._state_directory:
            state = State(Path(self._state_directory))
        else:
            state = State.of(self.hub.name, self._target, self._lab or self.hub.name)
        if not state.ssh_config.exists():
            raise PreconditionFailed(
                f"there is no {state.ssh_config}: this hub was never brought up here",
                hint=f"aihub up --target {self._target}",
            )
        return state

    @cached_property
    def shells(self) -> Shells:
        """The open shells, closed with the context."""
        shells = Shells(lambda alias: [*ssh.argv(self.state, alias, "-T"), "--", "sh"])
        self._ends.callback(shells.close)
        return shells

    @cached_property
    def vault(self) -> Vault:
        """The vault, logged in as the operator. Raises NotReady and Unreachable."""
        from aihub.vault import client as vault

        return self._ends.enter_context(vault.opened(self.hub, self.state))

    def secret(self, instance: str, name: str) -> str:
        """A value from the vault: `api_key` of an instance, `verify_a` of a provider. Reports blot it out."""
        path, key = self._place(instance, name)
        entry = self.vault.read(path)
        if entry is None:
            raise PreconditionFailed(f"the vault holds no {path}", where=instance, hint="aihub up")
        value = entry.data[key]
        self.handed_out.add(value)
        return value

    def _place(self, instance: str, name: str) -> tuple[str, str]:
        role, _, half = name.rpartition("_")
        for pair in self.hub.pairs:
            if pair.provider == instance and pair.role == role and half in ("a", "b"):
                return pair.path, half
        for ref in self.hub.secrets:
            if (ref.instance, ref.name, ref.kind) == (instance, name, "value"):
                return ref.path, "value"
        raise PreconditionFailed(f"{instance} has no secret {name}", where=self.hub.path)

    def forward(self, guest: str, address: str, port: int) -> int:
        """A port on this machine's loopback that leads to `address:port` as the guest sees it."""
        from aihub.services import wire

        place = f"{address}:{port}"
        if (guest, place) not in self._ports:
            there = self._ends.enter_context(ssh.forward_tcp(self.state, guest, place))
            near = wire.relayed_port(there, guest, wire.Bounds(total=64 << 20, whole=300.0, silence=60.0))
            self._ports[guest, place] = self._ends.enter_context(near)
        return self._ports[guest, place]

    def relay(self, guest: str, port: int) -> Path:
        """A unix socket that is spoken to plainly, and leads to a guest's port in TLS with its name checked."""
        from aihub.services import wire

        machine = self.hub.guests[guest]
        path = self._ends.enter_context(ssh.forward(self.state, guest, f"{machine.address}:{port}"))
        identity = wire.Identity(machine.fqdn, self.state.ca)
        return self._ends.enter_context(wire.relayed(path, guest, identity, wire.Bounds(whole=300.0, silence=25.0)))

    def docker(self, guest: str) -> docker.DockerClient:
        """Docker of a guest, read over its forwarded socket."""
        if guest not in self._dockers:
            from aihub.guests import containers
            from aihub.services import wire

            path = self._ends.enter_context(ssh.forward(self.state, guest, "/var/run/docker.sock"))
            bounds = wire.Bounds(total=64 << 20, answer=64 << 20, whole=300.0, silence=60.0)
            bounded = self._ends.enter_context(wire.relayed(path, guest, bounds=bounds))
            self._dockers[guest] = containers.connect(bounded)
        return self._dockers[guest]

    def close(self) -> None:
        """Ends shells and forwards."""
        for client in self._dockers.values():
            client.close()
        self._ends.close()


def redactor(values: set[str]) -> Callable[[str], str]:
    """A function that blots the given values out of a text."""
    ordered = sorted((v for v in values if v), key=len, reverse=True)

    def redact(text: str) -> str:
        for value in ordered:
            text = text.replace(value, "***")
        return text

    return redact


def first_line(function: Any) -> str:
    """What a test claims: the first line of its docstring, else its name in words."""
    text = (getattr(function, "__doc__", None) or "").strip().splitlines()
    return text[0].rstrip(".") if text else function.__name__.removeprefix("test_").replace("_", " ")
