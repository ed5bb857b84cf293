"""What copies on a guest, with programs that stand in for restic and systemctl: what it does when something fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aihub.paths import ROOT

PROGRAM = ROOT / "roles" / "restic" / "files" / "hub_backup.py"
SUMMARY = '{"message_type": "summary", "snapshot_id": "abc", "total_files_processed": 3, "total_bytes_processed": 9}'
RESTIC = f"""#!/bin/sh
echo "restic $*" >> "$LOG"
case "$*" in
  *" cat config") echo "${{CONFIG_SAYS:-}}" >&2; exit "${{CONFIG_CODE:-0}}" ;;
  *" backup "*) [ "${{BACKUP_CODE:-0}}" = 0 ] || {{ echo "no room" >&2; exit "$BACKUP_CODE"; }}; echo '{SUMMARY}' ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> "$LOG"
case "$1" in is-active) [ ! -e "$LOG.stopped" ] ;; stop) touch "$LOG.stopped" ;; start) rm -f "$LOG.stopped" ;; esac
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A guest with an instance that has a volume, and one whose consumer's data is dumped."""
    (tmp_path / "bin").mkdir()
    for name, text in {"restic": RESTIC, "systemctl": SYSTEMCTL}.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "file").write_text("x")
    none: dict[str, Any] = {"stopped": False, "volumes": [], "snapshot": False, "dumps": []}
    dump = {"id": "web@app", "kind": "sql", "role": "web_app_main", "dump": ["dump", "web_app_main"]}
    instances = [
        {**none, "stack": "notes", "id": "notes@app", "unit": "hub-notes.service", "stopped": True,
         "volumes": [str(tmp_path / "volume")]},
        {**none, "stack": "sql", "id": "sql@app", "unit": "hub-sql.service", "dumps": [dump]},
    ]  # fmt: skip
    config = {"repository": "rest:x", "host": "app", "ca": "c", "certificate": "t", "password": "p"}
    (tmp_path / "backup.json").write_text(json.dumps({**config, "instances": instances}))
    return tmp_path


@pytest.fixture
def run(place: Path) -> Iterator[Run]:
    """`run("run", "notes")`: as its unit runs it; keywords are what the stand-ins do."""
    places = {"HUB_BACKUP_CONFIG": "backup.json", "HUB_BACKUP_STATE": "state", "HUB_BACKUP_CACHE": "cache"}
    env = {**{key: str(place / name) for key, name in places.items()}, "LOG": str(place / "log")}

    def start(*words: str, stdin: str = "", **changes: str) -> subprocess.CompletedProcess[str]:
        path = {"PATH": f"{place / 'bin'}:{os.environ['PATH']}"}
        command = [sys.executable, "-I", str(PROGRAM), *words]
        env_now = {**env, **path, **changes}
        return subprocess.run(command, env=env_now, input=stdin, capture_output=True, text=True, check=False)

    yield start


def log(place: Path) -> list[str]:
    return (place / "log").read_text().splitlines()


def result(place: Path, stack: str = "notes") -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "state" / f"{stack}.json").read_text())
    return found


def test_an_instance_is_stopped_for_its_copy_and_starts_again(place: Path, run: Run) -> None:
    assert run("run", "notes").returncode == 0
    units = [line for line in log(place) if line.startswith("systemctl st")]
    assert units == ["systemctl stop hub-notes.service", "systemctl start hub-notes.service"]
    (copied,) = [line for line in log(place) if " backup " in line]
    assert "--tag notes@app --tag files --host app" in copied
    assert result(place)["errors"] == []
    assert result(place)["whole"]["files"] == 3


def test_it_starts_again_when_the_copy_fails_and_the_failure_is_written_down(place: Path, run: Run) -> None:
    run("run", "notes")
    done = run("run", "notes", BACKUP_CODE="3")
    assert done.returncode == 1
    assert "no room" in done.stderr
    assert log(place)[-1] == "systemctl start hub-notes.service"
    assert result(place)["errors"]
    assert result(place)["whole"]["files"] == 3, "what was right last is still known"


def test_what_a_killed_copy_left_stopped_is_started_by_the_end_of_its_unit(place: Path, run: Run) -> None:
    (place / "state").mkdir()
    (place / "state" / "notes.stopped").touch()
    assert run("end", "notes").returncode == 0
    assert log(place) == ["systemctl start hub-notes.service"]
    assert run("end", "notes").returncode == 0
    assert len(log(place)) == 1, "who was stopped by a person stays so"


def test_one_that_a_person_stopped_stays_stopped(place: Path, run: Run) -> None:
    (place / "log.stopped").touch()
    assert run("run", "notes").returncode == 0
    assert not [line for line in log(place) if line.startswith("systemctl st")]


def test_an_empty_volume_that_had_data_is_not_copied(place: Path, run: Run) -> None:
    run("run", "notes")
    (place / "volume" / "file").unlink()
    before = len(log(place))
    done = run("run", "notes")
    assert done.returncode == 1
    assert "is empty, and had 3 files" in done.stderr
    assert not [line for line in log(place)[before:] if " backup " in line]


def test_a_dump_comes_from_its_command_so_that_a_failed_one_is_no_snapshot(place: Path, run: Run) -> None:
    assert run("run", "sql").returncode == 0
    (copied,) = [line for line in log(place) if " backup " in line]
    assert copied.endswith("--stdin-from-command --stdin-filename /web_app_main -- dump web_app_main")
    assert "--tag web@app --tag dump:sql:web_app_main" in copied


@pytest.mark.parametrize(("code", "made"), [("10", True), ("1", False)])
def test_a_repository_is_made_only_where_there_is_none(place: Path, run: Run, code: str, made: bool) -> None:
    assert (run("run", "sql", CONFIG_CODE=code).returncode == 0) is made
    assert any(line.endswith(" init") for line in log(place)) is made


def test_an_older_restic_says_in_words_that_there_is_no_repository(place: Path, run: Run) -> None:
    says = "Fatal: unable to open config file: 404\nIs there a repository at the following location?"
    assert run("run", "sql", CONFIG_CODE="1", CONFIG_SAYS=says).returncode == 0
    assert any(line.endswith(" init") for line in log(place))


def test_a_wrong_name_is_an_error(run: Run) -> None:
    done = run("run", "nobody")
    assert done.returncode == 1
    assert "nobody keeps nothing here" in done.stderr


def test_the_last_copy_is_of_what_is_declared_as_ever_and_else_of_what_is_there(run: Run, place: Path) -> None:
    folder = place / "left"
    (folder / "data").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / ".restored").mkdir()
    left = {"id": "gone@app", "folder": str(folder), "skip": ["models"], "dumps": []}
    assert run("last", "gone", stdin=json.dumps(left)).returncode == 0
    (made,) = [line for line in (place / "log").read_text().splitlines() if " backup " in line]
    assert made.endswith(f"--tag gone@app --tag files --host app {folder}/data")
    assert not (place / "state" / "gone.json").exists()
    assert run("last", "notes", stdin=json.dumps(left)).returncode == 0
    assert "stop hub-notes.service" in (place / "log").read_text(), "it is stopped for it as every night"
    failed = run("last", "gone", stdin=json.dumps(left), BACKUP_CODE="3")
    assert (failed.returncode, "no room" in failed.stderr) == (1, True)


def test_what_was_killed_leaves_no_lock_and_what_failed_leaves_it_to_the_next(run: Run, place: Path) -> None:
    assert run("end", "notes", SERVICE_RESULT="exit-code").returncode == 0
    assert not (place / "log").exists()
    assert run("end", "notes", SERVICE_RESULT="signal").returncode == 0
    assert [line.split()[-1] for line in log(place) if line.startswith("restic")] == ["unlock"]
