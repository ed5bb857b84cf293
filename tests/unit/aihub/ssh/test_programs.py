"""A program that runs on a guest: what travels how, and what an answer may be; ssh runs it on this machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, ssh
from aihub.bundle import bundle
from aihub.errors import BadAnswer, TaskFailed, Unreachable
from aihub.ssh import programs
from aihub.state.directory import State
from pydantic import ConfigDict
from typing_extensions import TypedDict

SSH = """#!/bin/sh
for last; do :; done
printf '%s' "$last" > "$SEEN"
exec sh -c "$last"
"""
ECHO = """
import json, sys
request = json.loads(sys.stdin.buffer.read())
json.dump({"asked": request, "arguments": sys.argv[2:]}, sys.stdout)
"""


class Answer(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    size: int


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> State:
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    return State(tmp_path / "state")


@pytest.fixture
def program(tmp_path: Path):
    def write(text: str) -> Path:
        bundle.cache_clear()
        programs._text.cache_clear()
        path = tmp_path / "program.py"
        path.write_text(text)
        return path

    return write


def test_program_and_request_travel_over_stdin_only(state: State, program, tmp_path: Path) -> None:
    request = {"value": "secret \N{SNOWMAN}", "many": list(range(5000))}
    answer = ssh.ask(state, "db", program(ECHO), request, dict[str, Any], "marker")
    assert answer == {"asked": request, "arguments": ["marker"]}
    command = (tmp_path / "seen").read_text()
    assert "secret" not in command and "json" not in command
    assert command.endswith(" marker")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("print('Welcome!\\n{}')", "not JSON"),
        ("print('[' * 100000)", "not JSON"),
        ("print('[1]')", "no JSON object"),
        ("print('')", "not JSON"),
        ("print('{\"size\": NaN}')", "not JSON"),
        ("print('{\"size\": 1e999}')", "not JSON"),
        ('print(\'{"size": 1, "size": 2}\')', "not JSON"),
        ("print('{\"size\": ' + '9' * 5000 + '}')", "not JSON"),
        ('import os; os.write(1, b\'{"name": "\\xff"}\')', "not JSON"),
        ("print('{\"size\": [' + '[],' * 300000 + '[]]}')", "more than 250000 values"),
        ('print(\'{"size": "1"}\')', "another than expected: size"),
        ("print('{}')", "another than expected: size"),
        ('print(\'{"size": 1, "more": 1}\')', "another than expected: more"),
        ("import sys; sys.exit('it broke')", "it broke"),
    ],
)
def test_any_other_answer_is_that_guests_error(state: State, program, text: str, match: str) -> None:
    with pytest.raises(TaskFailed, match=match) as raised:
        ssh.ask(state, "db", program(text), {}, Answer)
    assert raised.value.where == "db"


def test_an_answer_is_bounded_in_bytes_and_time(state: State, program) -> None:
    with pytest.raises(BadAnswer, match="said more than 4 MiB") as raised:
        ssh.ask(state, "db", program("print('{\"x\": \"' + 'x' * (5 << 20) + '\"}')"), {}, Answer)
    assert raised.value.where == "db"
    with pytest.raises(Unreachable, match="did not end within 1 s"):
        ssh.ask(state, "db", program("import time; time.sleep(30)"), {}, Answer, timeout=0.6)


def test_the_way_over_stdin_is_written_once() -> None:
    """Ansible sends the same program by itself, and takes the text from the same file."""
    root = Path(programs.__file__).parents[3]
    found = [
        path.relative_to(root)
        for folder in ("python", "playbooks", "roles", "tests")
        for path in (root / folder).rglob("*")
        if path.suffix in (".py", ".yml") and b"exec(sys.stdin" + b".buffer" in path.read_bytes()
    ]
    assert found == [Path("python/aihub/ssh/from_stdin.py")]


@pytest.mark.parametrize("name", ["logs", "last_words"])
def test_a_program_takes_its_parts_along_and_needs_nothing_else_there(tmp_path: Path, name: str) -> None:
    """On a guest there is no aihub: the same text runs where nothing but Python is."""
    text = bundle(paths.ROOT / "python" / "aihub" / "guests" / name / "on_guest.py")
    assert text.isascii()
    assert text.count(b"def no_link") == 1
    first = (paths.ROOT / "python" / "aihub" / "ssh" / "from_stdin.py").read_text()
    request = json.dumps({"stack": "none", "stacks": [], "lines": 1, "follow": False}).encode()
    (tmp_path / "journalctl").symlink_to("/bin/true")
    (tmp_path / "docker").symlink_to("/bin/true")
    command = [sys.executable, "-I", "-S", "-c", first, str(len(text))]
    done = subprocess.run(
        command, input=text + request, capture_output=True, env={"PATH": str(tmp_path)}, cwd="/", check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout in (b".\n", b'{"words": {}}')


def test_a_program_without_parts_is_sent_as_it_is(tmp_path: Path) -> None:
    program = tmp_path / "alone.py"
    program.write_text("import json\n")
    assert bundle(program) == b"import json\n"
