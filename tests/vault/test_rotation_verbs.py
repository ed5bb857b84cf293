"""`aihub secrets status` and `rotate` on real services: what a person sees, and what a script gets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.errors import TaskFailed
from aihub.options import Options
from aihub.owners import run as owners_run
from aihub.reading import load
from aihub.secrets import agent, rotation
from aihub.vault.client import Vault
from aihub.verbs.secrets import rotate, status

from . import rotation_world
from .rotation_client import Driver
from .rotation_world import POSTGRES, REDIS, World

pytestmark = pytest.mark.slow


@pytest.fixture
def command(world: World, driver: Driver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Options:
    """`aihub secrets ...` on this world: what would go over ssh goes to its processes."""
    monkeypatch.setenv("AIHUB_STATE", str(tmp_path))
    (tmp_path / "small-lab-none").symlink_to(world.facts.state.directory)
    monkeypatch.setattr(load, "load", lambda *_, **__: world.hub)
    monkeypatch.setattr(rotate, "REACH", ())
    monkeypatch.setattr(rotate, "take_lease", lambda run: None)
    monkeypatch.setattr(status, "find_target", lambda run: None)

    @contextmanager
    def connected(*_: object) -> Iterator[Vault]:
        yield world.server.vault()

    @contextmanager
    def opened(*_: object) -> Iterator[Vault]:
        yield rotation_world.opened(world.facts, world.hub)

    monkeypatch.setattr(status.vaults, "connected", connected)
    monkeypatch.setattr(owners_run, "vault_opened", opened)
    monkeypatch.setattr(agent, "status", lambda _state, guest: rotation_world.status(world.facts, guest))
    monkeypatch.setattr(rotation, "of", lambda hub, _state, vault: nullcontext(world.reach(vault)))
    return Options(lab="none")


def test_status_shows_every_secret_and_rotate_what_it_disturbs(
    world: World, command: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status.run(command) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in world.names())
    assert "open, version" in shown and "agent of db" in shown and "certificate of notes@public-ai" in shown
    assert status.run(replace(command, as_json=True)) == 0
    answer = json.loads(capsys.readouterr().out)
    known = {row["name"]: row for row in answer["secrets"]}
    assert known[POSTGRES]["age"] == 0 and not known[POSTGRES]["due"] and known[POSTGRES]["since"]
    assert known["notes@private-ai/tls"]["since"] and known["db/login"]["since"] and known["controller/login"]["since"]

    assert rotate.run(replace(command, only=(POSTGRES,))) == 0
    shown = capsys.readouterr().out
    assert "restarts notes@private-ai" in shown and "replaced" in shown
    assert world.problems(POSTGRES) == []
    assert rotate.run(replace(command, due=True)) == 0
    assert "nothing is due" in capsys.readouterr().err


def test_a_rotation_in_flight_is_shown_and_the_next_command_finishes_it(
    world: World, driver: Driver, command: Options, capsys: pytest.CaptureFixture[str]
) -> None:
    assert driver.run(REDIS, crash="5:before")["killed"]
    assert status.run(command) == 0
    assert "a rotation is in flight" in capsys.readouterr().out
    assert rotate.run(replace(command, due=True, as_json=True)) == 0
    (done,) = json.loads(capsys.readouterr().out)["rotated"]
    assert (done["name"], done["resumed"], done["error"]) == (REDIS, True, "")
    assert world.problems(REDIS) == []


def test_a_failure_is_in_the_table_and_in_the_exit_code(
    world: World, command: Options, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with world.stopped("private-ai"):
        quick = rotation_world.reach(world.facts, world.hub, world.vault, patience=0.5)
        monkeypatch.setattr(rotation, "of", lambda *_: nullcontext(quick))
        with pytest.raises(TaskFailed, match="not yet in use"):
            rotate.run(replace(command, only=("notes@private-ai", "notes@public-ai/salt")))
    shown = capsys.readouterr().out
    assert "not yet in use" in shown and "replaced" in shown
    begun = rotation.pending(world.hub, world.vault, world.facts.state)
    assert not begun or rotate.run(replace(command, due=True)) == 0
    rotation_world.eventually(lambda: world.follows(POSTGRES) and world.follows(REDIS))
    assert world.problems(POSTGRES) == world.problems(REDIS) == []
