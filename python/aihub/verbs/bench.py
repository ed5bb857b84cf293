"""`aihub bench`: measures the API and the running lab, with the goal beside each figure."""

from __future__ import annotations

import os
import subprocess
import sys

from ..options import Options
from ..paths import ROOT


def run(options: Options) -> int:
    """Runs the harness in tests/bench; 1 when a goal is missed, 4 when there is no lab to measure."""
    environment = {
        **os.environ,
        "AIHUB_HUB": str(options.hub),
        "AIHUB_LAB": options.lab,
        "PYTHONPATH": str(ROOT / "tests"),
    }
    command = [sys.executable, "-m", "bench", *(["--json"] if options.as_json else [])]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode
