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
    "yamllint": ("yamllint", "--strict", "inventory", "playbooks", "roles", "stacks", "."),
    "ansible-lint": ("ansible-lint", "--offline", "--quiet"),
}
TESTS = ("tests/unit", "tests/contract")


def environment() -> dict[str, str]:
    """The environment of every tool: this virtual environment first, no talk to the outside."""
    return {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "ANSIBLE_HOME": str(ROOT / ".ansible"), "NO_COLOR": "1"}


def pytest_command(*arguments: str) -> list[str]:
    """pytest with the project's own configuration."""
    return [str(BIN / "python"), "-m", "pytest", "-c", "python/pyproject.toml", "--rootdir", str(ROOT), *arguments]


def lint() -> int:
    """Runs every linter side by side; prints what failed; returns the number of failures."""
    started = time.monotonic()
    running = {
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
    failed = 0
    for name, child in running.items():
        output, _ = child.communicate()
        if child.returncode != 0:
            failed += 1
            sys.stdout.write(output)
        outcome = "ok" if child.returncode == 0 else f"failed with exit code {child.returncode}"
        sys.stdout.write(f"{name}: {outcome} ({time.monotonic() - started:.0f} s)\n")
        sys.stdout.flush()
    return failed


def run(options: Options) -> int:
    """Linters, then unit tests and cases; ends with pytest's summary."""
    failed = lint()
    command = pytest_command("-q", "-n", "2", "-m", "not slow", *TESTS)
    tests = subprocess.run(command, cwd=ROOT, env=environment(), check=False)
    return 1 if failed or tests.returncode != 0 else 0
