"""`aihub bench`: measures the running lab, with the goal beside each figure."""

from __future__ import annotations

import os
import subprocess
import sys

from ..options import Options
from ..paths import ROOT


def run(options: Options) -> int:
    """Runs the harness in tests/bench against the lab; 1 when a goal is missed."""
    environment = {
        **os.environ,
        "AIHUB_HUB": str(options.hub),
        "AIHUB_LAB": options.lab,
        "PYTHONPATH": str(ROOT / "tests"),
    }
    command = [sys.executable, "-m", "bench", *(["--json"] if options.as_json else [])]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
