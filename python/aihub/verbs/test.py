"""`aihub test`: every test of this checkout, the real lab included."""

from __future__ import annotations

import os
import subprocess
import sys

from ..errors import PreconditionFailed
from ..options import Options
from ..paths import ROOT
from .check import TESTS, environment, lint, pytest_command


def run(options: Options) -> int:
    """Linters, then one pytest run over everything; ends with pytest's summary."""
    if os.geteuid() != 0:
        raise PreconditionFailed("the lab tests make real guests: they need root", hint="sudo make test, or make check without root")
    failed = lint()
    (ROOT / "build").mkdir(exist_ok=True)
    where = ("tests/long",) if options.full else (*TESTS, "tests/lab")
    command = pytest_command("-v", "--durations=15", "--junitxml=build/junit.xml", *where)
    tests = subprocess.run(command, cwd=ROOT, env={**environment(), "AIHUB_CRASH_POINTS": "all", "AIHUB_CRASH_RANDOM": "200", "AIHUB_MUTATIONS": "2000"}, check=False)
    if failed:
        sys.stderr.write(f"{failed} linters failed, see above\n")
    return 1 if failed or tests.returncode != 0 else 0
