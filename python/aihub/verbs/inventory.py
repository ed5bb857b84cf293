"""`aihub inventory`: the Ansible inventory of the hub."""

from __future__ import annotations

import json
import sys

from aihub import render, targets
from aihub.reading import load
from aihub.state.directory import State

from ..options import Options


def run(options: Options) -> int:
    """Prints it as JSON; `inventory/hosts` is how Ansible asks."""
    hub = load.load(options.hub, target=options.target)
    hub = targets.known(hub, targets.chosen(options, hub))
    state = State.of(hub.name, options.target, options.lab_name(hub.name))
    sys.stdout.write(json.dumps(render.inventory(hub, state)) + "\n")
    return 0
