"""Every wrong hub file, through the commands that a person types: exit 2, each line with a place, nothing contacted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.aihub import cases

VERBS = ("validate", "plan", "up", "verify", "status", "graph", "down")
# Runs commands one after another in one process that can reach nothing, and says how each of them ended.
RUNNER = """
import contextlib, io, json, sys, time
contacts = []
def audit(event, arguments):
    if event.startswith(CONTACT):
        contacts.append(event)
        raise AssertionError(event)
sys.addaudithook(audit)
from aihub.cli import app
results = []
for argv in json.load(sys.stdin):
    told, started = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        try:
            code = app(argv, standalone_mode=False)
        except BaseException as end:
            code = getattr(end, "exit_code", getattr(end, "code", repr(end)))
    results.append([code, told.getvalue(), time.process_time() - started])
print(json.dumps([results, contacts]))
"""


def run(commands: list[list[str]], folder: Path) -> list[tuple[int, str, float]]:
    """Exit code, words and processor seconds of each command."""
    environment = {**os.environ, "AIHUB_STATE": str(folder / "state"), "AIHUB_LAB": "nobodys-lab"}
    argv = [sys.executable, "-c", f"CONTACT = {cases.CONTACT!r}\n{RUNNER}"]
    done = subprocess.run(
        argv, input=json.dumps(commands), capture_output=True, text=True, check=False, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results, contacts = json.loads(done.stdout)
    assert contacts == []
    assert not (folder / "state").exists(), "a refused file left something behind"
    return [(code, words, seconds) for code, words, seconds in results]


@pytest.mark.slow
def test_validate_refuses_every_wrong_file(tmp_path: Path) -> None:
    paths = cases.files("hub", "invalid")
    commands = [["validate", "--target", cases.target(path), "--hub", str(path)] for path in paths]
    for path, (code, words, seconds) in zip(paths, run(commands, tmp_path), strict=True):
        assert code == 2, (path.name, code, words)
        assert "Traceback" not in words, path.name
        assert seconds < 1, (path.name, seconds)
        assert f"{path.name}:" in words, (path.name, words)
    # The cases' own stacks are not the repository's: what a case promises is checked in test_load.


@pytest.mark.slow
@pytest.mark.parametrize("target", ["lab", "pve"])
def test_every_verb_refuses_a_wrong_file_before_it_does_anything(target: str, tmp_path: Path) -> None:
    path = cases.CASES / "hub" / "invalid" / "schema-several.yml"
    promised = cases.expected(path)
    commands = [[verb, "--hub", str(path), *(["--target", target] if verb != "graph" else [])] for verb in VERBS]
    for verb, (code, words, seconds) in zip(VERBS, run(commands, tmp_path), strict=True):
        assert code == 2, (verb, code, words)
        assert seconds < 1, (verb, seconds)
        told = " ".join(words.split())  # long lines are broken as a terminal's width asks
        for line, column, message in promised:
            _, _, after = told.partition(f"{path.name}:{line}:{column}: ")
            assert message in after.split(f"{path.name}:")[0], (verb, message, words)
