"""How ssh's failures are told, and what its command lines hold; ssh itself is a stand-in here."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.errors import Conflict, PreconditionFailed, TaskFailed, Unreachable
from aihub.ssh import connection as ssh
from aihub.state.directory import State

SHELL = """#!/bin/sh
printf '%s\\n' "$@" > "$SEEN"
cat > "$SEEN.stdin"
printf '%s' "$SAYS" >&2
exit "$CODE"
"""


@pytest.fixture
def says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Puts a stand-in before the real ssh; returns how it ends."""
    (tmp_path / "ssh").write_text(SHELL)
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))

    def end(code: int, text: str = "") -> Path:
        monkeypatch.setenv("CODE", str(code))
        monkeypatch.setenv("SAYS", text)
        return tmp_path / "seen"

    return end


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state")


def test_a_list_is_quoted_and_a_text_is_not(says, state):
    seen = says(0)
    ssh.run(state, "db", ["echo", "a b; c"], stdin=b"secret")
    assert seen.read_text().splitlines()[-1] == "echo 'a b; c'"
    assert (seen.parent / "seen.stdin").read_bytes() == b"secret"
    assert "secret" not in seen.read_text()
    ssh.run(state, "db", "echo a | wc")
    assert seen.read_text().splitlines()[-1] == "echo a | wc"


@pytest.mark.parametrize(
    ("code", "text", "kind", "match"),
    [
        (255, "Host key verification failed.", Conflict, "host key"),
        (255, "root@10.10.10.11: Permission denied (publickey).", PreconditionFailed, "key is not accepted"),
        (255, "ssh: connect to host 10.10.10.11 port 22: No route to host", Unreachable, "No route"),
        (255, "", Unreachable, "without a word"),
        (3, "it broke", TaskFailed, "exit code 3\nit broke"),
    ],
)
def test_every_failure_says_where(says, state, code, text, kind, match):
    says(code, text)
    with pytest.raises(kind, match=match) as caught:
        ssh.run(state, "db", ["true"])
    assert caught.value.where == "db"


def test_a_failing_command_may_be_asked_for(says, state):
    says(3)
    assert ssh.run(state, "db", ["false"], check=False).returncode == 3


def test_a_socket_path_too_long_is_told_before_anything_is_asked(state, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("s" * 120)))
    with pytest.raises(PreconditionFailed, match="too long"), ssh.forward(state, "db", "/x"):
        pass


def test_a_forwarded_socket_is_one_of_our_own_and_is_taken_back(says, state, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    seen = says(0)
    with ssh.forward(state, "db", "10.10.10.11:8200") as one, ssh.forward(state, "db", "10.10.10.11:8200") as other:
        assert seen.read_text().splitlines()[-4:-1] == ["forward", "-L", f"{other}:10.10.10.11:8200"]
        assert one != other
        assert one.parent == other.parent == state.control
        assert state.control.stat().st_mode & 0o777 == 0o700
        one.touch()  # as ssh does
    assert seen.read_text().splitlines()[-4:-1] == ["cancel", "-L", f"{one}:10.10.10.11:8200"]
    assert list(state.control.iterdir()) == []


def test_no_socket_is_made_where_others_may_write(says, state, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    state.control.mkdir(mode=0o777)
    state.control.chmod(0o777)
    says(0)
    with pytest.raises(Conflict, match="0700"), ssh.forward(state, "db", "/x"):
        pass


def test_closing_where_nothing_is_open_is_fine(state):
    ssh.close_all(state)


def test_a_forwarded_port_is_the_loopbacks_and_is_taken_back(says, state):
    seen = says(0)
    with ssh.forward_tcp(state, "db", "10.10.10.11:5432") as port:
        assert seen.read_text().splitlines()[-4:-1] == ["forward", "-L", f"127.0.0.1:{port}:10.10.10.11:5432"]
    assert seen.read_text().splitlines()[-4:-1] == ["cancel", "-L", f"127.0.0.1:{port}:10.10.10.11:5432"]


def test_a_port_that_ssh_can_not_forward_is_told(says, state, monkeypatch):
    monkeypatch.setattr(ssh, "run", lambda *_, **__: None)  # ssh itself works
    says(255, "Could not request local forwarding")
    with (
        pytest.raises(Unreachable, match=r"no forward to 10\.10\.10\.11:5432: Could not request"),
        ssh.forward_tcp(state, "db", "10.10.10.11:5432"),
    ):
        pass
