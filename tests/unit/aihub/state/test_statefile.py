"""Files of the state directory: replaced whole, kept when they say so already, tidied after a kill."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from aihub import crashpoint
from aihub.state import statefile


def test_a_file_is_replaced_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "journal.json"
    statefile.replace(path, "old")
    statefile.replace(path, b"new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [p.name for p in path.parent.iterdir()] == ["journal.json"]


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    statefile.keep(path, "one\n")
    before = path.stat().st_ino
    statefile.keep(path, "one\n")
    assert path.stat().st_ino == before
    statefile.keep(path, "two\n")
    assert path.read_text() == "two\n"


@pytest.mark.parametrize(
    ("at", "text", "beside"),
    [("file token:before", "old", False), ("file token:inside", "old", True), ("file token:after", "new", False)],
)
def test_a_kill_leaves_the_old_or_the_new(tmp_path: Path, at: str, text: str, beside: bool) -> None:
    path = tmp_path / "token"
    statefile.replace(path, "old")
    pid = os.fork()
    if not pid:
        os.environ["AIHUB_CRASH_AT"] = at
        crashpoint._made.clear()
        statefile.replace(path, "new")
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert path.read_text() == text
    assert (tmp_path / ".token.new").exists() == beside
    statefile.tidy(path)
    assert [p.name for p in tmp_path.iterdir()] == ["token"]


def test_a_missing_file_is_removed_without_a_word(tmp_path: Path) -> None:
    path = tmp_path / "token"
    statefile.unlink(path)
    path.write_text("x")
    statefile.unlink(path)
    assert not path.exists()
