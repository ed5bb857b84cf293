"""A state directory, and stand-ins for the node's shell."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aihub import process, ssh
from aihub.state.directory import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.make()
    return state


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """What the node's shell answers, command by command: exit code and output."""

    def answering(*answers: tuple[int, str]) -> list[list[str]]:
        seen: list[list[str]] = []
        left = list(answers)

        def run(state, alias, command, **_: Any) -> process.Result:
            seen.append(command)
            code, text = left.pop(0)
            return subprocess.CompletedProcess(command, code, text.encode(), b"")

        monkeypatch.setattr(ssh, "run", run)
        return seen

    return answering
