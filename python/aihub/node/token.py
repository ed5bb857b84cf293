"""The hub's API token: made and renewed on the node; its value goes straight into the state directory."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from typing import Literal

from aihub import names, ssh
from aihub.errors import TaskFailed
from aihub.model.resolved import Hub
from aihub.proxmox.errors import RefusedByProxmox
from aihub.proxmox.root import Root
from aihub.state import statefile
from aihub.state.directory import State

Fate = Literal["kept", "renewed", "made"]
"""What became of the token: its value stayed; it has a new value; it is a new token, without any rights yet."""

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def renew(hub: Hub, state: State) -> Fate:
    """Gives the token a new value, which `State.token` then holds. Raises TaskFailed when pvesh shows none.

    Proxmox shows a value once, to whoever makes it: from the node's ssh it goes straight into the file. The token's
    comment then tells which value was kept, so that a run that dies in between is noticed by the next.
    """
    root, path = Root(state), names.token_path(hub.name)
    fate: Fate = "renewed"
    try:
        told = root.set(path, {"regenerate": 1})
    except RefusedByProxmox:
        # Before PVE 9 a value cannot be renewed.
        with suppress(RefusedByProxmox):  # it may be gone
            root.delete(path)
        told = root.create(path, {"privsep": 1, "comment": names.marker(hub.id)})
        fate = "made"
    _keep(state, names.token(hub.name), told)
    root.set(path, {"comment": names.token_comment(hub.id, mark(state))})
    return fate


def mark(state: State) -> str:
    """Which value of the token is kept here; 48 bits of a hash tell nothing about a random UUID of 122."""
    if not state.token.exists():
        return ""
    return hashlib.sha256(b"aihub token " + state.token.read_bytes().strip()).hexdigest()[:12]


def _keep(state: State, name: str, output: bytes) -> None:
    try:
        value = str(json.loads(output)["value"])
    except (ValueError, KeyError, TypeError):
        value = ""
    if not _UUID.fullmatch(value):
        raise TaskFailed(f"pvesh did not answer with the value of {name}", where=ssh.NODE, hint="aihub up")
    statefile.replace(state.token, f"{name}={value}\n".encode())
