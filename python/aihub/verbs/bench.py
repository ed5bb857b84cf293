"""`aihub bench`: measures the API and the running lab, with the goal beside each figure."""

from __future__ import annotations

import sys

from .. import process
from ..options import Options
from ..paths import ROOT


def run(options: Options) -> int:
    """Runs the harness in tests/bench; 1 when a goal is missed, 4 when there is no lab to measure."""
    command = [sys.executable, "-m", "bench", *(["--json"] if options.as_json else [])]
    env = {"AIHUB_HUB": str(options.hub), "AIHUB_LAB": options.lab, "PYTHONPATH": str(ROOT / "tests")}
    return process.stream(command, cwd=ROOT, env=env)
