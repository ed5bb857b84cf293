"""`aihub test`: every test of this checkout, the real lab included; with --long what is too long for every day."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from .. import process
from ..errors import InvalidInput, PreconditionFailed
from ..options import Options
from ..paths import ROOT
from .check import PVELAB, TESTS, Linters, environment, pytest_command

BUILD = ROOT / "build"
LONG_RESULT = BUILD / "test-long.json"
KILLS, CHANGED_FILES, ROTATION_KILLS = "AIHUB_CRASH_RANDOM", "AIHUB_MUTATIONS", "AIHUB_ROTATION_KILLS"
DAILY = {"AIHUB_CRASH_POINTS": "all", KILLS: "200", CHANGED_FILES: "2000"}
LONG = {"AIHUB_CRASH_POINTS": "all", KILLS: "1000", CHANGED_FILES: "10000", ROTATION_KILLS: "20"}


@dataclass(frozen=True)
class Part:
    """Long tests that are run in one go: at most 80 minutes on two cores. `figures` go into the result."""

    tests: tuple[str, ...]
    figures: dict[str, int]
    root: bool = False  # it makes real guests


PARTS = {
    "kills": Part(  # the first shares its work out
        ("tests/contract/test_crash_safety.py", "tests/vault/long_kinds.py"), {"random_kills": int(LONG[KILLS])}
    ),
    "files": Part(
        ("tests/unit/aihub/reading/test_mutations.py", "-n", "2"), {"changed_files": int(LONG[CHANGED_FILES])}
    ),
    "hub": Part(("tests/lab/whole/long_rotations.py",), {"rotation_kills": int(LONG[ROTATION_KILLS])}, root=True),
    "edits": Part(
        tuple(
            f"tests/lab/small/long_{name}.py"
            for name in (
                "addresses",
                "backups",
                "cards",
                "halfway",
                "machines",
                "node",
                "providers",
                "shared_cards",
                "stacks",
            )
        ),
        {},
        root=True,
    ),
    "gateway": Part(("tests/lab/gateway/long_gateway.py",), {}, root=True),
}


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
    """Runs and sums up; 1 when anything failed. Raises InvalidInput for a part that there is not."""
    if unknown := [name for name in options.only if name not in PARTS]:
        raise InvalidInput(f"no part of the long tests: {', '.join(unknown)}", hint=f"there are: {', '.join(PARTS)}")
    if options.only and not options.full:
        raise InvalidInput("only the long tests have parts", hint=f"aihub test --long --part {options.only[0]}")
    chosen = options.only or tuple(PARTS)
    if os.geteuid() != 0 and (not options.full or any(PARTS[name].root for name in chosen)):
        without = "make check" if not options.full else f"PART={', PART='.join(n for n in PARTS if not PARTS[n].root)}"
        raise PreconditionFailed("the lab tests make real guests: they need root", hint=f"without root: {without}")
    BUILD.mkdir(exist_ok=True)
    return _long(chosen) if options.full else _daily()


def _daily() -> int:
    """Two labs and all that needs none, side by side; ends with every failure and the sum of all.

    The whole hub takes longest, and is what is shown meanwhile. Where nothing was built before, that is mostly its
    images; the small hub waits with its first `up` for those that both need.
    """
    started = time.time()
    reports = {name: BUILD / f"junit-{name}.xml" for name in ("whole", "small", "others")}
    logs = {name: BUILD / f"tests-{name}.log" for name in ("small", "others")}
    for path in reports.values():
        path.unlink(missing_ok=True)
    chosen = {**environment(), **DAILY, "PYTHONUNBUFFERED": "1"}

    def one(name: str, *where: str) -> int:
        return process.stream(_command(reports[name], *where), log=logs.get(name), cwd=ROOT, env=chosen)

    with ThreadPoolExecutor(3) as beside:
        small, others = (
            beside.submit(one, "small", "tests/lab/small", "tests/attacks/small"),
            beside.submit(one, "others", "-m", "not lab", *TESTS, PVELAB),
        )
        linters = beside.submit(lambda: Linters().join())
        codes = [one("whole", "tests/lab/whole", "tests/attacks/whole"), small.result(), others.result()]
        failed = linters.result()
    sys.stdout.writelines(path.read_text(errors="replace") for path in logs.values())
    if failed:
        sys.stdout.write(f"{failed} linters failed, see above\n")
    _tell(list(reports.values()), started)
    return 1 if failed or any(codes) else 0


def _long(names: Sequence[str]) -> int:
    """One part after the other, each with its result; what other parts found earlier stays beside it."""
    started, reports, failed = time.time(), [], 0
    seed = os.environ.get("AIHUB_CRASH_SEED") or str(int(started))
    chosen = {**environment(), **LONG, "AIHUB_CRASH_SEED": seed, "PYTHONUNBUFFERED": "1"}
    for name in names:
        reports.append(BUILD / f"junit-long-{name}.xml")
        reports[-1].unlink(missing_ok=True)
        begun = time.time()
        command = _command(reports[-1], *PARTS[name].tests)
        failed += process.stream(command, cwd=ROOT, env=chosen) != 0
        _keep(name, begun, _sum(reports[-1:]), int(seed))
    _tell(reports, started)
    return 1 if failed else 0


def _keep(name: str, begun: float, found: Count, seed: int) -> None:
    """Writes down how a part ended; seconds, and the seed that repeats it."""
    results = json.loads(LONG_RESULT.read_text()) if LONG_RESULT.exists() else {}
    results[name] = {
        "date": time.strftime("%Y-%m-%d", time.gmtime(begun)),
        "seconds": round(time.time() - begun),
        **asdict(found),
        **PARTS[name].figures,
        "seed": seed,
    }
    LONG_RESULT.write_text(json.dumps(results, indent=2) + "\n")


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
