"""The API as root on the node has it, over ssh and pvesh: to look while there is no token, and for what only root may.

pvesh rather than `pct set` and `qm set`: it makes the same call, takes a digest, and reaches every node of a cluster.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from aihub import process, ssh
from aihub.errors import TaskFailed
from aihub.model.resolved import Hub
from aihub.state.directory import State

from . import facts as proxmox_facts
from . import state as proxmox_state
from .errors import refused, understood
from .facts import Facts
from .state import ActualGuests


def _pvesh(state: State, *words: str) -> process.Result:
    """Runs pvesh on the node; the exit code is 1 when it was refused."""
    # pvesh itself ends with 255 then, which ssh keeps for its own failures.
    return ssh.run(state, ssh.NODE, f"{shlex.join(['pvesh', *words])} || exit 1", check=False)


class Root:
    """Reads and sets as root@pam, with the reads of `Proxmox`; nothing is hidden from it."""

    def __init__(self, state: State) -> None:
        self._state = state

    @understood
    def read(self, hub: Hub) -> ActualGuests:
        """What is there now, as `Proxmox.read`."""
        return proxmox_state.read(self.get, hub)

    @understood
    def facts(self, hub: Hub, vmids: frozenset[int] | None = None) -> Facts:
        """What preflight needs to know, as `Proxmox.facts`, but for the token's rights."""
        return proxmox_facts.read_facts(self.get, hub, vmids, as_root=True)

    def get(self, path: str, **params: Any) -> Any:
        """One read. Raises RefusedByProxmox with what pvesh said."""
        said = self._call("get", path, params)
        try:
            return json.loads(said)
        except ValueError as error:
            raise TaskFailed(f"pvesh get {path} did not answer with JSON", where=ssh.NODE) from error

    def set(self, path: str, values: Mapping[str, Any]) -> bytes:
        """One change, and what pvesh printed; no value may be a secret: the node shows command lines to everyone on it.

        Raises RefusedByProxmox with what pvesh said, and Changed when `digest` is among them and no longer the
        present one.
        """
        return self._call("set", path, values)

    def create(self, path: str, values: Mapping[str, Any]) -> bytes:
        """As `set`, for what is not there yet."""
        return self._call("create", path, values)

    def delete(self, path: str) -> None:
        """As `set`, for what is to go."""
        self._call("delete", path, {})

    def _call(self, verb: str, path: str, values: Mapping[str, Any]) -> bytes:
        options = [word for name, value in values.items() for word in (f"--{name}", str(value))]
        done = _pvesh(self._state, verb, path, *options, "--output-format", "json")
        if done.returncode != 0:
            raise refused(f"pvesh {verb} {path}", done.stderr.decode(errors="replace").strip(), 500)
        return done.stdout
