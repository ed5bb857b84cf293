"""`aihub stop GUEST|STACK@GUEST`."""

from __future__ import annotations

from ..options import Options
from . import power


def run(options: Options) -> int:
    """It stands still until somebody starts it, or the next `aihub up` does."""
    return power.run(options, "stop")
