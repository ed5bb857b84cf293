"""How what a consumer keeps elsewhere is dumped and restored: the program, and a stream of any size."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, process
from aihub.errors import HubError, TaskFailed
from aihub.model.resolved import Consumer, Hub
from aihub.reading import load
from aihub.services import copies
from aihub.ssh import connection
from aihub.state.directory import State


@pytest.fixture(scope="module")
def hub() -> Hub:
    return load.load(paths.DEFAULT_HUB, target="lab")


@pytest.fixture(params=["postgres", "redis"])
def consumer(hub: Hub, request: pytest.FixtureRequest) -> Consumer:
    return next(one for one in hub.consumers if one.kind == request.param and one.consumer == "canary@private-ai")


@pytest.mark.parametrize("what", ["dump", "restore"])
def test_the_provider_s_own_program_is_given_the_consumer_s_name_there(hub: Hub, consumer: Consumer, what: Any) -> None:
    found = copies.command(hub, consumer, what)
    stack = hub.instance(consumer.provider).stack
    assert found[:6] == ["docker", "compose", "--project-directory", f"/opt/hub/{stack.name}", "exec", "-T"]
    assert found[-1] == consumer.role
    assert Path(found[-2]).name == f"{what}.sh"
    assert (paths.STACKS / stack.name / "config" / Path(found[-2]).name).is_file()


def test_a_kind_without_such_a_program_is_told(hub: Hub, consumer: Consumer) -> None:
    provider = hub.instance(consumer.provider)
    offer = provider.stack.gives[consumer.kind].model_copy(update={"dump": None, "restore": None})
    stack = provider.stack.model_copy(update={"gives": {consumer.kind: offer}})
    without = replace(hub, instances=(replace(provider, stack=stack),))
    with pytest.raises(HubError, match="nothing says how"):
        copies.command(without, consumer, "dump")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """No guest: a shell of ours runs what ssh would be given."""
    monkeypatch.setattr(connection.config, "argv", lambda *_: ["sh", "-c", 'shift; eval "$1"', "ssh"])


def run(state: Path, command: str, **files: Path) -> None:
    connection.copy(State(state), "db", ["sh", "-c", command], **files)


def test_what_is_dumped_is_ours_alone_and_comes_back_byte_for_byte(here: None, tmp_path: Path) -> None:
    """Larger than anything that is kept in memory of a program's words."""
    kept, back = tmp_path / "kept", tmp_path / "back"
    run(tmp_path, "head -c 3000000 /dev/urandom", target=kept)
    assert (kept.stat().st_size, kept.stat().st_mode & 0o777) == (3000000, 0o600)
    run(tmp_path, f"cat > {back}", source=kept)
    assert back.read_bytes() == kept.read_bytes()


def test_a_dump_that_fails_leaves_no_file_and_says_why(here: None, tmp_path: Path) -> None:
    with pytest.raises(TaskFailed, match=r"exit code 3\nno such consumer") as raised:
        run(tmp_path, "echo half; echo no such consumer >&2; exit 3", target=tmp_path / "kept")
    assert raised.value.where == "db"
    assert not (tmp_path / "kept").exists()


def test_nothing_is_dumped_over_another_file(here: None, tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("older")
    with pytest.raises(FileExistsError):
        run(tmp_path, "echo newer", target=tmp_path / "kept")
    assert (tmp_path / "kept").read_text() == "older"


def test_what_a_program_says_beside_its_dump_is_bounded(tmp_path: Path) -> None:
    ended = process.copy(["sh", "-c", "head -c 9000000 /dev/zero >&2; echo whole"], target=tmp_path / "kept")
    assert len(ended.stderr) <= 64 << 10
    assert (tmp_path / "kept").read_text() == "whole\n"
