"""`aihub init`: a commented starter hub.yml."""

from __future__ import annotations

import sys

from aihub.reading import init

from ..options import Options


def run(options: Options) -> int:
    """Writes the file, or refuses when it exists."""
    init.write(options.hub)
    sys.stdout.write(f"{options.hub} written. Next: edit it, then `aihub validate --hub {options.hub}`\n")
    return 0
