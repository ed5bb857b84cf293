"""`aihub new stack`: a new folder in stacks/ that works as it is."""

from __future__ import annotations

import sys

from aihub.render import new_stack

from ...options import Options


def run(options: Options) -> int:
    """Writes the folder, or refuses when there is one."""
    (name,) = options.only
    folder = new_stack.write(name, options.needs)
    sys.stdout.write(f"{folder} written. Next: put {name} under a guest in hub.yml, then `aihub plan`\n")
    return 0
