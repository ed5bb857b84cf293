"""An instance that leaves a guest with data on it: planned, agreed to, copied before, put back after."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, report, ssh, targets
from aihub.backup import moving
from aihub.backup.moving import Note
from aihub.errors import InvalidInput, PreconditionFailed, TaskFailed
from aihub.guests.probe import Inside
from aihub.options import Options
from aihub.owners import data_moves
from aihub.owners.run import Run
from aihub.plan import Change, Plan
from aihub.reading import load
from aihub.state.directory import State

NAME = "chroma@private-data"
OLD = {"private-ai": ["chroma"]}
SNAPSHOT = {"id": "a" * 64, "time": "2026-11-29T03:00:00Z", "tags": ["chroma@private-ai", "files"]}


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """Chroma was moved by `aihub move`, and stands where it stood."""
    path = tmp_path / "hub.yml"
    text = paths.DEFAULT_HUB.read_text()
    assert "chroma," in text
    assert "stacks: [postgres, redis]}" in text
    text = text.replace("chroma, ", "", 1)
    path.write_text(text.replace("[postgres, redis]}", "[postgres, redis, {chroma: {id: chroma@private-ai}}]}"))
    options, hub = Options(), load.load(path, target="lab")
    assert NAME in {one.name for one in hub.instances}
    with ExitStack() as stack:
        found = Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "up")
        found.insides = {name: inside(name) for name in hub.guests} | {"backup": inside("backup", "restic-server")}
        yield found


def inside(guest: str, *stacks: str) -> Inside:
    return Inside(guest, manifest={"desired": {f"stack/{name}": "x" for name in stacks}})


def planned(run: Run, *allowed: str, with_data: bool = False) -> Change:
    run.options = replace(run.options, allow_move=frozenset(allowed), with_data=with_data)
    (found,) = data_moves.look(run, OLD)
    run.plan = Plan((found,))
    return found


def test_it_is_planned_with_the_way_to_take_its_data_along(run: Run) -> None:
    found = planned(run)
    assert found.subject == f"{NAME}: its data"
    assert f"--allow-move {NAME} --with-data" in found.summary
    assert "comes from private-ai and begins empty" in found.summary
    run.insides["private-data"] = Inside("private-data", data=("chroma",))
    assert "takes up what lies there" in planned(run).summary


def test_nobody_leaves_data_unsaid(run: Run) -> None:
    planned(run)
    with pytest.raises(PreconditionFailed, match="its data is /var/lib/hub/chroma on private-ai") as raised:
        data_moves.refuse(run)
    assert f"--allow-move {NAME} --with-data" in raised.value.hint
    planned(run, NAME)
    data_moves.refuse(run)
    planned(run, NAME, with_data=True)
    data_moves.refuse(run)


def test_data_that_can_not_come_along_is_refused_before_anything(run: Run) -> None:
    planned(run, NAME, with_data=True)
    copiers = run.hub.copiers
    run.hub = replace(run.hub, copiers={})
    with pytest.raises(PreconditionFailed, match="no copies are made here"):
        data_moves.refuse(run)
    run.hub = replace(run.hub, copiers=copiers)
    run.insides["backup"] = Inside("backup")
    with pytest.raises(PreconditionFailed, match="who keeps the copies does not serve yet"):
        data_moves.refuse(run)
    run.plan = Plan()
    with pytest.raises(InvalidInput, match="no instance that is named moves"):
        data_moves.refuse(run)


def test_who_begins_anew_elsewhere_or_keeps_nothing_moves_no_data(run: Run) -> None:
    assert not list(data_moves.look(run, {}))
    assert not list(data_moves.look(run, {"private-ai": ["chroma"], "public-ai": ["chroma"]})), (
        "which of them is unknown"
    )
    placed = [replace(one, options={**one.options, "id": None}) for one in run.hub.instances]
    by_hand = replace(run.hub, instances=tuple(placed))
    own, run.hub = run.hub, by_hand
    assert not list(data_moves.look(run, OLD)), "put there by hand it is another one"
    run.hub = own
    assert list(data_moves.look(run, OLD))
    run.insides["private-data"] = inside("private-data", "chroma")
    assert not list(data_moves.look(run, OLD)), "it stands there already"


class Guests:
    """Who answers in place of guests; `fails` names a program that does not end well."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, str]] = []
        self.said: list[bytes] = []
        self.fails = ""
        self.snapshots = [SNAPSHOT]

    def run(self, _state: State, alias: str, command: list[str], *, stdin: bytes = b"", **_: Any) -> Any:
        text = " ".join(command)
        self.ran.append((alias, text))
        self.said.append(stdin)
        if self.fails and self.fails in text:
            raise TaskFailed("no room", where=alias)
        listed: dict[str, Any] = {"snapshots": self.snapshots, "removal": "", "reading": ""}
        if command[0] == "cat":
            listed = {"began": 0.0, "ended": 1.0, "errors": ["no room"], "made": [], "whole": {}}
        return type("Done", (), {"returncode": 0, "stdout": json.dumps(listed).encode()})


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Guests:
    found = Guests()
    monkeypatch.setattr(ssh, "run", found.run)
    return found


def test_it_is_stopped_and_copied_where_it_lies_and_written_down(run: Run, guests: Guests) -> None:
    planned(run, NAME, with_data=True)
    data_moves.copy(run)
    assert [text for guest, text in guests.ran if guest == "private-ai"] == [
        "systemctl stop hub-chroma.service",
        "systemctl start hub-backup@chroma.service",
        "systemctl stop hub-chroma.service",
    ]
    (note,) = moving.notes(run.state)
    assert (note.instance, note.source, note.copies) == (NAME, "private-ai", {"chroma@private-ai/files": ["a" * 64]})
    (again,) = data_moves.look(run, OLD)
    assert "as was begun" in again.summary


@pytest.mark.parametrize("program", ["hub-backup@", "list.sh"])
def test_where_no_copy_is_made_nothing_moves(run: Run, guests: Guests, program: str) -> None:
    planned(run, NAME, with_data=True)
    guests.fails = program
    with pytest.raises(TaskFailed, match="no room") as raised:
        data_moves.copy(run)
    assert "nothing was moved" in raised.value.hint
    assert not moving.notes(run.state)


def test_a_part_without_a_copy_is_no_move(run: Run, guests: Guests) -> None:
    planned(run, NAME, with_data=True)
    guests.snapshots = []
    with pytest.raises(TaskFailed, match="private-ai has no copy of it"):
        data_moves.copy(run)


class Keys:
    """The store, with one key for everything."""

    def read(self, path: str) -> Any:
        return type("Entry", (), {"data": {"value": f"key of {path}"}})


def test_who_keeps_the_copies_takes_them_over_and_no_key_is_on_a_command_line(run: Run, guests: Guests) -> None:
    note = Note(NAME, "private-ai", had=False, copies={"chroma@private-ai/files": ["b" * 64, "c" * 64]}, made="now")
    guests.snapshots = [{**SNAPSHOT, "original": "c" * 64}, {**SNAPSHOT, "id": "d" * 64, "original": "b" * 64}]
    keys: Any = Keys()
    (found,) = moving.transferred(run.hub, run.state, keys, note, run.hub.guests["private-ai"])
    assert found.copy.id == "d" * 64
    assert guests.ran[0] == ("private-data", "/usr/local/bin/hub-backup need")
    (where, text), said = guests.ran[1], guests.said[1].decode().splitlines()
    assert (where, text.split()[-1]) == ("backup", "backup_private_data_own")
    assert said[0].startswith("backup-private-ai-own.restic.")
    assert said[1:] == ["key of hub/private-ai/backup/password", "b" * 64, "c" * 64]
    assert not [text for _, text in guests.ran if "key of" in text]
    guests.snapshots = [SNAPSHOT]
    with pytest.raises(TaskFailed, match="was not taken over"):
        moving.transferred(run.hub, run.state, keys, note, run.hub.guests["private-ai"])


def test_a_move_that_was_taken_back_is_forgotten(run: Run, guests: Guests) -> None:
    moving.write(run.state, Note("chroma@nowhere", "private-ai", had=False, copies={}, made="now"))
    assert not list(data_moves.look(run, {}))
    data_moves.put_back(run)
    assert not moving.notes(run.state)
    assert not guests.ran
