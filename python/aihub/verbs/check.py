"""`aihub check`: lint, types, unit tests and cases; no root, no network."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from .. import process
from ..options import Options
from ..paths import ROOT

BIN = Path(sys.executable).parent
LINTERS: dict[str, Sequence[str]] = {  # "mypy" goes through more than its packages, see `types`
    "ruff": ("ruff", "check", "--config", "python/pyproject.toml", "python", "tests", "stacks"),
    "ruff format": ("ruff", "format", "--check", "--config", "python/pyproject.toml", "python", "tests", "stacks"),
    "mypy": ("mypy", "--config-file", "python/pyproject.toml"),
    "yamllint": ("yamllint", "--strict", "."),
    "ansible-lint": ("ansible-lint", "--offline", "-q", "playbooks/site.yml"),  # with all that it imports: every role
}
BY_THEMSELVES = ("stacks/*", "tests/cases/stacks/*", "tests/vault/stacks/*", "python/pvelab/tests")
# Those of them that take no lab:
TESTS = ("tests/unit", "tests/contract", "tests/vault", "tests/attacks")
PVELAB = "python/pvelab/tests"  # a distribution of its own: run in its folder, and by `aihub test`


def environment() -> dict[str, str]:
    """What every tool gets beside our own environment: this virtual environment first, no talk to the outside."""
    return {
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "",  # whatever the shell says: compiling all of it anew takes a fifth of the time
    }


def pytest_command(*arguments: str) -> list[str]:
    """pytest with the project's own configuration."""
    return [str(BIN / "python"), "-m", "pytest", "-c", "python/pyproject.toml", "--rootdir", str(ROOT), *arguments]


class Linters:
    """Every linter side by side, beside the tests."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._pool = ThreadPoolExecutor(len(LINTERS))
        self._running = {
            name: self._pool.submit(types if name == "mypy" else lint, argv) for name, argv in LINTERS.items()
        }

    def join(self) -> int:
        """Prints what each of them found; returns how many failed."""
        failed = 0
        for name, ending in self._running.items():
            ended = ending.result()
            if ended.returncode != 0:
                failed += 1
                sys.stdout.write((ended.stdout + ended.stderr).decode(errors="replace"))
            outcome = "ok" if ended.returncode == 0 else f"failed with exit code {ended.returncode}"
            sys.stdout.write(f"{name}: {outcome}\n")
        self._pool.shutdown()
        sys.stdout.write(f"linters: done after {time.monotonic() - self._started:.0f} s\n")
        sys.stdout.flush()
        return failed


def types(argv: Sequence[str]) -> process.Result:
    """mypy over the packages, then over the folders outside of them."""
    ended = [lint(argv)]
    for files in _rounds():
        ended.append(lint([*argv, *map(str, files)]))
    failed = [one for one in ended if one.returncode != 0]
    stdout, stderr = (b"".join(getattr(one, stream) for one in failed) for stream in ("stdout", "stderr"))
    return process.Result(argv, max(one.returncode for one in ended), stdout, stderr)


def _rounds() -> list[list[Path]]:
    """Folders that mypy can look at together: it knows each module name once, and every stack has a `reconcile`."""
    files = sorted(path.relative_to(ROOT) for where in BY_THEMSELVES for path in ROOT.glob(f"{where}/*.py"))
    rounds: list[list[Path]] = []
    for _, found in groupby(files, key=lambda path: path.parent):
        own = list(found)
        names = {path.name for path in own}
        free = (one for one in rounds if not names & {path.name for path in one})
        there = next(free, None)
        if there is None:
            rounds.append(own)
        else:
            there += own
    return rounds


def lint(argv: Sequence[str]) -> process.Result:
    """One of them."""
    return process.run([str(BIN / argv[0]), *argv[1:]], cwd=ROOT, env=environment(), check=False, timeout=None)


def run(options: Options) -> int:
    """Linters beside unit tests and cases; ends with pytest's summary."""
    linters = Linters()
    # A half of the tests for each process, in their order: what a file shares among its tests is made once.
    command = pytest_command("-q", "-n", "2", "--dist", "worksteal", "-m", "not slow and not lab", *TESTS)
    tests = process.run(command, cwd=ROOT, env=environment(), check=False, timeout=None)
    failed = linters.join()
    sys.stdout.write((tests.stdout + tests.stderr).decode(errors="replace"))
    return 1 if failed or tests.returncode != 0 else 0
