"""An instance starts once its providers run and hold what it logs in with; a failure stops its consumers only."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aihub.errors import Conflict, HubError, Locked, TaskFailed
from aihub.guests.probe import Inside
from aihub.owners import hub, order, secrets
from aihub.owners.run import Run
from aihub.plan import Change, Plan
from aihub.secrets import agent
from aihub.secrets.agent import NotInUse
from aihub.services.service import Step
from aihub.verbs import up

from tests.unit.aihub.owners.made_up import World, world

pytestmark = pytest.mark.slow  # each takes up to seconds; `make test` has them

BROKEN = TaskFailed("container postgres-1 is unhealthy", where="postgres@db", hint="aihub up")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return world(tmp_path, monkeypatch)


def failed(run: Run) -> HubError:
    """What a run ends with that can't do everything."""
    with pytest.raises(HubError) as raised:
        hub.apply_inside(run)
    return raised.value


def undone(run: Run) -> dict[str, str]:
    """What is not done, and because of whom."""
    return {one.subject: one.because or "itself" for one in run.outcome if not one.done}


def test_what_is_healthy_only_when_its_database_answers_comes_up_in_one_run(made: World) -> None:
    run = made.run()
    hub.apply_inside(run)
    assert made.at("start", "postgres@db") < made.at("inside", "postgres@db") < made.at("start", "shop@apps")
    assert made.at("inside", "redis@cache") < made.at("start", "queue@apps")
    assert made.at("start", "shop@apps") < made.at("start", "front@web")
    assert undone(run) == {}
    assert {one.subject for one in run.outcome} == {*run.hub.guests, *(i.name for i in run.hub.instances)}


def test_the_way_out_and_the_store_come_first(made: World) -> None:
    run = made.run()
    hub.apply_inside(run)
    assert made.at("start", "egress@cache") < made.at("machine", "inner"), "its packages come through the proxy"
    order = [made.at("machine", "security"), made.at("listener", "vault@security"), made.at("start", "vault@security")]
    order += [made.at("store", "vault@security"), made.at("agent", "db"), made.at("start", "postgres@db")]
    assert order == sorted(order)


def test_who_needs_nobody_waits_for_nobody(made: World) -> None:
    """The store hangs until everything that does not need it runs."""
    plain = threading.Event()

    def waits(what: str, whom: str) -> None:
        if (what, whom) == ("start", "plain@apps"):
            plain.set()
        if what == "store":
            assert plain.wait(10)

    made.waits = waits
    hub.apply_inside(made.run())


def test_models_come_last_and_block_nobody(made: World) -> None:
    made.more["ollama@inner"] = [Step("create", "model qwen")]
    made.failing["inside", "ollama@inner"] = TaskFailed("the pull ended without success", where="ollama@inner")
    run = made.run()
    assert failed(run) is made.failing["inside", "ollama@inner"]
    assert made.did[-1] == ("inside", "ollama@inner")
    assert undone(run) == {"ollama@inner": "itself"}


def test_a_provider_that_does_not_start_blocks_its_consumers_only(made: World) -> None:
    made.failing["start", "postgres@db"] = BROKEN
    run = made.run()
    error = failed(run)
    assert undone(run) == {"postgres@db": "itself", "shop@apps": "postgres@db", "front@web": "postgres@db"}
    assert "shop@apps" not in made.done("start")
    assert {"queue@apps", "plain@apps", "ollama@inner"} <= set(made.done("start"))
    assert error.exit_code == 1
    assert "postgres@db: did not start\ncontainer postgres-1 is unhealthy\nits last words" in str(error)


def test_a_provider_that_can_t_be_reconciled_blocks_its_consumers_only(made: World) -> None:
    made.failing["inside", "redis@cache"] = TaskFailed("refused", where="redis@cache")
    run = made.run()
    failed(run)
    assert undone(run) == {"redis@cache": "itself", "queue@apps": "redis@cache"}


def test_an_instance_that_fails_lets_the_others_of_its_guest_be_done(made: World) -> None:
    made.failing["start", "plain@apps"] = TaskFailed("ended with exit code 3", where="plain@apps")
    run = made.run()
    failed(run)
    assert undone(run) == {"plain@apps": "itself"}


def test_a_guest_that_can_t_be_configured_blocks_what_stands_on_it(made: World) -> None:
    made.failing["machine", "cache"] = TaskFailed("no space left", where="cache, base: Packages are there")
    run = made.run()
    failed(run)
    assert undone(run) == {
        "cache": "itself",
        "redis@cache": "cache",
        "egress@cache": "cache",
        "queue@apps": "cache",
        "inner": "cache",  # its packages come through the proxy there
        "ollama@inner": "cache",
        "plain@inner": "cache",
    }
    assert {"shop@apps", "front@web", "plain@apps"} <= set(made.done("start"))


def test_a_guest_that_does_not_answer_blocks_what_stands_on_it(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub.insides, "FIRST_ANSWER", 0.0)
    run = made.run()
    made.silent = {"web"}
    error = failed(run)
    assert undone(run) == {"web": "itself", "front@web": "web"}
    assert str(error) == "web: no ssh: no ssh"


def test_a_store_that_does_not_open_blocks_what_has_secrets(made: World) -> None:
    made.failing["store", "vault@security"] = TaskFailed("sealed", where="vault@security")
    run = made.run()
    failed(run)
    assert set(made.done("start")) == {"vault@security", "egress@cache", "plain@apps", "plain@inner", "ollama@inner"}
    assert {name: why for name, why in undone(run).items() if name in run.hub.agents} == dict.fromkeys(
        run.hub.agents, "vault@security"
    )


def test_who_can_t_take_its_secrets_up_keeps_nobody_else_of_its_guest_waiting(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(state: Any, guest: str, versions: Mapping[str, int]) -> None:
        if late := [path for path in versions if path.startswith("hub/apps/queue/")]:
            raise NotInUse(late, "queue: systemctl restart ended 1", guest)

    monkeypatch.setattr(hub.secrets.agent, "wait", wait)
    run = made.run()
    error = failed(run)
    assert undone(run) == {"queue@apps": "itself"}
    assert str(error).startswith("queue@apps: not yet in use: hub/apps/queue/redis_jobs: queue: systemctl restart")


def test_a_machine_without_a_certificate_of_its_own_blocks_what_has_secrets_there(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wait(state: Any, guest: str, versions: Mapping[str, int]) -> None:
        if guest == "web":
            raise NotInUse(["its own certificate"], "refused", guest)

    monkeypatch.setattr(hub.secrets.agent, "wait", wait)
    run = made.run()
    failed(run)
    assert undone(run) == {"web": "itself", "front@web": "web"}


def test_every_error_is_told_and_the_run_ends_with_one(made: World) -> None:
    made.failing["start", "plain@apps"] = TaskFailed("ended with exit code 3", where="plain@apps", hint="aihub up")
    made.failing["start", "postgres@db"] = BROKEN
    error = failed(made.run())
    assert error.exit_code == 1
    assert "plain@apps: did not start\nended with exit code 3" in str(error)
    assert "postgres@db: did not start" in str(error)
    assert error.hint == "aihub up"


def test_more_than_was_agreed_at_one_provider_is_a_conflict_and_stops_its_consumers_only(made: World) -> None:
    """Each application of a part looks again before it acts."""
    run = made.run()
    made.more["postgres@db"] = [Step("delete", "database shop_apps_main", data_at_risk="all of it")]
    error = failed(run)
    assert isinstance(error, Conflict)
    assert error.exit_code == 6
    assert "database shop_apps_main" in str(error)
    assert made.done("inside") == ["redis@cache"], "nothing was done at the one that somebody changed"
    assert undone(run) == {"postgres@db": "itself", "shop@apps": "postgres@db", "front@web": "postgres@db"}


def test_unfinished_rotations_are_finished_before_logins_are_compared_there(made: World) -> None:
    made.left = ["shop@apps/postgres_main", "queue@apps/redis_jobs", "apps/login"]
    hub.apply_inside(made.run())
    assert made.at("rotation", "shop@apps/postgres_main") < made.at("inside", "postgres@db")
    assert made.at("rotation", "queue@apps/redis_jobs") < made.at("inside", "redis@cache")
    assert made.at("rotation", "shop@apps/postgres_main") > max(made.at("agent", guest) for guest in ("db", "apps"))
    assert made.done("rotation")[-1] == "apps/login"
    assert len(made.done("rotation")) == 3, "each once"
    assert made.at("kit", "the kit") > made.at("rotation", "apps/login")


def test_a_rotation_that_can_t_be_finished_leaves_the_logins_of_its_provider_alone(made: World) -> None:
    made.left = ["shop@apps/postgres_main"]
    made.failing["rotation", "shop@apps/postgres_main"] = TaskFailed("not yet in use", where="apps")
    run = made.run()
    failed(run)
    assert "postgres@db" not in made.done("inside")
    assert undone(run) == {"postgres@db": "itself", "shop@apps": "postgres@db", "front@web": "postgres@db"}


def test_what_is_as_it_should_be_needs_no_run_of_ansible(made: World) -> None:
    run = made.run()
    hub.apply_inside(run)
    made.recorded = {name: dict(hub.insides.render.desired(run.hub, run.state)[name]) for name in run.hub.guests}
    made.recorded["apps"].pop("stack/plain")
    made.calls.clear()
    made.did.clear()
    again = made.run()
    hub.apply_inside(again)
    assert made.calls == [("stacks", ["plain@apps"])]
    assert made.done("inside") == [], "logins were compared, and nothing was done"
    assert undone(again) == {}


def test_what_is_ready_at_the_same_time_is_one_run_of_ansible(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "GATHER", 3.0)  # a busy machine takes longer to be ready
    hub.apply_inside(made.run())
    assert len([names for phase, names in made.calls if phase == "machine"]) == 2, "with the internet, and without"
    assert len(made.calls) <= 8, "way out and store, the closed zone's, what has secrets, their consumers, and theirs"


def test_consumers_are_removed_before_what_they_used_and_retired_after(made: World) -> None:
    run = made.run()
    made.recorded = {"web": {"base": "1", "stack/postgres": "1"}, "apps": {"base": "1", "stack/front": "1"}}
    made.recorded["db"] = {"base": "1", "stack/shop": "1", "stack/nobody-knows": "1"}
    run = made.run()
    hub.apply_inside(run)
    assert made.at("remove", "front@apps") < made.at("remove", "shop@db") < made.at("remove", "postgres@web")
    assert made.at("remove", "shop@db") < made.at("inside", "postgres@db"), "its login is retired when it has stopped"
    assert made.at("remove", "nobody-knows@db") < made.at("start", "postgres@db"), "its port is free"


@pytest.mark.parametrize("name", ["{{ lookup('pipe', 'id') }}", "../shop", "a b", "old\n", ""])
def test_what_a_guest_calls_a_stack_and_can_t_be_one_is_handed_to_nobody(made: World, name: str) -> None:
    made.recorded = {"web": {"base": "1", f"stack/{name}": "1"}}
    hub.apply_inside(made.run())
    assert made.done("remove") == []


def test_what_can_t_be_removed_blocks_its_own_guest_only(made: World) -> None:
    made.recorded = {"web": {"base": "1", "stack/old": "1"}}
    made.failing["remove", "old@web"] = TaskFailed("it does not stop", where="web, stack: The instance no longer runs")
    run = made.run()
    failed(run)
    assert undone(run) == {"old@web": "itself", "front@web": "old@web"}


def test_nothing_is_begun_once_the_lease_is_lost(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def may_write(run: Run) -> None:
        if ("store", "vault@security") in made.did:
            raise Locked("the lease on the node was lost")

    monkeypatch.setattr(Run, "may_write", may_write)
    assert isinstance(failed(made.run()), Locked)
    assert "postgres@db" not in made.done("start")


@pytest.mark.parametrize("as_json", [True, False])
def test_up_ends_with_a_table_of_what_is_done_and_what_is_not(
    made: World, as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for steps in ("AGREE", "API"):
        monkeypatch.setattr(up, steps, ())
    made.failing["start", "postgres@db"] = BROKEN
    with pytest.raises(HubError) as raised:
        up._applied(made.run(as_json=as_json))
    assert raised.value.exit_code == 1
    told = capsys.readouterr().out
    if as_json:
        rows = {row["subject"]: row for row in json.loads(told)["outcome"]}
        assert rows["shop@apps"] == {"subject": "shop@apps", "done": False, "error": "", "because": "postgres@db"}
        assert rows["queue@apps"]["done"]
        assert rows["postgres@db"]["error"].startswith("postgres@db: did not start")
    else:
        rows = {line.split()[1]: line for line in told.splitlines()[1:] if len(line.split()) > 2}
        assert "not done  waits for postgres@db" in rows["shop@apps"]
        assert "not done  postgres@db: did not start" in rows["postgres@db"]
        assert "not done" not in rows["queue@apps"]


WAITING = {
    "postgres@db": "waits for aihub secrets set postgres@db/token",
    "shop@apps": "waits for postgres@db",
    "front@web": "waits for shop@apps",
}


def test_who_waits_for_a_person_is_not_begun_and_nothing_has_failed(made: World) -> None:
    run = made.run()
    run.waiting = WAITING
    hub.apply_inside(run)
    assert undone(run) == {name: why.removeprefix("waits for ") for name, why in WAITING.items()}
    assert not {*made.done("start"), *made.done("inside")} & set(WAITING)
    assert {"queue@apps", "plain@apps", "ollama@inner"} <= set(made.done("start")), "others go on"
    assert {"db", "web"} <= set(made.done("machine")), "their machines, too"

    again = made.run()
    hub.apply_inside(again)
    assert undone(again) == {}
    assert set(WAITING) <= set(made.done("start")), "what was given is all that was missing"


def test_a_store_that_was_silent_tells_on_the_way_who_waits(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "waiting", lambda run: {"postgres@db": WAITING["postgres@db"]})
    run = made.run()
    error = failed(run)
    assert str(error) == "postgres@db: waits for aihub secrets set postgres@db/token"
    subjects = [one.subject for one in run.outcome]
    assert sorted(set(subjects)) == sorted(subjects), "each once"
    assert not set(made.done("start")) & set(WAITING)
    assert {"queue@apps", "plain@apps"} <= set(made.done("start"))


STATUS: dict[str, Any] = {"login": {"ok": True, "error": "", "since": "x"}, "errors": [], "tls": {}}


def served(made: World, run: Run, guest: str) -> Inside:
    """A guest whose agent has all that is its own, in use."""
    own = {"name": "x", "serial": "1", "issued": 1.0, "not_after": 2.0, "applied": "1"}
    entries = {path: {"version": 1, "applied": 1} for path in agent.paths(run.hub, guest)}
    known = {"desired": {"vault_agent": "1"}, "entries": {}}
    return replace(run.insides[guest], manifest=known, agent={**STATUS, "entries": entries, "tls": {agent.OWN: own}})


def test_an_agent_that_has_all_that_is_its_own_is_not_waited_for(made: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only instances differ; whatever else there is to do, it is asked."""
    asked: list[str] = []
    monkeypatch.setattr(secrets, "_logged_in", lambda run, guest: not asked.append(guest))
    monkeypatch.setattr(secrets.enrol, "ended", lambda hub, known: frozenset())
    run = made.run()
    whole = served(made, run, "db")
    behind = {path: {"version": 1, "applied": 0} for path in agent.paths(run.hub, "db")}
    lost = {**STATUS["login"], "ok": False}
    only = Change("db", "configure", "insides", "guest", "x", parts=("stack/postgres",))
    cases = {
        "quiet": (whole, (only,), False),
        "a role": (whole, (replace(only, parts=("ssh", "stack/postgres")),), False),
        "everything": (whole, (replace(only, parts=()),), False),
        "the store": (whole, (only, Change("vault@security", "update", "vault", "vault", "x")), False),
        "a guest": (whole, (only, Change("db", "update", "guests", "token", "x", restart=True)), False),
        "full": (whole, (only,), True),
        "no login": (replace(whole, agent={**whole.agent, "login": lost}), (only,), False),  # type: ignore[dict-item]
        "no certificate": (replace(whole, agent={**whole.agent, "tls": {}}), (only,), False),  # type: ignore[dict-item]
        "behind": (replace(whole, agent={**whole.agent, "entries": behind}), (only,), False),  # type: ignore[dict-item]
        "silent": (replace(whole, error="no ssh"), (only,), False),
    }
    for name, (inside, changes, full) in cases.items():
        asked.clear()
        run.insides = {**run.insides, "db": inside}
        run.options = replace(run.options, full=full)
        agreed = Plan((*changes, Change("db", "deliver", "insides", "guest", "x", later=True, parts=("stack/x",))))
        agents = secrets.Agents(run, agreed, run.screen.progress("x").__enter__())
        agents.learn()
        agents.serve("db")
        assert (asked == []) == (name == "quiet"), name
