"""What a consumer keeps at a provider, as one stream: dumped and restored by programs in the provider's folder.

They run on the provider's guest, in its container: by a timer there, or from here over ssh.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from aihub import ssh
from aihub.errors import HubError
from aihub.model.resolved import Consumer, Hub
from aihub.render import copying
from aihub.state.directory import State

What = Literal["dump", "restore"]


def command(hub: Hub, consumer: Consumer, what: What) -> list[str]:
    """What dumps to stdout, or restores from stdin, on the provider's guest. Raises HubError where there is none."""
    program = getattr(hub.offer(consumer), what)
    if program is None:
        text = f"nothing says how what consumers of {consumer.kind} keep there is copied"
        raise HubError(text, where=f"stacks/{hub.instance(consumer.provider).stack.name}/stack.yml")
    return copying.command(hub, consumer, program)


def dump(hub: Hub, state: State, consumer: Consumer, target: Path) -> None:
    """Writes all that a consumer keeps there into a new file of ours. Raises TaskFailed, and leaves no file then."""
    ssh.copy(state, hub.instance(consumer.provider).guest.name, command(hub, consumer, "dump"), target=target)


def restore(hub: Hub, state: State, consumer: Consumer, source: Path) -> None:
    """Puts a dump back where the consumer's objects are there and empty. Raises TaskFailed."""
    ssh.copy(state, hub.instance(consumer.provider).guest.name, command(hub, consumer, "restore"), source=source)
