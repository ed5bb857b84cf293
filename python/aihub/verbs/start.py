"""`aihub start GUEST|STACK@GUEST`."""

from __future__ import annotations

from ..options import Options
from . import power


def run(options: Options) -> int:
    """It runs, and is healthy."""
    return power.run(options, "start")
