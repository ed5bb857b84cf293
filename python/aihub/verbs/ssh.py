"""`aihub ssh GUEST [-- CMD]`: a shell on a guest or on the node, over the one way in."""

from __future__ import annotations

import os
import sys

from aihub import ssh
from aihub.reading import load
from aihub.state.directory import State

from ..errors import InvalidInput, PreconditionFailed
from ..options import Options


def run(options: Options) -> int:
    """Becomes ssh: its exit code is the command's own."""
    hub = load.load(options.hub, target=options.target)
    state = State.of(hub.name, options.target, options.lab_name(hub.name))
    guest, *command = options.only
    known = [ssh.NODE, *hub.guests]
    if guest not in known:
        raise InvalidInput(f"there is no guest {guest}", hint=f"one of: {', '.join(known)}")
    if not state.ssh_config.exists():
        raise PreconditionFailed("this hub was never brought up from here", where=str(state.directory), hint="aihub up")
    argv = [*ssh.argv(state, guest), *(["--", *command] if command else [])]
    sys.stdout.flush()
    os.execvp(argv[0], argv)  # noqa: S606
