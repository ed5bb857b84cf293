"""A state directory, and stand-ins for the node's shell."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aihub import process
from aihub.ssh import config
from aihub.state.directory import State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.make()
    return state


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[list[str]]]:
    """What the node's shell answers, command by command: exit code and output; ssh takes 255 for its own failure."""

    def answering(*answers: tuple[int, str]) -> list[list[str]]:
        seen: list[list[str]] = []
        left = list(answers)

        others = process.run

        def run(argv, **more: Any) -> process.Result:
            if argv[0] != "ssh":
                return others(argv, **more)
            command, _, guard = argv[-1].partition(" || exit ")
            seen.append(shlex.split(command))
            code, text = left.pop(0)
            code = int(guard) if code and guard else code
            return subprocess.CompletedProcess(argv, code, text.encode(), b"it said no" if code else b"")

        monkeypatch.setattr(process, "run", run)
        monkeypatch.setattr(config, "argv", lambda state, alias, *options: ["ssh", alias])
        return seen

    return answering
