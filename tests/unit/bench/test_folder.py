"""A fresh clone has no build folder: what is measured makes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from aihub import paths
from aihub.reading import load
from aihub.state.directory import State

Bench = Callable[[str], ModuleType]


class Measuring(Exception):
    """Everything is prepared, the race may start."""


@pytest.mark.parametrize("part", ["noop", "checks"])
def test_a_race_is_prepared_without_a_build_folder(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    lab, output, variants, world = (bench(name) for name in ("lab", "output", "variants", "world"))
    state = State(tmp_path / "state")
    state.make()
    state.ssh_config.write_text("Host db\n  ControlPath /x\n")
    monkeypatch.setattr(variants, "prepare", lambda _: {})
    monkeypatch.setattr(output, "BUILD", tmp_path / "build")

    def start(*_: Any) -> None:
        raise Measuring

    monkeypatch.setattr(lab, "Race", SimpleNamespace(of=start))
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    with pytest.raises(Measuring):
        getattr(lab, part)(world.World(hub, "x", state), 1)
    assert list((tmp_path / "build").iterdir())
