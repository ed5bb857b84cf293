"""`aihub check`: lint, types, unit tests and cases; no root, no network."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from ..options import Options
from ..paths import ROOT

BIN = Path(sys.executable).parent
LINTERS: dict[str, Sequence[str]] = {
    "ruff": ("ruff", "check", "--config", "python/pyproject.toml", "python", "tests", "stacks"),
    "ruff format": ("ruff", "format", "--check", "--config", "python/pyproject.toml", "python", "tests", "stacks"),
    "mypy": ("mypy", "--config-file", "python/pyproject.toml"),
    "yamllint": ("yamllint", "--strict", "."),
    "ansible-lint": ("ansible-lint", "--offline", "-q", "playbooks/site.yml"),  # with all that it imports: every role
}
TESTS = ("tests/unit", "tests/contract", "tests/vault")


def environment() -> dict[str, str]:
    """The environment of every tool: this virtual environment first, no talk to the outside."""
    return {
        **os.environ,
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(ROOT / ".ansible"),
        "NO_COLOR": "1",
    }


def pytest_command(*arguments: str) -> list[str]:
    """pytest with the project's own configuration."""
    return [str(BIN / "python"), "-m", "pytest", "-c", "python/pyproject.toml", "--rootdir", str(ROOT), *arguments]


class Linters:
    """Every linter side by side, beside the tests."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._running = {
            name: subprocess.Popen(
                [str(BIN / argv[0]), *argv[1:]],
                cwd=ROOT,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for name, argv in LINTERS.items()
        }

    def join(self) -> int:
        """Prints what each of them found; returns how many failed."""
        failed = 0
        for name, child in self._running.items():
            output, _ = child.communicate()
            if child.returncode != 0:
                failed += 1
                sys.stdout.write(output)
            outcome = "ok" if child.returncode == 0 else f"failed with exit code {child.returncode}"
            sys.stdout.write(f"{name}: {outcome}\n")
        sys.stdout.write(f"linters: done after {time.monotonic() - self._started:.0f} s\n")
        sys.stdout.flush()
        return failed


def run(options: Options) -> int:
    """Linters beside unit tests and cases; ends with pytest's summary."""
    linters = Linters()
    command = pytest_command("-q", "-n", "2", "-m", "not slow", *TESTS)
    tests = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False)
    failed = linters.join()
    sys.stdout.write(tests.stdout + tests.stderr)
    return 1 if failed or tests.returncode != 0 else 0
