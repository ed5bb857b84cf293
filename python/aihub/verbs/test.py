"""`aihub test`: every test of this checkout, the real lab included."""

from __future__ import annotations

import os
import subprocess
import sys

from ..errors import PreconditionFailed
from ..options import Options
from ..paths import ROOT
from .check import TESTS, Linters, environment, pytest_command

LONG = "200"  # random kills; with the deterministic ones they do not fit beside the lab


def run(options: Options) -> int:
    """Linters, then one pytest run over everything; ends with pytest's summary."""
    if os.geteuid() != 0:
        raise PreconditionFailed(
            "the lab tests make real guests: they need root", hint="sudo make test, or make check without root"
        )
    failed = Linters().join()
    (ROOT / "build").mkdir(exist_ok=True)
    # The lab's tests are one group, in their order on one worker; the other worker does the rest meanwhile.
    workers = ("-n", "2", "--dist", "loadgroup")
    command = pytest_command("-v", *workers, "--durations=15", "--junitxml=build/junit.xml", "tests/lab", *TESTS)
    tests = subprocess.run(
        command,
        cwd=ROOT,
        env={
            **environment(),
            "AIHUB_CRASH_POINTS": "all",
            "AIHUB_CRASH_RANDOM": LONG if options.full else "40",
            "AIHUB_MUTATIONS": "2000",
        },
        check=False,
    )
    if failed:
        sys.stderr.write(f"{failed} linters failed, see above\n")
    return 1 if failed or tests.returncode != 0 else 0
