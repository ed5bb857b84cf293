"""From metal's answers to changes and errors: the document alone counts, whatever else is printed."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from aihub import node, process
from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed, Unreachable
from aihub.node import metal
from aihub.plan import Plan
from aihub.reading import load
from metal.exchange import Answer, Failure, Order, Refusal, Taken
from metal.steps import Kind

from tests.unit.aihub.hubs import small
from tests.unit.metal.metal_nodes import WANTED

VALUE = "12345678-1234-1234-1234-123456789abc"
ROOT = Path(__file__).resolve().parents[4]
WALLS = Taken("walls", "node pve: walls", "configure", (("loaded rules", "other", "ours"),), False, "planned")
DNS = Taken("dns", "node pve: DNS", "configure", (), True, "planned")
TOKEN = Taken("token", "node pve: token hub-my-hub@pve!hub", "update", (), False, "done")


class Metal:
    """Stands in for the subprocess, and remembers orders and command lines."""

    def __init__(self, *answers: Answer | bytes, stderr: bytes = b"") -> None:
        self.left = list(answers)
        self.stderr = stderr
        self.orders: list[Order] = []
        self.argv: list[list[str]] = []
        self.folders: set[Path] = set()

    def run(self, argv, *, stdin: bytes, cwd: Path, **_: Any) -> process.Result:
        self.argv.append(argv)
        self.folders.add(cwd)
        self.orders.append(Order.read(stdin.decode()))
        answer = self.left.pop(0)
        output = answer if isinstance(answer, bytes) else answer.as_json().encode()
        return subprocess.CompletedProcess(argv, 1, output, self.stderr)


@pytest.fixture
def answering(monkeypatch):
    def set_up(*answers: Answer | bytes, stderr: bytes = b"") -> Metal:
        found = Metal(*answers, stderr=stderr)
        monkeypatch.setattr(process, "run", found.run)
        return found

    return set_up


def test_a_plan_holds_what_would_change_and_who_does_it(answering, state):
    answering(Answer((WALLS, DNS)))
    walls, dns = node.plan(state, WANTED).changes
    assert (walls.subject, walls.owner, walls.identity, walls.action) == (
        "node pve: walls",
        "node",
        "root@node",
        "configure",
    )
    assert walls.summary
    assert walls.differences[0].field == "loaded rules"
    assert (walls.restart, dns.restart) == (False, True)


def test_every_kind_of_object_is_told_in_words():
    assert set(metal._WHAT) == set(get_args(Kind))


def test_planning_never_asks_metal_to_write(answering, state):
    seen = answering(Answer())
    assert node.plan(state, WANTED).is_empty
    assert "--dry" in seen.argv[0]


def test_modules_of_the_folder_that_aihub_was_called_in_are_not_taken_for_metal_s(answering, state):
    seen = answering(Answer())
    node.plan(state, WANTED)
    assert seen.folders == {state.runs}


def test_an_apply_allows_what_the_agreed_plan_has_room_for_and_nothing_else(answering, state):
    made = Taken("pool", "node pve: pool hub-my-hub", "create", (), False, "planned")
    seen = answering(Answer((WALLS, DNS, made)), Answer((replace(WALLS, outcome="done"),)))
    agreed = node.plan(state, WANTED)
    done = node.apply(small(), state, WANTED, agreed)
    planned, applied = seen.orders
    assert (planned.desired, planned.allowed) == (WANTED, None)
    assert applied.desired == WANTED
    assert "--dry" not in seen.argv[1]
    allowed = {(one.subject, one.action, one.restart) for one in applied.allowed}
    assert {subject for subject, _, _ in allowed} == {WALLS.subject, DNS.subject, made.subject}
    assert (WALLS.subject, "configure", False) in allowed
    assert (WALLS.subject, "configure", True) not in allowed
    assert (DNS.subject, "configure", True) in allowed
    assert not [one for one in allowed if one[1] == "delete"]
    assert [change.subject for change in done.changes] == [WALLS.subject]


def test_what_others_are_to_do_leaves_metal_no_room(answering, state):
    seen = answering(Answer((WALLS,)), Answer())
    (change,) = node.plan(state, WANTED).changes
    node.apply(small(), state, WANTED, Plan((replace(change, owner="guests"),)))
    assert seen.orders[1].allowed == ()


@pytest.mark.parametrize(("kind", "error"), [("conflict", Conflict), ("precondition", PreconditionFailed)])
def test_a_refusal_of_metal_is_ours(answering, state, kind, error):
    answering(Answer(refused=Refusal(kind, "hubinfra is not ours", "look")))
    with pytest.raises(error, match="hubinfra is not ours") as caught:
        node.plan(state, WANTED)
    assert (caught.value.hint, caught.value.where) == ("look", "node pve")


MISLEADING = b"--> Starting operation: delete walls\n    [@ssh/node] Could not connect\nAuthentication error\n"


def test_a_failed_step_is_named_and_nothing_on_stderr_counts(answering, state):
    steps = (replace(WALLS, outcome="done"), replace(DNS, outcome="failed"))
    answering(Answer(steps, failed=Failure("command", DNS.subject, ("unbound: bad",))), stderr=MISLEADING)
    with pytest.raises(TaskFailed) as caught:
        node.apply(small(), state, WANTED, Plan())
    assert caught.value.what == "configure DNS failed\nunbound: bad"
    assert caught.value.hint == "aihub up"


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        ("unreachable", Unreachable),
        ("authentication", PreconditionFailed),
        ("host key", Conflict),
        ("command", TaskFailed),
    ],
)
def test_each_class_of_failure_is_its_own_error(answering, state, cause, error):
    answering(Answer(failed=Failure(cause, "", ("what it said",))), stderr=MISLEADING)
    with pytest.raises(HubError) as caught:
        node.plan(state, WANTED)
    assert type(caught.value) is error
    assert cause == "host key" or "what it said" in str(caught.value)


def test_a_connection_that_ends_in_a_step_names_the_step(answering, state):
    steps = (replace(DNS, outcome="failed"),)
    answering(Answer(steps, failed=Failure("unreachable", DNS.subject, ("reset by peer",))))
    with pytest.raises(Unreachable, match="DNS: reset by peer"):
        node.apply(small(), state, WANTED, Plan())


@pytest.mark.parametrize("output", [b"", b"Killed", b'{"plan": []}', b'{"steps": [{"a": 1}]}', b"[]", b"\xff"])
def test_no_answer_is_an_error_with_the_last_words(answering, state, output):
    answering(output, stderr=b"ImportError: no module\n")
    with pytest.raises(TaskFailed, match="without an answer\nImportError: no module"):
        node.plan(state, WANTED)


def renewed(state, value: str = VALUE) -> str:
    return f"hub-my-hub@pve!hub={value}\n" if state.token.exists() else ""


def test_a_step_on_the_token_renews_its_value_and_the_outcome_says_so(answering, shell, state):
    state.token.write_text("old")
    answering(Answer((TOKEN,)))
    shell((0, json.dumps({"value": VALUE})), (0, "{}"))
    done = node.apply(small(), state, WANTED, Plan())
    assert (done.token, done.renewed) == ("renewed", True)
    assert state.token.read_text() == renewed(state)


def test_a_token_that_was_not_there_is_made(answering, shell, state):
    answering(Answer((replace(TOKEN, action="create"),)))
    shell((0, json.dumps({"value": VALUE})), (0, "{}"))
    assert node.apply(small(), state, WANTED, Plan()).token == "made"


def test_a_token_made_anew_gets_its_rights_back_and_nothing_else_is_changed(answering, shell, state):
    state.token.write_text("old")
    seen = answering(Answer((TOKEN,)), Answer())
    shell((2, ""), (0, ""), (0, json.dumps({"value": VALUE})), (0, "{}"))
    done = node.apply(small(), state, WANTED, Plan())
    assert (done.token, done.renewed) == ("made", True)
    assert [order.only for order in seen.orders] == [None, "rights"]


def test_without_such_a_step_the_value_stays(answering, state):
    state.token.write_text("old")
    answering(Answer((replace(DNS, outcome="done"),)))
    done = node.apply(small(), state, WANTED, Plan())
    assert (done.token, done.renewed) == ("kept", False)
    assert state.token.read_text() == "old"
    assert list(state.runs.iterdir()) == []


def test_unsealing_is_not_set_up_with_a_certificate_that_is_not_there(answering, state):
    seen = answering()
    hub = load.load(ROOT / "inventory" / "hub.yml", target="lab")
    with pytest.raises(PreconditionFailed, match="root certificate"):
        node.apply(hub, state, node.desired(hub, state, {}), Plan())
    assert seen.orders == []


def test_a_token_that_cannot_be_renewed_after_a_change_is_a_failure_and_no_refusal(answering, state, monkeypatch):
    """Exit code 4 says that nothing was changed."""
    answering(Answer((TOKEN,)))

    def refused(*_: Any, **__: Any) -> None:
        raise PreconditionFailed("our key is not accepted")

    monkeypatch.setattr(metal.ssh, "run", refused)
    with pytest.raises(TaskFailed, match="our key is not accepted"):
        node.apply(small(), state, WANTED, Plan())


def test_a_removal_is_planned_and_takes_no_more_than_was_agreed(answering, state):
    state.token.write_text("old")
    gone = Taken("walls", "node pve: walls", "delete", (), True, "planned")
    seen = answering(Answer((gone,)), Answer((replace(gone, outcome="done"),)))
    agreed = node.removal(state, WANTED, [110, 201])
    assert [(change.subject, change.action, change.restart) for change in agreed] == [(gone.subject, "delete", True)]
    assert "--dry" in seen.argv[0]
    assert state.token.exists()
    assert node.remove(state, WANTED, Plan(agreed)) == agreed
    planned, applied = seen.orders
    assert (planned.desired, planned.allowed) == (replace(WANTED, removed=True, leaving=(110, 201)), None)
    assert (applied.desired, "--dry" in seen.argv[1]) == (replace(WANTED, removed=True), False)
    assert {one.subject for one in applied.allowed} == {gone.subject}
    assert not state.token.exists()
