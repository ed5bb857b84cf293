"""What the agent does on a guest without any vault: where it writes, and what it leaves there."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from aihub.secrets.agent import on_guest


def test_secrets_are_refused_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def mounts(_path: str, *_: Any, **__: Any) -> io.StringIO:
        return io.StringIO("/dev/sda1 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n")

    monkeypatch.setattr("builtins.open", mounts)
    on_guest.require_memory("/run/hub")
    with pytest.raises(SystemExit, match="not in memory"):
        on_guest.require_memory("/runner")


def test_a_disk_that_was_mounted_over_memory_is_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "tmpfs /run tmpfs rw 0 0\n/dev/sdb1 /run ext4 rw 0 0\n"
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(text))
    with pytest.raises(SystemExit, match="not in memory"):
        on_guest.require_memory("/run/hub")


def test_a_directory_is_rid_of_what_is_no_longer_wanted(tmp_path: Path) -> None:
    folder, me = tmp_path / "secrets", os.getuid()
    on_guest.render(str(folder), me, {"old": "x", "kept": "y"})
    on_guest.render(str(folder), me, {"kept": "y", "new": "z"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"kept": "y", "new": "z"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o400}
