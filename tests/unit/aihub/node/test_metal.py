"""From metal's answers to changes and errors, and the token's way into its file."""

from __future__ import annotations

import json
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aihub import process, ssh
from aihub.errors import Conflict, PreconditionFailed, TaskFailed, Unreachable
from aihub.node import metal as node
from aihub.ssh import config as ssh_config
from aihub.state.directory import State
from metal.desired import from_json

from tests.unit.aihub.hubs import FILE, small

VALUE = "12345678-1234-1234-1234-123456789abc"


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path)
    state.make()
    return state


def operation(name: str, *, changes: bool = True, outcome: str = "success") -> dict[str, Any]:
    ends = {key: ["node"] if key == outcome else [] for key in ("success", "error", "no_change")}
    return {"names": [name], "hosts_with_change": ["node"] if changes else [], **ends}


def answering(monkeypatch, answer: dict[str, Any] | None, code: int = 0, stderr: str = "") -> list[list[str]]:
    seen: list[list[str]] = []

    def run(argv, **_: Any) -> process.Result:
        seen.append(argv)
        text = "noise\n" + (json.dumps(answer) if answer is not None else "")
        return subprocess.CompletedProcess(argv, code, text.encode(), stderr.encode())

    monkeypatch.setattr(process, "run", run)
    return seen


def test_the_desired_state_holds_what_the_hub_says():
    wanted = node.desired(small(), "lab", {"ghcr.io": "10.255.255.2"})
    assert [(z.bridge, z.cidr, z.internet) for z in wanted.zones] == [
        ("hubinfra", "10.10.10.1/24", True),
        ("hubprivate", "10.10.20.1/24", False),
    ]
    assert wanted.marker == "aihub:v1 hub=0123456789abcdef"
    assert wanted.names == (("ghcr.io", "10.255.255.2"),)
    assert wanted.storages == ("local-zfs", "tank")
    assert wanted.mappings == ()
    assert from_json(wanted.as_json()) == wanted


def test_on_pve_a_guest_with_a_gpu_needs_its_mapping():
    assert node.desired(small(), "pve").mappings == ("rtx5090",)


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"gateway": "external"}},
        {"nodes": {"pve": FILE["nodes"]["pve"], "pve2": FILE["nodes"]["pve"]}},
    ],
)
def test_what_a_later_version_brings_is_refused(changes):
    with pytest.raises(PreconditionFailed) as caught:
        node.desired(small(**changes), "pve")
    assert caught.value.hint


def test_a_plan_holds_what_would_change_and_who_does_it(monkeypatch, state):
    state.token.write_text("x")
    label = "configure walls | loaded rules: other -> ours"
    answering(monkeypatch, {"plan": [operation(label), operation("configure DNS", changes=False)], "results": None})
    (change,) = node.plan(small(), state, "lab")
    assert (change.subject, change.owner, change.identity, change.action) == (
        "pve",
        "node",
        "root@node",
        "configure",
    )
    assert change.summary == "walls"
    assert change.differences[0].field == "loaded rules"


def test_planning_never_asks_metal_to_write(monkeypatch, state):
    seen = answering(monkeypatch, {"plan": [operation("configure node pve", changes=False)], "results": None})
    node.plan(small(), state, "lab")
    assert "--dry" in seen[0]
    assert "-y" not in seen[0]


@pytest.mark.parametrize(("kind", "error"), [("conflict", Conflict), ("precondition", PreconditionFailed)])
def test_a_refusal_of_metal_is_ours(monkeypatch, state, kind, error):
    answering(monkeypatch, {"refused": {"kind": kind, "what": "hubinfra is not ours", "hint": "look"}}, code=6)
    with pytest.raises(error, match="hubinfra is not ours") as caught:
        node.plan(small(), state, "lab")
    assert caught.value.hint == "look"


FAILED = """--> Starting operation: configure walls\x20
    [@ssh/node] No changes
--> Starting operation: configure DNS | hub-dns.service: failed -> active\x20
    [@ssh/node] \x1b[31munbound: bad\x1b[0m
    [@ssh/node] Error: executed 1 commands
--> Disconnecting from hosts...
--> pyinfra error: No hosts remaining!
"""


def test_a_failed_step_is_named(monkeypatch, state):
    answering(monkeypatch, None, code=1, stderr=FAILED)
    with pytest.raises(TaskFailed) as caught:
        node.apply(small(), state, "lab")
    assert caught.value.what == "configure DNS failed\nunbound: bad"


def test_an_unreachable_node_is_unreachable(monkeypatch, state):
    answering(monkeypatch, None, code=1, stderr="[node] Could not connect (timed out)\n")
    with pytest.raises(Unreachable, match="Could not connect"):
        node.plan(small(), state, "lab")


def shell(monkeypatch, *answers: tuple[int, str]) -> list[list[str]]:
    seen: list[list[str]] = []
    left = list(answers)

    def run(state, alias, command, **_: Any) -> process.Result:
        seen.append(command)
        code, text = left.pop(0)
        return subprocess.CompletedProcess(command, code, text.encode(), b"")

    monkeypatch.setattr(ssh, "run", run)
    return seen


def test_the_tokens_value_goes_into_its_file_and_nowhere_else(monkeypatch, state, capsys):
    seen = shell(monkeypatch, (0, json.dumps({"value": VALUE})), (0, "{}"))
    assert node.ensure_token(small(), state) is False
    assert state.token.read_text() == f"hub-my-hub@pve!hub={VALUE}\n"
    assert stat.S_IMODE(state.token.stat().st_mode) == 0o600
    assert VALUE not in str(seen)
    assert VALUE not in "".join(capsys.readouterr())


def test_where_a_value_cannot_be_renewed_the_token_is_made_anew(monkeypatch, state):
    seen = shell(monkeypatch, (2, ""), (0, ""), (0, json.dumps({"value": VALUE})), (0, "{}"))
    assert node.ensure_token(small(), state) is True
    assert [command[1] for command in seen] == ["set", "delete", "create", "set"]


def test_the_desired_state_tells_which_value_is_kept_but_not_the_value(monkeypatch, state):
    shell(monkeypatch, (0, json.dumps({"value": VALUE})), (0, "{}"))
    node.ensure_token(small(), state)
    text = node._wanted(small(), state, "lab", None).as_json()
    assert VALUE not in text
    assert len(json.loads(text)["kept"]) == 12


def test_an_answer_without_value_is_an_error_that_does_not_repeat_it(monkeypatch, state):
    shell(monkeypatch, (0, "not json: 12345678-secret"))
    with pytest.raises(TaskFailed) as caught:
        node.ensure_token(small(), state)
    assert "secret" not in str(caught.value)
    assert not state.token.exists()


def test_a_real_nodes_key_that_changed_is_a_conflict(monkeypatch, state):
    monkeypatch.setattr(ssh, "write", lambda *_: None)
    old, new = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB=="
    ssh_config.pin(state, "node", "192.168.1.10", old)
    monkeypatch.setattr(ssh, "scan", lambda *_: new)
    with pytest.raises(Conflict, match="answers with host key"):
        node.trust(small(), state, lambda _: True)


def test_a_key_that_nobody_confirms_is_not_trusted(monkeypatch, state):
    monkeypatch.setattr(ssh, "write", lambda *_: None)
    monkeypatch.setattr(ssh, "scan", lambda *_: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==")
    asked: list[str] = []
    with pytest.raises(PreconditionFailed, match="not confirmed"):
        node.trust(small(), state, lambda text: bool(asked.append(text)))
    assert "SHA256:" in asked[0]
    assert ssh_config.pinned(state, "node") is None


def test_a_step_on_the_token_renews_its_value(monkeypatch, state):
    state.token.write_text("old")
    made = operation("create token hub-my-hub@pve!hub")
    answering(monkeypatch, {"plan": [made], "results": {"operations": [made]}})
    shell(monkeypatch, (0, json.dumps({"value": VALUE})), (0, "{}"))
    node.apply(small(), state, "lab")
    assert VALUE in state.token.read_text()


def test_without_such_a_step_the_value_stays(monkeypatch, state):
    state.token.write_text("old")
    done = operation("configure DNS")
    answering(monkeypatch, {"plan": [done], "results": {"operations": [done]}})
    assert [c.summary for c in node.apply(small(), state, "lab")] == ["DNS"]
    assert state.token.read_text() == "old"
    assert list(state.runs.iterdir()) == []
