"""`aihub test`: every test of this checkout, the real lab included."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from ..errors import PreconditionFailed
from ..options import Options
from ..paths import ROOT
from .check import TESTS, Linters, environment, pytest_command

RANDOM_KILLS = {False: "40", True: "200"}  # 200 do not fit beside the lab


def run(options: Options) -> int:
    """Linters, then the lab's tests with the others beside them; ends with pytest's summary and the sum of both."""
    if os.geteuid() != 0:
        raise PreconditionFailed(
            "the lab tests make real guests: they need root", hint="sudo make test, or make check without root"
        )
    build = ROOT / "build"
    build.mkdir(exist_ok=True)
    failed = Linters().join()
    reports = [build / "junit-others.xml", build / "junit-lab.xml"]
    for path in reports:
        path.unlink(missing_ok=True)
    with (build / "tests-others.log").open("w+") as log:
        others = subprocess.Popen(_command(reports[0], *TESTS), cwd=ROOT, env=_environment(options), stdout=log)
        lab = subprocess.run(_command(reports[1], "tests/lab"), cwd=ROOT, env=_environment(options), check=False)
        codes = (others.wait(), lab.returncode)
        log.seek(0)
        sys.stdout.write(log.read())
    sys.stdout.write(f"{_sum(reports)}\n")
    if failed:
        sys.stderr.write(f"{failed} linters failed, see above\n")
    return 1 if failed or any(codes) else 0


def _command(report: Path, *where: str) -> list[str]:
    return pytest_command("-v", "--durations=10", f"--junitxml={report}", *where)


def _environment(options: Options) -> dict[str, str]:
    chosen = {
        "AIHUB_CRASH_POINTS": "all",
        "AIHUB_CRASH_RANDOM": RANDOM_KILLS[options.full],
        "AIHUB_MUTATIONS": "2000",
        "PYTHONUNBUFFERED": "1",
    }
    return {**environment(), **chosen}


def _sum(reports: list[Path]) -> str:
    """`N passed, N failed, N skipped` over all reports; a report that is missing is a failure."""
    total = failed = skipped = 0
    for path in reports:
        if not path.exists():
            failed, total = failed + 1, total + 1
            continue
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):  # noqa: S314  (we wrote it ourselves)
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return f"{total - failed - skipped} passed, {failed} failed, {skipped} skipped"
