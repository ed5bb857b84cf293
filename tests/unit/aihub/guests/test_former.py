"""A version that is set aside comes back as it was, with its data, also where that was killed on the way."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import names, ssh
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.guests import former
from aihub.model.resolved import Instance
from aihub.state.directory import State

INSTANCE: Any = SimpleNamespace(
    name="notes@app",
    guest=SimpleNamespace(name="app"),
    stack=SimpleNamespace(
        name="notes",
        data=(SimpleNamespace(volume="data", backup="stopped"), SimpleNamespace(volume="big", backup="none")),
    ),
)


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest made of a directory, whose systemctl and docker write down what they are asked."""
    for name in ("systemctl", "docker"):
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/log\n')
        path.chmod(0o755)
    for path, text in {
        "opt/notes/compose.yml": "old",
        "data/notes/data/file": "old",
        "data/notes/big/file": "old",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(names, "home", lambda stack: str(tmp_path / "opt" / stack))
    monkeypatch.setattr(names, "data", lambda stack: str(tmp_path / "data" / stack))
    monkeypatch.setattr(former, "FOLDER", str(tmp_path / "data" / ".former"))

    def run(_state: State, alias: str, command: list[str], *, stdin: bytes, **_: Any) -> None:
        env = {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
        done = subprocess.run(command, input=stdin, env=env, capture_output=True, check=False)
        if done.returncode:
            raise TaskFailed(f"sh ended with exit code {done.returncode}\n{done.stderr.decode()}", where=alias)

    monkeypatch.setattr(ssh, "run", run)
    return tmp_path


def change(guest: Path) -> None:
    for path in ("opt/notes/compose.yml", "opt/notes/more", "data/notes/data/file", "data/notes/big/file"):
        (guest / path).write_text("new")


def there(guest: Path) -> dict[str, str]:
    return {
        str(path.relative_to(guest)): path.read_text()
        for folder in ("opt", "data")
        for path in (guest / folder).rglob("*")
        if path.is_file()
    }


def test_its_files_and_its_data_come_back_and_nothing_else_is_touched(guest: Path) -> None:
    before, instance = there(guest), INSTANCE
    former.keep(State(guest), instance)
    change(guest)
    former.put_back(State(guest), instance)
    former.put_back(State(guest), instance)  # as after a kill
    former.forget(State(guest), instance)
    assert there(guest) == {**before, "data/notes/big/file": "new"}, "what is never copied is not set aside"
    assert not (guest / "data" / ".former").exists()
    assert (guest / "log").read_text().splitlines()[0] == "systemctl stop hub-notes.service"


def test_what_was_not_set_aside_whole_does_not_come_back(guest: Path) -> None:
    former.keep(State(guest), INSTANCE)
    (guest / "data" / ".former" / "notes" / "whole").unlink()
    change(guest)
    with pytest.raises(TaskFailed):
        former.put_back(State(guest), INSTANCE)
    assert there(guest)["opt/notes/compose.yml"] == "new"


def test_without_room_nothing_is_set_aside_and_it_starts_again(guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(former, "_SPARE", 1 << 50)
    with pytest.raises(PreconditionFailed, match=r"no room to set its data aside: [0-9]+ KiB of data"):
        former.keep(State(guest), INSTANCE)
    assert not (guest / "data" / ".former" / "notes").exists()
    assert (guest / "log").read_text().splitlines() == [
        "systemctl stop hub-notes.service",
        "systemctl start hub-notes.service",
    ]


def test_the_instance_that_is_asked_about_is_a_real_one() -> None:
    assert {"name", "guest", "stack"} <= set(dir(Instance)) | set(Instance.__dataclass_fields__)
