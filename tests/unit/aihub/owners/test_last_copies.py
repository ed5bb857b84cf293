"""What goes with its data is copied before; where that can't be, nothing goes."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub import paths, report, ssh, targets
from aihub.errors import PreconditionFailed, TaskFailed
from aihub.options import Options
from aihub.owners import kept, last_copies
from aihub.owners.run import Run
from aihub.plan import Change, Kept, Plan
from aihub.reading import load
from aihub.state.directory import State


class Guests:
    """Who answers in place of guests: remembers what was run where."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, list[str], Any]] = []
        self.copies = True
        self.fails = False

    def run(self, _state: State, alias: str, command: list[str], *, stdin: bytes = b"", **_: Any) -> Any:
        self.ran.append((alias, command, json.loads(stdin) if stdin else None))
        if self.fails and command[0] != "test":
            raise TaskFailed("no room", where=alias)
        return type("Done", (), {"returncode": 0 if self.copies else 1})


@pytest.fixture
def guests(monkeypatch: pytest.MonkeyPatch) -> Guests:
    found = Guests()
    monkeypatch.setattr(ssh, "run", found.run)
    return found


@pytest.fixture
def run(tmp_path: Path) -> Any:
    options, hub = Options(), load.load(paths.DEFAULT_HUB, target="lab")
    with ExitStack() as stack:
        yield Run(options, hub, State(tmp_path), targets.chosen(options, hub), report, stack, "up")


def volumes(stack: str, guest: str) -> Change:
    details = {"guest": guest, "stack": stack}
    return kept.removal(Kept(f"{stack}@{guest}", "volumes", f"/var/lib/hub/{stack} on guest {guest}", details))


def object_of(provider: str, text: str) -> Change:
    return Change(f"{provider}: {text}", "delete", "services", "service", text, data_at_risk="all that is in it")


def test_volumes_that_go_are_copied_but_for_those_that_never_are(run: Run, guests: Guests) -> None:
    run.plan = Plan((volumes("open-webui", "private-ai"), volumes("gone", "db"), volumes("ollama", "public-ai")))
    last_copies.make(run)
    asked = {command[2]: stdin for _, command, stdin in guests.ran if command[0] != "test"}
    assert asked["gone"] == {"id": "gone@db", "folder": "/var/lib/hub/gone", "skip": [], "dumps": []}
    assert asked["open-webui"]["folder"] == "/var/lib/hub/open-webui"
    assert "ollama" not in asked, "models are fetched anew"


def test_what_a_consumer_has_at_a_provider_is_dumped_by_the_providers_program(run: Run, guests: Guests) -> None:
    run.plan = Plan((object_of("postgres@db", "database canary_monitoring_main"),))
    last_copies.make(run)
    _, (where, command, asked) = guests.ran
    assert (where, command[1:]) == ("db", ["last", "postgres"])
    (dump,) = asked["dumps"]
    assert (dump["id"], dump["role"], dump["dump"][-1]) == ("canary@monitoring", *["canary_monitoring_main"] * 2)
    run.plan = Plan((object_of("postgres@db", "database --help"),))
    with pytest.raises(PreconditionFailed, match="no consumer can be called --help"):
        last_copies.make(run)


def test_where_no_copy_can_be_made_nothing_goes_unless_somebody_says_so(run: Run, guests: Guests) -> None:
    run.plan = Plan((volumes("gone", "db"),))
    guests.copies = False
    with pytest.raises(PreconditionFailed, match="makes no copies any more") as raised:
        last_copies.make(run)
    assert "--no-backup" in raised.value.hint
    guests.copies, guests.fails = True, True
    with pytest.raises(PreconditionFailed, match="nothing was removed: no room"):
        last_copies.make(run)
    guests.ran.clear()
    run.options = replace(run.options, no_backup=True)
    last_copies.make(run)
    assert not guests.ran


def test_a_hub_without_copies_and_a_plan_without_losses_ask_nobody(run: Run, guests: Guests) -> None:
    run.plan = Plan((replace(volumes("gone", "db"), data_at_risk=""),))
    last_copies.make(run)
    run.plan = Plan((volumes("gone", "db"),))
    run.hub = replace(run.hub, copiers={})
    last_copies.make(run)
    assert not guests.ran
