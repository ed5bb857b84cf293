"""The program that runs on guests: places files exactly, records only what it is told to, reveals no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.guests.probe import on_guest

ME = f"{os.geteuid()}:{os.getegid()}"


def place(path: Path, **wanted: Any) -> list[str]:
    return list(on_guest.place({"wanted": [{"path": str(path), "owner": ME, **wanted}]})["changed"])


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_placed_once(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    assert place(target, content="one\n", mode="0600") == [str(target)]
    assert place(target, content="one\n", mode="0600") == []
    assert (target.read_text(), target.stat().st_mode & 0o7777) == ("one\n", 0o600)
    assert names(target.parent) == ["file"]


def test_another_mode_is_set_right(tmp_path: Path) -> None:
    target = tmp_path / "file"
    place(target, content="one\n")
    target.chmod(0o666)
    assert place(target, content="one\n") == [str(target)]
    assert target.stat().st_mode & 0o7777 == 0o644


def test_a_link_in_a_files_place_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other\n")
    (tmp_path / "file").symlink_to("other")
    place(tmp_path / "file", content="one\n")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_text() == "other\n"


def test_a_text_that_validation_refuses_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old\n")
    with pytest.raises(SystemExit, match="refuses the new text"):
        place(target, content="new\n", validate=["grep", "-q", "good"])
    assert target.read_text() == "old\n"
    assert names(tmp_path) == ["file"]


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    wanted = [{"path": str(tmp_path / "file"), "content": "x", "owner": ME}]
    assert on_guest.place({"check": True, "wanted": wanted})["changed"] == [str(tmp_path / "file")]
    assert names(tmp_path) == []


def test_a_secrets_state_says_nothing_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "secret").chmod(0o400)
    assert on_guest.secret_state(str(tmp_path / "secret")) == {"mode": "0400", "owner": ME}
    assert on_guest.secret_state(str(tmp_path / "none")) is None


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "manifest.json"
    monkeypatch.setattr(on_guest, "MANIFEST", str(path))
    monkeypatch.setattr(on_guest, "adopt", lambda *_: None)
    return path


def test_a_stack_that_is_no_longer_declared_is_remembered_until_it_was_taken_away(manifest: Path) -> None:
    request = {
        "action": "record",
        "desired": {"ssh": "1", "stack/notes": "1"},
        "entries": {"ssh": {}, "stack/notes": {}},
    }
    on_guest.record(request)
    on_guest.record({"action": "record", "desired": {"ssh": "2"}, "entries": {"ssh": {}}})
    assert json.loads(manifest.read_text())["desired"] == {"ssh": "2", "stack/notes": "1"}
    on_guest.record({"action": "record", "desired": {"ssh": "2"}, "entries": {}, "stacks_gone": ["notes"]})
    assert json.loads(manifest.read_text())["desired"] == {"ssh": "2"}


DOOR = "hub-door.service"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of systemd; its units and our configuration lie in the test's own folder."""
    asked: list[str] = []
    really = subprocess.run

    def run(argv: list[str], **options: Any) -> Any:
        asked.append(" ".join(argv))
        return really(["true"], **options)

    monkeypatch.setattr(on_guest.subprocess, "run", run)
    monkeypatch.setattr(
        on_guest, "unit_states", lambda names: {n: {"boot": "static", "active": "active"} for n in names}
    )
    monkeypatch.setattr(on_guest, "UNITS", f"{tmp_path}/units/")
    monkeypatch.setattr(on_guest, "CONFIGURATION", str(tmp_path / "etc"))
    for folder in ("units", "etc/door"):
        (tmp_path / folder).mkdir(parents=True)
    return asked


def test_a_role_that_is_no_longer_needed_goes_with_its_units_and_files(
    manifest: Path, tmp_path: Path, ran: list[str]
) -> None:
    unit, config = tmp_path / "units" / DOOR, tmp_path / "etc" / "door" / "Caddyfile"
    unit.touch(), config.touch()
    record({"ssh": "1", "door": "1"}, {"ssh": {}, "door": {"files": [str(config), str(unit)], "units": [DOOR]}})
    assert record({"ssh": "1"}, {})
    assert ran == [f"systemctl disable --now {DOOR}", "systemctl daemon-reload"]
    assert names(tmp_path / "units") == names(tmp_path / "etc") == []
    assert set(json.loads(manifest.read_text())["entries"]) == {"ssh"}
    assert not record({"ssh": "1"}, {})


def test_what_a_package_brought_stays_when_its_role_goes(manifest: Path, tmp_path: Path, ran: list[str]) -> None:
    config = tmp_path / "etc" / "daemon.json"
    config.touch()
    record({"docker": "1"}, {"docker": {"files": [str(config)], "units": ["docker.service"]}})
    assert record({}, {})
    assert (ran, config.exists()) == ([], True)


def record(desired: dict[str, str], entries: dict[str, Any]) -> bool:
    return bool(on_guest.record({"action": "record", "desired": desired, "entries": entries})["changed"])


def test_recording_twice_changes_nothing(manifest: Path) -> None:
    assert record({"a": "1"}, {"a": {"files": [str(manifest)]}})
    assert record({"a": "1"}, {"a": {"files": []}})
    assert not record({"a": "1"}, {"a": {"files": []}})


def test_what_did_not_run_keeps_its_old_state_and_hash(manifest: Path) -> None:
    record({"a": "1", "b": "1"}, {"a": {}, "b": {}})
    record({"a": "2", "b": "2"}, {"a": {}})
    assert json.loads(manifest.read_text())["desired"] == {"a": "2", "b": "1"}


def test_what_nobody_wants_any_more_is_forgotten(manifest: Path) -> None:
    record({"a": "1", "b": "1"}, {"a": {}, "b": {}})
    record({"a": "1"}, {})
    assert set(json.loads(manifest.read_text())["entries"]) == {"a"}


def test_a_broken_manifest_counts_as_none(manifest: Path) -> None:
    manifest.write_text('{"format": 99')
    assert on_guest.read_manifest()["desired"] == {}


def test_a_role_that_died_before_it_was_recorded_says_changed_again(manifest: Path, tmp_path: Path) -> None:
    wanted = {"path": str(tmp_path / "file"), "owner": ME, "mode": "0600", "content": "one\n"}
    request = {"role": "ssh", "wanted": [wanted]}
    assert on_guest.place(request)["changed"] == [wanted["path"]]
    assert json.loads(manifest.read_text())["desired"]["ssh"] == on_guest.UNFINISHED
    assert on_guest.place(request)["changed"] == ["ssh: unfinished"]  # the file is right, who reads it was not told
    on_guest.record({"desired": {"ssh": "h1"}, "entries": {"ssh": {"files": [wanted["path"]]}}})
    assert on_guest.place(request)["changed"] == []


def file_of(path: Path) -> dict[str, str]:
    return {"path": str(path), "owner": ME, "content": "one\n"}


def test_a_file_that_an_entry_no_longer_has_is_removed(manifest: Path, tmp_path: Path) -> None:
    """A role's by its whole list, a stack's by the list it comes with; another entry's and strangers' stay."""
    old, new, others, strange = (tmp_path / name for name in ("old", "new", "others", "strange"))
    for path in (old, new, others, strange):
        path.write_text("one\n")
    entries = {"base": {"files": [str(new), str(old), str(others)]}, "ssh": {"files": [str(others)]}}
    record({"base": "1", "ssh": "1"}, entries)
    request = {"role": "base", "wanted": [file_of(new)]}
    assert on_guest.place({**request, "check": True})["changed"] == [str(old)]
    assert old.exists()
    assert on_guest.place(request)["changed"] == [str(old)]
    assert [path.exists() for path in (old, new, others, strange)] == [False, True, True, True]

    record({"stack/x": "1"}, {"stack/x": {"files": [str(new), str(others), str(tmp_path)]}})
    kept = {"wanted": [file_of(new)], "lists": {"stack/x": [str(new)]}}
    assert on_guest.place({"wanted": [file_of(new)]})["changed"] == [], "without a list nothing is judged"
    assert on_guest.place(kept)["changed"] == [str(others)]
    assert tmp_path.exists(), "a directory may hold data"


def test_it_runs_from_stdin_as_it_does_on_a_guest() -> None:
    program = Path(on_guest.__file__).read_bytes()
    assert program.isascii()
    command = [sys.executable, "-c", (paths.ROOT / "python/aihub/ssh/from_stdin.py").read_text(), str(len(program))]
    request = json.dumps({"action": "place", "wanted": []}).encode()
    result = subprocess.run(command, input=program + request, capture_output=True, check=True)
    assert json.loads(result.stdout) == {"changed": []}
