"""`aihub graph`: the hub as a Mermaid diagram."""

from __future__ import annotations

import sys

from aihub.reading import load
from aihub.render import graph

from ..options import Options


def run(options: Options) -> int:
    """Prints the diagram."""
    sys.stdout.write(graph.mermaid(load.load(options.hub, target=options.target)))
    return 0
