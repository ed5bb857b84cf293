"""A real run of the checks: of a folder of a test's own, its ssh replaced by a shell on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub import paths
from aihub.checks import runner as checks
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.state.directory import State

SSH = """#!/bin/sh
exec sh
"""

VALUE = "a-secret-value-nobody-may-see"
PLUGIN = f'''
from datetime import UTC, datetime
from types import SimpleNamespace
from aihub.checks.context import Context
from aihub.services.secrets import Entry

pytest_plugins = ["aihub.checks.plugin"]
# A vault that is none: every entry is the same.
Context.vault = SimpleNamespace(read=lambda path: Entry({{"a": "{VALUE}"}}, 1, datetime.now(UTC)))
'''


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    made = State(tmp_path / "state")
    made.make()
    made.ssh_config.write_text("")
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "ssh").write_text(SSH)
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setenv("COVERAGE_PROCESS_START", "")
    return made


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "checks"
    made.mkdir()
    (made / "conftest.py").write_text(PLUGIN)
    (made / "pytest.ini").write_text((checks.CHECKS / "pytest.ini").read_text())
    monkeypatch.setattr(checks, "CHECKS", made)
    monkeypatch.setattr(paths, "STACKS", tmp_path / "no-stacks")
    return made
