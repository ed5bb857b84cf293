"""What a person may call a guest or an instance by on the command line."""

from __future__ import annotations

from aihub.model.resolved import Hub

from ..errors import InvalidInput


def named(hub: Hub, name: str) -> tuple[str, str]:
    """Guest and stack of `STACK@GUEST`, or a guest and no stack. Raises InvalidInput for what hub.yml does not have."""
    known = [*hub.guests, *(one.name for one in hub.instances)]
    if name not in known:
        same = [one.name for one in hub.instances if one.stack.name == name]
        raise InvalidInput(f"there is no guest or instance {name}", hint=f"one of: {', '.join(same or known)}")
    stack, at, guest = name.rpartition("@")
    return guest, stack if at else ""
