"""`aihub check` finds a wrong type wherever Python of ours lies."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.verbs import check


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two stacks with a reconcile.py each, whose names are no Python names."""
    for name in ("my-app", "your-app"):
        (tmp_path / "stacks" / name).mkdir(parents=True)
        (tmp_path / "stacks" / name / "reconcile.py").write_text("number: int = 1\n")
    (tmp_path / "package.py").write_text("number: int = 1\n")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_wrong_type_in_any_stack_is_found(checkout: Path) -> None:
    argv = ("mypy", "--config-file=", f"--cache-dir={checkout}/cache", "package.py")
    assert check.types(argv).returncode == 0
    wrong = ["stacks/my-app/reconcile.py", "stacks/your-app/reconcile.py"]
    for path in wrong:
        (checkout / path).write_text(f'number: int = "{path}"\n')
    ended = check.types(argv)
    assert ended.returncode != 0
    assert [
        line.partition(":1: error")[0] for line in ended.stdout.decode().splitlines() if ":1: error" in line
    ] == wrong
