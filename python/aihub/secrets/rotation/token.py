"""The Proxmox API token: its value is made anew on the node and goes straight into the state directory."""

from __future__ import annotations

from aihub.errors import PreconditionFailed
from aihub.model.resolved import Hub
from aihub.node import desired, grant, token
from aihub.state.directory import State


def rotate(hub: Hub, state: State) -> None:
    """The token has a new value, the old one is worthless. Nobody else uses it, so nothing has to overlap.

    Killed in between: the token's comment on the node tells that its value never reached us, and the next `up` or
    rotation makes another. Raises PreconditionFailed before the first `up`.
    """
    if not state.token.exists():
        raise PreconditionFailed("there is no API token yet", where=str(state.directory), hint="aihub up")
    if token.renew(hub, state) == "made":
        grant(state, desired(hub, state, {}))  # rights have nothing to do with names
