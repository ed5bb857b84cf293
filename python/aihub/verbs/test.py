"""`aihub test`: every test of this checkout, the real lab included; with --long what is too long for every day."""

from __future__ import annotations

import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from .. import process
from ..errors import PreconditionFailed
from ..options import Options
from ..paths import ROOT
from .check import TESTS, Linters, environment, pytest_command

BUILD = ROOT / "build"
LONG_RESULT = BUILD / "test-long.json"
LONG_TESTS = (  # the first shares its work out itself
    ("tests/contract/test_crash_safety.py",),
    ("tests/unit/aihub/reading/test_mutations.py", "-n", "2"),
)
KILLS, CHANGED_FILES = "AIHUB_CRASH_RANDOM", "AIHUB_MUTATIONS"
DAILY = {"AIHUB_CRASH_POINTS": "all", KILLS: "200", CHANGED_FILES: "2000"}
LONG = {"AIHUB_CRASH_POINTS": "all", KILLS: "1000", CHANGED_FILES: "10000"}


@dataclass(frozen=True)
class Count:
    """How the tests of some reports ended."""

    passed: int
    failed: int
    skipped: int

    def line(self, seconds: float) -> str:
        """The sum of several runs, in the form in which pytest ends each."""
        parts = [(self.failed, "failed"), (self.passed, "passed"), (self.skipped, "skipped")]
        text = ", ".join(f"{number} {word}" for number, word in parts if number or word == "passed")
        return f" {text} in {seconds:.2f}s ".center(80, "=") + "\n"


def run(options: Options) -> int:
    """Runs and sums up; 1 when anything failed."""
    BUILD.mkdir(exist_ok=True)
    return _long() if options.full else _daily()


def _daily() -> int:
    """Linters, then the lab's tests with the others beside them; ends with every failure and the sum of both."""
    if os.geteuid() != 0:
        raise PreconditionFailed(
            "the lab tests make real guests: they need root", hint="sudo make test, or make check without root"
        )
    started = time.time()
    failed = Linters().join()
    reports = [BUILD / "junit-others.xml", BUILD / "junit-lab.xml"]
    for path in reports:
        path.unlink(missing_ok=True)
    chosen = {**environment(), **DAILY, "PYTHONUNBUFFERED": "1"}
    log = BUILD / "tests-others.log"
    with ThreadPoolExecutor(1) as beside:
        others = beside.submit(process.stream, _command(reports[0], *TESTS), log=log, cwd=ROOT, env=chosen)
        lab = process.stream(_command(reports[1], "tests/lab"), cwd=ROOT, env=chosen)
        codes = (others.result(), lab)
    sys.stdout.write(log.read_text(errors="replace"))
    if failed:
        sys.stdout.write(f"{failed} linters failed, see above\n")
    _tell(reports, started)
    return 1 if failed or any(codes) else 0


def _long() -> int:
    """Kills and changed files in numbers that do not fit beside the lab; keeps the result for README. Needs no root."""
    reports = [BUILD / f"junit-long-{number}.xml" for number in range(len(LONG_TESTS))]
    seed = os.environ.get("AIHUB_CRASH_SEED") or str(int(time.time()))
    chosen = {**environment(), **LONG, "AIHUB_CRASH_SEED": seed, "PYTHONUNBUFFERED": "1"}
    started = time.time()
    codes = []
    for report, which in zip(reports, LONG_TESTS, strict=True):
        report.unlink(missing_ok=True)
        codes.append(process.stream(_command(report, *which), cwd=ROOT, env=chosen))
    found = _sum(reports)
    result = {
        "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "seconds": round(time.time() - started),
        "passed": found.passed,
        "failed": found.failed,
        "skipped": found.skipped,
        "random_kills": int(LONG[KILLS]),
        "changed_files": int(LONG[CHANGED_FILES]),
        "seed": int(seed),
    }
    LONG_RESULT.write_text(json.dumps(result, indent=2) + "\n")
    _tell(reports, started)
    return 1 if any(codes) else 0


def _command(report: Path, *where: str) -> list[str]:
    return pytest_command("-v", "--durations=10", f"--junitxml={report}", *where)


def _tell(reports: list[Path], started: float) -> None:
    sys.stdout.writelines(f"FAILED {name}\n" for name in _failures(reports))
    sys.stdout.write(_sum(reports).line(time.time() - started))


def _failures(reports: list[Path]) -> list[str]:
    """Each test that failed, with the first line of why: the runs' own lists lie far apart in what was printed."""
    found = []
    for path in reports:
        if not path.exists():
            found.append(f"{path.name} is missing: that run did not end")
            continue
        for case in ElementTree.parse(path).getroot().iter("testcase"):  # noqa: S314  (we wrote it ourselves)
            for why in (*case.iter("failure"), *case.iter("error")):
                line = (why.get("message") or "").partition("\n")[0]
                found.append(f"{case.get('classname')}::{case.get('name')} - {line}")
    return found


def _sum(reports: list[Path]) -> Count:
    """All reports together; a report that is missing is a failure."""
    total = failed = skipped = 0
    for path in reports:
        if not path.exists():
            failed, total = failed + 1, total + 1
            continue
        for suite in ElementTree.parse(path).getroot().iter("testsuite"):  # noqa: S314  (we wrote it ourselves)
            total += int(suite.get("tests", 0))
            failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
            skipped += int(suite.get("skipped", 0))
    return Count(total - failed - skipped, failed, skipped)
