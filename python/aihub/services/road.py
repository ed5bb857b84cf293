"""The ways to a running instance's main port, each opened when it is first asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from threading import Lock

from aihub import names, ssh
from aihub.errors import HubError
from aihub.model.resolved import Instance, Opening
from aihub.state.directory import State


class Road:
    """A socket and a loopback port that lead to one port; what nobody asks for is not opened. For many threads."""

    def __init__(
        self, socket: Callable[[], AbstractContextManager[Path]], port: Callable[[], AbstractContextManager[int]]
    ) -> None:
        self._open_socket, self._open_port = socket, port
        self._socket: Path | None = None
        self._port: int | None = None
        self._ends = ExitStack()
        self._turn = Lock()

    def socket(self) -> Path:
        """A unix socket of our own that leads there."""
        with self._turn:
            if self._socket is None:
                self._socket = self._ends.enter_context(self._open_socket())
            return self._socket

    def port(self) -> int:
        """A port of this machine's loopback that leads there; every local user can connect to it."""
        with self._turn:
            if self._port is None:
                self._port = self._ends.enter_context(self._open_port())
            return self._port

    def close(self) -> None:
        """Ends what was opened."""
        self._ends.close()


@contextmanager
def to(state: State, instance: Instance) -> Iterator[Road]:
    """The road to an instance's main port, through its guest's ssh."""
    main = instance.stack.main_port
    if main is None:
        raise HubError(
            "a stack with a reconcile.py needs a port, by which aihub reaches its service",
            where=f"stacks/{instance.stack.name}/stack.yml",
        )
    opening = Opening.of(instance)  # behind the guest's door, in plain HTTP: ssh is the way through
    guest = instance.guest.name
    remote = f"{names.INSIDE}:{opening.inside}" if opening else f"{instance.guest.address}:{main}"
    road = Road(lambda: ssh.forward(state, guest, remote), lambda: ssh.forward_tcp(state, guest, remote))
    try:
        yield road
    finally:
        road.close()
