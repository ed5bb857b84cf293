"""The journal survives a kill at any moment and says what was in flight."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from aihub.errors import HubError
from aihub.state.journal import Entry, Journal

ENTRY = Entry(110, "db", "pve", "lxc", "create")

WRITER = """
import sys
from pathlib import Path
from aihub.state.journal import Entry, Journal
journal = Journal(Path(sys.argv[1]))
journal.begin(Entry(110, "db", "pve", "lxc", "create"))
journal.note(110, upid="UPID:x")
journal.note(110, action="contact")
journal.done(110)
"""


def test_what_was_begun_is_read_by_the_next_run(tmp_path):
    journal = Journal(tmp_path / "journal.json")
    journal.begin(ENTRY)
    journal.note(110, upid="UPID:x")
    found = Journal(tmp_path / "journal.json").get(110)
    assert (found.guest, found.action, found.upid) == ("db", "create", "UPID:x")
    assert found.since


def test_what_is_done_is_gone_and_doing_it_twice_is_fine(tmp_path):
    journal = Journal(tmp_path / "journal.json")
    journal.begin(ENTRY)
    journal.done(110)
    journal.done(110)
    assert Journal(tmp_path / "journal.json").entries() == {}


def test_a_journal_that_was_never_written_is_empty_and_stays_unwritten(tmp_path):
    assert Journal(tmp_path / "journal.json").entries() == {}
    Journal(tmp_path / "journal.json").done(110)
    assert not list(tmp_path.iterdir())


def test_only_the_owner_can_read_it(tmp_path):
    Journal(tmp_path / "journal.json").begin(ENTRY)
    assert (tmp_path / "journal.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 2, "entries": []}', '{"format": 1, "entries": [{"a": 1}]}']
)
def test_an_unreadable_journal_is_an_error_that_says_where(tmp_path, text):
    path = tmp_path / "journal.json"
    path.write_text(text)
    with pytest.raises(HubError) as caught:
        Journal(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("where", ["before", "inside", "after"])
@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_a_kill_at_any_write_leaves_the_old_text_or_the_new_one(tmp_path, number, where):
    path = tmp_path / "journal.json"
    env = {**os.environ, "AIHUB_CRASH_AT": f"{number}:{where}"}
    done = subprocess.run([sys.executable, "-c", WRITER, str(path)], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    written = number if where == "after" else number - 1
    states = [None, ("create", ""), ("create", "UPID:x"), ("contact", "UPID:x"), None]
    found = Journal(path).get(110)
    assert (found and (found.action, found.upid)) == states[written]
    if written:
        assert json.loads(path.read_text())["format"] == 1
