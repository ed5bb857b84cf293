"""Who owns a directory plants links in it; root makes files there and nowhere else. As root, the owner is another."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from aihub.guests.hidden import on_guest as hidden
from aihub.guests.probe.parts import files, placing
from aihub.secrets.agent import on_guest as agent

ME = f"{os.geteuid()}:{os.getegid()}"
SECRET = "root:$6$somebody.elses.secret:19700::::::\n"
Plant = Callable[[Path], None]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A file that belongs to root, outside of what a container has."""
    path = tmp_path / "etc" / "shadow"
    path.parent.mkdir(mode=0o700)
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """A directory that a container owns."""
    path = tmp_path / "volume"
    path.mkdir()
    if os.geteuid() == 0:
        os.chown(path, 1000, 1000)
    return path


def untouched(path: Path) -> None:
    """It is as root left it."""
    found = path.lstat()
    assert path.read_text() == SECRET
    assert (found.st_mode & 0o777, found.st_uid) == (0o600, os.geteuid())


def place(path: Path, mode: str = "0400", **more: object) -> None:
    """Places something as roles and the controller do."""
    placing.place({"wanted": [{"path": str(path), "mode": mode, "owner": ME, **more}]})


def test_the_name_under_which_a_file_is_made_may_be_a_link(elsewhere: Path, volume: Path) -> None:
    (volume / ".listener.key.hub-new").symlink_to(elsewhere)
    place(volume / "listener.key", content="a key\n")
    untouched(elsewhere)
    assert (volume / "listener.key").read_text() == "a key\n"


def test_the_file_itself_may_be_a_link(elsewhere: Path, volume: Path) -> None:
    (volume / "listener.key").symlink_to(elsewhere)
    place(volume / "listener.key", content="a key\n")
    untouched(elsewhere)
    assert not (volume / "listener.key").is_symlink()


def test_a_directory_on_the_way_may_be_a_link(elsewhere: Path, volume: Path) -> None:
    (volume / "tls").symlink_to(elsewhere.parent)
    with pytest.raises(OSError, match="following what is not root's"):
        place(volume / "tls" / "shadow", content="mine\n")
    untouched(elsewhere)
    assert [path.name for path in elsewhere.parent.iterdir()] == ["shadow"]


def test_a_directory_that_is_to_be_made_may_be_a_link(elsewhere: Path, volume: Path) -> None:
    (volume / "data").symlink_to(elsewhere.parent)
    with pytest.raises(OSError, match="following what is not root's"):
        place(volume / "data", "0777")
    assert elsewhere.parent.stat().st_mode & 0o777 == 0o700


def test_a_file_that_is_to_go_may_lie_behind_a_link(elsewhere: Path, volume: Path) -> None:
    (volume / "old").symlink_to(elsewhere.parent)
    with pytest.raises(OSError, match="following what is not root's"):
        files.remove(str(volume / "old" / "shadow"))
    untouched(elsewhere)


def test_where_nobody_plants_a_file_is_made_changed_and_removed(volume: Path) -> None:
    """The control."""
    path = volume / "tls" / "listener.key"
    place(path, content="one\n")
    place(path, content="two\n")
    assert (path.read_text(), path.stat().st_mode & 0o777) == ("two\n", 0o400)
    assert [one.name for one in path.parent.iterdir()] == ["listener.key"]
    files.remove(str(path))
    assert not path.exists()


def test_the_agent_reads_nothing_behind_a_link(elsewhere: Path, volume: Path) -> None:
    """Else it would keep what it read there as a secret of the service, and give it to its owner."""
    (volume / "password").symlink_to(elsewhere)
    assert agent.kept(str(volume), ["password"]) == {}
    agent.render(str(volume), os.geteuid(), {"password": "hers"})
    untouched(elsewhere)
    assert (volume / "password").read_text() == "hers"
    assert agent.kept(str(volume), ["password"]) == {"password": "hers"}


def test_nobody_waits_for_a_pipe_and_no_link_is_read_as_a_secret(
    elsewhere: Path, volume: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden, "SECRETS", str(volume.parent))
    os.mkfifo(volume / "pipe")
    (volume / "password").symlink_to(elsewhere)
    (volume / "own").write_text("a long password\n")
    assert hidden.secrets(volume.name) == {b"a long password": b"own"}
    assert files.file_state(str(volume / "password")) != files.file_state(str(elsewhere))
    assert files.lines(str(volume / "password")) is None
