"""The API as root on the node has it, over ssh and pvesh: for when there is no token that it accepts."""

from __future__ import annotations

import json
from typing import Any

from aihub import ssh
from aihub.errors import TaskFailed
from aihub.state.directory import State

from .errors import Refused
from .state import Getter


def getter(state: State) -> Getter:
    """Reads like `Proxmox.get`. Raises Refused with what pvesh said."""

    def get(path: str, **params: Any) -> Any:
        options = [word for name, value in params.items() for word in (f"--{name}", str(value))]
        command = ["pvesh", "get", path, *options, "--output-format", "json"]
        done = ssh.run(state, ssh.NODE, command, check=False)
        if done.returncode != 0:
            raise Refused(done.stderr.decode(errors="replace").strip(), where=f"pvesh get {path}", status=500)
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise TaskFailed(f"pvesh get {path} did not answer with JSON", where=ssh.NODE) from error

    return get
