"""`aihub restart GUEST|STACK@GUEST`."""

from __future__ import annotations

from ..options import Options
from . import power


def run(options: Options) -> int:
    """It runs again, and is healthy."""
    return power.run(options, "restart")
